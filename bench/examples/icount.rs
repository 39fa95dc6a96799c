//! Instructions per operation, by valgrind's callgrind: what else the machine does changes nothing. `make bench-icount`.
//!
//! Each case is run twice, in processes of their own, for a number of operations and for ten thousand more; the difference
//! of the instructions, divided by that, is one operation's, and the set-up has no part in it. What the scripted client
//! does is in the count, the same for both stacks: 50 to some 140 instructions for a segment, some 10 for a byte string.
//!
//! `icount.txt` beside this crate is what counts are held against. It only goes down: `-- keep` lowers it, and takes in
//! what is new; to raise one, edit the file and say why in the commit.

#[path = "../in_memory/mod.rs"]
mod in_memory;

use anyhow::{Context, Result, bail, ensure};
use in_memory::cases;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

/// The largest case that is counted: what is set up runs in valgrind too, some fifty times slower than else. Instructions
/// hardly depend on how many connections there are; what does is the memory's time, which is not counted here.
const MOST: usize = 9000;
/// Operations before those that are counted, and of those; where smoltcp looks at a thousand sockets for each, a twentieth does.
const BEFORE: u64 = 20_000;
const COUNTED: u64 = 10_000;
/// By so many per cent a count may be above what was kept: the compiler lays code out as it likes.
const TOLERANCE_PERCENT: f64 = 1.0;

/// Instructions per operation, ours and smoltcp's.
type Counts = BTreeMap<String, (f64, Option<f64>)>;

fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(false),
        ["keep"] => compare(true),
        ["run", stack, case, times] => run(stack, case, times.parse().context("a number of operations")?),
        _ => bail!("usage: icount [keep] | run fourwave|smoltcp CASE TIMES"),
    }
}

/// What valgrind runs: nothing but this case.
fn run(stack: &str, id: &str, times: u64) -> Result<ExitCode> {
    let case = cases().into_iter().find(|case| case.id() == id).with_context(|| format!("there is no case {id}"))?;
    let make = match stack {
        "fourwave" => case.ours,
        _ => case.theirs.with_context(|| format!("smoltcp has no {id}"))?.0,
    };
    make(case.size)(times);
    Ok(ExitCode::SUCCESS)
}

fn compare(keep: bool) -> Result<ExitCode> {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        bail!("valgrind is missing, which counts the instructions: apt-get install valgrind");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("icount.txt");
    let kept = std::fs::read_to_string(&file).map_or_else(|_| Ok(Counts::new()), |text| read(&text))?;
    let mut counts = Counts::new();
    let mut above = 0;
    println!("{:24} {:>10} {:>10} {:>8} {:>9}", "instructions of", "fourwave", "smoltcp", "ratio", "kept");
    for case in cases().iter().filter(|case| case.size <= MOST) {
        let id = case.id();
        let ours = count("fourwave", &id, 1)?;
        let part = if case.size == 1000 { 20 } else { 1 };
        let theirs = case.theirs.map(|_| count("smoltcp", &id, part)).transpose()?;
        let before = kept.get(&id).map(|(ours, _)| *ours);
        let is_above = before.is_some_and(|before| ours > before * (1.0 + TOLERANCE_PERCENT / 100.0) + 0.5);
        above += u32::from(is_above);
        let ratio = theirs.map_or(String::new(), |theirs| format!("{:.2}", theirs / ours));
        let theirs_shown = theirs.map_or(String::new(), |theirs| format!("{theirs:.1}"));
        let before_shown = before.map_or("new".to_owned(), |before| format!("{before:.1}"));
        let verdict = if is_above { "  ABOVE" } else { "" };
        println!("{id:24} {ours:>10.1} {theirs_shown:>10} {ratio:>8} {before_shown:>9}{verdict}");
        counts.insert(id, (before.map_or(ours, |before| before.min(ours)), theirs));
    }
    let lower = counts.iter().filter(|(id, (ours, _))| kept.get(*id).is_none_or(|(before, _)| ours < before)).count();
    if keep {
        std::fs::write(&file, written(&counts)).with_context(|| format!("cannot write {}", file.display()))?;
        println!("{lower} lowered or new in {}", file.display());
    } else if lower > 0 {
        println!("{lower} are lower than kept, or new: make bench-icount-keep");
    }
    if above > 0 {
        println!("{above} above what is kept by more than {TOLERANCE_PERCENT} %");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Instructions of one operation.
fn count(stack: &str, id: &str, part: u64) -> Result<f64> {
    let (before, counted) = (BEFORE / part, COUNTED / part);
    let few = instructions(stack, id, before)?;
    let many = instructions(stack, id, before + counted)?;
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    Ok((many - few) as f64 / counted as f64)
}

/// Instructions of a whole process.
fn instructions(stack: &str, id: &str, times: u64) -> Result<i64> {
    let out: PathBuf = std::env::temp_dir().join(format!("fourwave-icount-{}.out", std::process::id()));
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", &format!("--callgrind-out-file={}", out.display())])
        .arg(std::env::current_exe()?)
        .args(["run", stack, id, &times.to_string()])
        .status()
        .context("cannot run valgrind")?;
    ensure!(status.success(), "{id} of {stack} failed in valgrind");
    let text = std::fs::read_to_string(&out).context("callgrind wrote nothing")?;
    let _ = std::fs::remove_file(&out);
    let line = text.lines().find_map(|line| line.strip_prefix("totals: ")).context("callgrind's file has no totals")?;
    line.trim().parse().context("callgrind's total is no number")
}

fn read(text: &str) -> Result<Counts> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let mut fields = line.split_whitespace();
            let id = fields.next().unwrap_or_default().to_owned();
            let mut number =
                || fields.next().map(str::parse).transpose().with_context(|| format!("icount.txt: {line}"));
            Ok((id, (number()?.with_context(|| format!("icount.txt: {line}"))?, number()?)))
        })
        .collect()
}

fn written(counts: &Counts) -> String {
    let mut text = String::from(
        "# Instructions of one operation, fourwave's and smoltcp's: `make bench-icount-keep`. The first only go down.\n",
    );
    for (id, (ours, theirs)) in counts {
        let theirs = theirs.map_or(String::new(), |theirs| format!("{theirs:>10.1}"));
        let _ = writeln!(text, "{}", format!("{id:24} {ours:>10.1} {theirs}").trim_end());
    }
    text
}
