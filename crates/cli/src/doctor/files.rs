//! What the kernel shows of itself in files.

use std::path::{Path, PathBuf};

/// `/proc` and `/sys`, or what a test has in their place.
#[derive(Clone, Debug)]
pub(crate) struct Files(PathBuf);

impl Files {
    /// Those of this machine.
    pub(crate) fn system() -> Self {
        Self(PathBuf::from("/"))
    }

    /// The text of a file without the white space around it; `None` if it can't be read.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = std::fs::read(self.0.join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The names in a folder, in order; none if it can't be read.
    pub(crate) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The last part of where a link leads.
    pub(crate) fn link(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = std::fs::canonicalize(self.0.join(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// The folder of an interface in `/sys`, if it shows that of our network namespace.
    pub(crate) fn interface(&self, name: &str, ifindex: u32) -> Option<String> {
        let folder = format!("sys/class/net/{name}");
        let shown = self.read(format!("{folder}/ifindex"))?.parse().ok();
        (shown == Some(ifindex)).then_some(folder)
    }
}

/// Files made up for a test, gone when it is over.
#[cfg(test)]
pub(crate) mod made_up {
    use super::Files;
    use std::ops::Deref;
    use std::sync::atomic::{AtomicU32, Ordering};

    pub(crate) struct MadeUp(Files);

    impl MadeUp {
        pub(crate) fn new(files: &[(&str, &str)]) -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let root = std::env::temp_dir().join(format!("fourwave-doctor-{}-{number}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Self(Files(root))
        }
    }

    impl Deref for MadeUp {
        type Target = Files;

        fn deref(&self) -> &Files {
            &self.0
        }
    }

    impl Drop for MadeUp {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0.0);
        }
    }
}
