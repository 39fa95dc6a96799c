//! What is said when a world goes wrong.

use stack::Instant;
use std::{
    cell::Cell,
    fmt::Write,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

thread_local! {
    /// A world of this thread has reported: others that go with it have nothing to add.
    static REPORTED: Cell<bool> = const { Cell::new(false) };
}

/// Whether nothing was reported since the last world was made; something is from now on.
pub(crate) fn is_first() -> bool {
    !REPORTED.replace(true)
}

/// A new world: it may report.
pub(crate) fn begin() {
    REPORTED.set(false);
}

/// The nodes' names in a capture.
pub(crate) fn interfaces(nodes: usize) -> Vec<String> {
    (0..nodes).map(|n| format!("node {n}")).collect()
}

/// The command that runs the test of this thread again.
pub(crate) fn this_test() -> String {
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "fourwave-sim".to_owned());
    match std::thread::current().name() {
        Some(test) if test != "main" => format!("cargo test -p {package} -- --exact {test}"),
        _ => "the same program with the same seed".to_owned(),
    }
}

/// A file of its own for the capture of this seed's world.
pub(crate) fn capture_path(seed: u64) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("fourwave-sim-{seed}-{}-{count}.pcapng", std::process::id()))
}

pub(crate) fn text(seed: u64, now: Instant, replay: &str, path: &Path, written: &io::Result<()>) -> String {
    let mut text = format!("the world of seed {seed} went wrong at {now:?}\n  replay:  {replay}\n");
    let _ = match written {
        Ok(()) => write!(text, "  capture: {} (all of it with SIM_CAPTURE=1)", path.display()),
        Err(error) => write!(text, "  no capture: {error}"),
    };
    text
}
