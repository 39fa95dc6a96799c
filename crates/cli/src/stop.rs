//! Asking the program to end: Ctrl-C, SIGTERM, a closed terminal, or a parent that died; and the signals that ask for something else.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;

/// How long a child whose parent died has to end in order.
const ORPHAN_GRACE: Duration = Duration::from_secs(3);

/// A flag that every loop of the program looks at. Clones are the same flag.
#[derive(Clone)]
pub(crate) struct Stop(Arc<Shared>);

type Hook = Box<dyn Fn() + Send>;

struct Shared {
    requested: AtomicBool,
    hooks: Mutex<Vec<Hook>>,
    /// What SIGHUP does; nothing: it asks for the end as the others do.
    hangup: Mutex<Option<Hook>>,
    /// What SIGUSR2 does; nothing: nothing.
    user: Mutex<Option<Hook>>,
}

impl Stop {
    /// Catches the signals that end a program. With `exit_with_parent` the end of stdin asks to stop as well: a parent
    /// that holds the other end of the pipe takes its children with it, whatever kills it.
    pub(crate) fn install(exit_with_parent: bool) -> anyhow::Result<Self> {
        let stop = Self::new();
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
    pub(crate) fn new() -> Self {
        let (hooks, hangup, user) = (Mutex::new(Vec::new()), Mutex::new(None), Mutex::new(None));
        Self(Arc::new(Shared { requested: AtomicBool::new(false), hooks, hangup, user }))
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
            _ => self.request(),
        }
    }

    pub(crate) fn requested(&self) -> bool {
        self.0.requested.load(Ordering::Relaxed)
    }

    /// Sets the flag and wakes whoever sleeps.
    pub(crate) fn request(&self) {
        self.0.requested.store(true, Ordering::Relaxed);
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

/// The user asked to stop before the work was done.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted before it was done: start it again to see the whole of it")
    }
}

impl std::error::Error for Interrupted {}

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
