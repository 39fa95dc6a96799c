//! `fourwave ping`: request/response latency, closed loop.

mod app;
mod failure;
mod recorder;
mod report;

use std::net::SocketAddr;
use std::time::Duration;

use crate::args::{KernelWait, Stack, StackConfig};
use crate::out;
use crate::stop::Stop;

pub(crate) use failure::sentence;
pub(crate) use recorder::Recorder;
pub(crate) use report::{Latency, Report};

/// What to measure, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) target: SocketAddr,
    pub(crate) kernel_wait: KernelWait,
    /// Bytes per message, 1 to 1 Mi.
    pub(crate) message_bytes: usize,
    /// Ends after so many measured round trips, or after the duration, whichever comes first. One of them is given.
    pub(crate) count: Option<u64>,
    pub(crate) duration: Option<Duration>,
    pub(crate) connections: usize,
    /// Round trips before measuring starts.
    pub(crate) warmup: u64,
    /// From one message of a connection to its next; none: at once.
    pub(crate) interval: Option<Duration>,
    /// For a connection, and for an answer.
    pub(crate) timeout: Duration,
    pub(crate) json: bool,
    pub(crate) at: StackConfig,
}

/// Measures, and prints the report; also after Ctrl-C, and also if all connections failed on the way.
pub(crate) fn run(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    let mut recorder = Recorder::new(config);
    let result = match config.at.stack {
        Stack::Fourwave | Stack::Kernel => app::run(config, stop, &mut recorder),
        Stack::Raw => app::raw(config, stop, &mut recorder),
    };
    if let Err(error) = &result
        && recorder.is_empty()
    {
        tracing::debug!("nothing was measured: {error:#}");
        return result;
    }
    let report = recorder.report();
    if config.json {
        out::json(&report)?;
    } else {
        out::result(&report.to_string());
    }
    result
}
