//! Asking the program to end: Ctrl-C, SIGTERM, a closed terminal, or a parent that died; and the signals that ask for something else.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::say;

/// How long a command has that is asked to end for the second time.
pub(crate) const LAST_GRACE: Duration = Duration::from_secs(1);
/// How long a child whose parent died has to end in order.
const ORPHAN_GRACE: Duration = Duration::from_secs(3);

/// A flag that every loop of the program looks at. Clones are the same flag.
#[derive(Clone)]
pub(crate) struct Stop(Arc<Shared>);

type Hook = Box<dyn Fn() + Send>;

struct Shared {
    /// How often the end was asked for.
    requests: AtomicU32,
    hooks: Mutex<Vec<Hook>>,
    /// What SIGHUP does; nothing: it asks for the end as the others do.
    hangup: Mutex<Option<Hook>>,
    /// What SIGUSR2 does; nothing: nothing.
    user: Mutex<Option<Hook>>,
    /// Whoever started it did not want it to hear SIGHUP: nohup(1).
    ignores_hangup: bool,
}

impl Stop {
    /// Catches the signals that end a program. With `exit_with_parent` the end of stdin asks to stop as well: a parent
    /// that holds the other end of the pipe takes its children with it, whatever kills it.
    pub(crate) fn install(exit_with_parent: bool) -> anyhow::Result<Self> {
        // As it is before it is caught.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stop = Self::with(is_ignored(&status, SIGHUP));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR2]).context("cannot catch signals")?;
        let on_signal = stop.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            drop_privileges();
            signals.forever().for_each(|signal| on_signal.on_signal(signal));
        })?;
        if exit_with_parent {
            let on_orphan = stop.clone();
            thread::Builder::new().name("parent".into()).spawn(move || exit_with_parent_thread(&on_orphan))?;
        }
        Ok(stop)
    }

    /// A flag that only [`Stop::request`] sets.
    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self::with(false)
    }

    fn with(ignores_hangup: bool) -> Self {
        let (hooks, hangup, user) = (Mutex::new(Vec::new()), Mutex::new(None), Mutex::new(None));
        Self(Arc::new(Shared { requests: AtomicU32::new(0), hooks, hangup, user, ignores_hangup }))
    }

    /// From now on SIGHUP runs `hook`, on another thread, and ends nothing.
    pub(crate) fn on_hangup(&self, hook: impl Fn() + Send + 'static) {
        if let Ok(mut hangup) = self.0.hangup.lock() {
            *hangup = Some(Box::new(hook));
        }
    }

    /// From now on SIGUSR2 runs `hook`, on another thread.
    pub(crate) fn on_user(&self, hook: impl Fn() + Send + 'static) {
        if let Ok(mut user) = self.0.user.lock() {
            *user = Some(Box::new(hook));
        }
    }

    fn on_signal(&self, signal: i32) {
        if signal == SIGUSR2 {
            if let Ok(user) = self.0.user.lock() {
                user.iter().for_each(|hook| hook());
            }
            return;
        }
        match self.0.hangup.lock() {
            Ok(hangup) if signal == SIGHUP && hangup.is_some() => hangup.iter().for_each(|hook| hook()),
            _ if signal == SIGHUP && self.0.ignores_hangup => {}
            _ => self.request(),
        }
    }

    pub(crate) fn requested(&self) -> bool {
        self.0.requests.load(Ordering::Relaxed) > 0
    }

    /// Tells when the end is asked for once more than it was until now.
    pub(crate) fn again(&self) -> Again<'_> {
        Again { stop: self, seen: self.0.requests.load(Ordering::Relaxed) }
    }

    /// Sets the flag and wakes whoever sleeps.
    pub(crate) fn request(&self) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        if let Ok(hooks) = self.0.hooks.lock() {
            hooks.iter().for_each(|hook| hook());
        }
    }

    /// Runs `hook` on another thread when the end is asked for: to wake an event loop.
    pub(crate) fn on_request(&self, hook: impl Fn() + Send + 'static) {
        if let Ok(mut hooks) = self.0.hooks.lock() {
            hooks.push(Box::new(hook));
        }
    }

    /// A flag that is set when the end is asked for, or was before.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        let flag = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&flag);
        self.on_request(move || set.store(true, Ordering::Relaxed));
        if self.requested() {
            flag.store(true, Ordering::Relaxed);
        }
        flag
    }

    /// For a command that leaves nothing behind: once it was asked to end so many times it does, after `grace`, whatever it waits for.
    pub(crate) fn exit_when_asked(&self, times: u32, grace: Duration) {
        let stop = self.clone();
        let exit = move || {
            if stop.0.requests.load(Ordering::Relaxed) >= times {
                thread::spawn(move || {
                    thread::sleep(grace);
                    say!("fourwave: {Interrupted}");
                    std::process::exit(1);
                });
            }
        };
        self.on_request(exit.clone());
        // For what was asked before it was there.
        exit();
    }

    /// Sleeps; shorter when asked to stop.
    pub(crate) fn sleep(&self, duration: Duration) {
        let end = Instant::now() + duration;
        while !self.requested() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    /// An error if the end was asked for.
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        if self.requested() {
            return Err(Interrupted);
        }
        Ok(())
    }
}

