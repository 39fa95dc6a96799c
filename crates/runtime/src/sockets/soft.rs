//! What is wrong on the way to the peer: RFC 1122 section 4.2.3.9, RFC 9293 section 3.9.2.2.
//!
//! With `IP_RECVERR` the kernel makes an ICMP error about an open connection the socket's pending error, and goes on: the next
//! call fails with it, once (`tcp_v4_err` of net/ipv4/tcp_ipv4.c). Without, it keeps it until somebody asks for `SO_ERROR`.
//! Either way it looks like an end, and is none.

use super::errors;
use rustix::io::Errno;
use stack::IcmpError;

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Soft {
    /// And how many segments had come from the peer by then: it holds until there is one more.
    last: Option<(Errno, u32)>,
    /// It is to be told.
    news: bool,
    pub(super) unreported: bool,
}

impl Soft {
    /// Whether an error of the kernel's can be one that the connection survives.
    pub(super) const fn can_be(errno: Errno) -> bool {
        errors::icmp(errno).is_some()
    }

    /// The same again, with nothing heard of the peer in between, is no news.
    pub(super) fn note(&mut self, errno: Errno, segments_in: u32) {
        self.news |= !self.unreported && self.last != Some((errno, segments_in));
        self.last = Some((errno, segments_in));
    }

    /// What is known of the path, when so many segments have come.
    pub(super) fn at(&self, segments_in: u32) -> Option<Errno> {
        self.last.filter(|(_, then)| *then == segments_in).map(|(errno, _)| errno)
    }

    pub(super) const fn is_news(&self) -> bool {
        self.news
    }

    /// What is to be told.
    pub(super) fn take_news(&mut self) -> Option<IcmpError> {
        std::mem::take(&mut self.news).then_some(self.last).flatten().and_then(|(errno, _)| errors::icmp(errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9293 SHLD-20: once, until the peer was heard, or not at all.
    #[test]
    fn the_same_is_told_again_when_the_peer_was_heard() {
        let mut soft = Soft::default();
        assert_eq!((soft.take_news(), soft.at(0)), (None, None));
        soft.note(Errno::HOSTUNREACH, 7);
        assert_eq!(soft.take_news(), Some(IcmpError::HostUnreachable));
        soft.note(Errno::HOSTUNREACH, 7);
        assert_eq!((soft.take_news(), soft.at(7), soft.at(8)), (None, Some(Errno::HOSTUNREACH), None));
        soft.note(Errno::NETUNREACH, 7);
        assert_eq!(soft.take_news(), Some(IcmpError::NetUnreachable));
        soft.note(Errno::NETUNREACH, 8);
        assert_eq!(soft.take_news(), Some(IcmpError::NetUnreachable));
        soft.unreported = true;
        soft.note(Errno::HOSTUNREACH, 9);
        assert_eq!((soft.take_news(), soft.at(9)), (None, Some(Errno::HOSTUNREACH)));
    }
}
