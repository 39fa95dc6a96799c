//! ICMP errors about a segment of ours: which there are, and which may end a connection (RFC 9293 section 3.9.2.2, RFC 1122
//! section 4.2.3.9, RFC 5927).

use crate::error::Error;
use wire::{icmpv4, icmpv6};

/// What an ICMP or `ICMPv6` error says, as far as it matters to TCP. (A packet that is too big is no error: see
/// [`Connection::on_too_big`](crate::Connection::on_too_big).)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IcmpError {
    /// There is no route to the network.
    NetUnreachable,
    /// There is no such host, or no way to it.
    HostUnreachable,
    /// The host does not speak TCP.
    ProtocolUnreachable,
    /// The host says by ICMP that nobody listens.
    PortUnreachable,
    /// Somebody on the path forbids it.
    Prohibited,
    /// The hop limit was reached.
    TimeExceeded,
    /// Somebody does not understand the header.
    ParameterProblem,
}

impl IcmpError {
    /// Every one, in the order of its index, with its name.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::NetUnreachable, "network unreachable"),
        (Self::HostUnreachable, "host unreachable"),
        (Self::ProtocolUnreachable, "protocol unreachable"),
        (Self::PortUnreachable, "port unreachable"),
        (Self::Prohibited, "prohibited"),
        (Self::TimeExceeded, "time exceeded"),
        (Self::ParameterProblem, "parameter problem"),
    ];

    /// The error that an ICMP message for IPv4 reports; `None` if it is none that concerns a connection.
    #[must_use]
    pub const fn v4(kind: u8, code: u8) -> Option<Self> {
        Some(match (kind, code) {
            // With 6: network unknown, 11: for this type of service.
            (icmpv4::DEST_UNREACHABLE, icmpv4::CODE_NET_UNREACHABLE | 6 | 11) => Self::NetUnreachable,
            // With 5: source route failed, 7 and 8: unknown, isolated, 12: type of service, 14 and 15: precedence.
            (icmpv4::DEST_UNREACHABLE, icmpv4::CODE_HOST_UNREACHABLE | 5 | 7 | 8 | 12 | 14 | 15) => {
                Self::HostUnreachable
            }
            (icmpv4::DEST_UNREACHABLE, icmpv4::CODE_PROTOCOL_UNREACHABLE) => Self::ProtocolUnreachable,
            (icmpv4::DEST_UNREACHABLE, icmpv4::CODE_PORT_UNREACHABLE) => Self::PortUnreachable,
            (icmpv4::DEST_UNREACHABLE, 9 | 10 | 13) => Self::Prohibited,
            (icmpv4::TIME_EXCEEDED, _) => Self::TimeExceeded,
            (icmpv4::PARAMETER_PROBLEM, _) => Self::ParameterProblem,
            _ => return None,
        })
    }

    /// The error that an `ICMPv6` message reports; `None` if it is none that concerns a connection.
    #[must_use]
    pub const fn v6(kind: u8, code: u8) -> Option<Self> {
        Some(match (kind, code) {
            (icmpv6::DEST_UNREACHABLE, icmpv6::CODE_NO_ROUTE) => Self::NetUnreachable,
            // With 5 and 6, which RFC 4443 section 3.1 calls subsets of it.
            (icmpv6::DEST_UNREACHABLE, icmpv6::CODE_PROHIBITED | 5 | 6) => Self::Prohibited,
            // With 2: beyond the scope of our address.
            (icmpv6::DEST_UNREACHABLE, icmpv6::CODE_ADDRESS_UNREACHABLE | 2) => Self::HostUnreachable,
            (icmpv6::DEST_UNREACHABLE, icmpv6::CODE_PORT_UNREACHABLE) => Self::PortUnreachable,
            (icmpv6::TIME_EXCEEDED, _) => Self::TimeExceeded,
            (icmpv6::PARAMETER_PROBLEM, _) => Self::ParameterProblem,
            _ => return None,
        })
    }

    /// A hard error: it ends a connection that is not open yet (RFC 9293 SHLD-26, RFC 5927 section 5.2). All others are soft
    /// in every state (MUST-56).
    #[must_use]
    pub const fn is_hard(self) -> bool {
        matches!(self, Self::ProtocolUnreachable | Self::PortUnreachable | Self::Prohibited)
    }

    /// What a connection ends with because of it.
    pub(crate) const fn as_end(self) -> Error {
        match self {
            Self::NetUnreachable => Error::NetworkUnreachable,
            Self::HostUnreachable | Self::Prohibited | Self::TimeExceeded => Error::HostUnreachable,
            Self::ProtocolUnreachable | Self::PortUnreachable => Error::Refused,
            Self::ParameterProblem => Error::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// MUST-56's list is soft; of the codes that RFC 9293 calls hard, 4 is not an error at all (A11).
    #[test]
    fn hard_and_soft_are_as_rfc_9293_has_them() {
        let soft_v4 = [(3, 0), (3, 1), (3, 5), (11, 0), (11, 1), (12, 0), (12, 1), (12, 2)];
        assert!(soft_v4.iter().all(|(kind, code)| IcmpError::v4(*kind, *code).is_some_and(|e| !e.is_hard())));
        let soft_v6 = [(1, 0), (1, 3), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2)];
        assert!(soft_v6.iter().all(|(kind, code)| IcmpError::v6(*kind, *code).is_some_and(|e| !e.is_hard())));
        let hard: Vec<u8> = (0..=255).filter(|c| IcmpError::v4(3, *c).is_some_and(IcmpError::is_hard)).collect();
        assert_eq!(hard, [2, 3, 9, 10, 13]);
        let hard: Vec<u8> = (0..=255).filter(|c| IcmpError::v6(1, *c).is_some_and(IcmpError::is_hard)).collect();
        assert_eq!(hard, [1, 4, 5, 6]);
        assert_eq!((IcmpError::v4(3, 4), IcmpError::v6(2, 0)), (None, None));
    }

    /// MUST-55: source quench means nothing; nor does what is no error.
    #[test]
    fn the_rest_says_nothing() {
        for kind in (0..=255).filter(|kind| ![3, 11, 12].contains(kind)) {
            assert_eq!(IcmpError::v4(kind, 0), None, "{kind}");
        }
        for kind in (0..=255).filter(|kind| ![1, 3, 4].contains(kind)) {
            assert_eq!(IcmpError::v6(kind, 0), None, "{kind}");
        }
        assert_eq!((IcmpError::v4(3, 16), IcmpError::v6(1, 9)), (None, None));
    }
}
