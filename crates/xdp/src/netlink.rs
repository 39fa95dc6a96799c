//! Blocking requests to the kernel's rtnetlink.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Times a dump is begun anew because the table changed meanwhile.
const DUMP_ATTEMPTS: usize = 4;
/// `NLM_F_DUMP_INTR` of linux/netlink.h: the table changed during the dump.
const DUMP_INTERRUPTED: u16 = 16;

/// A netlink socket for requests, of the network namespace of the thread that made it.
#[derive(Debug)]
pub(crate) struct Requests {
    socket: Socket,
    sequence: u32,
}

impl Requests {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// All the objects of a kind.
    pub(crate) fn dump(&mut self, message: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut answers = Vec::new();
        for _ in 0..DUMP_ATTEMPTS {
            answers.clear();
            if self.exchange(message.clone(), NLM_F_DUMP, &mut answers)? {
                break;
            }
        }
        Ok(answers)
    }

    /// One object.
    pub(crate) fn get(&mut self, message: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
        let mut answers = Vec::new();
        self.exchange(message, NLM_F_ACK, &mut answers)?;
        answers.pop().ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// A change, acknowledged by the kernel.
    pub(crate) fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.exchange(message, NLM_F_ACK | flags, &mut Vec::new()).map(drop)
    }

    /// Sends a request and collects its answers; false if the table changed meanwhile.
    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        answers: &mut Vec<RouteNetlinkMessage>,
    ) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut consistent = true;
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            for message in messages(&bytes) {
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                consistent &= message.header.flags & DUMP_INTERRUPTED == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    NetlinkPayload::Done(_) => return Ok(consistent),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(consistent),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }
}

/// The messages of a datagram; those that this crate can't read are left out.
pub(crate) fn messages(bytes: &[u8]) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = rest.first_chunk::<4>().map(|length| u32::from_ne_bytes(*length) as usize)?;
        let message = rest.get(..length).filter(|message| message.len() >= 16)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(NetlinkMessage::deserialize(message))
    })
    .filter_map(|message| message.inspect_err(|error| tracing::debug!(%error, "a netlink message can't be read")).ok())
}
