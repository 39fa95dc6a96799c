//! `fourwave report`, and `--report` of what measures.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Background, FOURWAVE, SOON, json};
use crate::support::{Server, fourwave, good, kernel_echo, lab, refused, text};

/// A folder of a test's own; removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fourwave-report-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// The path of a file with these contents.
    fn file(&self, name: &str, contents: &str) -> String {
        std::fs::write(self.0.join(name), contents).unwrap();
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn report(args: &[&str]) -> Command {
    let mut command = Command::new(FOURWAVE);
    command.arg("report").args(args);
    command
}

fn decoded(text: &str) -> Histogram<u64> {
    let bytes = STANDARD.decode(text).unwrap();
    Deserializer::new().deserialize(&mut &bytes[..]).unwrap()
}

/// All intervals of a log in one, as the hdrhistogram crate reads them, and how many there are.
fn of_log(path: &str) -> (Histogram<u64>, usize) {
    let log = std::fs::read(path).unwrap();
    let mut sum = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).unwrap();
    let mut intervals = 0;
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            sum.add(decoded(interval.encoded_histogram())).unwrap();
            intervals += 1;
        }
    }
    (sum, intervals)
}

/// The page as a parser of XML finds it: well-formed, each id once, and no address but the namespace's.
fn checked(path: &str) -> String {
    let script = "
import sys, xml.etree.ElementTree as tree
page = open(sys.argv[1], encoding='utf-8').read()
ids = [e.get('id') for e in tree.fromstring(page).iter() if e.get('id')]
assert len(ids) == len(set(ids)), ids
for e in tree.fromstring(page).iter():
    for name in ('src', 'href'):
        assert e.get(name) is None, e.attrib
rest = page.replace('http://www.w3.org/1999/xhtml', '')
assert 'http' not in rest and '@import' not in rest and 'url(' not in rest
print(sum(e.tag.endswith('}svg') for e in tree.fromstring(page).iter()))
";
    let mut command = Command::new("python3");
    command.args(["-c", script, path]);
    let plots: u32 = good(command).trim().parse().unwrap();
    assert!(plots >= 8, "{plots} drawings");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn two_stacks_beside_each_other_and_added_up() {
    let _lab = lab();
    let folder = Folder::new("stacks");
    let server = Server::echo();
    let _kernel = kernel_echo("fw-a", "10.77.0.1", "8000");
    let measured = |name: &str, target: &str, stack: &str, page: &str| {
        let (hlog, page) = (folder.path(&format!("{name}.hlog")), folder.path(page));
        let args = ["ping", target, "--stack", stack, "--rate", "300", "--count", "900", "--json"];
        let document = good(fourwave("fw-b", &[&args[..], &["--hlog", &hlog, "--report", &page]].concat()));
        (folder.file(&format!("{name}.json"), &document), hlog, json(&document))
    };
    let (ours, our_log, our) = measured("ours", "10.77.0.1:7", "fourwave", "ours.html");
    let (theirs, their_log, their) = measured("theirs", "10.77.0.1:8000", "kernel", "theirs.html");
    server.stop();
    let own = checked(&folder.path("ours.html"));
    assert!(own.contains("10.77.0.1:7") && own.contains("id=\"percentiles-log-wide-t\""));

    let table = good(report(&[&ours, &theirs]));
    assert!(
        table.contains("ours.json") && table.contains("theirs.json") && table.contains("  to ours.json"),
        "{table}"
    );
    let page = folder.path("both.html");
    good(report(&[&ours, &theirs, "--label", "<script>alert(1)</script>", "--label", "b & c", "--html", &page]));
    let page = checked(&page);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.matches("<script>").count() == 1);

    let merged = folder.path("all.hlog");
    let sum = json(&good(report(&[&ours, &theirs, "--merge", "--json"])));
    assert_eq!((sum["count"].as_u64(), sum["errors"].as_u64()), (Some(1800), Some(0)), "{sum}");
    let p50 = |document: &Value| document["latency_ns"]["p50"].as_u64().unwrap();
    let (low, high) = (p50(&our).min(p50(&their)), p50(&our).max(p50(&their)));
    assert!((low..=high).contains(&p50(&sum)), "{} of {low} and {high}", p50(&sum));
    let whole = decoded(sum["histogram"].as_str().unwrap());
    // Exactly: each value of each is in it.
    let mut both = decoded(our["histogram"].as_str().unwrap());
    both.add(decoded(their["histogram"].as_str().unwrap())).unwrap();
    assert_eq!(whole, both);
    // One ran after the other.
    let said = sum["warnings"].to_string();
    assert!(said.contains("not at the same time"), "{said}");
    let again = folder.file("sum.json", &sum.to_string());
    assert!(good(report(&[&again, &ours])).contains("sum.json"));

    good(report(&[&our_log, &their_log, "--merge", "--hlog", &merged]));
    let (all, intervals) = of_log(&merged);
    let ((first, some), (second, others)) = (of_log(&our_log), of_log(&their_log));
    assert_eq!((all.len(), all.max()), (1800, first.max().max(second.max())));
    assert!(intervals <= some + others && intervals >= some.max(others), "{intervals} of {some} and {others}");
    // Whatever the files hold, and whatever they are called.
    let array = folder.file("array.json", &good(report(&[&ours, &theirs, "--json"])));
    for files in [&[&*array][..], &[&*ours, &*theirs, "--label", "x", "--label", "x"]] {
        good(report(&[files, &["--merge", "--hlog", &merged]].concat()));
        let (all, _) = of_log(&merged);
        assert_eq!((all.len(), all.max()), (1800, both.max()), "{files:?}");
    }
    let page = folder.path("logs.html");
    good(report(&[&merged, &our_log, "--html", &page]));
    checked(&page);
}

