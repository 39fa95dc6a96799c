//! The `fourwave` command.
#![forbid(unsafe_code)]
#![allow(rustdoc::broken_intra_doc_links, reason = "clap prints comments as they are, and [fd77::1]:7 is an address")]

mod affinity;
mod args;
mod bench;
mod demo;
mod doctor;
mod http;
mod internal;
mod job;
mod lab;
mod load;
mod measure;
mod notify;
mod out;
mod pcap;
mod ping;
mod proxy;
mod report;
mod serve;
mod ss;
mod stack;
mod stop;
mod top;

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::args::{Cli, Command, UsageError};
use crate::stop::{LAST_GRACE, Stop};

fn main() -> ExitCode {
    fourwave::map_large_areas();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return tell(&said),
    };
    out::log_to_stderr(cli.verbose);
    match run(cli).and_then(|()| out::lost()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<lab::NotUp>() => ExitCode::FAILURE,
        Err(error) => {
            say!("fourwave: {}", out::sentence(&error));
            let wrong_arguments = error.is::<UsageError>();
            ExitCode::from(if wrong_arguments { 2 } else { 1 })
        }
    }
}

/// What clap has to say: help and the version, which are results, or what is wrong with the arguments.
fn tell(said: &clap::Error) -> ExitCode {
    match said.print() {
        // As with any result: a reader that went away is no failure of ours.
        Err(error) if !said.use_stderr() && error.kind() != ErrorKind::BrokenPipe => {
            say!("fourwave: the result can't be written to stdout: {}", error.kind());
            ExitCode::FAILURE
        }
        _ => ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2)),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let stop = Stop::install(cli.exit_with_parent)?;
    match cli.command {
        // It waits for files that may be pipes, and looks at nothing else.
        Command::Report(_) => stop.exit_when_asked(1, Duration::ZERO),
        // These may wait for who reads what they write.
        Command::Ss(_) | Command::Top(_) | Command::Pcap(_) | Command::Doctor(_) => {
            stop.exit_when_asked(2, LAST_GRACE);
        }
        _ => {}
    }
    match cli.command {
        Command::Lab(args) => lab::run(&args),
        Command::Demo(args) => demo::run(&args.resolve()?, &stop),
        Command::Serve(args) => serve::run(&args.resolve()?, &stop),
        Command::Ping(args) => ping::run(&args.resolve()?, &stop),
        Command::Load(args) => load::run(&args.resolve()?, &stop),
        Command::Proxy(args) => proxy::run(&args.resolve()?, &stop),
        Command::Bench(args) => bench::run(&args.resolve()?, &stop),
        Command::Report(args) => report::run(&args.resolve()?),
        Command::Ss(args) => ss::run(&args.resolve()?, &stop),
        Command::Top(args) => top::run(&args.resolve()?, &stop),
        Command::Pcap(args) => pcap::run(&args.resolve()?, &stop),
        Command::Doctor(args) => doctor::run(&args.resolve()?, &stop),
        Command::Internal(args) => internal::run(args, &stop),
    }
}
