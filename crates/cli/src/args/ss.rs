//! `fourwave ss` and `fourwave top`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use fourwave::control::{Filter, How};

use super::UsageError;
use crate::ss::filter::{Machine, parse};

const FILTERS: &str = "Filters are those of iproute2's ss: first states (`state`, `exclude`), then conditions (`src`, `dst`, `sport`,\n\
    `dport`; `= != < > <= >=` or `eq ne lt gt le ge`; `and`, `or`, `not`, parentheses; spaces between all words).\n\
    Conditions that follow one another must all hold; `and` and `or` bind equally, from the left.";

#[derive(Debug, Args)]
#[command(after_help = format!("Examples:\n  \
    fourwave ss                                     connections and TIME-WAIT records\n  \
    fourwave ss -i state established                with everything that is known of each\n  \
    fourwave ss state close-wait                    whose application doesn't close\n  \
    fourwave ss '( dport = :443 or sport = :https )' and not dst 10.0.0.0/8\n  \
    fourwave ss --follow dst 10.77.0.2              what changes, until Ctrl-C\n  \
    fourwave ss --trace dst 10.77.0.2               what happened to them, also to those that are gone
  \
    fourwave ss --close state close-wait            a FIN, behind what is queued\n  \
    fourwave ss --kill dst 192.0.2.7                a reset, as `ss -K`\n  \
    fourwave ss --pid 4242 --steering\n  \
    fourwave ss --counters\n\n\
    Reads a running fourwave process. TIME-WAIT records are listed as well; listeners with -l or -a, or if `state` names them.\n\n{FILTERS}"))]
pub(crate) struct SsArgs {
    /// Which process [default: all of this machine]
    #[arg(long)]
    pub(crate) pid: Option<u32>,

    /// The XDP program's counters, per verdict, instead of connections
    #[arg(long, conflicts_with = "filter")]
    pub(crate) steering: bool,

    /// The stack's counters but for those at zero, instead of connections
    #[arg(long, conflicts_with_all = ["steering", "filter"])]
    pub(crate) counters: bool,

    /// Listeners as well
    #[arg(short, long)]
    all: bool,

    /// Only listeners
    #[arg(short, long, conflicts_with = "all")]
    listening: bool,

    /// Everything that is known of each connection, in a second line
    #[arg(short, long)]
    info: bool,

    /// Print what changes, until Ctrl-C
    #[arg(short = 'F', long, conflicts_with_all = ["steering", "counters"])]
    follow: bool,

    /// With --follow: how often to look, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = super::parse::parse_seconds, requires = "follow")]
    interval: Duration,

    /// What happened to the connections that match the filter, as far as it is still known: states, retransmissions, timeouts, windows,
    /// drops, calls; also to those that are gone (`state closed`, `state time-wait`)
    #[arg(short = 'T', long, conflicts_with_all = ["steering", "counters", "follow", "info", "listening", "all", "kill", "close"])]
    trace: bool,

    /// Reset the connections that match the filter, and forget such records
    #[arg(short = 'K', long, conflicts_with_all = ["steering", "counters", "follow", "info", "listening", "all"])]
    kill: bool,

    /// Close the connections that match the filter in order: a FIN follows what is queued
    #[arg(long, conflicts_with_all = ["steering", "counters", "follow", "info", "listening", "all", "kill"])]
    close: bool,

    /// One JSON document on stdout
    #[arg(long)]
    pub(crate) json: bool,

    /// Which connections, in the words of iproute2's ss
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum SsAction {
    List { info: bool },
    Follow { interval: Duration },
    Trace,
    End(How),
    Steering,
    Counters,
}

/// Checked.
#[derive(Debug)]
pub(crate) struct Ss {
    pub(crate) pid: Option<u32>,
    pub(crate) json: bool,
    pub(crate) filter: Filter,
    pub(crate) action: SsAction,
}

impl SsArgs {
    pub(crate) fn resolve(self) -> Result<Ss, UsageError> {
        let filter = filter(&self.filter, self.listening || self.all, !self.listening)?;
        let end = match (self.kill, self.close) {
            (true, _) => Some(("--kill", How::Kill)),
            (_, true) => Some(("--close", How::Close)),
            _ => None,
        };
        if let Some((flag, _)) = end.filter(|_| self.filter.is_empty()) {
            return Err(UsageError(format!("{flag} needs a filter: `state all` is for every connection")));
        }
        let action = match end {
            Some((_, how)) => SsAction::End(how),
            None if self.trace => SsAction::Trace,
            None if self.steering => SsAction::Steering,
            None if self.counters => SsAction::Counters,
            None if self.follow => SsAction::Follow { interval: self.interval },
            None => SsAction::List { info: self.info },
        };
        Ok(Ss { pid: self.pid, json: self.json, filter, action })
    }
}

fn filter(words: &[String], listening: bool, others: bool) -> Result<Filter, UsageError> {
    parse(words, listening, others, &Machine).map_err(UsageError)
}

#[derive(Debug, Args)]
#[command(after_help = format!("Examples:\n  \
    fourwave top                                    until Ctrl-C\n  \
    fourwave top --sort retransmits dport = :443\n  \
    fourwave top --count 10 --interval 5 > log      plain frames, as stdout is no terminal\n  \
    fourwave top --json --count 3                   one document, with three frames\n\n\
    Rates are those of the last interval. Shards are counted by what arrives and leaves there, whatever the filter.\n\n{FILTERS}"))]
pub(crate) struct TopArgs {
    /// Which process [default: all of this machine]
    #[arg(long)]
    pid: Option<u32>,

    /// What comes first
    #[arg(long, value_enum, default_value = "throughput")]
    sort: Sort,

    /// How often to look, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = super::parse::parse_seconds)]
    interval: Duration,

    /// End after so many frames [default: at Ctrl-C; with --json 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Connections of a frame, at most [default: what the terminal has room for, else 20]
    #[arg(long, value_name = "N")]
    lines: Option<usize>,

    /// One JSON document on stdout, when the last frame is there
    #[arg(long)]
    json: bool,

    /// Which connections, in the words of iproute2's ss
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

/// The order of `fourwave top`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// Bytes per second, both ways together
    Throughput,
    /// Bytes per second sent
    Sent,
    /// Bytes per second received
    Received,
    /// Segments sent again per second
    Retransmits,
    /// Round-trip time
    Rtt,
    /// Bytes waiting to be sent
    SendQueue,
    /// Bytes waiting to be read
    ReceiveQueue,
    /// The oldest first
    Age,
}

/// Checked.
#[derive(Debug)]
pub(crate) struct Top {
    pub(crate) pid: Option<u32>,
    pub(crate) sort: Sort,
    pub(crate) interval: Duration,
    pub(crate) count: Option<u64>,
    pub(crate) lines: Option<usize>,
    pub(crate) json: bool,
    pub(crate) filter: Filter,
}

impl TopArgs {
    pub(crate) fn resolve(self) -> Result<Top, UsageError> {
        let filter = filter(&self.filter, false, true)?;
        let count = self.count.or(self.json.then_some(1));
        let Self { pid, sort, interval, lines, json, .. } = self;
        Ok(Top { pid, sort, interval, count, lines, json, filter })
    }
}
