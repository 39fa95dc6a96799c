//! What the serving thread sends: a header of eight bytes (the kind, two bytes for the shard, four for the length) and that many.

use super::Counts;

/// Bytes of a header.
pub(super) const HEADER: usize = 8;
/// Bytes of a mark's times, and of a shard's counts.
const MARK: usize = 16;
const COUNTS: usize = 24;

/// What follows a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Records of a shard.
    Records,
    /// Every record that is older has been sent: a time, and the counts of each shard.
    Mark,
    /// The last one, in the same form. For the shard: 1, the process has ended; 0, it was asked for.
    End,
}

impl Kind {
    const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Records),
            2 => Some(Self::Mark),
            3 => Some(Self::End),
            _ => None,
        }
    }
}

pub(super) const fn header(kind: Kind, shard: u16, len: u32) -> [u8; HEADER] {
    let kind = match kind {
        Kind::Records => 1,
        Kind::Mark => 2,
        Kind::End => 3,
    };
    let ([a, b], [c, d, e, f]) = (shard.to_le_bytes(), len.to_le_bytes());
    [kind, 0, a, b, c, d, e, f]
}

/// `None`: it is no such header.
pub(super) fn read_header([kind, zero, a, b, c, d, e, f]: [u8; HEADER]) -> Option<(Kind, u16, u32)> {
    let kind = Kind::of(kind).filter(|_| zero == 0)?;
    Some((kind, u16::from_le_bytes([a, b]), u32::from_le_bytes([c, d, e, f])))
}

/// How far all shards have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// On the loops' clock, nanoseconds.
    pub(super) at: u64,
    /// From there to the time since 1970, as the machine's clock is set now.
    pub(super) offset: i64,
}

impl Mark {
    /// A time of the loops' clock as that since 1970.
    pub(super) const fn unix(&self, at: u64) -> u64 {
        at.wrapping_add_signed(self.offset)
    }
}

/// A whole mark, or the end.
pub(super) fn mark(kind: Kind, ended: bool, mark: Mark, counts: &[Counts]) -> Vec<u8> {
    let len = u32::try_from(MARK + counts.len() * COUNTS).unwrap_or(u32::MAX);
    let mut bytes = header(kind, ended.into(), len).to_vec();
    bytes.extend(mark.at.to_le_bytes());
    bytes.extend(mark.offset.to_le_bytes());
    for count in counts {
        [count.seen, count.matched, count.dropped].iter().for_each(|n| bytes.extend(n.to_le_bytes()));
    }
    bytes
}

/// What a mark says; `None`: it is not one of so many shards.
pub(super) fn read_mark(bytes: &[u8], counts: &mut [Counts]) -> Option<Mark> {
    let (words, []) = bytes.as_chunks::<8>() else { return None };
    let mut numbers = words.iter().map(|word| u64::from_le_bytes(*word));
    let mark = Mark { at: numbers.next()?, offset: numbers.next()?.cast_signed() };
    if numbers.len() != counts.len() * COUNTS / 8 {
        return None;
    }
    for count in counts {
        *count = Counts { seen: numbers.next()?, matched: numbers.next()?, dropped: numbers.next()? };
    }
    Some(mark)
}
