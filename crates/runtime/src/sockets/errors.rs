//! What the kernel's error numbers mean, by the names of the stack.

use rustix::io::Errno;
use stack::{ConnectError, Error, IcmpError, ListenError};

/// Why a connection has failed. `opening`: before it was open.
pub(super) fn connection(errno: Errno, opening: bool) -> Error {
    match errno {
        Errno::CONNREFUSED | Errno::NOPROTOOPT => Error::Refused,
        // A reset in CLOSE-WAIT is EPIPE (tcp_reset of net/ipv4/tcp_input.c).
        Errno::CONNRESET | Errno::PIPE if opening => Error::Refused,
        Errno::TIMEDOUT | Errno::PROTO => Error::TimedOut,
        Errno::HOSTUNREACH | Errno::HOSTDOWN | Errno::NONET | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM => {
            Error::HostUnreachable
        }
        Errno::NETUNREACH | Errno::NETDOWN => Error::NetworkUnreachable,
        Errno::CONNABORTED => Error::Aborted,
        Errno::NOTCONN | Errno::BADF | Errno::INVAL => Error::NotConnected,
        _ => Error::Reset,
    }
}

/// What a router or the peer's host has said, in the names of IPv4 (`icmp_err_convert`) and IPv6 (`icmpv6_err_convert`); `None`:
/// it is none of that. IPv4's prohibitions and either's expired hop limit are EHOSTUNREACH.
pub(super) const fn icmp(errno: Errno) -> Option<IcmpError> {
    Some(match errno {
        Errno::NETUNREACH => IcmpError::NetUnreachable,
        Errno::HOSTUNREACH | Errno::HOSTDOWN | Errno::NONET | Errno::OPNOTSUPP => IcmpError::HostUnreachable,
        Errno::NOPROTOOPT => IcmpError::ProtocolUnreachable,
        Errno::CONNREFUSED => IcmpError::PortUnreachable,
        Errno::ACCESS => IcmpError::Prohibited,
        Errno::PROTO => IcmpError::ParameterProblem,
        _ => return None,
    })
}

/// No descriptor or no memory is left: a matter of waiting.
pub(super) const fn is_scarcity(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC)
}

/// Why an active open could not begin; `None`: it has begun and failed.
pub(super) const fn connect(errno: Errno) -> Option<ConnectError> {
    match errno {
        Errno::NETUNREACH | Errno::HOSTUNREACH => Some(ConnectError::NoRoute),
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE | Errno::AGAIN => Some(ConnectError::NoPort),
        Errno::ACCESS | Errno::PERM | Errno::INVAL | Errno::AFNOSUPPORT => Some(ConnectError::BadAddress),
        errno if is_scarcity(errno) => Some(ConnectError::TooMany),
        _ => None,
    }
}

/// Why a listener could not be opened.
pub(super) const fn listen(errno: Errno) -> ListenError {
    match errno {
        Errno::ADDRINUSE => ListenError::InUse,
        Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT | Errno::NODEV | Errno::INVAL => ListenError::NotOurs,
        Errno::ACCESS | Errno::PERM => ListenError::Forbidden,
        _ => ListenError::TooMany,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of how a connection ends: RST in SYN-SENT, RST later (EPIPE if that is in CLOSE-WAIT), silence, ICMP.
    #[test]
    fn the_kernels_numbers_have_the_stacks_names() {
        let told = |errno| connection(errno, false);
        assert_eq!(connection(Errno::CONNREFUSED, true), Error::Refused);
        assert_eq!([Errno::CONNRESET, Errno::PIPE].map(told), [Error::Reset; 2]);
        assert_eq!(told(Errno::TIMEDOUT), Error::TimedOut);
        assert_eq!(told(Errno::HOSTUNREACH), Error::HostUnreachable);
        assert_eq!(told(Errno::NETUNREACH), Error::NetworkUnreachable);
        assert_eq!(connect(Errno::NETUNREACH), Some(ConnectError::NoRoute));
        assert_eq!(connect(Errno::CONNREFUSED), None);
        assert_eq!(listen(Errno::ADDRINUSE), ListenError::InUse);
    }
}
