//! Files that fit in a head: limits that may be lowered and not raised. Functions are clippy's (`clippy.toml`).

use std::path::Path;

use crate::{Findings, rust_files, shown, without_tests};

/// Lines of a file without its tests, in the folders where that is a rule.
const LIMITS: [(&str, usize); 1] = [("crates/tcp/src", 600)];
/// The contract of the connection is to be read in one go.
const SINGLE_FILES: [(&str, usize); 1] = [("crates/tcp/src/lib.rs", 150)];

pub(crate) fn check(root: &Path) -> std::io::Result<Findings> {
    let mut findings = Findings::new();
    for (folder, limit) in LIMITS {
        for file in rust_files(&root.join(folder))? {
            findings.extend(measure(root, &file, limit)?);
        }
    }
    for (file, limit) in SINGLE_FILES {
        findings.extend(measure(root, &root.join(file), limit)?);
    }
    Ok(findings)
}

fn measure(root: &Path, file: &Path, limit: usize) -> std::io::Result<Option<String>> {
    let text = std::fs::read_to_string(file)?;
    let lines = without_tests(&text).lines().count();
    let over = lines > limit;
    Ok(over
        .then(|| format!("{} has {lines} lines without its tests, {limit} are allowed: split it", shown(root, file))))
}

#[cfg(test)]
mod tests {
    use crate::without_tests;

    #[test]
    fn tests_do_not_count() {
        assert_eq!(without_tests("a\nb\n\n#[cfg(test)]\nmod tests {\n}\n").lines().count(), 2);
        assert_eq!(without_tests("a\n#[cfg(test)]\nmod testing;\nb\n").lines().count(), 4);
    }
}
