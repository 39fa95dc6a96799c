//! Parts of the demo that run as programs of their own: ordinary clients of the kernel's TCP.

mod bulk;
pub(crate) mod raw;
mod short;
pub(crate) mod through;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::args::{InternalArgs, InternalCommand};
use crate::out;
use crate::stop::Stop;

pub(crate) use bulk::BulkReport;
pub(crate) use raw::RawReport;
pub(crate) use short::ShortReport;
pub(crate) use through::ThroughReport;

/// Lines on stderr with this in front tell the parent how far it is.
pub(crate) const PROGRESS: &str = "progress: ";

/// `fourwave internal`.
pub(crate) fn run(args: InternalArgs, stop: &Stop) -> anyhow::Result<()> {
    let command = match args.command {
        InternalCommand::Through(args) => return through::run(&args.resolve()?, stop),
        InternalCommand::Raw(args) => return raw::run(&args.resolve()?, stop),
        command => command,
    };
    // Blocking sockets and nothing to report half-way: the end of the process is the end of the connections.
    stop.on_request(|| std::process::exit(1));
    match command {
        InternalCommand::BulkClient { target, mib } => out::json(&bulk::run(target, mib)?),
        InternalCommand::ShortConnections { target, count, concurrency } => {
            out::json(&short::run(target, count, concurrency)?)
        }
        InternalCommand::Through(_) | InternalCommand::Raw(_) => Ok(()),
    }
}

/// Reads what one of them wrote to stdout.
pub(crate) fn parse<'a, T: Deserialize<'a>>(document: &'a str) -> anyhow::Result<T> {
    serde_json::from_str(document).context("a part of the demo did not answer in JSON")
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): fast, and every seed is good.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn random_is_splitmix64() {
        // The first values of the reference implementation for seed 0.
        let mut random = Random::new(0);
        assert_eq!(random.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.next(), 0x6e78_9e6a_a1b9_65f4);
    }
}
