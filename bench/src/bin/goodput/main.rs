//! Goodput over an impaired path: the kernel at both ends, fourwave at one, and at both.
#![forbid(unsafe_code)]

mod end;
mod kernel;
mod ours;
mod point;
mod sweep;
mod table;

use clap::{Parser, Subcommand};

/// Goodput over an impaired path between network namespaces, with the kernel's TCP and fourwave at either end. Needs root.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    goodput run --losses 0,0.1,1 --rtts-us 1000 --rounds 3\n  \
    goodput run --json results.json --markdown results.md")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures every combination in interleaved rounds
    Run(sweep::RunArgs),
    /// Sends to the first that connects (started by `run`, in a namespace)
    #[command(hide = true)]
    Send(end::EndArgs),
    /// Connects and reads for a time (started by `run`, in a namespace)
    #[command(hide = true)]
    Receive(end::EndArgs),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Run(args) => sweep::run(&args),
        Command::Send(args) => end::send(&args),
        Command::Receive(args) => end::receive(&args),
    }
}
