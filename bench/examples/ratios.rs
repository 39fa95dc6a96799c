//! A table of the last `cargo bench`: medians, of what comes in waves ([`in_memory::MANY`]) means, and how many times as long smoltcp takes. `make bench-memory` prints it.

#[path = "../in_memory/mod.rs"]
mod in_memory;

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    println!("| operation | fourwave, ns | smoltcp, ns | ratio |\n|---|---:|---:|---:|");
    for case in in_memory::cases() {
        let id = case.id();
        let Some(ours) = typical(&target, &id, case.size, "fourwave")? else { continue };
        let theirs = if case.theirs.is_some() { typical(&target, &id, case.size, "smoltcp")? } else { None };
        let (theirs, ratio) = match theirs {
            Some(theirs) => (format!("{theirs:.1}"), format!("{:.2}", theirs / ours)),
            None => (String::new(), String::new()),
        };
        println!("| {id} | {ours:.1} | {theirs} | {ratio} |");
    }
    Ok(())
}

/// What criterion keeps of its last run, nanoseconds; `None`: that was not run.
fn typical(target: &Path, id: &str, size: usize, stack: &str) -> Result<Option<f64>> {
    let file = target.join("criterion").join(id.replace('/', "_")).join(stack).join("new/estimates.json");
    let Ok(text) = std::fs::read_to_string(&file) else { return Ok(None) };
    let json: serde_json::Value = serde_json::from_str(&text)?;
    let which = if size >= in_memory::MANY { "mean" } else { "median" };
    let typical = json[which]["point_estimate"].as_f64();
    typical.with_context(|| format!("{} has no {which}", file.display())).map(Some)
}
