//! Sleeping, where a loop has no port: on the kernel's sockets themselves.

use super::*;

impl<P: Port, A: App> Worker<P, A> {
    /// A loop without a port sleeps in the same call that tells what has happened on its sockets. Beside a port the sleep only
    /// learns that something has, and it takes a second call, and a second wakeup within the kernel, to learn what.
    pub(super) fn sleep_on_sockets(&mut self) -> io::Result<()> {
        let Some(sockets) = self.shard.sockets_descriptor().filter(|_| self.port.fd().is_none()) else {
            return Ok(());
        };
        self.sleeper.leave(sockets)?;
        self.bare = self.shard.watch_beside_sockets(self.sleeper.as_raw_fd());
        if !self.bare {
            return Err(io::Error::other("the loop's own descriptor can't be slept on beside the sockets"));
        }
        if self.idle == Idle::Busy {
            self.shard.spin_on_sockets();
        }
        Ok(())
    }

    /// Whether the next look is the sleep, even behind a turn that has found something.
    pub(super) fn sleeps_at_once(&self) -> bool {
        self.bare && self.idle == Idle::Sleep && self.until.is_none()
    }

    /// Sleeps until there is something to do, or until `deadline`.
    pub(super) fn sleep(&mut self, now: Instant, deadline: Option<Instant>) -> io::Result<()> {
        if !self.bare {
            return self.sleeper.sleep(now, deadline);
        }
        if self.shard.wait_for_sockets(deadline.map(|at| at - now)) {
            // Who called is heard by that.
            self.sleeper.sleep(now, Some(now))?;
        }
        Ok(())
    }
}
