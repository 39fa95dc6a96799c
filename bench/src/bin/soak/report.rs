//! The report of a run.

use std::collections::BTreeMap;
use std::fmt::Write;

use impairment::Forwarded;
use serde::Serialize;

use crate::account::Account;
use crate::tally::Tally;
use crate::world::{Event, Sample};

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) clean: bool,
    pub(crate) deviations: Vec<String>,
    pub(crate) machine: String,
    pub(crate) version: String,
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    /// Processor time of all of it: the servers', and that of clients, paths and tools.
    pub(crate) servers_cpu_s: f64,
    pub(crate) others_cpu_s: f64,
    pub(crate) worlds: Vec<WorldReport>,
    pub(crate) events: Vec<Event>,
}

/// One path with its process.
#[derive(Debug, Serialize)]
pub(crate) struct WorldReport {
    pub(crate) name: &'static str,
    pub(crate) command: String,
    pub(crate) starts: u64,
    pub(crate) kinds: BTreeMap<&'static str, Tally>,
    pub(crate) tools: BTreeMap<&'static str, Tally>,
    pub(crate) account: Account,
    pub(crate) path: Option<Forwarded>,
    pub(crate) samples: Vec<Sample>,
}

const MIB: f64 = 1024.0 * 1024.0;

impl Report {
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "# Soak: {}\n\n{:.1} minutes, seed {}, {}; {}. The servers took {:.0} s of processor time, clients, paths and tools \
             {:.0} s.\n",
            self.verdict(),
            self.seconds / 60.0,
            self.seed,
            self.version,
            self.machine,
            self.servers_cpu_s,
            self.others_cpu_s
        );
        if !self.deviations.is_empty() {
            text += "\n## Not as it should be\n\n";
            self.deviations.iter().for_each(|sentence| {
                let _ = writeln!(text, "- {sentence}");
            });
        }
        self.traffic(&mut text);
        self.accounts(&mut text);
        self.tools(&mut text);
        self.faults(&mut text);
        text
    }

    pub(crate) fn verdict(&self) -> String {
        match self.deviations.len() {
            0 => "clean".into(),
            1 => "1 deviation".into(),
            count => format!("{count} deviations"),
        }
    }

    fn traffic(&self, text: &mut String) {
        *text += "\n## Traffic\n\n\
            Each attempt has one end. *Whole*: every byte came back, or was what the server should send, and both ends closed in \
            order. *Reset*: as it was planned. *Killed*: with its process. *Unreachable*: not begun, for its link was down.\n\n\
            | world | kind | attempts | whole | reset | killed | unreachable | wrong | MiB sent | MiB received |\n\
            |---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n";
        let mut all = Tally::default();
        for world in &self.worlds {
            for (kind, tally) in &world.kinds {
                row(text, world.name, kind, tally);
                all.attempts += tally.attempts;
                all.whole += tally.whole;
                all.reset += tally.reset;
                all.killed += tally.killed;
                all.unreachable += tally.unreachable;
                all.wrong += tally.wrong;
                all.bytes_sent += tally.bytes_sent;
                all.bytes_received += tally.bytes_received;
            }
        }
        row(text, "all", "", &all);
    }

    fn accounts(&self, text: &mut String) {
        *text += "\n## Processes at the end\n\n\
            Of the last process of each world; *accepted* beside what clients have counted. Memory in KiB, medians of thirds.\n\n\
            | world | starts | accepted | clients: from | to | frames before | after | descriptors before | after |\n\
            |---|--:|--:|--:|--:|--:|--:|--:|--:|\n";
        let with: Vec<_> = self.worlds.iter().filter(|world| world.account.after.is_told()).collect();
        for world in &with {
            let account = &world.account;
            let (must, may) = (account.must_have_accepted, account.may_have_accepted);
            let (before, after) = (account.before.row(), account.after.row());
            let _ = writeln!(
                text,
                "| {} | {} | {} | {must} | {may} | {} | {} | {} | {} |",
                world.name, world.starts, account.accepted, before.0, after.0, before.1, after.1
            );
        }
        *text += "\n| world | samples | seconds | least | first third | last third | most |\n|---|--:|--:|--:|--:|--:|--:|\n";
        for world in &with {
            let _ = writeln!(text, "| {} | {} |", world.name, world.account.memory.row());
        }
        *text += "\n| world | sent again | timeouts | dropped | resets sent | connections failed |\n|---|--:|--:|---|---|---|\n";
        for world in &with {
            let Account { retransmitted, timeouts, drops, resets_sent, failed, .. } = &world.account;
            let [drops, resets, failed] = [drops, resets_sent, failed].map(list);
            let _ = writeln!(text, "| {} | {retransmitted} | {timeouts} | {drops} | {resets} | {failed} |", world.name);
        }
        *text += "\n| path | frames | lost | late | doubled | changed | no room | the forwarder's own drops |\n\
            |---|--:|--:|--:|--:|--:|--:|--:|\n";
        for world in &self.worlds {
            let Some(path) = &world.path else { continue };
            let sum = |of: fn(&impairment::LinkCounters) -> u64| of(&path.a_to_b) + of(&path.b_to_a);
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                world.name,
                sum(|way| way.frames),
                sum(|way| way.lost),
                sum(|way| way.reordered),
                sum(|way| way.duplicated),
                sum(|way| way.corrupted),
                sum(|way| way.queue_drops),
                path.own_drops
            );
        }
    }

    fn tools(&self, text: &mut String) {
        let mut sums: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
        for (tool, tally) in self.worlds.iter().flat_map(|world| &world.tools) {
            let sum = sums.entry(tool).or_default();
            *sum = (sum.0 + tally.whole, sum.1 + tally.killed, sum.2 + tally.wrong);
        }
        *text += "\n## Tools\n\n| tool | done | its process was killed | wrong |\n|---|--:|--:|--:|\n";
        for (tool, (whole, killed, wrong)) in sums {
            let _ = writeln!(text, "| {tool} | {whole} | {killed} | {wrong} |");
        }
    }

    fn faults(&self, text: &mut String) {
        *text += "\n## Faults, and what the paths did\n\n| second | world | what |\n|--:|---|---|\n";
        for Event { at_s, world, what } in &self.events {
            let _ = writeln!(text, "| {at_s:.1} | {world} | {what} |");
        }
    }
}

fn row(text: &mut String, world: &str, kind: &str, tally: &Tally) {
    let Tally { attempts, whole, reset, killed, unreachable, wrong, bytes_sent, bytes_received, .. } = tally;
    #[expect(clippy::cast_precision_loss, reason = "mebibytes of a run")]
    let [sent, received] = [*bytes_sent, *bytes_received].map(|bytes| bytes as f64 / MIB);
    let _ = writeln!(
        text,
        "| {world} | {kind} | {attempts} | {whole} | {reset} | {killed} | {unreachable} | {wrong} | {sent:.1} | {received:.1} |"
    );
}

fn list(of: &BTreeMap<String, f64>) -> String {
    let all: Vec<_> = of.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}
