//! A loop that somebody else turns.

use super::*;
use std::os::fd::RawFd;

/// Turns in a row while there is work: what waits for the owner's other business stays short.
const TURNS: usize = 16;

impl<P: Port, A: App> Worker<P, A> {
    /// Does what there is to do, for at most some turns; false when the last of them found nothing.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub fn turn_once(&mut self) -> io::Result<bool> {
        // What the descriptor told is about to be seen.
        self.sleeper.sleep(Instant::ZERO, Some(Instant::ZERO))?;
        self.post.as_ref().inspect(|post| post.awake());
        // What the application was asked by others comes before what arrives, so that a listener is open before its SYN.
        let now = self.clock.now();
        let app = &mut self.app;
        self.shard.call(now, |io| app.on_turn(io));
        for _ in 0..TURNS {
            let now = self.clock.now();
            self.meter.begins(now);
            let worked = self.turn(now)?;
            self.meter.worked(worked);
            if !worked {
                self.serve_commands(now);
                self.port.look_away();
                self.meter.sleeps(self.clock.now());
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How long the owner may sleep on [`Worker::as_raw_fd`] before it turns the loop again.
    pub fn may_sleep(&mut self) -> Duration {
        let now = self.clock.now();
        let output = self.shard.has_output() || self.held.is_some() || self.port.needs_flush();
        let told = self.shard.has_messages() || !self.post.as_ref().is_none_or(Post::may_sleep);
        if (output && !self.down) || self.shard.finish_requested() || told {
            return Duration::ZERO;
        }
        let deadline =
            [Some(self.next_check), self.shard.next_wakeup(), self.app.wake_at()].into_iter().flatten().min();
        deadline.map_or(CHECK, |at| at - now)
    }

    /// A descriptor that becomes readable when frames or commands have come.
    #[must_use]
    pub fn as_raw_fd(&self) -> RawFd {
        self.sleeper.as_raw_fd()
    }

    /// Whether the application has asked for the end ([`Io::finish`](stack::Io::finish)).
    #[must_use]
    pub const fn finish_requested(&self) -> bool {
        self.shard.finish_requested()
    }

    /// Ends in order, as [`Worker::run`] does without a drain time: within a second.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub fn end(mut self) -> io::Result<Finished<A>> {
        let ended = self.catch(|worker| {
            worker.shard.begin_drain(worker.clock.now(), &mut worker.app);
            worker.drain()
        });
        ended.unwrap_or_else(|panic| resume_unwind(panic))?;
        Ok(self.finished())
    }
}
