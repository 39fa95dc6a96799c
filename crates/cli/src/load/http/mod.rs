//! What `load http` says and expects: HTTP/1.1.

mod response;

use std::sync::Arc;

use self::response::{Reader, Response, SeenHead};
use super::protocol::{Answer, Protocol, Step};

/// A request, and what is expected of its response.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// All of it, with its body.
    pub(crate) bytes: Vec<u8>,
    /// It is one of HEAD.
    pub(crate) head_only: bool,
    /// Of the response's body.
    pub(crate) sha256: Option<[u8; 32]>,
}

/// The requests of a run.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    requests: Arc<[Request]>,
    /// What a response is to be; none: anything below 400.
    status: Option<u16>,
    bytes: Option<u64>,
    next: usize,
    seen: SeenHead,
}

impl Http {
    /// At least one request; they are taken in turn.
    pub(crate) fn new(requests: Vec<Request>, expect_status: Option<u16>, expect_bytes: Option<u64>) -> Self {
        Self { requests: requests.into(), status: expect_status, bytes: expect_bytes, next: 0, seen: SeenHead::new() }
    }

    fn judge(&self, response: Response) -> Answer {
        let Response { status, bytes, sum, keeps } = response;
        let expected = sum
            && self.status.map_or(status < 400, |wanted| status == wanted)
            && self.bytes.is_none_or(|wanted| bytes == wanted);
        Answer { expected, keeps }
    }
}

impl Protocol for Http {
    type Reader = Reader;
    /// Which of the requests it is.
    type Tag = u32;

    fn next(&mut self) -> u32 {
        let this = self.next;
        self.next = if this + 1 < self.requests.len() { this + 1 } else { 0 };
        u32::try_from(this).unwrap_or(0)
    }

    fn bytes(&self, tag: u32) -> &[u8] {
        &self.requests[tag as usize].bytes
    }

    fn read(&mut self, reader: &mut Reader, tag: u32, data: &[u8]) -> (usize, Step) {
        let request = &self.requests[tag as usize];
        let (taken, step) = reader.read(data, request.head_only, request.sha256.as_ref(), &mut self.seen);
        let step = match step {
            response::Step::More => Step::More,
            response::Step::Whole(response) => Step::Whole(self.judge(response)),
            response::Step::Malformed => Step::Malformed,
        };
        (taken, step)
    }

    fn end(&self, reader: &mut Reader, tag: u32) -> Option<Answer> {
        reader.end(self.requests[tag as usize].sha256.as_ref()).map(|response| self.judge(response))
    }
}