/// Of somebody who does not want to wait for the end. It is a count, since a hook would be too late for what comes before it.
pub(crate) struct Again<'a> {
    stop: &'a Stop,
    seen: u32,
}

impl Again<'_> {
    /// Whether the end was asked for since the last look.
    pub(crate) fn asked(&mut self) -> bool {
        let now = self.stop.0.requests.load(Ordering::Relaxed);
        std::mem::replace(&mut self.seen, now) != now
    }
}

/// The user asked to stop before the work was done.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted before it was done: start it again to see the whole of it")
    }
}

impl std::error::Error for Interrupted {}

/// Whether a process with this `/proc/PID/status` ignores a signal: of `SigIgn` the bit below its number.
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

/// Of this thread, which is there before any privilege is needed, and needs none.
fn drop_privileges() {
    if let Err(error) = fourwave::drop_privileges() {
        tracing::warn!("{error}");
    }
}

fn exit_with_parent_thread(stop: &Stop) {
    drop_privileges();
    let mut byte = [0u8; 64];
    while let Ok(1..) = std::io::stdin().read(&mut byte) {}
    stop.request();
    thread::sleep(ORPHAN_GRACE);
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_again_before_anybody_looks_is_asked_again() {
        let stop = Stop::new();
        stop.on_signal(SIGINT);
        assert!(stop.requested());
        let mut again = stop.again();
        assert!(!again.asked());
        stop.on_signal(SIGINT);
        assert!(again.asked());
        assert!(!again.asked(), "once each");
        stop.on_signal(SIGTERM);
        assert!(again.asked());
    }

    /// SIGHUP is 1, SIGINT 2, SIGTERM 15; as proc(5) has it.
    #[test]
    fn what_nohup_keeps_away_asks_for_nothing() {
        let status = |mask: &str| format!("SigBlk:\t0000000000000003\nSigIgn:\t{mask}\nSigCgt:\t0000000000000003\n");
        assert!(is_ignored(&status("0000000000000001"), SIGHUP));
        assert!(!is_ignored(&status("0000000000000002"), SIGHUP));
        assert!(is_ignored(&status("0000000000004000"), SIGTERM));
        assert!(!is_ignored(&status("0000000000004001"), SIGINT));
        assert!(!is_ignored("", SIGHUP));

        let (heard, ignored) = (Stop::new(), Stop::with(true));
        [&heard, &ignored].iter().for_each(|stop| stop.on_signal(SIGHUP));
        assert_eq!((heard.requested(), ignored.requested()), (true, false));
        // One that reloads does so all the same.
        let (sent, reloads) = std::sync::mpsc::channel();
        ignored.on_hangup(move || sent.send(()).unwrap());
        ignored.on_signal(SIGHUP);
        assert_eq!((reloads.try_recv(), ignored.requested()), (Ok(()), false));
        ignored.on_signal(SIGTERM);
        assert!(ignored.requested());
    }
}
