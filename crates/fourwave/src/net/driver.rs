//! A stack inside the program's own mio loop.

use super::handle::Net;
use super::link::Link;
use super::sockets::Sockets;
use crate::{Error, Stack};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, event};
use runtime::Driven;
use runtime::xdp::{Port, XskPort};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the end may take to give the connections what was written before.
const FLUSH: Duration = Duration::from_secs(1);

/// A stack of one receive queue that runs in the thread of the program's own mio loop, and in no other.
///
/// It is registered with the loop's [`Poll`] like a socket, and turned: [`Driver::poll`] in the place of `Poll::poll` does all
/// of it. A loop of another shape calls [`turn`](Self::turn) after each `Poll::poll`, and again before the next if it has used
/// sockets meanwhile, and lets that wait no longer than [`timeout`](Self::timeout).
///
/// ```no_run
/// use fourwave::{Stack, net::TcpListener};
/// use mio::{Events, Interest, Poll, Token};
///
/// let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(128));
/// let mut driver = Stack::on("eth0").drive()?;
/// poll.registry().register(&mut driver, Token(0), Interest::READABLE)?;
/// let mut listener = driver.net().bind("10.0.0.1:7".parse()?)?;
/// poll.registry().register(&mut listener, Token(1), Interest::READABLE)?;
/// loop {
///     driver.poll(&mut poll, &mut events, None)?;
///     for event in events.iter().filter(|event| event.token() == Token(1)) {
///         while let Ok((stream, peer)) = listener.accept() {
///             println!("{peer}");
///         }
///     }
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Driver(Turned<XskPort>);

impl Stack {
    /// Opens the stack for a program that turns it in its own mio loop: no thread has its shard. The interface must have one
    /// receive queue. It may connect to others ([`Stack::active_opens`]) unless its ports are given.
    ///
    /// # Errors
    /// As [`Stack::start`]; or the interface has more queues.
    pub fn drive(self) -> Result<Driver, Error> {
        let Self { options, limits } = self.for_sockets()?;
        let link = Link::new(0, limits.max_streams, limits.ring_bytes);
        let driven = runtime::drive(options, |_| Sockets::new(Arc::clone(&link)))?;
        Ok(Driver(Turned::new(driven, link)))
    }
}

impl Driver {
    /// The handle for `bind` and `connect`.
    #[must_use]
    pub fn net(&self) -> Net {
        self.0.net.clone()
    }

    /// Takes in frames, sends, and gives streams what they have: for at most some batches. True: there may be more.
    ///
    /// # Errors
    /// The device failed: its streams and listeners are told that the stack has ended.
    pub fn turn(&mut self) -> io::Result<bool> {
        self.0.driven.turn()
    }

    /// How long the program may wait before the next [`turn`](Self::turn), if the driver is registered.
    #[must_use]
    pub fn timeout(&mut self) -> Duration {
        self.0.driven.timeout().into()
    }

    /// Turns and waits until there are events of the program's, or the time is over (`None`: for ever). Some may be the
    /// driver's own, to be ignored.
    ///
    /// # Errors
    /// As [`turn`](Self::turn), or those of [`Poll::poll`].
    pub fn poll(&mut self, poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        self.0.poll(poll, events, timeout)
    }

    /// Ends the stack: what was written is sent and the connections are closed in order, within two seconds; then what is left
    /// is reset. A drop does the same.
    ///
    /// # Errors
    /// The device failed.
    pub fn finish(mut self) -> io::Result<()> {
        self.0.finish()
    }
}

impl event::Source for Driver {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.0.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.0.token = Some(token);
        registry.reregister(&mut SourceFd(&self.0.driven.as_raw_fd()), token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.0.token = None;
        match self.0.driven.as_raw_fd() {
            // It has ended, and left by that.
            -1 => Ok(()),
            fd => registry.deregister(&mut SourceFd(&fd)),
        }
    }
}

/// A driver over any port.
#[derive(Debug)]
pub(crate) struct Turned<P: Port> {
    pub(crate) driven: Driven<Sockets, P>,
    link: Arc<Link>,
    pub(crate) net: Net,
    token: Option<Token>,
}

impl<P: Port> Turned<P> {
    pub(crate) fn new(driven: Driven<Sockets, P>, link: Arc<Link>) -> Self {
        if let Some(waker) = driven.waker() {
            link.set_waker(waker);
        }
        let net = Net::over(vec![Arc::clone(&link)], driven.endpoints(), driven.report().cloned(), false, None);
        Self { driven, link, net, token: None }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.driven.as_raw_fd()), token, interests)?;
        self.token = Some(token);
        Ok(())
    }

    pub(crate) fn poll(&mut self, poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let more = self.driven.turn()?;
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let wait = if more { Duration::ZERO } else { self.driven.timeout().into() };
            poll.poll(events, Some(left.map_or(wait, |left| left.min(wait))))?;
            // What the program asks for from now on is seen by the next turn: nobody has to be woken.
            self.link.awake();
            let theirs = events.iter().any(|event| Some(event.token()) != self.token);
            if theirs || left == Some(Duration::ZERO) {
                return Ok(());
            }
        }
    }

    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if self.driven.waker().is_none() {
            return Ok(());
        }
        self.link.ask_to_finish();
        let began = Instant::now();
        while !self.link.is_flushed() && began.elapsed() < FLUSH {
            if !self.driven.turn()? {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.driven.end().map(|_| ())
    }
}

impl<P: Port> Drop for Turned<P> {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}
