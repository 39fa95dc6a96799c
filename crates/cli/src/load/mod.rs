//! `fourwave load`: load for servers, over this stack or over the kernel's sockets.

mod client;
mod engine;
pub(crate) mod http;
mod protocol;
mod report;
mod tally;
pub(crate) mod tcp;

use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;

use crate::args::{KernelWait, StackConfig};

use crate::stop::Stop;
use crate::{out, say};
use http::Http;
use report::Report;

/// Who closes a connection that is there for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CloseBy {
    /// The client, once the response is there: TIME-WAIT is here
    Client,
    /// The server, which is asked to (Connection: close): TIME-WAIT is there
    Server,
    /// The client, by a reset: no TIME-WAIT anywhere
    Reset,
}

/// When and over what to ask, checked; what is asked is [`Kind`].
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) target: SocketAddr,
    pub(crate) kernel_wait: KernelWait,
    /// A connection for each request; otherwise they are kept.
    pub(crate) close: Option<CloseBy>,
    pub(crate) connections: usize,
    /// Requests under way over each connection.
    pub(crate) pipeline: usize,
    /// Ends after so many responses, or after the duration, whichever comes first. One of them is given.
    pub(crate) requests: Option<u64>,
    pub(crate) duration: Option<Duration>,
    /// Time before measuring starts.
    pub(crate) warmup: Duration,
    /// For a connection, and for a response.
    pub(crate) timeout: Duration,
    pub(crate) json: bool,
    pub(crate) at: StackConfig,
}

/// Kind to load a server with.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Http(Http),
    Tcp(tcp::Work),
}

impl Kind {
    /// The server to start where none is.
    const fn server(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp(work) => work.server(),
        }
    }
}

/// Loads, and prints the report; also after Ctrl-C, and also if it came to nothing on the way.
pub(crate) fn run((config, what): &(Config, Kind), stop: &Stop) -> anyhow::Result<()> {
    let (tally, result) = match what {
        Kind::Http(http) => engine::run(config, http, what.server(), stop)?,
        Kind::Tcp(tcp::Work::Exchange(exchange)) => engine::run(config, exchange, what.server(), stop)?,
        Kind::Tcp(tcp::Work::Connect(connect)) => engine::run(config, connect, what.server(), stop)?,
        Kind::Tcp(tcp::Work::Bulk(bulk)) => return tcp::bulk(config, *bulk, stop),
        Kind::Tcp(tcp::Work::Idle(idle)) => return tcp::idle(config, idle, stop),
    };
    if let Err(error) = &result
        && tally.is_empty()
    {
        tracing::debug!("nothing was measured: {error:#}");
        return result;
    }
    if tally.no_port > 0 {
        say!(
            "local ports ran out {} times, so this client was the limit: have the server close (--close server), or give the \
             stack an address and all ports of it (--address)",
            tally.no_port
        );
    }
    let report = Report::of(config, &tally);
    if config.json {
        out::json(&report)?;
    } else {
        out::result(&report.to_string());
    }
    result
}
