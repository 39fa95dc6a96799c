//! `fourwave bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::UsageError;
use super::parse::{parse_pause, parse_point_seconds};
use crate::bench::{self, Part};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sudo fourwave bench\n  \
    sudo fourwave bench --only rtt,rps --rounds 7 --json > bench.json\n  \
    sudo fourwave bench --only rtt --points fourwave,kernel_spin --seconds 1\n  \
    sudo fourwave bench --results bench/results\n\n\
    All of it takes about 17 minutes, a part of it as much less: a round has 4 points of rtt, of rps and of cps, 8 of bulk,\n\
    6 of peers, 7 of proxy and 12 of overload, and each takes --seconds, --pause-s and about a second.\n\n\
    Servers run in fw-a on the first core, clients in fw-b on the second; the stacks take turns, and the order turns\n\
    from round to round. Figures are medians over the rounds. Ctrl-C ends it with what was measured so far.\n\
    Virtual machines with few cores may stall for milliseconds once all cores were busy for 5 to 10 s: keep --seconds\n\
    short, or let them rest with --pause-s. Stalls seen before a point are reported as jitter.")]
pub(crate) struct BenchArgs {
    /// What to measure [default: all]
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',')]
    only: Vec<Part>,

    /// Interleaved rounds, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Seconds per point, 0.1 to 6
    #[arg(long, value_name = "S", default_value = "1.5", value_parser = parse_point_seconds)]
    seconds: Duration,

    /// Seconds of rest between points, 0 to 600
    #[arg(long, value_name = "S", default_value = "2", value_parser = parse_pause)]
    pause_s: Duration,

    /// Bytes per message of rtt and proxy, and of a response's body, 1 to 1400
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1400))]
    bytes: u32,

    /// Which stacks to compare in rtt, rps, cps and bulk [default: all]
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',')]
    points: Vec<bench::Point>,

    /// Write bench.json, bench.md and plots there; the folder is made if it is not there
    #[arg(long, value_name = "FOLDER")]
    results: Option<PathBuf>,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

impl BenchArgs {
    pub(crate) fn resolve(self) -> Result<bench::Config, UsageError> {
        Ok(bench::Config {
            parts: once(self.only, "--only", &Part::ALL, Part::name)?,
            rounds: self.rounds,
            seconds: self.seconds,
            pause: self.pause_s,
            message_bytes: self.bytes,
            points: once(self.points, "--points", &bench::Point::ALL, bench::Point::name)?,
            results: self.results,
            json: self.json,
        })
    }
}

/// A list in which nothing is twice; all of them if it is empty.
fn once<T: Copy + PartialEq>(
    given: Vec<T>,
    flag: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<Vec<T>, UsageError> {
    let mut list = Vec::new();
    for one in given {
        if list.contains(&one) {
            return Err(UsageError(format!("{flag} has {} twice", name(one))));
        }
        list.push(one);
    }
    Ok(if list.is_empty() { all.to_vec() } else { list })
}
