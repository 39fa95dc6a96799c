//! `fourwave load tcp`: load below any protocol, over this stack or over the kernel's sockets.

mod bulk;
mod bulk_report;
mod churn;
mod connections;
mod counts;
mod exchange;
mod idle;
mod idle_report;
mod probe;
mod seconds;
mod timeline;
mod window;

use std::time::Duration;

use clap::ValueEnum;
use fourwave::Keepalive;

use super::{builder, connect};

pub(super) use bulk::run as bulk;
pub(crate) use churn::Churn;
pub(crate) use connections::Connect;
pub(crate) use exchange::Exchange;
use exchange::Reader;
pub(super) use idle::run as idle;

pub(super) const COMMAND: &str = "load tcp";

/// What is done with the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Requests and responses of given sizes, one behind the other
    Exchange,
    /// Connections are opened and closed, and nothing else
    Connect,
    /// Bytes as fast as they go
    Bulk,
    /// Connections are there, and kept
    Idle,
}

impl Mode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Connect => "connect",
            Self::Bulk => "bulk",
            Self::Idle => "idle",
        }
    }
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

    const fn receives(self) -> bool {
        !matches!(self, Self::Up)
    }
}

/// What is done with the connections, and all that only that needs.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Exchange(Exchange),
    Connect(Connect),
    Bulk(Bulk),
    Idle(Idle),
}

/// Bytes as fast as they go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bulk {
    pub(crate) direction: Direction,
    /// Over all connections together; each then ends in order.
    pub(crate) bytes: Option<u64>,
    /// What comes is compared with what is expected.
    pub(crate) verify: bool,
}

/// Connections that are there.
#[derive(Clone, Debug)]
pub(crate) struct Idle {
    /// How a silent server is asked whether it is there.
    pub(crate) keepalive: Keepalive,
    /// What is sent now and then, if anything is.
    pub(crate) exchange: Exchange,
    /// How often the probe connection asks, if there is one.
    pub(crate) probe: Option<Duration>,
    /// Short connections beside them.
    pub(crate) churn: Option<Churn>,
    /// Whose memory is reported as well.
    pub(crate) server_pid: Option<u32>,
}

/// A shard's part of something that all of them do together.
fn part(all: u64, index: u16, count: u16) -> u64 {
    let (index, count) = (u64::from(index), u64::from(count.max(1)));
    all / count + u64::from(index < all % count)
}
