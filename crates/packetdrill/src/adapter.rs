//! The world behind its lock, and how calls wait.

use crate::{
    clock::Clock,
    errno::{Errno, Result},
    profile::Profile,
    user::{self, Pieces},
    waits,
    world::World,
};
use libc::{c_int, c_uint, c_void};
use stack::{Duration, Instant};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// Real time for a thread that was woken to go on: it needs the processor only.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);
/// Moments looked at in search of the next datagram; the timers of a connection that sends nothing end long before.
const STEPS: usize = 100_000;

/// What packetdrill's calls work on.
#[derive(Debug)]
pub(crate) struct Adapter {
    world: Mutex<World>,
    /// Blocked calls should look again.
    changed: Condvar,
    /// A blocked call has looked, or its thread has asked for the time.
    settled: Condvar,
    /// The thread that moves the clock: nobody else would, were it to sleep.
    main: ThreadId,
}

impl Adapter {
    pub(crate) fn new(profile: Profile) -> Self {
        Self {
            world: Mutex::new(World::new(profile)),
            changed: Condvar::new(),
            settled: Condvar::new(),
            main: thread::current().id(),
        }
    }

    /// A panic within a call is caught at its entry and ends that call alone.
    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that does not block.
    pub(crate) fn call<R>(&self, call: impl FnOnce(&mut World) -> Result<R>) -> Result<R> {
        let mut world = self.lock();
        world.look_at_device();
        let result = call(&mut world);
        world.pump();
        drop(self.settle(world));
        result
    }

    /// A call that may block: `call` is tried again after every change until it answers something, or until `timeout`
    /// (`None`: for ever) has passed; then this answers `None`.
    pub(crate) fn wait<R>(
        &self,
        timeout: Option<Duration>,
        mut call: impl FnMut(&mut World) -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        let mut world = self.lock();
        let mut attempt = |world: &mut World| {
            let result = call(world).transpose();
            world.pump();
            result
        };
        if let Some(result) = attempt(&mut world) {
            drop(self.settle(world));
            return result.map(Some);
        }
        let deadline = timeout.map(|timeout| world.clock.now() + timeout);
        if deadline.is_some_and(|at| at <= world.clock.now()) {
            return Ok(None);
        }
        if thread::current().id() == self.main {
            return Self::wait_alone(&mut world, deadline, attempt);
        }
        let ticket = world.waits.begin(deadline);
        loop {
            world = self.changed.wait(world).unwrap_or_else(PoisonError::into_inner);
            let result = attempt(&mut world);
            if result.is_some() || deadline.is_some_and(|at| at <= world.clock.now()) {
                world.waits.end(ticket, thread::current().id());
                self.settled.notify_all();
                return result.transpose();
            }
            world.waits.looked(ticket);
            self.settled.notify_all();
        }
    }

    /// The thread that moves the clock blocks: the clock goes from one moment to the next at which something happens. If
    /// nothing ever will, that is a deadlock.
    fn wait_alone<R>(
        world: &mut World,
        deadline: Option<Instant>,
        mut attempt: impl FnMut(&mut World) -> Option<Result<R>>,
    ) -> Result<Option<R>> {
        for _ in 0..STEPS {
            let stepped = world.step(deadline.unwrap_or(Instant::MAX));
            if let Some(result) = attempt(world) {
                return result.map(Some);
            }
            match deadline {
                Some(at) if !stepped => {
                    world.clock.jump(at);
                    return Ok(None);
                }
                None if !stepped => break,
                _ => {}
            }
        }
        Err(Errno(libc::EDEADLK))
    }

    /// Something may have changed: every blocked call looks at it before time, or packetdrill, goes on.
    fn settle<'w>(&'w self, mut world: MutexGuard<'w, World>) -> MutexGuard<'w, World> {
        world.waits.changed();
        self.changed.notify_all();
        // The thread of blocking calls does not move the clock, and so has nobody to wait for.
        if thread::current().id() != self.main || world.waits.quiet() {
            return world;
        }
        let (mut world, late) = self
            .settled
            .wait_timeout_while(world, PATIENCE, |world| !world.waits.quiet())
            .unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() {
            // The machine may be busy, or packetdrill have an end of its own.
            eprintln!("fourwave: a blocked call has not gone on within a second: its times may be wrong");
            world.waits.give_up();
        }
        world
    }

