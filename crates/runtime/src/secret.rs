//! The secret behind initial sequence numbers and timestamps: one for all of a machine's stacks, until it starts again.
//!
//! A process that is started anew goes on with both where the last one was, as the kernel does for its processes: so its SYNs
//! are taken for new ones by peers that have the last one's connections in TIME-WAIT (RFC 9293 section 3.6.1, RFC 6191), and no
//! segment of those is mistaken for one of its own (RFC 9293 section 3.4.3). With a secret of its own its SYNs are refused, by
//! half of these peers, for as long as a minute.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::geteuid;

/// What a symbolic link points to is nobody's word.
const NO_LINKS: i32 = OFlags::NOFOLLOW.bits().cast_signed();
const NAME: &str = "secret";
/// Of the key of SipHash.
type Secret = [u8; 16];

/// The secret in a directory that is this user's alone; `fresh` becomes it if there is none.
pub(crate) fn shared(directory: &Path, fresh: Secret) -> io::Result<Secret> {
    let path = directory.join(NAME);
    if let Some(secret) = read(&path)? {
        return Ok(secret);
    }
    // Whole before anybody can see it, and the first of several stacks wins.
    let mine = directory.join(format!("{NAME}.{}", std::process::id()));
    let written = write(&mine, &fresh).and_then(|()| match fs::hard_link(&mine, &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    });
    let _ = fs::remove_file(&mine);
    written?;
    read(&path)?.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn read(path: &Path) -> io::Result<Option<Secret>> {
    let mut file = match File::options().read(true).custom_flags(NO_LINKS).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        return Err(io::Error::other("others can read it, or it is another user's"));
    }
    let mut secret = Secret::default();
    file.read_exact(&mut secret)?;
    Ok(Some(secret))
}

fn write(path: &Path, secret: &Secret) -> io::Result<()> {
    let _ = fs::remove_file(path);
    File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_secret_is_that_of_all_and_closed_to_others() {
        let directory = std::env::temp_dir().join(format!("fw-secret-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join(NAME);
        assert_eq!(shared(&directory, [1; 16]).unwrap(), [1; 16]);
        assert_eq!(shared(&directory, [2; 16]).unwrap(), [1; 16]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing else is left");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(shared(&directory, [2; 16]).is_err(), "others can read it");
        fs::remove_file(&path).unwrap();
        fs::write(&path, [1; 15]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(shared(&directory, [2; 16]).is_err(), "cut off");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(shared(&directory, [2; 16]).is_err(), "a symbolic link");
        fs::remove_dir_all(&directory).unwrap();
    }
}
