//! Files of what happened.

use super::collect::Collected;
use super::row::{Traced, Wall};
use crate::control;
use stack::{Instant, Shard};
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a file, at most.
const MOST_BYTES: usize = 32 << 20;
/// Files of a directory, at most.
const MOST_FILES: usize = 16;
const EXTENSION: &str = "trace";

/// Where a loop that fails writes what happened to its connections.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    pub(crate) directory: Option<PathBuf>,
}

impl Faults {
    /// Writes it, and says where; not loudly, since what failed is told behind it, in one sentence.
    pub(crate) fn write(&self, reason: &str, shard: &Shard, now: Instant) {
        let index = usize::from(shard.config().place.index);
        let collected = std::iter::once((index, Ok(Collected::of(shard, now))));
        match write(self.directory.as_deref(), reason, collected) {
            Ok(path) => tracing::info!("what happened to the connections of shard {index} is in {}", path.display()),
            Err(error) => tracing::warn!("what happened to the connections of shard {index} is lost: {error}"),
        }
    }
}

/// Writes a file for what the shards know.
pub(super) fn write(
    directory: Option<&Path>,
    reason: &str,
    shards: impl Iterator<Item = (usize, io::Result<Collected>)>,
) -> io::Result<PathBuf> {
    // Of several at once each has its own.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let directory = match directory {
        Some(directory) => directory.to_owned(),
        None => control::claim()?,
    };
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (pid, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let path = directory.join(format!("{pid}-{}-{number}-{reason}.{EXTENSION}", unix.as_secs()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(|error| {
        io::Error::new(error.kind(), format!("{} can't be written to: {error}", directory.display()))
    })?;
    let mut out = Limited { out: BufWriter::new(file), left: MOST_BYTES };
    out.line(&format!("fourwave {} process {pid} {reason}; times are UTC", env!("CARGO_PKG_VERSION")))?;
    for (index, collected) in shards {
        shard(&mut out, index, collected)?;
    }
    out.out.flush()?;
    forget_old(&directory);
    Ok(path)
}

/// What happened last comes first: that is what there is room for.
fn shard(out: &mut Limited<impl Write>, index: usize, collected: io::Result<Collected>) -> io::Result<()> {
    let Collected { traces, overwritten, now } = match collected {
        Ok(collected) => collected,
        Err(error) => return out.line(&format!("\nshard {index} does not answer: {error}")),
    };
    out.line(&format!("\nshard {index}: {} connections, {overwritten} older records are overwritten", traces.len()))?;
    let wall = Wall::at(now);
    for trace in traces.iter().rev() {
        out.line(&Traced::new(index, trace, wall).to_string())?;
    }
    Ok(())
}

/// What is beyond the limit is left out, and that is said.
struct Limited<W> {
    out: W,
    left: usize,
}

impl<W: Write> Limited<W> {
    fn line(&mut self, text: &str) -> io::Result<()> {
        match self.left.checked_sub(text.len() + 1) {
            Some(left) => {
                self.left = left;
                writeln!(self.out, "{text}")
            }
            None if self.left > 0 => {
                self.left = 0;
                writeln!(self.out, "… the file is full")
            }
            None => Ok(()),
        }
    }
}

/// The latest are kept.
fn forget_old(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let ours = |path: &PathBuf| path.extension().is_some_and(|extension| extension == EXTENSION);
    let written = |path: PathBuf| Some((fs::symlink_metadata(&path).ok()?.modified().ok()?, path));
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(ours).filter_map(written).collect();
    files.sort();
    for (_, path) in files.iter().rev().skip(MOST_FILES) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_its_owners_alone_and_the_latest_sixteen_are_kept() {
        let directory = std::env::temp_dir().join(format!("fourwave-trace-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("notes"), "mine").unwrap();
        let mut paths = Vec::new();
        for _ in 0..18 {
            let silent = (3, Err(io::Error::other("it stands still")));
            paths.push(write(Some(&directory), "signal", std::iter::once(silent)).unwrap());
        }
        let last = paths.last().unwrap();
        assert_eq!(fs::metadata(last).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(last).unwrap().contains("\nshard 3 does not answer: it stands still\n"));
        assert_eq!(paths.iter().filter(|path| path.exists()).count(), 16);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 17, "what is not ours is not touched");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_file_has_a_limit() {
        let mut out = Limited { out: Vec::new(), left: 10 };
        ["12345", "6789", "1", "2"].iter().for_each(|text| out.line(text).unwrap());
        assert_eq!(String::from_utf8(out.out).unwrap(), "12345\n… the file is full\n");
    }
}
