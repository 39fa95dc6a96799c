//! What a kind of load says to a server, apart from when it does: the seam between the engine and `load http`, `load tcp`.

use std::fmt::Debug;

use fourwave::{ConnId, Io};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "HTTP has requests alone")]
pub(super) enum Purpose {
    /// Requests, each of which is answered.
    Requests,
    /// To be opened: that is the answer, and nothing is asked.
    Opening,
    /// To be there: nothing is asked.
    Idling,
}

/// Its dispatch is static: nothing here may allocate or block, but for what is done once for a connection.
pub(super) trait Protocol: Clone + Debug + Send + 'static {
    /// What is kept of a connection's responses until they are whole.
    type Reader: Debug + Default + Send;
    /// Names a request: what its bytes are, and what is expected of the response.
    type Tag: Copy + Debug + Send;

    /// What connections are for. It does not change.
    fn purpose(&self) -> Purpose {
        Purpose::Requests
    }

    /// A connection is open; before its first request.
    fn opened(&self, io: &mut Io<'_>, conn: ConnId) {
        let _ = (io, conn);
    }

    /// The shard's next request.
    fn next(&mut self) -> Self::Tag;

    /// All bytes of a request, at least one. The same for the same tag.
    fn bytes(&self, tag: Self::Tag) -> &[u8];

    /// Takes in the next bytes up to the end of the response to a request, or all of them. How many were taken, at least one,
    /// and what that brought.
    fn read(&mut self, reader: &mut Self::Reader, tag: Self::Tag, data: &[u8]) -> (usize, Step);

    /// The server has closed: the response that ended by that, if one did.
    fn end(&self, reader: &mut Self::Reader, tag: Self::Tag) -> Option<Answer> {
        let _ = (reader, tag);
        None
    }
}

/// What the next bytes of the stream have brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet.
    More,
    Whole(Answer),
    /// It is not what the protocol has, and what comes behind it can't be read.
    Malformed,
}

/// A whole response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// It is what it was to be.
    pub(super) expected: bool,
    /// The server takes another request over the same connection.
    pub(super) keeps: bool,
}
