//! `fourwave ss`: the connections of a running process.

pub(crate) mod filter;
mod follow;
mod table;
mod trace;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use fourwave::control::{self, Count, Filter, How, Process, Row};
use serde::Serialize;

use crate::args::{Ss, SsAction};
use crate::stop::Stop;
use crate::{out, say};
pub(crate) use table::bytes;
use table::line;

/// The state of a record of TIME-WAIT, which is no connection any more.
pub(crate) const TIME_WAIT: &str = "TIME-WAIT";

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

/// What was ended.
#[derive(Clone, Debug, Serialize)]
struct Ended {
    how: &'static str,
    connections: u64,
}

/// `fourwave ss`.
pub(crate) fn run(args: &Ss, stop: &Stop) -> anyhow::Result<()> {
    let ended = stop.flag();
    let found = || processes_until(args.pid, &ended);
    match args.action {
        SsAction::List { info } => list(args, &found()?, info, stop),
        SsAction::Follow { interval } => follow::run(args, interval, stop),
        SsAction::Trace => trace::run(args, &found()?, stop),
        SsAction::End(how) => end(args, &found()?, how, stop),
        SsAction::Steering => show_steering(args, &found()?, stop),
        SsAction::Counters => show_counters(args, &found()?, stop),
    }
}

/// Written as it comes: nobody holds a million rows.
fn list(args: &Ss, found: &[Process], info: bool, stop: &Stop) -> anyhow::Result<()> {
    if !args.json {
        out::result(&table::head());
    }
    let mut rows = out::JsonList::new(args.json);
    let result = each_that_answers(found, stop, |process| {
        each(process, &args.filter, |row| {
            if args.json {
                rows.add(&row);
            } else {
                out::result(&line(&row));
                if info {
                    out::result(&table::details(&row));
                }
            }
            !stop.requested() && !out::nobody_reads()
        })
    });
    rows.end();
    result
}

/// One that is silent hides none of the others: each is told, the last by the error. Who asks for the end waits for none.
fn each_that_answers<P>(found: &[P], stop: &Stop, mut ask: impl FnMut(&P) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut last = Ok(());
    for process in found {
        let Err(error) = ask(process) else { continue };
        stop.check()?;
        if let Err(before) = std::mem::replace(&mut last, Err(error)) {
            say!("fourwave: {}", out::sentence(&before));
        }
    }
    last
}

fn end(args: &Ss, found: &[Process], how: How, stop: &Stop) -> anyhow::Result<()> {
    let mut connections = 0;
    let result = each_that_answers(found, stop, |process| {
        process.end(&args.filter, how, &mut connections).with_context(|| silent(process))
    });
    let (name, was) = match how {
        How::Kill => ("kill", "reset"),
        How::Close => ("close", "closed: their FINs follow what is queued"),
    };
    if args.json {
        out::json(&Ended { how: name, connections })?;
    } else {
        let what = if connections == 1 { "connection was" } else { "connections were" };
        out::result(&format!("{connections} {what} {was}"));
    }
    result
}

fn show_steering(args: &Ss, found: &[Process], stop: &Stop) -> anyhow::Result<()> {
    let (verdicts, result) = steering(found, stop);
    if args.json {
        out::json(&verdicts)?;
        return result;
    }
    for row in verdicts {
        out::result(&format!("{:<12}{:<24}{:>16}", row.pid, row.verdict, row.packets));
    }
    result
}

fn show_counters(args: &Ss, found: &[Process], stop: &Stop) -> anyhow::Result<()> {
    let (counters, result) = counters(found, stop);
    if args.json {
        out::json(&counters)?;
        return result;
    }
    for row in counters.iter().filter(|row| row.value > 0) {
        out::result(&format!("{:<12}{:<36}{:>16}", row.pid, row.counter, row.value));
    }
    result
}

pub(crate) fn silent(process: &Process) -> String {
    format!("process {} does not answer", process.pid)
}

/// The rows of a process that the filter lets through, as long as they are wanted.
pub(crate) fn each(process: &Process, filter: &Filter, each: impl FnMut(Row) -> bool) -> anyhow::Result<()> {
    process.list(filter, each).with_context(|| silent(process))
}

/// The connections of one process, or of all that run.
pub(crate) fn connections(pid: Option<u32>) -> anyhow::Result<Vec<Row>> {
    let mut all = Vec::new();
    for process in processes(pid)? {
        all.extend(process.connections().with_context(|| silent(&process))?);
    }
    Ok(all)
}

/// The XDP program's counters of those that answer, and what to say of the others.
fn steering(found: &[Process], stop: &Stop) -> (Vec<Verdict>, anyhow::Result<()>) {
    let mut all = Vec::new();
    let result = each_that_answers(found, stop, |process| {
        let asked = process.steering().with_context(|| silent(process))?;
        let verdict = |count: Count| Verdict { pid: process.pid, verdict: count.name, packets: count.value };
        all.extend(asked.into_iter().map(verdict));
        Ok(())
    });
    (all, result)
}

/// The stack's counters of those that answer, and what to say of the others.
fn counters(found: &[Process], stop: &Stop) -> (Vec<Counter>, anyhow::Result<()>) {
    let mut all = Vec::new();
    let result = each_that_answers(found, stop, |process| {
        let asked = process.counters().with_context(|| silent(process))?;
        let counter =
            |count: Count| Counter { pid: process.pid, counter: count.name, value: count.value, shards: count.shards };
        all.extend(asked.into_iter().map(counter));
        Ok(())
    });
    (all, result)
}

/// The process asked for, or all; an error if there is none of that number.
pub(crate) fn processes(pid: Option<u32>) -> anyhow::Result<Vec<Process>> {
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

/// As [`processes`]; none is waited for once the flag is set.
pub(crate) fn processes_until(pid: Option<u32>, ended: &Arc<AtomicBool>) -> anyhow::Result<Vec<Process>> {
    Ok(processes(pid)?.into_iter().map(|process| process.until(ended)).collect())
}

#[cfg(test)]
mod tests {
    use super::each_that_answers;
    use crate::stop::Stop;
    use anyhow::bail;

    #[test]
    fn those_that_answer_are_asked_behind_one_that_is_silent() {
        let mut asked = Vec::new();
        let stop = Stop::new();
        let result = each_that_answers(&[1, 2, 3, 4], &stop, |pid| {
            asked.push(*pid);
            if pid % 2 == 1 {
                bail!("process {pid} does not answer")
            }
            Ok(())
        });
        assert_eq!(asked, [1, 2, 3, 4]);
        assert_eq!(result.unwrap_err().to_string(), "process 3 does not answer");
        assert!(each_that_answers(&[2, 4], &stop, |_| Ok(())).is_ok());
        stop.request();
        let result = each_that_answers(&[5, 7], &stop, |pid| bail!("process {pid} does not answer"));
        assert!(result.unwrap_err().is::<crate::stop::Interrupted>());
    }
}
