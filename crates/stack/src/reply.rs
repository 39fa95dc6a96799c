//! Replies that belong to no connection: resets, ACKs of TIME-WAIT, ARP, NDP, ICMP echo; and the last word of one that is gone.
//! A bounded queue.

use alloc::collections::VecDeque;
use core::net::{IpAddr, Ipv6Addr};
use tcp::ByteQueue;
use wire::{MacAddr, arp, icmpv4, ipv4, ipv6, ndp, tcp::Header};

/// Replies that may wait for a frame to be sent in.
const LIMIT: usize = 1024;

#[derive(Debug)]
pub(crate) enum Body {
    Tcp { src: IpAddr, dst: IpAddr, header: Header },
    Arp(arp::Packet),
    Echo { src: IpAddr, dst: IpAddr, rest: [u8; 4], data: ByteQueue },
    Ndp { src: Ipv6Addr, dst: Ipv6Addr, packet: ndp::Packet },
}

/// A reply and where it goes: it returns to the station the frame came from.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) dst: MacAddr,
    pub(crate) vlan: Option<u16>,
    pub(crate) body: Body,
}

#[derive(Debug, Default)]
pub(crate) struct Replies(VecDeque<Reply>);

impl Replies {
    /// Queues a reply, or gives it back when the queue is full.
    pub(crate) fn push(&mut self, reply: Reply) -> Result<(), Reply> {
        if self.0.len() >= LIMIT {
            return Err(reply);
        }
        self.0.push_back(reply);
        Ok(())
    }

    /// Queues what a connection of ours says at its end, or gives it back. All there may be can end at once: their number
    /// comes on top.
    pub(crate) fn push_last(&mut self, reply: Reply, connections: u32) -> Result<(), Reply> {
        if self.0.len() >= LIMIT + connections as usize {
            return Err(reply);
        }
        self.0.push_back(reply);
        Ok(())
    }

    pub(crate) fn pop(&mut self) -> Option<Reply> {
        let reply = self.0.pop_front();
        if self.0.is_empty() && self.0.capacity() > 2 * LIMIT {
            // So many ended at once: it is not kept for the next time.
            self.0.shrink_to(LIMIT);
        }
        reply
    }

    /// Takes out what is longer than `mtu` as an IP packet: echoes, which are as long as what they repeat.
    pub(crate) fn take_longer(&mut self, mtu: u16) -> VecDeque<Reply> {
        let is_longer = |reply: &Reply| match &reply.body {
            Body::Echo { src, data, .. } => {
                let headers = icmpv4::HEADER_LEN + if src.is_ipv4() { ipv4::Header::LEN } else { ipv6::Header::LEN };
                headers + data.len() as usize > usize::from(mtu)
            }
            _ => false,
        };
        let (longer, rest) = core::mem::take(&mut self.0).into_iter().partition(is_longer);
        self.0 = rest;
        longer
    }

    pub(crate) fn has_room(&self) -> bool {
        self.0.len() < LIMIT
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
