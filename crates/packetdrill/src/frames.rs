//! packetdrill has IP datagrams, the shard has Ethernet frames.

use crate::profile::{OUR_MAC, PEER_MAC};

const HEADER: usize = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// The frame in which a datagram reaches us.
pub(crate) fn wrap(datagram: &[u8]) -> Vec<u8> {
    let ethertype = if datagram.first().is_some_and(|byte| byte >> 4 == 6) { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
    let mut frame = Vec::with_capacity(HEADER + datagram.len());
    frame.extend(OUR_MAC.0);
    frame.extend(PEER_MAC.0);
    frame.extend(ethertype);
    frame.extend(datagram);
    frame
}

/// The datagram in a frame of ours, `None` if it holds something else.
pub(crate) fn unwrap(frame: &[u8]) -> Option<&[u8]> {
    let (header, datagram) = frame.split_at_checked(HEADER)?;
    [ETHERTYPE_IPV4, ETHERTYPE_IPV6].iter().any(|ethertype| header[12..] == *ethertype).then_some(datagram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_found_again() {
        assert_eq!(unwrap(&wrap(&[0x45, 1, 2])), Some(&[0x45, 1, 2][..]));
        assert_eq!(&wrap(&[0x60, 0])[12..14], &ETHERTYPE_IPV6);
        assert_eq!(unwrap(&[0; 60]), None);
        assert_eq!(unwrap(&[0; 3]), None);
    }
}
