//! `fourwave ping --rate`, and the files it writes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{self, Background, LabTurn, SOON, json, ok, run, stderr};
use crate::connections::counter;
use crate::support::{Server, assert_no_program, eventually, fourwave, good, lab, peer, text};

const MS: u64 = 1_000_000;
/// Of the server that stands still once, in an open loop.
const STALL_MS: u64 = 300;

fn ping(args: &str) -> Command {
    let mut all = vec!["ping"];
    all.extend(args.split(' '));
    fourwave("fw-b", &all)
}

/// The lab with so many queues, and shards.
pub(crate) fn lab_of(queues: usize) -> LabTurn {
    let turn = LabTurn::take();
    ok(&["lab", "up", "--queues", &queues.to_string()]);
    turn
}

/// Runs it to a good end; the report.
fn measured(args: &str) -> Value {
    json(&good(ping(&format!("{args} --json"))))
}

/// A file of this test's own; removed on drop.
pub(crate) struct Output(PathBuf);

impl Output {
    pub(crate) fn new(name: &str) -> Self {
        Self(common::temporary(name))
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The histograms of an interval log, as the reader of the hdrhistogram crate finds them.
pub(crate) fn read_log(path: &Path) -> Vec<Histogram<u64>> {
    let log = std::fs::read(path).unwrap();
    let intervals = IntervalLogIterator::new(&log).filter_map(|entry| match entry.unwrap() {
        LogEntry::Interval(interval) => Some(interval.encoded_histogram()),
        _ => None,
    });
    let decoded = |text| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        Deserializer::new().deserialize(&mut &bytes[..]).unwrap()
    };
    intervals.map(decoded).collect()
}

/// All of them in one.
pub(crate) fn sum(histograms: &[Histogram<u64>]) -> Histogram<u64> {
    let mut sum = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).unwrap();
    histograms.iter().for_each(|histogram| sum.add(histogram).unwrap());
    sum
}

/// The server stands still for so long after 1000 messages; what `ping` with these flags measures of it.
fn stalled(ms: u64, flags: &str) -> (Value, Histogram<u64>) {
    let args = ["10.77.0.1", "8000", "1000", &Duration::from_millis(ms).as_secs_f64().to_string()];
    let _server = Background::server(peer("fw-a", "stalling", &args));
    let log = Output::new("stall.hlog");
    let report = measured(&format!("10.77.0.1:8000 --warmup 0 {flags} --hlog {}", log.path()));
    (report, sum(&read_log(&log.0)))
}

/// 1000 messages per second for two seconds, which a busy machine can do one behind the other: 300 are due while the server stands
/// still, one every millisecond, and the answer to each comes no sooner than the stall ends. A busy machine only adds to that.
#[test]
fn a_stall_is_in_the_time_of_every_message_that_was_due_within_it() {
    let _lab = lab();
    for flags in ["", "--stack kernel ", "--pipeline 1 "] {
        let (report, all) = stalled(STALL_MS, &format!("{flags}--rate 1000 --seconds 2"));
        let keys = ["mode", "count", "errors"].map(|key| &report[key]);
        assert_eq!(keys, [&Value::from("open"), &2000.into(), &0.into()], "{report}");
        assert_eq!((all.len(), &report["intended_rate_per_s"]), (2000, &1000.into()));
        // The message that stops the server is the first of them, and the histogram has three figures.
        for ms in [250, 200, 100] {
            let due = STALL_MS - ms;
            let over = all.count_between(ms * MS * 999 / 1000, u64::MAX);
            assert!(over >= due, "{flags}: {over} of over {ms} ms, {due} were due");
        }
        // Of the slowest 1 %, 20 messages, the last was due 20 ms behind the beginning of the stall.
        assert!(report["latency_ns"]["p99"].as_u64().unwrap() >= (STALL_MS - 21) * MS, "{report}");
        if flags.contains("--pipeline") {
            // But for the one under way and what a turn may send before it is held back.
            assert!(report["sending"]["held_back"].as_u64().unwrap() >= 250, "{report}");
        }
    }
}

