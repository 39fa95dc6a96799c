//! Where words go: results to stdout, everything else to stderr.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tracing_subscriber::EnvFilter;

/// Writes a line to stderr. Unlike `eprintln!` it doesn't panic when the terminal is gone, so that clean-up goes on.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => { $crate::out::stderr_line(format_args!($($arg)*)) };
}

pub(crate) fn stderr_line(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whoever read the results went away.
static GONE: AtomicBool = AtomicBool::new(false);
/// Why a result could not be written.
static LOST: OnceLock<ErrorKind> = OnceLock::new();

/// Writes a result to stdout. A reader that went away (`| head`) is no failure of ours; anything else [`lost`] tells.
pub(crate) fn result(text: &str) {
    let mut stdout = std::io::stdout();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => GONE.store(true, Ordering::Relaxed),
        Err(error) => drop(LOST.set(error.kind())),
        Ok(()) => {}
    }
}

/// Nobody reads the results any more, or they can't be written: for commands that would go on for ever.
pub(crate) fn nobody_reads() -> bool {
    GONE.load(Ordering::Relaxed) || LOST.get().is_some()
}

/// An error if a result did not get to where it was to go, such as a disk that is full.
pub(crate) fn lost() -> anyhow::Result<()> {
    LOST.get().map_or(Ok(()), |kind| Err(anyhow::anyhow!("the result can't be written to stdout: {kind}")))
}

/// Writes one JSON document to stdout.
pub(crate) fn json<T: Serialize>(document: &T) -> anyhow::Result<()> {
    result(&serde_json::to_string_pretty(document)?);
    Ok(())
}

/// A document that is an array, written as its elements come: nobody holds a million of them.
pub(crate) struct JsonList {
    on: bool,
    /// Each element but the last has a comma behind it.
    last: Option<String>,
}

impl JsonList {
    /// Without `on` nothing is written.
    pub(crate) const fn new(on: bool) -> Self {
        Self { on, last: None }
    }

    pub(crate) fn add<T: Serialize>(&mut self, element: &T) {
        let text = serde_json::to_string_pretty(element).unwrap_or_default().replace('\n', "\n  ");
        match self.last.replace(text) {
            Some(before) => result(&format!("  {before},")),
            None => result("["),
        }
    }

    /// What there is, is a document.
    pub(crate) fn end(self) {
        if self.on {
            result(&self.last.map_or_else(|| "[]".into(), |text| format!("  {text}\n]")));
        }
    }
}

/// Logs go to stderr: `-v` info, `-vv` debug, `-vvv` trace; `RUST_LOG` wins.
pub(crate) fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// An error and its causes in one sentence, without those that it says already.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// One line on stderr that is rewritten in place on a terminal. Elsewhere only finished steps are written.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    shown: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), shown: false }
    }

    /// Shows what goes on now, on a terminal only.
    pub(crate) fn now(&mut self, text: &str) {
        if self.terminal {
            let mut stderr = std::io::stderr();
            let _ = write!(stderr, "\r\x1b[2K{text}").and_then(|()| stderr.flush());
            self.shown = true;
        }
    }

    /// Writes a line that stays.
    pub(crate) fn done(&mut self, text: &str) {
        self.clear();
        say!("{text}");
    }

    /// Takes the rewritten line away.
    pub(crate) fn clear(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
            self.shown = false;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// As the beginning of a sentence.
pub(crate) fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

/// A time for people: three figures and a unit.
pub(crate) fn nanoseconds(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let decimals = match value {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::{nanoseconds, sentence};
    use anyhow::anyhow;

    #[test]
    fn times_have_three_figures() {
        assert_eq!(nanoseconds(2_534.0), "2.53 µs");
        assert_eq!(nanoseconds(14_640.0), "14.6 µs");
        assert_eq!(nanoseconds(250.0), "250 ns");
        assert_eq!(nanoseconds(1_500_000_000.0), "1.50 s");
    }

    #[test]
    fn a_cause_is_not_said_twice() {
        let error = anyhow!("no such port").context("opening: no such port").context("cannot start");
        assert_eq!(sentence(&error), "cannot start: opening: no such port");
    }
}
