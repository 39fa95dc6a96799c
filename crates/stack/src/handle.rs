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

    /// The handle as a number, such as a timer's key ([`Io::start_timer`](crate::Io::start_timer)).
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The handle of a number that was one. Of any other number it is a dead one, most likely.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the two halves
    pub const fn from_bits(bits: u64) -> Self {
        Self { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}