#[test]
fn a_stall_is_one_sample_of_a_closed_loop() {
    let _lab = lab();
    // Longer than whatever else may hold up a busy machine.
    let (report, all) = stalled(2000, "--count 4000");
    assert_eq!((&report["mode"], all.len()), (&"closed".into(), 4000));
    assert_eq!(all.count_between(2000 * MS * 999 / 1000, u64::MAX), 1, "{report}");
    assert!(report.get("sending").is_none(), "{report}");
}

#[test]
fn each_connection_has_its_share_on_any_stack_and_any_number_of_shards() {
    for queues in [1, 2] {
        let _lab = lab_of(queues);
        let server = Server::echo();
        for flags in ["", "--idle busy", "--idle sleep", "--stack kernel", "--bytes 1-3000"] {
            let report = measured(format!("10.77.0.1:7 --rate 3000 --connections 5 --seconds 1 {flags}").trim());
            assert_eq!((&report["count"], &report["errors"]), (&3000.into(), &0.into()), "{flags}: {report}");
            let fairness = &report["per_connection"];
            assert_eq!(
                (&fairness["min"], &fairness["max"], &fairness["jain"]),
                (&600.into(), &600.into(), &1.0.into())
            );
            let sending = &report["sending"];
            assert_eq!((&sending["sent"], &sending["unsent"]), (&3000.into(), &0.into()), "{report}");
        }
        server.assert_empty();
        server.stop();
        assert_no_program();
    }
}

#[test]
fn several_messages_are_under_way_in_a_closed_loop() {
    let _lab = lab();
    let server = Server::echo();
    let sizes = "--bytes 64:0.5,1400:0.3,9000:0.2 --seed 7";
    let report = measured(&format!("10.77.0.1:7 --connections 3 --pipeline 16 --count 3000 {sizes}"));
    assert_eq!((&report["count"], &report["errors"], &report["pipeline"]), (&3000.into(), &0.into(), &16.into()));
    // 64 * 0.5 + 1400 * 0.3 + 9000 * 0.2
    assert_eq!((&report["message_bytes"], &report["seed"]), (&2252.into(), &7.into()));
    let report = measured("10.77.0.1:7 --stack kernel --pipeline 4 --bytes 300000 --count 100");
    assert_eq!((&report["count"], &report["errors"]), (&100.into(), &0.into()));
    server.assert_empty();
    server.stop();
}

/// The sum of a column of a table.
fn column(csv: &str, name: &str) -> u64 {
    let mut lines = csv.lines();
    let at = lines.next().unwrap().split(',').position(|title| title == name).unwrap();
    lines.map(|line| line.split(',').nth(at).unwrap().parse::<u64>().unwrap()).sum()
}

/// Also after Ctrl-C: the files say what the report says.
#[test]
fn files_are_complete_however_it_ends() {
    let _lab = lab_of(2);
    let server = Server::echo();
    for flags in [&["--rate", "500"][..], &["--interval-ms", "2"]] {
        let [hgrm, hlog, csv] = ["all.hgrm", "all.hlog", "all.csv"].map(Output::new);
        let files = ["--hgrm", hgrm.path(), "--hlog", hlog.path(), "--csv", csv.path(), "--live", "--json"];
        let mut args = vec!["ping", "10.77.0.1:7", "--seconds", "600", "--warmup", "0", "--connections", "2"];
        args.extend(flags.iter().chain(&files));
        let mut ping = Background::start(common::in_namespace("fw-b", &args));
        let lines = || std::fs::read_to_string(&csv.0).unwrap_or_default().lines().count();
        eventually("two seconds are over", || lines() > 2);
        ping.signal(Signal::INT);
        let (code, stdout, said) = ping.end(SOON);
        assert_eq!(code, Some(0), "{said}");
        let report = json(&stdout);
        let count = report["count"].as_u64().unwrap();
        let intervals = read_log(&hlog.0);
        let csv = std::fs::read_to_string(&csv.0).unwrap();
        assert_eq!((sum(&intervals).len(), column(&csv, "count"), column(&csv, "errors")), (count, count, 0), "{csv}");
        assert_eq!(intervals.len() + 1, csv.lines().count());
        let hgrm = std::fs::read_to_string(&hgrm.0).unwrap();
        assert!(hgrm.contains(&format!("Total count    = {count:12}]")), "{count}: {hgrm}");
        let (max, highest) = (report["latency_ns"]["max"].as_u64().unwrap(), sum(&intervals).max());
        assert_eq!(max, highest);
        assert!(said.lines().filter(|line| line.contains("/s  p50 ")).count() >= 2, "{said}");
    }
    server.stop();
}

