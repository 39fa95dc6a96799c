//! Files of what happened.

use super::collect::Collected;
use super::row::{Traced, Wall};
use crate::control;
use crate::error::Error;
use crate::privileges::Privileges;
use rustix::fs::{Access, AtFlags, CWD, accessat};
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
/// Why files are written, by this program.
const REASONS: [&str; 4] = ["signal", "panic", "failure", "stall"];

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

/// Whether files can be written there by threads that keep no more than this, so that it is not found out when there is something to
/// write.
pub(crate) fn check(directory: Option<&Path>, privileges: Privileges) -> Result<(), Error> {
    let Some(directory) = directory else { return Ok(()) };
    let refused = |source| Error::TraceDirectory { directory: directory.to_owned(), source };
    let look = || {
        privileges.give_up()?;
        if !fs::metadata(directory)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
    };
    // A thread of its own: what is given up is gone for good.
    let looked = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, look)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("it can't be looked at")))
    });
    looked.map_err(refused)
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
    forget_old(&directory, reason);
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

/// The latest are kept. The directory may be anybody's: what is not named as ours is not touched.
fn forget_old(directory: &Path, reason: &str) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let written = |path: PathBuf| {
        let metadata = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        is_ours(path.file_name()?.to_str()?, reason).then_some((metadata.modified().ok()?, path))
    };
    let mut files: Vec<_> = entries.flatten().filter_map(|entry| written(entry.path())).collect();
    files.sort();
    for (_, path) in files.iter().rev().skip(MOST_FILES) {
        let _ = fs::remove_file(path);
    }
}

/// Whether it is `PID-SECONDS-N-REASON.trace`. `also`: a reason that an application of its own has given.
fn is_ours(name: &str, also: &str) -> bool {
    let mut parts = name.splitn(4, '-');
    let is_number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let numbers = (0..3).all(|_| is_number(parts.next()));
    let reason = parts.next().and_then(|rest| rest.strip_suffix(EXTENSION)?.strip_suffix('.'));
    numbers && reason.is_some_and(|reason| reason == also || REASONS.contains(&reason))
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
        // Written before ours, so that they would be the first to go.
        let foreign = (0..20).map(|n| directory.join(format!("app{n}.trace"))).collect::<Vec<_>>();
        foreign.iter().for_each(|path| fs::write(path, "another program's").unwrap());
        fs::create_dir(directory.join("1-2-3-signal.trace")).unwrap();
        let mut paths = Vec::new();
        for _ in 0..18 {
            let silent = (3, Err(io::Error::other("it stands still")));
            paths.push(write(Some(&directory), "signal", std::iter::once(silent)).unwrap());
        }
        let last = paths.last().unwrap();
        assert_eq!(fs::metadata(last).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(last).unwrap().contains("\nshard 3 does not answer: it stands still\n"));
        assert_eq!(paths.iter().filter(|path| path.exists()).count(), 16);
        assert!(foreign.iter().all(|path| path.exists()), "what is not ours is not touched");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 16 + 20 + 2, "nor are notes and a directory");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn ours_are_known_by_their_whole_name() {
        let ours = [
            "17-1700000000-0-signal.trace",
            "1-2-3-panic.trace",
            "1-2-3-failure.trace",
            "1-2-3-stall.trace",
            "1-2-3-own.trace",
        ];
        assert!(ours.iter().all(|name| is_ours(name, "own")));
        let foreign = [
            "app1.trace",
            "1-2-signal.trace",
            "1-2-3-4-signal.trace",
            "1-2-x-signal.trace",
            "1--3-signal.trace",
            "+1-2-3-signal.trace",
            "1-2-3-other.trace",
            "1-2-3-signal.txt",
            "1-2-3-signaltrace",
            "1-2-3-signal",
        ];
        assert!(!foreign.iter().any(|name| is_ours(name, "own")));
    }

    /// Root keeps nothing that opens what is closed to its user.
    #[test]
    fn a_directory_that_cant_be_written_to_is_refused() {
        let path = std::env::temp_dir().join(format!("fourwave-trace-check-{}", std::process::id()));
        let none = Privileges::of(&crate::Options::new("none"));
        let check = |path: &Path| check(Some(path), none).map_err(|error| error.to_string());
        let refused = |path: &Path, why: &str| {
            let text = check(path).unwrap_err();
            assert!(
                text.starts_with(&format!("the trace directory {} can't be written to: ", path.display())),
                "{text}"
            );
            assert!(text.to_lowercase().contains(why), "{text}");
        };
        refused(&path, "no such file");
        fs::create_dir(&path).unwrap();
        check(&path).unwrap();
        let file = path.join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o777)).unwrap();
        refused(&file, "not a directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
        refused(&path, "permission denied");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_file_has_a_limit() {
        let mut out = Limited { out: Vec::new(), left: 10 };
        ["12345", "6789", "1", "2"].iter().for_each(|text| out.line(text).unwrap());
        assert_eq!(String::from_utf8(out.out).unwrap(), "12345\n… the file is full\n");
    }
}
