//! In which directories control sockets are.
//!
//! Each is its user's and closed to all others, so that a name in it is as good as its user's word. `/run` is root's, and
//! `/run/user/UID` that user's; in `/tmp` anybody may have made the name first.

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::geteuid;
use std::env;
use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where root's sockets are. Those of others are in `$XDG_RUNTIME_DIR/fourwave`, `/run/user/UID/fourwave`, or
/// `/tmp/fourwave-UID`, whichever can be had first; unless `/run/fourwave` was made for them.
pub const DIRECTORY: &str = "/run/fourwave";
const OF_USERS: &str = "/run/user";
const SHARED: &str = "/tmp";
const NAME: &str = "fourwave";

/// A directory to look for sockets in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// It is the caller's.
    pub(super) ours: bool,
}

/// A directory for a socket of this process, made if need be.
pub(crate) fn claim() -> io::Result<PathBuf> {
    let uid = geteuid().as_raw();
    let mut refused = Vec::new();
    for path in candidates(uid) {
        match claim_one(&path, uid) {
            Ok(()) => return Ok(path),
            Err(error) => refused.push(format!("{} ({error})", path.display())),
        }
    }
    Err(io::Error::other(format!("none of these directories can be used: {}", refused.join(", "))))
}

/// Where a user's sockets may be, the best first.
fn candidates(uid: u32) -> Vec<PathBuf> {
    let xdg = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let xdg = xdg.into_iter().map(|path| path.join(NAME));
    let own = [Path::new(OF_USERS).join(uid.to_string()).join(NAME), Path::new(SHARED).join(format!("{NAME}-{uid}"))];
    [PathBuf::from(DIRECTORY)].into_iter().chain(xdg).chain(own).collect()
}

/// Makes a directory that is `uid`'s and closed to others, or finds that it is so.
fn claim_one(path: &Path, uid: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::symlink_metadata(path)?;
    if !is_of(&metadata, uid) {
        return Err(io::Error::other("it is not a directory of this user"));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    // It may have been made before what it is in could only be read any more.
    Ok(accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

fn is_of(metadata: &Metadata, uid: u32) -> bool {
    // Of what a symbolic link points to nothing is known.
    metadata.is_dir() && metadata.uid() == uid
}

/// Where the caller may look: its own, and if it is root everybody's.
pub(super) fn all() -> Vec<Place> {
    let uid = geteuid();
    let mut places: Vec<Place> = Vec::new();
    // Nobody but root makes names in /run.
    if let Ok(metadata) = fs::symlink_metadata(DIRECTORY) {
        places.push(Place { path: DIRECTORY.into(), ours: is_of(&metadata, uid.as_raw()) });
    }
    let mut add = |path: PathBuf, user: u32| {
        let known = places.iter().any(|place| place.path == path);
        if !known && fs::symlink_metadata(&path).is_ok_and(|metadata| is_of(&metadata, user)) {
            places.push(Place { path, ours: user == uid.as_raw() });
        }
    };
    candidates(uid.as_raw()).into_iter().for_each(|path| add(path, uid.as_raw()));
    if uid.is_root() {
        others().into_iter().for_each(|(path, user)| add(path, user));
    }
    places
}

/// The directories that users have, by the name that says whose it should be.
fn others() -> Vec<(PathBuf, u32)> {
    let entries = |directory| fs::read_dir(directory).into_iter().flatten().flatten();
    let number = |name: &str| name.parse::<u32>().ok();
    let in_run =
        entries(OF_USERS).filter_map(|entry| Some((entry.path().join(NAME), number(entry.file_name().to_str()?)?)));
    let in_tmp = entries(SHARED).filter_map(|entry| {
        let user = number(entry.file_name().to_str()?.strip_prefix(NAME)?.strip_prefix('-')?)?;
        Some((entry.path(), user))
    });
    in_run.chain(in_tmp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = env::temp_dir().join(format!("fourwave-place-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn a_directory_is_made_closed_or_closed_again() {
        let scratch = scratch("made");
        let (path, uid) = (scratch.join("fourwave"), geteuid().as_raw());
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        claim_one(&path, uid).unwrap();
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        claim_one(&path, uid).unwrap();
        assert_eq!(mode(), 0o700);
        fs::remove_dir_all(scratch).unwrap();
    }

    /// What somebody else may have put there first.
    #[test]
    fn a_link_a_file_and_a_foreign_directory_are_not_used() {
        let scratch = scratch("foreign");
        let uid = geteuid().as_raw();
        let (target, link, file) = (scratch.join("target"), scratch.join("link"), scratch.join("file"));
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        fs::write(&file, "").unwrap();
        assert!(claim_one(&link, uid).is_err());
        assert!(claim_one(&file, uid).is_err());
        assert!(claim_one(&target, uid + 1).is_err());
        assert!(claim_one(&scratch.join("no/parent"), uid).is_err());
        claim_one(&target, uid).unwrap();
        fs::remove_dir_all(scratch).unwrap();
    }
}