#[test]
fn bare_frames_are_logged_as_well() {
    let _lab = lab();
    let server = Server::start("echo --listen 10.77.0.1:7 --stack raw");
    let log = Output::new("raw.hlog");
    let report = measured(&format!("10.77.0.1:7 --stack raw --count 200 --hlog {}", log.path()));
    assert_eq!((&report["count"], sum(&read_log(&log.0)).len()), (&200.into(), 200));
    server.stop();
}

#[test]
fn a_sweep_measures_each_value_over_one_stack() {
    let _lab = lab();
    let server = Server::echo();
    let before = counter(&server, "accepted");
    let document = measured("10.77.0.1:7 --sweep rate=200..600:200 --seconds 0.5 --connections 2");
    let runs = document["sweep"].as_array().unwrap();
    let found: Vec<_> = runs.iter().map(|run| (&run["intended_rate_per_s"], &run["count"], &run["errors"])).collect();
    let [zero, one, two, three] = [0, 100, 200, 300].map(Value::from);
    let rates = [200, 400, 600].map(Value::from);
    assert_eq!(found, [(&rates[0], &one, &zero), (&rates[1], &two, &zero), (&rates[2], &three, &zero)]);
    assert_eq!(counter(&server, "accepted") - before, 2, "the same connections");
    let document = measured("10.77.0.1:7 --sweep size=1,100000 --count 200 --stack kernel --pipeline 3");
    let found: Vec<_> = document["sweep"].as_array().unwrap().iter().map(|run| &run["message_bytes"]).collect();
    assert_eq!((found, &document["swept"]), (vec![&Value::from(1), &100_000.into()], &"size".into()));
    let table = good(ping("10.77.0.1:7 --sweep size=64,128 --count 50"));
    assert_eq!(table.lines().count(), 4, "{table}");
    server.assert_empty();
    server.stop();
}

#[test]
fn a_rate_that_cannot_be_kept_is_said() {
    let _lab = lab();
    let server = Server::echo();
    let output = ping("10.77.0.1:7 --rate 10000000 --seconds 0.2 --timeout-s 60 --pipeline 64").output().unwrap();
    assert!(output.status.success());
    let said = stderr(&output);
    assert!(said.lines().any(|line| line.starts_with("fourwave: warning: ") && line.contains("--rate")), "{said}");
    assert!(common::but_warnings(&said).is_empty(), "{said}");
    assert!(text(&output.stdout).contains("open loop at 10000000 per second"));
    server.stop();
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_sent() {
    for (flags, says) in [
        ("--hgrm /nope/x", "--hgrm /nope/x: can't be written"),
        ("--hlog /nope/x", "--hlog /nope/x: can't be written"),
        ("--csv /nope/x", "--csv /nope/x: can't be written"),
        ("--csv /tmp/x --hlog /tmp/x", "--hlog and --csv can't both write to /tmp/x"),
        ("--rate 0", "1..=10000000"),
        ("--rate 5 --interval-ms 5", "--interval-ms"),
        ("--pipeline 5 --interval-ms 5", "--interval-ms"),
        ("--sweep rate=5 --rate 5", "leave --rate"),
        ("--sweep size=5 --bytes 5", "leave --bytes away"),
        ("--sweep rate=5 --csv /tmp/x", "--csv"),
        ("--bytes 9-5", "`9-5` goes backwards"),
        ("--stack raw --rate 5", "leave --rate away"),
        ("--stack raw --sweep size=5", "leave --sweep away"),
        ("--stack raw --pipeline 1025", "room for 1024 frames"),
        ("--stack raw --bytes 64-128", "give --bytes one number"),
    ] {
        let mut args = vec!["ping", "10.77.0.1:7"];
        args.extend(flags.split(' '));
        let output = run(&args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{flags}: {said}");
        assert!(said.contains(says), "{flags}: {said}");
    }
}
