//! Several shards on one interface: which of them a frame is for.

/// A shard's place among the shards of its interface. The default, 0 of 1, is alone: every frame is for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Its number: 0 to `count` less one.
    pub index: u16,
    /// How many shards there are, at least 1.
    pub count: u16,
}

impl Place {
    /// The only shard.
    pub const ALONE: Self = Self { index: 0, count: 1 };
}

impl Default for Place {
    fn default() -> Self {
        Self::ALONE
    }
}

/// Whom a frame was for. A shard that is alone may ignore it: everything is [`Here`](Self::Here).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Placed {
    /// It was for this shard, and is dealt with: processed, or dropped and counted.
    Here,
    /// Its flow is none this shard knows, and may be another's. Nothing was done.
    Elsewhere,
    /// It is dealt with, and every other shard should be handed a copy: a neighbour's address.
    Everybodys,
    /// Handed over, dropped and counted: whose its flow is has not been shown.
    Refused,
}

/// How a frame came to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the interface.
    Arrived,
    /// From another shard, at which it arrived.
    Handed,
    /// It arrived here, and no other shard knows its flow either.
    Unclaimed,
    /// A copy of what the kernel has, too.
    Overheard,
}

impl Way {
    /// Somebody else has answered it.
    pub(crate) const fn is_copy(self) -> bool {
        matches!(self, Self::Handed | Self::Overheard)
    }
}
