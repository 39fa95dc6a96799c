//! Flags of what a shard and its device may hold.

use std::ops::RangeInclusive;

use clap::Args;

pub(super) const MAX_CONNECTIONS: RangeInclusive<u64> = 1..=1 << 30;
pub(super) const POOL_BYTES: RangeInclusive<u64> = 16 << 10..=1 << 42;
pub(super) const FRAMES: RangeInclusive<u64> = 128..=1 << 20;
/// Of the flight recorder.
pub(super) const TRACE_RECORDS: RangeInclusive<u64> = 0..=1 << 24;

/// Of each shard and its queue, as far as it was typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct LimitArgs {
    /// Connections of each shard, 1 to 2^30: beyond it SYNs are dropped, and opens fail [default: 1048576]
    #[arg(long, value_name = "N", value_parser = within::<u32>(MAX_CONNECTIONS))]
    pub(crate) max_connections: Option<u32>,

    /// Bytes of data that each shard keeps for all of its connections, 16384 to 2^42 [default: 268435456]
    #[arg(long, value_name = "BYTES", value_parser = within::<u64>(POOL_BYTES))]
    pub(crate) pool_bytes: Option<u64>,

    /// Frames of 4096 bytes in the memory of each queue (UMEM), 128 to 1048576 [default: 8192]
    #[arg(long, value_name = "N", value_parser = within::<u32>(FRAMES))]
    pub(crate) frames: Option<u32>,

    /// Frames that each of a queue's four rings holds: a power of two, 64 to 32768 [default: 2048]
    #[arg(long, value_name = "N", value_parser = parse_ring)]
    pub(crate) ring: Option<u32>,
}

impl LimitArgs {
    /// What `self` has, else what `other` has.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            max_connections: self.max_connections.or(other.max_connections),
            pool_bytes: self.pool_bytes.or(other.pool_bytes),
            frames: self.frames.or(other.frames),
            ring: self.ring.or(other.ring),
        }
    }
}

/// Takes a number of a range.
pub(super) fn within<T: TryFrom<u64>>(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let (least, most) = (range.start(), range.end());
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("`{text}` is no number from {least} to {most}"))
    }
}

pub(super) fn parse_ring(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|n: &u32| n.is_power_of_two() && (64..=1 << 15).contains(n));
    number.ok_or(format!("`{text}` is no power of two from 64 to 32768"))
}
