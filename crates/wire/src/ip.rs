//! What IPv4's Protocol and IPv6's Next Header fields share: the numbers assigned by IANA.

/// ICMP for IPv4 (RFC 792).
pub const PROTOCOL_ICMP: u8 = 1;
/// TCP (RFC 9293).
pub const PROTOCOL_TCP: u8 = 6;
/// ICMP for IPv6 (RFC 4443).
pub const PROTOCOL_ICMPV6: u8 = 58;
