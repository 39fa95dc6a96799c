//! One TCP connection, sans-io.
