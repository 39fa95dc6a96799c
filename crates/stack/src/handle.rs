//! What names a connection to its application.

/// A connection's handle. It is dead after [`App::on_closed`](crate::App::on_closed) and after [`Io::close`](crate::Io::close) or [`Io::abort`](crate::Io::abort); a dead handle is
/// answered with [`Error::NotConnected`](crate::Error::NotConnected).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl ConnId {
    /// A small dense number, unique among the shard's living connections: an index for the application's own state.
    #[must_use]
    pub const fn index(self) -> usize {
        self.slot as usize
    }
}
