//! Connections that are opened and closed, and nothing else.

use crate::load::CloseBy;
use crate::load::protocol::{Protocol, Purpose, Step};

/// Nothing is said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connect;

impl Connect {
    /// The server for it.
    #[expect(clippy::unused_self, reason = "as others have it")]
    pub(in crate::load) const fn server(&self, close: Option<CloseBy>) -> &'static str {
        match close {
            Some(CloseBy::Server) => "exchange --request-bytes 0",
            _ => "discard",
        }
    }
}

impl Protocol for Connect {
    type Reader = ();
    type Tag = ();

    fn purpose(&self) -> Purpose {
        Purpose::Opening
    }

    fn next(&mut self) {}

    fn bytes(&self, (): ()) -> &[u8] {
        &[]
    }

    fn read(&self, (): &mut (), (): (), data: &[u8]) -> (usize, Step) {
        (data.len(), Step::Malformed)
    }
}
