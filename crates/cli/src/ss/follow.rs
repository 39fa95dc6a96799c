//! `fourwave ss --follow`: what changes between two looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fourwave::control::Row;
use serde::Serialize;

use super::{each, processes, processes_until, table};
use crate::args::Ss;
use crate::stop::Stop;
use crate::{out, say};

/// A row that is new, gone, or another one than it was.
#[derive(Debug, Serialize)]
struct Change<'a> {
    change: Kind,
    at_unix_s: f64,
    /// The keys of what is different.
    differs: Vec<&'static str>,
    #[serde(flatten)]
    row: &'a Row,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    New,
    Changed,
    Gone,
}

/// A row is the same one as before if all of this is the same; of two incarnations at most one is listed at a time.
type Key = (u32, usize, String, String);

type Rows = BTreeMap<Key, Row>;

pub(super) fn run(args: &Ss, interval: Duration, stop: &Stop) -> anyhow::Result<()> {
    let mut printer = Printer { json: args.json, printed: 0 };
    let (mut before, mut first, mut silent) = (Rows::new(), true, BTreeSet::new());
    let ended = stop.flag();
    if !args.json {
        out::result(&format!("  {}", table::head()));
    }
    let result = loop {
        if stop.requested() || out::nobody_reads() {
            break Ok(());
        }
        let now = match look(args, first, &before, &mut silent, &ended) {
            // Who is silent was not waited for.
            _ if stop.requested() => break Ok(()),
            Ok(rows) => rows,
            Err(error) => break Err(error),
        };
        compare(&before, &now, |kind, differs, row| printer.print(kind, differs, row));
        (before, first) = (now, false);
        stop.sleep(interval);
    };
    if args.json {
        out::result(if printer.printed == 0 { "[]" } else { "]" });
    }
    result
}

/// A process that ends takes its connections with it: that is what somebody who follows wants to see. Of one that is silent nothing
/// is known to have changed.
fn look(
    args: &Ss,
    first: bool,
    before: &Rows,
    silent: &mut BTreeSet<u32>,
    ended: &Arc<AtomicBool>,
) -> anyhow::Result<Rows> {
    let mut rows = Rows::new();
    let found = match processes_until(args.pid, ended) {
        Err(_) if !first => Vec::new(),
        found => found?,
    };
    for process in found {
        let mut of_it = Rows::new();
        let listed = each(&process, &args.filter, |row| {
            of_it.insert((row.pid, row.shard, row.local.clone(), row.remote.clone()), row);
            true
        });
        match listed {
            Ok(()) => {
                silent.remove(&process.pid);
                rows.extend(of_it);
            }
            Err(_) if ended.load(Ordering::Relaxed) => break,
            Err(error) if processes(Some(process.pid)).is_ok() => {
                if silent.insert(process.pid) {
                    say!("fourwave: its connections are taken to be as they were: {}", out::sentence(&error));
                }
                let as_before = before.iter().filter(|((pid, ..), _)| *pid == process.pid);
                rows.extend(as_before.map(|(key, row)| (key.clone(), row.clone())));
            }
            Err(_) => {}
        }
    }
    Ok(rows)
}

/// Those that are gone come first: another one may have their place.
fn compare(before: &Rows, now: &Rows, mut each: impl FnMut(Kind, Vec<&'static str>, &Row)) {
    for (key, row) in before {
        match now.get(key) {
            Some(other) if !is_older(row, other) => {}
            _ => each(Kind::Gone, Vec::new(), row),
        }
    }
    for (key, row) in now {
        match before.get(key).filter(|old| !is_older(old, row)) {
            None => each(Kind::New, Vec::new(), row),
            Some(old) => {
                let differs = differences(old, row);
                if !differs.is_empty() {
                    each(Kind::Changed, differs, row);
                }
            }
        }
    }
}

/// It can't have become younger, unless it is a record now of what it was.
fn is_older(old: &Row, new: &Row) -> bool {
    new.age_s < old.age_s && new.state != super::TIME_WAIT
}

/// What is worth a line: not what a connection that works does all the time.
fn differences(old: &Row, new: &Row) -> Vec<&'static str> {
    let waits = |row: &Row| row.listener.map(|listener| listener.accept_queue_connections);
    let all = [
        ("state", old.state != new.state),
        ("why", old.why != new.why),
        ("retransmits", old.retransmits != new.retransmits),
        ("timeouts", old.timeouts != new.timeouts),
        ("window_probes", old.window_probes != new.window_probes),
        ("ssthresh_bytes", old.ssthresh_bytes != new.ssthresh_bytes),
        ("mss_bytes", old.mss_bytes != new.mss_bytes),
        ("listener", waits(old) != waits(new)),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

struct Printer {
    json: bool,
    printed: u64,
}

impl Printer {
    fn print(&mut self, change: Kind, differs: Vec<&'static str>, row: &Row) {
        if self.json {
            let at_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let change = Change { change, at_unix_s, differs, row };
            let text = serde_json::to_string(&change).unwrap_or_default();
            out::result(&format!("{}{text}", if self.printed == 0 { "[\n" } else { ",\n" }));
        } else {
            let sign = match change {
                Kind::New => '+',
                Kind::Changed => '~',
                Kind::Gone => '-',
            };
            let what = if differs.is_empty() { String::new() } else { format!("  ({})", differs.join(", ")) };
            out::result(&format!("{sign} {}{what}", table::line(row)));
        }
        self.printed += 1;
    }
}
