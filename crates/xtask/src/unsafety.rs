//! Crates that hold the protocol have no unsafe code, and say so to the compiler.

use std::path::Path;

use crate::Findings;

const SAFE: [&str; 4] = ["wire", "wheel", "tcp", "stack"];
const FORBID: &str = "#![forbid(unsafe_code)]";

/// `forbid` can't be lifted further down in a crate, so the line at its root is the whole proof.
pub(crate) fn check(root: &Path) -> std::io::Result<Findings> {
    let mut findings = Findings::new();
    for name in SAFE {
        let file = format!("crates/{name}/src/lib.rs");
        let text = std::fs::read_to_string(root.join(&file))?;
        if !text.lines().any(|line| line == FORBID) {
            findings.push(format!("{file} lacks {FORBID}"));
        }
    }
    Ok(findings)
}
