//! Whether the device takes packets. Scripts stop it by `tc qdisc replace dev tun0 root pfifo limit 0`: then nothing can leave,
//! as from a ring without room.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};

const RTM_GETQDISC: u16 = 38;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
/// `struct nlmsghdr` and `struct tcmsg`.
const HEADER: usize = 16;
const MESSAGE: usize = 20;

/// A question to rtnetlink.
#[derive(Debug)]
pub(crate) struct Qdisc(Option<File>);

impl Qdisc {
    /// In the network namespace of this process. Without an answer the device is open.
    pub(crate) fn new() -> Self {
        // SAFETY: socket has no pointers among its arguments.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
        // SAFETY: a new file descriptor that nobody else has.
        Self((fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) }.into()))
    }

    /// A queue of no packets stands before the device.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.0.as_mut().and_then(|socket| ask(socket).ok()).unwrap_or(false)
    }
}

fn ask(socket: &mut File) -> std::io::Result<bool> {
    let mut request = [0; HEADER + MESSAGE];
    request[..4].copy_from_slice(&36u32.to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETQDISC.to_ne_bytes());
    // NLM_F_REQUEST and NLM_F_DUMP.
    request[6..8].copy_from_slice(&0x301u16.to_ne_bytes());
    socket.write_all(&request)?;
    let mut closed = false;
    let mut answer = [0; 16384];
    loop {
        let n = socket.read(&mut answer)?;
        let mut rest = &answer[..n];
        while let Some((len, kind)) = lengths::<4>(rest).filter(|(len, _)| *len >= HEADER) {
            if usize::from(kind) == libc::NLMSG_DONE as usize || usize::from(kind) == libc::NLMSG_ERROR as usize {
                return Ok(closed);
            }
            closed |= rest.get(HEADER + MESSAGE..len).is_some_and(takes_nothing);
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        if n == 0 {
            return Ok(closed);
        }
    }
}

/// The length of a message or attribute, `N` bytes long, and the kind behind it.
fn lengths<const N: usize>(bytes: &[u8]) -> Option<(usize, u16)> {
    let kind = u16::from_ne_bytes(bytes.get(N..N + 2)?.try_into().ok()?);
    let len = match N {
        2 => u16::from_ne_bytes(bytes[..2].try_into().ok()?).into(),
        _ => u32::from_ne_bytes(bytes[..4].try_into().ok()?).try_into().ok()?,
    };
    Some((len, kind))
}

/// `pfifo` with a limit of 0.
fn takes_nothing(mut attributes: &[u8]) -> bool {
    let (mut pfifo, mut limit) = (false, None);
    while let Some((len, kind)) = lengths::<2>(attributes).filter(|(len, _)| *len >= 4) {
        let value = attributes.get(4..len).unwrap_or_default();
        match kind {
            TCA_KIND => pfifo = value == b"pfifo\0",
            TCA_OPTIONS => limit = value.get(..4).map(|limit| limit == [0; 4]),
            _ => {}
        }
        attributes = attributes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    pfifo && limit == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(kind: &[u8], limit: u32) -> Vec<u8> {
        let attribute = |number: u16, value: &[u8]| {
            let len = u16::try_from(4 + value.len()).expect("short");
            let mut bytes = [len.to_ne_bytes(), number.to_ne_bytes()].concat();
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        [attribute(TCA_KIND, kind), attribute(TCA_OPTIONS, &limit.to_ne_bytes())].concat()
    }

    #[test]
    fn only_a_fifo_of_no_packets_takes_none() {
        assert!(takes_nothing(&attributes(b"pfifo\0", 0)));
        assert!(!takes_nothing(&attributes(b"pfifo\0", 1000)));
        assert!(!takes_nothing(&attributes(b"noqueue\0", 0)));
        assert!(!takes_nothing(&[]));
        assert!(!takes_nothing(&[200, 0, 1, 0]));
    }
}
