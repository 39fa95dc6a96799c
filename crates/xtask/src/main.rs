//! Repository chores: `cargo run -p xtask -- check`, and what it checks written anew: `… -- conformance`.
#![forbid(unsafe_code)]

mod conformance;
mod sizes;
mod unsafety;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// One finding per line, ready to print.
type Findings = Vec<String>;

/// A check of the repository under this root.
type Check = fn(&Path) -> std::io::Result<Findings>;

const CHECKS: [(&str, Check); 3] = [
    ("sizes of files", sizes::check),
    ("unsafe stays where it belongs", unsafety::check),
    ("every requirement has a test or a reason", conformance::check),
];
const WRITE_CONFORMANCE: [(&str, Check); 1] = [("docs/CONFORMANCE.md", conformance::write)];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let chores: &[(&str, Check)] = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["check"] => &CHECKS,
        ["conformance"] => &WRITE_CONFORMANCE,
        _ => {
            eprintln!("usage: cargo run -p xtask -- check | conformance");
            return ExitCode::from(2);
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut failed = false;
    for (name, chore) in chores {
        match chore(&root) {
            Ok(findings) if findings.is_empty() => println!("ok      {name}"),
            Ok(findings) => {
                failed = true;
                println!("FAILED  {name}");
                findings.iter().for_each(|finding| println!("        {finding}"));
            }
            Err(error) => {
                failed = true;
                println!("FAILED  {name}: cannot read or write: {error}");
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// All Rust files below a folder, in order.
fn rust_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a file up to its unit tests, which come last by custom.
fn without_tests(text: &str) -> &str {
    let tests = text.find("\n#[cfg(test)]\nmod tests {");
    &text[..tests.unwrap_or(text.len())]
}

/// A path as it is written in the repository.
fn shown(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).display().to_string()
}
