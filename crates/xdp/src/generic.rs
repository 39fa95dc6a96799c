//! Requests to the families of generic netlink (linux/genetlink.h): message and attributes are put together by hand.

use std::io;

use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID` and `CTRL_ATTR_FAMILY_NAME` of linux/genetlink.h.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `NLM_F_REQUEST | NLM_F_ACK`, and the types of what answers besides the family's own, of linux/netlink.h.
const REQUEST_AND_ACK: u16 = 0x05;
const NLMSG_ERROR: u16 = 2;
/// `struct nlmsghdr` and `struct genlmsghdr`.
const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
/// The upper two bits of an attribute's type are flags: nested, byte order.
const TYPE: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

/// A family of generic netlink, of the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Family {
    socket: Socket,
    id: u16,
    sequence: u32,
}

impl Family {
    /// Looks a family up. A kernel that doesn't have it: `ENOENT`.
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let mut control = Self { socket, id: CONTROL, sequence: 0 };
        let mut question = Vec::new();
        push(&mut question, FAMILY_NAME, &[name.as_bytes(), &[0]].concat());
        let answer = control.ask(GET_FAMILY, &question)?;
        let id = find(&answer, FAMILY_ID).and_then(|value| value.try_into().ok()).map(u16::from_ne_bytes);
        control.id = id.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
        Ok(control)
    }

    /// Sends a command with its attributes; the attributes of the first answer, none if there was only an acknowledgement.
    pub(crate) fn ask(&mut self, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(self.id, self.sequence, command, attributes), 0)?;
        let mut found = Vec::new();
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            for (kind, sequence, payload) in messages(&bytes) {
                if sequence != self.sequence {
                    continue;
                }
                match kind {
                    NLMSG_ERROR => match payload.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
                        Some(0) => return Ok(found),
                        code => return Err(io::Error::from_raw_os_error(code.map_or(libc::EPROTO, i32::wrapping_neg))),
                    },
                    kind if kind == self.id && found.is_empty() => {
                        found = payload.get(GENERIC_HEADER..).unwrap_or_default().to_vec();
                    }
                    _ => {}
                }
            }
        }
    }
}

fn request(family: u16, sequence: u32, command: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + GENERIC_HEADER + attributes.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(length as usize);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(family.to_ne_bytes());
    bytes.extend(REQUEST_AND_ACK.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend([command, 1, 0, 0]);
    bytes.extend(attributes);
    bytes
}

/// Type, sequence number and payload of each message of a datagram.
fn messages(bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk::<4>()?) as usize;
        let message = rest.get(..length).filter(|message| message.len() >= HEADER)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        let sequence = u32::from_ne_bytes([message[8], message[9], message[10], message[11]]);
        Some((kind, sequence, &message[HEADER..]))
    })
}

/// Appends an attribute.
pub(crate) fn push(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// Appends an attribute that is made of attributes.
pub(crate) fn push_nest(to: &mut Vec<u8>, kind: u16, attributes: &[u8]) {
    push(to, kind | NESTED, attributes);
}

/// The attributes in some bytes: type and value.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a type.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let mut inner = Vec::new();
        push(&mut inner, 2, b"lo\0");
        let mut bytes = Vec::new();
        push_nest(&mut bytes, 1, &inner);
        push(&mut bytes, 3, &7u32.to_ne_bytes());
        // A header of four bytes each, "lo\0" padded to four.
        assert_eq!(bytes.len(), 4 + 4 + 4 + 4 + 4);
        assert_eq!(find(find(&bytes, 1).unwrap(), 2), Some(&b"lo\0"[..]));
        assert_eq!(find(&bytes, 3), Some(&7u32.to_ne_bytes()[..]));
        assert_eq!(find(&bytes, 4), None);
    }

    #[test]
    fn what_is_cut_off_ends_the_reading() {
        let mut bytes = Vec::new();
        push(&mut bytes, 1, &[1; 8]);
        for end in 0..bytes.len() {
            assert_eq!(attributes(&bytes[..end]).count(), 0, "{end}");
        }
        assert_eq!(
            messages(&request(CONTROL, 9, GET_FAMILY, &bytes)).map(|m| (m.0, m.1)).collect::<Vec<_>>(),
            [(CONTROL, 9)]
        );
        assert_eq!(messages(&request(CONTROL, 9, GET_FAMILY, &bytes)[..30]).count(), 0);
        // A length of nothing must not go round for ever.
        assert_eq!((messages(&[0; 64]).count(), attributes(&[0; 64]).count()), (0, 0));
    }

    #[test]
    fn a_family_that_nobody_has_is_not_found() {
        assert_eq!(Family::open("nobody").unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }
}
