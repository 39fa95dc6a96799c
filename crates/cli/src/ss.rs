//! `fourwave ss`: the connections of a running process.

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::args::SsArgs;
use crate::out;

/// The state of a record of TIME-WAIT, which is no connection any more.
pub(crate) const TIME_WAIT: &str = "TIME-WAIT";
/// The state of a listener, if it is listed.
pub(crate) const LISTEN: &str = "LISTEN";

/// One connection or TIME-WAIT record, as `ss --json` lists it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) local: String,
    pub(crate) remote: String,
    /// As `ss` of iproute2 spells it: `ESTAB`, `TIME-WAIT`, `LISTEN`, …
    pub(crate) state: String,
    pub(crate) shard: u32,
    pub(crate) send_queue_bytes: u64,
    pub(crate) receive_queue_bytes: u64,
    pub(crate) rtt_us: u64,
    pub(crate) cwnd_bytes: u64,
    pub(crate) retransmits: u64,
    /// Which timer runs, if one does.
    pub(crate) timer: Option<String>,
    pub(crate) age_s: f64,
}

/// A counter of the XDP program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) interface: String,
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
            out::result(&format!("{:<12}{:<24}{:>16}", row.interface, row.verdict, row.packets));
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
pub(crate) fn connections(_pid: Option<u32>) -> anyhow::Result<Vec<Entry>> {
    bail!("`ss` is not wired yet")
}

/// The XDP program's counters of one process, or of all that run.
fn steering(_pid: Option<u32>) -> anyhow::Result<Vec<Verdict>> {
    bail!("`ss --steering` is not wired yet")
}

fn table(entries: &[Entry]) -> String {
    let head = format!(
        "{:<12}{:>9}{:>9}  {:<28}{:<28}{:>9}{:>10}{:>8}  {:<12}{:>8}",
        "state", "recv-q", "send-q", "local", "remote", "rtt", "cwnd", "retrans", "timer", "age"
    );
    let rows = entries.iter().map(|entry| {
        format!(
            "\n{:<12}{:>9}{:>9}  {:<28}{:<28}{:>6} µs{:>10}{:>8}  {:<12}{:>6.0} s",
            entry.state,
            entry.receive_queue_bytes,
            entry.send_queue_bytes,
            entry.local,
            entry.remote,
            entry.rtt_us,
            entry.cwnd_bytes,
            entry.retransmits,
            entry.timer.as_deref().unwrap_or("-"),
            entry.age_s
        )
    });
    std::iter::once(head).chain(rows).collect()
}
