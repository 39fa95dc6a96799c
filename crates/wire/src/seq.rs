use core::fmt;
use core::ops::{Add, AddAssign, Sub};

/// A TCP sequence number (RFC 9293, section 3.4): a position in a space that wraps at 2^32.
///
/// There is deliberately no `PartialOrd`: "less" is not transitive here, so every comparison says which one it means.
/// Two numbers compare as long as they are less than 2^31 apart; at exactly 2^31 each is both before and after the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(transparent)]
pub struct SeqNum(u32);

impl SeqNum {
    /// The sequence number with this value in the header.
    #[inline]
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The value as it stands in the header.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// Whether `self` comes before `other`: `self < other` in the RFC's modular notation.
    #[inline]
    #[must_use]
    pub const fn before(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() < 0
    }

    /// `self =< other` in the RFC's modular notation.
    #[inline]
    #[must_use]
    pub const fn before_eq(self, other: Self) -> bool {
        self.0 == other.0 || self.before(other)
    }

    /// Whether `self` comes after `other`: `self > other` in the RFC's modular notation.
    #[inline]
    #[must_use]
    pub const fn after(self, other: Self) -> bool {
        other.before(self)
    }

    /// `self >= other` in the RFC's modular notation.
    #[inline]
    #[must_use]
    pub const fn after_eq(self, other: Self) -> bool {
        other.before_eq(self)
    }

    /// The bytes from `earlier` up to `self`: `self - earlier` modulo 2^32.
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether `start =< self < start + len`. Exact for every `len`; nothing lies in an empty window.
    #[inline]
    #[must_use]
    pub const fn in_window(self, start: Self, len: u32) -> bool {
        self.since(start) < len
    }

    /// The later of the two.
    #[inline]
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }

    /// The earlier of the two.
    #[inline]
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if self.after(other) { other } else { self }
    }
}

impl Add<u32> for SeqNum {
    type Output = Self;

    #[inline]
    fn add(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl Sub<u32> for SeqNum {
    type Output = Self;

    #[inline]
    fn sub(self, bytes: u32) -> Self {
        Self(self.0.wrapping_sub(bytes))
    }
}

impl AddAssign<u32> for SeqNum {
    #[inline]
    fn add_assign(&mut self, bytes: u32) {
        *self = *self + bytes;
    }
}

impl fmt::Display for SeqNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
