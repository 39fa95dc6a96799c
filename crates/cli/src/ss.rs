//! `fourwave ss`: the connections of a running process.

use anyhow::{Context, bail};
use fourwave::control::{self, Count, Process, Row};
use serde::Serialize;

use crate::args::SsArgs;
use crate::out;

/// The state of a record of TIME-WAIT, which is no connection any more.
pub(crate) const TIME_WAIT: &str = "TIME-WAIT";
/// The state of a listener, if it is listed.
pub(crate) const LISTEN: &str = "LISTEN";

/// A counter of the stack.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Counter {
    pub(crate) pid: u32,
    pub(crate) counter: String,
    pub(crate) value: u64,
    /// Each shard's, if there are several; `value` is their sum.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) shards: Vec<u64>,
}

/// A counter of the XDP program.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) pid: u32,
    pub(crate) verdict: String,
    pub(crate) packets: u64,
}

/// `fourwave ss`.
pub(crate) fn run(args: &SsArgs) -> anyhow::Result<()> {
    if args.steering {
        let verdicts = steering(args.pid)?;
        if args.json {
            return out::json(&verdicts);
        }
        for row in verdicts {
            out::result(&format!("{:<12}{:<24}{:>16}", row.pid, row.verdict, row.packets));
        }
        return Ok(());
    }
    if args.counters {
        let counters = counters(args.pid)?;
        if args.json {
            return out::json(&counters);
        }
        for row in counters.iter().filter(|row| row.value > 0) {
            out::result(&format!("{:<12}{:<36}{:>16}", row.pid, row.counter, row.value));
        }
        return Ok(());
    }
    let entries = connections(args.pid)?;
    if args.json {
        return out::json(&entries);
    }
    out::result(&table(&entries));
    Ok(())
}

/// The connections of one process, or of all that run.
pub(crate) fn connections(pid: Option<u32>) -> anyhow::Result<Vec<Row>> {
    let mut all = Vec::new();
    for process in processes(pid)? {
        let asked = process.connections().with_context(|| format!("process {} does not answer", process.pid));
        all.extend(asked?);
    }
    Ok(all)
}

/// The XDP program's counters of one process, or of all that run.
fn steering(pid: Option<u32>) -> anyhow::Result<Vec<Verdict>> {
    let mut all = Vec::new();
    for process in processes(pid)? {
        let asked = process.steering().with_context(|| format!("process {} does not answer", process.pid));
        let verdict = |count: Count| Verdict { pid: process.pid, verdict: count.name, packets: count.value };
        all.extend(asked?.into_iter().map(verdict));
    }
    Ok(all)
}

/// The stack's counters of one process, or of all that run.
fn counters(pid: Option<u32>) -> anyhow::Result<Vec<Counter>> {
    let mut all = Vec::new();
    for process in processes(pid)? {
        let asked = process.counters().with_context(|| format!("process {} does not answer", process.pid));
        let counter =
            |count: Count| Counter { pid: process.pid, counter: count.name, value: count.value, shards: count.shards };
        all.extend(asked?.into_iter().map(counter));
    }
    Ok(all)
}

/// The process asked for, or all; an error if there is none of that number.
fn processes(pid: Option<u32>) -> anyhow::Result<Vec<Process>> {
    let advice = "cannot look for running fourwave processes: run it again with sudo";
    let mut found = control::processes().context(advice)?;
    if let Some(pid) = pid {
        found.retain(|process| process.pid == pid);
        if found.is_empty() {
            bail!("no fourwave stack runs in process {pid}: `fourwave ss` without --pid lists all there are");
        }
    }
    Ok(found)
}

fn table(entries: &[Row]) -> String {
    let head = format!(
        "{:<12}{:>9}{:>9}  {:<28}{:<28}{:>9}{:>10}{:>8}  {:<12}{:>8}{:>11}",
        "state", "recv-q", "send-q", "local", "remote", "rtt", "cwnd", "retrans", "timer", "age", "in state"
    );
    let rows = entries.iter().map(|entry| {
        format!(
            "\n{:<12}{:>9}{:>9}  {:<28}{:<28}{:>9}{:>10}{:>8}  {:<12}{:>6.0} s{:>9.0} s",
            entry.state,
            entry.receive_queue_bytes,
            entry.send_queue_bytes,
            entry.local,
            entry.remote,
            entry.rtt_us.map_or("-".into(), |us| out::nanoseconds(us * 1e3)),
            entry.cwnd_bytes,
            entry.retransmits,
            entry.timer.as_deref().unwrap_or("-"),
            entry.age_s,
            entry.state_age_s
        )
    });
    std::iter::once(head).chain(rows).collect()
}
