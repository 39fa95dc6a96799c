//! The PROXY protocol, versions 1 and 2: the header by which a proxy tells whom it speaks for.
//!
//! HAProxy Technologies, "The PROXY protocol", <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>; its sections are
//! cited below. [`Reader`] takes a stream's first bytes as they come, and no byte of what is behind the header.

mod v1;
mod v2;

use std::net::SocketAddr;

use crate::config::{Headers, Version};

/// The most bytes of a version 1 header, CR LF included (section 2.1).
pub const V1_MOST_BYTES: usize = 107;
/// The most bytes of a version 2 header that are taken: its addresses, and TLVs, which are passed over. (The specification
/// allows 16 + 65,535.)
pub const V2_MOST_BYTES: usize = 4096;

/// Whom a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// A client's connection: its address, and the one it has connected to.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// What the client has connected to.
        destination: SocketAddr,
    },
    /// The sender's own connection, such as a health check, or one of which no addresses are known: the real ones count
    /// (`LOCAL` of section 2.2, `UNKNOWN` of section 2.1, `AF_UNSPEC`).
    Local,
}

/// What a header's bytes have come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More must come.
    More,
    /// The header is complete.
    Done(Header),
    /// This is no header, not a version that is allowed, or one that is too long.
    Malformed,
}

/// Reads a header in pieces.
#[derive(Debug)]
pub struct Reader {
    accepts: Headers,
    bytes: Vec<u8>,
}

impl Reader {
    /// A reader of these versions.
    #[must_use]
    pub const fn new(accepts: Headers) -> Self {
        Self { accepts, bytes: Vec::new() }
    }

    /// Takes the stream's next bytes. Returns how many belong to the header, and what has come of it.
    pub fn push(&mut self, data: &[u8]) -> (usize, Progress) {
        let mut taken = 0;
        while taken < data.len() {
            let wants = self.wants().min(data.len() - taken);
            self.bytes.extend_from_slice(&data[taken..taken + wants]);
            taken += wants;
            match self.look() {
                Progress::More => {}
                over => return (taken, over),
            }
        }
        (taken, Progress::More)
    }

    /// How many bytes can be taken without going beyond the header. A text is taken by byte: its end is not known before.
    fn wants(&self) -> usize {
        match v2::len(&self.bytes) {
            Some(len) => len.saturating_sub(self.bytes.len()).max(1),
            None if self.bytes.first() == Some(&v2::SIGNATURE[0]) => v2::FIXED_BYTES - self.bytes.len(),
            None => 1,
        }
    }

    fn look(&self) -> Progress {
        let bytes = &self.bytes[..];
        let begins = |whole: &[u8]| whole.iter().zip(bytes).all(|(a, b)| a == b);
        if self.accepts.v2 && begins(&v2::SIGNATURE) {
            return v2::look(bytes);
        }
        if self.accepts.v1 && begins(v1::SIGNATURE) {
            return v1::look(bytes);
        }
        Progress::Malformed
    }
}

/// A header to send, of at most 107 bytes.
#[must_use]
pub fn write(version: Version, header: &Header) -> Vec<u8> {
    match version {
        Version::V1 => v1::write(header),
        Version::V2 => v2::write(header),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: Headers = Headers { v1: true, v2: true };

    /// Reads a stream in pieces of `size`; what came of it, and how many bytes were taken.
    pub(super) fn read(accepts: Headers, stream: &[u8], size: usize) -> (usize, Progress) {
        let (mut reader, mut taken) = (Reader::new(accepts), 0);
        for piece in stream.chunks(size) {
            let (n, progress) = reader.push(piece);
            taken += n;
            if progress != Progress::More || n < piece.len() {
                return (taken, progress);
            }
        }
        (taken, Progress::More)
    }

    fn address() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        let v4 = any::<([u8; 4], u16, [u8; 4], u16)>().prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into()));
        let v6 = any::<([u8; 16], u16, [u8; 16], u16)>().prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into()));
        prop_oneof![v4, v6]
    }

    proptest! {
        /// What is written is read, however it is cut, and what is behind it is left.
        #[test]
        fn a_header_comes_through((source, destination) in address(), v1: bool, size in 1usize..200, rest: [u8; 9]) {
            let header = Header::Proxied { source, destination };
            let version = if v1 { Version::V1 } else { Version::V2 };
            let mut stream = write(version, &header);
            let len = stream.len();
            prop_assert!(len <= V1_MOST_BYTES);
            stream.extend(rest);
            prop_assert_eq!(read(BOTH, &stream, size), (len, Progress::Done(header)));
            // Each byte less, and it is not complete.
            prop_assert_eq!(read(BOTH, &stream[..len - 1], size), (len - 1, Progress::More));
            // A version that is not allowed is no header.
            let other = Headers { v1: !v1, v2: v1 };
            prop_assert_eq!(read(other, &stream, size).1, Progress::Malformed);
        }

        /// No bytes whatever bring it down, and it holds no more than the limits.
        #[test]
        fn any_bytes_are_read(start in 0usize..4, tail: Vec<u8>, size in 1usize..50) {
            let starts: [&[u8]; 4] = [b"", b"PROXY ", b"PROXY TCP4 ", &v2::SIGNATURE];
            let stream = [starts[start], &tail].concat();
            let mut reader = Reader::new(BOTH);
            for piece in stream.chunks(size) {
                let (_, progress) = reader.push(piece);
                prop_assert!(reader.bytes.len() <= V2_MOST_BYTES);
                if progress != Progress::More {
                    break;
                }
            }
        }
    }

    #[test]
    fn local_is_written_and_read_in_both() {
        for version in [Version::V1, Version::V2] {
            let stream = write(version, &Header::Local);
            assert_eq!(read(BOTH, &stream, 3), (stream.len(), Progress::Done(Header::Local)), "{version:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_by_its_first_byte_that_is_wrong() {
        assert_eq!(read(BOTH, b"GET / HTTP/1.1\r\n", 100), (1, Progress::Malformed));
        assert_eq!(read(BOTH, b"PROXX", 100), (5, Progress::Malformed));
        assert_eq!(read(BOTH, b"\r\n\r\n\0\r\nX", 1), (8, Progress::Malformed));
    }
}
