//! Requests and responses of given sizes, as netperf's TCP_RR.

use crate::load::protocol::{Answer, Protocol, Step};
use fourwave::Bytes;

/// What is asked, and how much is expected.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    request: Bytes,
    response_bytes: u64,
    /// The response is the request.
    echoed: bool,
}

impl Exchange {
    /// Without `response_bytes` the server sends back what it was sent. Neither is 0.
    pub(crate) fn new(request_bytes: u32, response_bytes: Option<u32>) -> Self {
        // Letters, so that one who looks at it sees where it begins.
        let request: Vec<u8> = (b'a'..=b'z').cycle().take(request_bytes as usize).collect();
        let response_bytes = response_bytes.map(u64::from);
        let echoed = response_bytes.is_none();
        Self { request: request.into(), response_bytes: response_bytes.unwrap_or(request_bytes.into()), echoed }
    }

    /// The server for it.
    pub(in crate::load) const fn server(&self) -> &'static str {
        if self.echoed { "echo" } else { "exchange --request-bytes … --response-bytes …" }
    }
}

/// How much of a response has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reader {
    bytes: u64,
    /// It is not the request.
    differs: bool,
}

impl Protocol for Exchange {
    type Reader = Reader;
    type Tag = ();

    fn next(&mut self) {}

    fn bytes(&self, (): ()) -> &[u8] {
        &self.request
    }

    fn read(&mut self, reader: &mut Reader, (): (), data: &[u8]) -> (usize, Step) {
        let left = usize::try_from(self.response_bytes - reader.bytes).unwrap_or(usize::MAX);
        let data = &data[..data.len().min(left)];
        if self.echoed {
            // Not more than the request, so it is within it.
            let at = usize::try_from(reader.bytes).unwrap_or(0);
            reader.differs |= self.request.get(at..at + data.len()) != Some(data);
        }
        reader.bytes += data.len() as u64;
        if reader.bytes < self.response_bytes {
            return (data.len(), Step::More);
        }
        let Reader { differs, .. } = std::mem::take(reader);
        (data.len(), Step::Whole(Answer { expected: !differs, keeps: true }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(exchange: &mut Exchange, stream: &[u8], piece: usize) -> Vec<bool> {
        let (mut reader, mut found) = (Reader::default(), Vec::new());
        for mut data in stream.chunks(piece) {
            while !data.is_empty() {
                let (taken, step) = exchange.read(&mut reader, (), data);
                data = &data[taken..];
                if let Step::Whole(answer) = step {
                    found.push(answer.expected);
                }
            }
        }
        found
    }

    #[test]
    fn responses_end_where_they_should_however_they_are_cut() {
        let mut exchange = Exchange::new(3, None);
        for piece in 1..=12 {
            assert_eq!(read(&mut exchange, b"abcabcabdabc", piece), [true, true, false, true], "pieces of {piece}");
        }
        // Of another length than the request nothing is expected.
        let mut exchange = Exchange::new(30, Some(4));
        assert_eq!(exchange.bytes(()), b"abcdefghijklmnopqrstuvwxyzabcd");
        assert_eq!(read(&mut exchange, b"....,,,,;;", 3), [true, true]);
        assert_eq!(
            (exchange.server(), Exchange::new(3, None).server()),
            ("exchange --request-bytes … --response-bytes …", "echo")
        );
    }
}
