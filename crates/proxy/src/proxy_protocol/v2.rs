//! Version 2, the binary one (section 2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Header, Progress, V2_MOST_BYTES};

pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length of the rest.
pub(super) const FIXED_BYTES: usize = 16;

/// The length of the whole header, once that is known.
pub(super) fn len(bytes: &[u8]) -> Option<usize> {
    let fixed: &[u8; FIXED_BYTES] = bytes.first_chunk()?;
    fixed.starts_with(&SIGNATURE).then(|| FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]])))
}

/// The bytes so far, of which the first are those of the signature.
pub(super) fn look(bytes: &[u8]) -> Progress {
    let Some(len) = len(bytes) else { return Progress::More };
    let (version, command) = (bytes[12] >> 4, bytes[12] & 0xf);
    if version != 2 || len > V2_MOST_BYTES || command > 1 {
        return Progress::Malformed;
    }
    if bytes.len() < len {
        return Progress::More;
    }
    if command == 0 {
        // LOCAL: the rest is passed over, whatever it is.
        return Progress::Done(Header::Local);
    }
    parse(bytes[13], &bytes[FIXED_BYTES..len]).map_or(Progress::Malformed, Progress::Done)
}

/// The addresses; behind them there may be TLVs.
fn parse(family: u8, rest: &[u8]) -> Option<Header> {
    match family {
        0x11 => {
            let [a, b, c, d, e, f, g, h, p, q, r, s] = *rest.first_chunk()?;
            Some(Header::Proxied {
                source: ([a, b, c, d], u16::from_be_bytes([p, q])).into(),
                destination: ([e, f, g, h], u16::from_be_bytes([r, s])).into(),
            })
        }
        0x21 => {
            let (source, rest) = rest.split_first_chunk::<16>()?;
            let (destination, rest) = rest.split_first_chunk::<16>()?;
            let [p, q, r, s] = *rest.first_chunk()?;
            Some(Header::Proxied {
                source: (*source, u16::from_be_bytes([p, q])).into(),
                destination: (*destination, u16::from_be_bytes([r, s])).into(),
            })
        }
        // UNSPEC, UDP and Unix sockets: families and protocols there are, but not of TCP over IP. "the receiver is free to
        // accept the connection anyway and use the real endpoint addresses".
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Some(Header::Local),
        _ => None,
    }
}

pub(super) fn write(header: &Header) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    match header {
        Header::Local => bytes.extend([0x20, 0x00, 0, 0]),
        Header::Proxied { source, destination } => {
            let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
            match (source.ip(), destination.ip()) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    bytes.extend([0x21, 0x11, 0, 12]);
                    bytes.extend(Ipv4Addr::octets(&from));
                    bytes.extend(Ipv4Addr::octets(&to));
                }
                (from, to) => {
                    bytes.extend([0x21, 0x21, 0, 36]);
                    bytes.extend(v6(from).octets());
                    bytes.extend(v6(to).octets());
                }
            }
            bytes.extend(ports);
        }
    }
    bytes
}

const fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::tests::read;
    use super::*;
    use crate::config::Headers;

    const V2: Headers = Headers { v1: false, v2: true };

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, rest].concat()
    }

    /// Section 2.2: signature 0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A, then ver_cmd, fam, len, and the addresses of TCP over IPv4.
    #[test]
    fn the_layout_of_the_specification() {
        let bytes = [
            0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A, 0x21, 0x11, 0x00, 0x0C, 192, 168,
            0, 1, 192, 168, 0, 11, 0xDC, 0x04, 0x01, 0xBB,
        ];
        let source: SocketAddr = "192.168.0.1:56324".parse().unwrap();
        let destination = "192.168.0.11:443".parse().unwrap();
        let expected = Header::Proxied { source, destination };
        assert_eq!(read(V2, &bytes, 5), (28, Progress::Done(expected)));
        assert_eq!(write(&expected), bytes);
    }

    #[test]
    fn tlvs_are_passed_over() {
        let mut rest = [&[10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2][..], &[0x04, 0, 3, 1, 2, 3]].concat();
        let expected = Header::Proxied { source: ([10, 0, 0, 1], 1).into(), destination: ([10, 0, 0, 2], 2).into() };
        let bytes = header(0x21, 0x11, &rest);
        assert_eq!(read(V2, &[&bytes[..], b"data"].concat(), 1000), (bytes.len(), Progress::Done(expected)));
        rest.resize(V2_MOST_BYTES - FIXED_BYTES, 0);
        assert_eq!(read(V2, &header(0x21, 0x11, &rest), 100).1, Progress::Done(expected));
        rest.push(0);
        assert_eq!(read(V2, &header(0x21, 0x11, &rest), 100).1, Progress::Malformed, "longer than what is taken");
    }

    #[test]
    fn local_and_what_is_not_tcp_over_ip_have_the_real_addresses() {
        for (command, family, rest) in
            [(0x20, 0x00, &[][..]), (0x20, 0xff, &[1, 2, 3]), (0x21, 0x00, &[9]), (0x21, 0x31, &[0; 216])]
        {
            let bytes = header(command, family, rest);
            assert_eq!(read(V2, &bytes, 16), (bytes.len(), Progress::Done(Header::Local)), "{family:#x}");
        }
    }

    #[test]
    fn other_versions_commands_families_and_short_addresses_are_refused() {
        for bytes in [
            header(0x11, 0x11, &[0; 12]),
            header(0x31, 0x11, &[0; 12]),
            header(0x22, 0x11, &[0; 12]),
            header(0x21, 0x11, &[0; 11]),
            header(0x21, 0x21, &[0; 35]),
            header(0x21, 0x13, &[0; 12]),
            header(0x21, 0x41, &[0; 40]),
        ] {
            assert_eq!(read(V2, &bytes, 1).1, Progress::Malformed, "{bytes:?}");
        }
    }
}
