//! `fourwave load tcp`: load below any protocol, over this stack or over the kernel's sockets.

mod bulk;
mod bulk_report;
mod seconds;

use clap::ValueEnum;

use super::builder;
use crate::measure::Live;

/// What is done with the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Bytes as fast as they go
    Bulk,
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    /// From here to a server that reads, such as `serve discard`
    Up,
    /// From a server that sends, such as `serve chargen`, to here
    Down,
    /// To a server that sends them back, such as `serve echo`
    Both,
}

impl Direction {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Both => "both",
        }
    }

    /// The server for it.
    const fn service(self) -> &'static str {
        match self {
            Self::Up => "discard",
            Self::Down => "chargen",
            Self::Both => "echo",
        }
    }

    const fn sends(self) -> bool {
        !matches!(self, Self::Down)
    }
}

/// What is done with the connections, and all that only that needs.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Bulk(Bulk),
}

/// Bytes as fast as they go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bulk {
    pub(crate) direction: Direction,
    /// Over all connections together; each then ends in order.
    pub(crate) bytes: Option<u64>,
    /// What comes is compared with what is expected.
    pub(crate) verify: bool,
    pub(crate) live: Live,
}

impl Work {
    /// The server to start where none is.
    #[allow(dead_code, reason = "for work that asks")]
    pub(super) const fn server(&self) -> &'static str {
        match self {
            Self::Bulk(bulk) => bulk.direction.service(),
        }
    }
}

pub(super) use bulk::run as bulk;

/// A shard's part of something that all of them do together.
fn part(all: u64, index: u16, count: u16) -> u64 {
    let (index, count) = (u64::from(index), u64::from(count.max(1)));
    all / count + u64::from(index < all % count)
}
