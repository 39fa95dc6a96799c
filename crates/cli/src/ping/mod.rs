//! `fourwave ping`: request/response latency, in a closed loop or at a constant rate.

mod app;
mod course;
mod failure;
mod fairness;
mod recorder;
mod report;
mod sizes;
mod sweep;
mod under_way;
mod window;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use crate::args::{KernelWait, Stack, StackConfig};
use crate::measure::{self, Files, Live, Observer, Run, Seconds};
use crate::stop::Stop;

pub(crate) use failure::sentence;
pub(crate) use fairness::PerConnection;
pub(crate) use report::Report;
pub(crate) use sizes::Sizes;
pub(crate) use sweep::Swept;
pub(crate) use window::MOST as MOST_FRAMES;

use recorder::Recorder;

/// What to measure, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) target: SocketAddr,
    pub(crate) kernel_wait: KernelWait,
    /// Each ends after so many measured round trips, or after the duration, whichever comes first. One of them is given.
    pub(crate) count: Option<u64>,
    pub(crate) duration: Option<Duration>,
    pub(crate) connections: usize,
    /// Messages under way on each connection at the most.
    pub(crate) pipeline: usize,
    /// Round trips before measuring starts, of each step.
    pub(crate) warmup: u64,
    /// Of the sizes.
    pub(crate) seed: u64,
    /// What is measured, one behind the other: several in a sweep, else one.
    pub(crate) steps: Vec<Step>,
    pub(crate) swept: Option<Swept>,
    /// For a connection, and for an answer.
    pub(crate) timeout: Duration,
    pub(crate) files: Files,
    pub(crate) live: Live,
    pub(crate) json: bool,
    pub(crate) at: StackConfig,
}

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) pace: Pace,
    pub(crate) sizes: Sizes,
}

impl Step {
    /// Of an open loop.
    pub(crate) fn rate(&self) -> Option<u32> {
        match self.pace {
            Pace::Open { rate } => Some(rate),
            Pace::Closed { .. } => None,
        }
    }
}

/// What a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// For an answer to one before; with an interval, for that much of time behind it as well.
    Closed { interval: Option<Duration> },
    /// For nothing but its time: so many per second over all connections.
    Open { rate: u32 },
}

impl Config {
    /// What tells a step of a sweep from the others.
    fn label(&self, step: &Step) -> String {
        self.swept.map_or_else(String::new, |swept| format!("{} {}  ", swept.name(), swept.value(step)))
    }
}

/// Measures, and prints the report; also after Ctrl-C, and also if all connections failed on the way.
pub(crate) fn run(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    let mut run = Run::begin_by_tsc("ping");
    let hgrm = measure::create("--hgrm", config.files.hgrm.as_deref())?;
    let page = measure::create("--report", config.files.report.as_deref())?;
    let title = format!("fourwave ping {}: round trips in ns", config.target);
    let labels = config.steps.iter().map(|step| config.label(step)).collect();
    let observer = Observer::start(&run, title, labels, &config.files, config.live)?;
    let mut records: Vec<_> = (0..config.steps.len()).map(|step| Recorder::sum(config, step)).collect();
    let result = match config.at.stack {
        Stack::Fourwave | Stack::Kernel => app::run(config, stop, (&mut run, &observer), &mut records),
        Stack::Raw => app::raw(config, stop, (&run, &observer), &mut records[0]),
    };
    let (seconds, written) = observer.finish();
    if let Err(error) = &result
        && records.iter().all(Recorder::is_empty)
    {
        tracing::debug!("nothing was measured: {error:#}");
        return result;
    }
    let distribution = match (hgrm, records.first()) {
        (Some(mut file), Some(record)) => {
            measure::write_hgrm(&mut file, record.histogram()).context("--hgrm: can't be written")
        }
        _ => Ok(()),
    };
    let seconds = seconds.into_iter().chain(std::iter::repeat_with(Seconds::default));
    let report = |(record, seconds): (Recorder, Seconds)| {
        let results = run.results(record.histogram(), seconds);
        record.report(results)
    };
    let reports = records.into_iter().zip(seconds).map(report).collect();
    let told = sweep::print(config, &run.complaints(), reports, page);
    measure::all([result, distribution, written, told])
}
