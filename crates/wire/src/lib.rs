//! Headers, options, checksums and sequence numbers: bytes in, validated values out.