/// Each of them names the file, and nothing is written.
#[test]
fn files_that_are_no_results_are_one_sentence() {
    let folder = Folder::new("files");
    let good_one = folder.file("good.json", "{\"count\": 3, \"duration_s\": 1, \"rate_per_s\": 3}");
    let page = folder.path("out.html");
    for (name, contents, reason) in [
        ("empty", "", "is empty"),
        ("nothing.json", "[]", "holds no result"),
        ("text", "hello", "is neither a JSON document of fourwave nor"),
        ("cut.json", "{\"count\": 3, \"dura", "is neither a JSON document of fourwave nor"),
        ("other.json", "{\"name\": \"x\"}", "no result of `fourwave ping`"),
        ("minus.json", "{\"count\": -3, \"duration_s\": 1}", "`count` is -3"),
        ("huge.json", "{\"count\": 1e999, \"duration_s\": 1}", "is neither a JSON document"),
        ("cut.hlog", "#[StartTime: 1.0 (s)]\n1.0,1.0,1.0,HISTFAAAAB\n", "line 2 has a histogram that is cut off"),
        ("not.hlog", "#[StartTime: 1.0 (s)]\nhello\n", "line 2 is no line of an HdrHistogram interval log"),
    ] {
        let bad = folder.file(name, contents);
        let said = refused(report(&[&good_one, &bad, "--html", &page]));
        assert!(said.contains(name) && said.contains(reason), "{said}");
        assert!(!Path::new(&page).exists(), "{name}");
    }
    let said = refused(report(&[&folder.path("nowhere.json")]));
    assert!(said.contains("nowhere.json: can't be read"), "{said}");
    let said = refused(report(&[&good_one, "--html", "/nowhere/out.html"]));
    assert!(said.contains("/nowhere/out.html: can't be written"), "{said}");
    // It has no histogram: it can be shown, and not added up.
    let other = folder.file("other.json", "{\"count\": 4, \"duration_s\": 1, \"rate_per_s\": 4}");
    assert!(good(report(&[&good_one, &other])).contains("1.33 ×"));
    let said = refused(report(&[&good_one, &other, "--merge"]));
    assert!(said.contains("good.json has no histogram"), "{said}");
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for (args, reason) in [
        (&["a.json", "--hlog", "b.hlog"][..], "--merge"),
        (&["a.json", "b.json", "--label", "a"], "--label is given 1 time(s) for 2 file(s)"),
        (&["a.json", "--html", "a.json"], "a.json is read or written twice"),
        (&["a", "--merge", "--html", "b", "--hlog", "b"], "b is read or written twice"),
        (&["a"; 17], "17 results on one page"),
    ] {
        let mut command = report(args);
        if args.len() == 17 {
            command.args(["--html", "x.html"]);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
    }
}

/// A file that is a pipe to which nobody writes.
#[test]
fn ctrl_c_ends_a_wait_for_what_is_read() {
    let mut command = report(&["/dev/stdin"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut waits = Background::of(command.spawn().unwrap());
    waits.hears_ctrl_c();
    waits.signal(Signal::INT);
    let (code, stdout, said) = waits.end(SOON);
    assert_eq!((code, stdout.as_str(), said.lines().count()), (Some(1), "", 1), "{said}");
    assert!(said.starts_with("fourwave: interrupted"), "{said}");
}