    // The network and the time.

    pub(crate) fn netdev_send(&self, from: *const c_void, len: usize) -> Result<()> {
        let datagram = user::read(from, len)?;
        self.call(|world| {
            world.deliver(&datagram);
            Ok(())
        })
    }

    /// The next datagram that is sent, if need be after time has passed; `None` if none ever will be.
    pub(crate) fn netdev_receive(&self) -> Option<(u64, Vec<u8>)> {
        let mut world = self.lock();
        for _ in 0..STEPS {
            if let Some((at, datagram)) = world.take_sent() {
                return Some((Clock::calendar_us(at), datagram));
            }
            if !world.step(Instant::MAX) {
                return None;
            }
            world = self.settle(world);
        }
        None
    }

    pub(crate) fn usleep(&self, usec: c_uint) {
        let mut world = self.settle(self.lock());
        world.look_at_device();
        let noting = world.waits.take_noting();
        if !noting.is_empty() {
            drop(world);
            waits::go_on(&noting);
            world = self.lock();
        }
        let until = world.clock.now() + Duration::from_micros(usec.into());
        while world.step(until) && world.clock.now() < until {
            world = self.settle(world);
        }
        world.clock.jump(until);
        world.pump();
        drop(self.settle(world));
    }

    /// Microseconds since 1970. Who asks has used one.
    pub(crate) fn gettimeofday(&self) -> u64 {
        let mut world = self.lock();
        world.clock.tick();
        world.pump();
        if world.waits.asked_time(thread::current().id()) {
            self.settled.notify_all();
        }
        Clock::calendar_us(world.clock.now())
    }

    // Calls that may block.

    pub(crate) fn connect(&self, fd: c_int, family: c_int, remote: Option<std::net::SocketAddr>) -> Result<()> {
        if self.call(|world| world.connect(fd, family, remote))?.is_some() {
            return Ok(());
        }
        if self.lock().never_blocks(fd, 0) {
            return Err(Errno(libc::EINPROGRESS));
        }
        self.wait(None, |world| world.connected(fd))?.ok_or(Errno(libc::EINPROGRESS))
    }

    /// The outcome of a close that waits is not told: as close(2) of Linux, which answers 0 then.
    pub(crate) fn close(&self, fd: c_int) -> Result<()> {
        if let Some(key) = self.call(|world| world.close(fd))? {
            self.wait(None, |world| Ok(world.lingered(key)))?;
        }
        Ok(())
    }

    pub(crate) fn receive(&self, fd: c_int, to: &Pieces, flags: c_int) -> Result<usize> {
        let timeout = self.patience(fd, flags);
        self.wait(timeout, |world| world.receive(fd, to, flags))?.ok_or(Errno(libc::EAGAIN))
    }

    pub(crate) fn transmit(&self, fd: c_int, from: &Pieces, flags: c_int) -> Result<usize> {
        let timeout = self.patience(fd, flags);
        let total: usize = from.iter().map(|(_, len)| *len).sum();
        let mut done = 0;
        loop {
            match self.wait(timeout, |world| world.transmit(fd, from, done, flags)) {
                Ok(Some(taken)) => done += taken,
                Ok(None) if done == 0 => return Err(Errno(libc::EAGAIN)),
                Err(error) if done == 0 => return Err(error),
                Ok(None) | Err(_) => return Ok(done),
            }
            if done >= total {
                return Ok(done);
            }
        }
    }

    /// Whether a file descriptor is one of ours.
    pub(crate) fn owns(&self, fd: c_int) -> bool {
        self.lock().fds.contains_key(&fd)
    }

    /// How long a call on this socket may wait.
    pub(crate) fn patience(&self, fd: c_int, flags: c_int) -> Option<Duration> {
        self.lock().never_blocks(fd, flags).then_some(Duration::ZERO)
    }
}

/// The timeout of poll(2) and epoll_wait(2): milliseconds, for ever if negative.
pub(crate) fn timeout_ms(timeout: c_int) -> Option<Duration> {
    u64::try_from(timeout).ok().map(Duration::from_millis)
}
