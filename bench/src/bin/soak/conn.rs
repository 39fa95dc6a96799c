//! A connection of the kernel's, whose every byte is accounted for.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};

use crate::pattern::Pattern;
use crate::tally::End;
use crate::world::{Age, World};

/// How long nothing may happen. Far longer than any fault lasts, on a machine that is busy with other things besides.
const PATIENCE: Duration = Duration::from_secs(90);
/// What has nothing to send never hears that the other end was killed: it is given up so long after.
const GIVEN_UP: Duration = Duration::from_secs(3);
/// How often what waits looks whether there is something to wait for.
const LOOK: Duration = Duration::from_millis(500);

/// Why a connection did not go on.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Bytes came that were not sent, or not there.
    Changed(String),
    /// The connection broke.
    Broken(String),
    /// It did not come about.
    NotOpened(io::Error),
}

/// What a connection that went as planned has come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Went {
    /// Its end, in order.
    Whole,
    /// A reset that was wanted.
    Reset,
}

/// One connection of a kind of traffic, entered into the book at its end.
#[derive(Debug)]
pub(crate) struct Conn {
    world: Arc<World>,
    kind: &'static str,
    age: Age,
    pub(crate) stream: TcpStream,
    pattern: Pattern,
    sent: AtomicU64,
    received: AtomicU64,
    entered: AtomicBool,
}

impl Conn {
    /// Opens one; a failure is entered. `receive_buffer` in bytes, if it is not to be the kernel's choice.
    pub(crate) fn open(
        world: &Arc<World>,
        kind: &'static str,
        to: SocketAddr,
        seed: u64,
        receive_buffer: Option<usize>,
    ) -> Option<Self> {
        let age = world.age();
        let connect = || {
            let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(LOOK))?;
            stream.set_write_timeout(Some(LOOK))?;
            if let Some(bytes) = receive_buffer {
                set_socket_recv_buffer_size(&stream, bytes)?;
            }
            Ok(stream)
        };
        match connect() {
            Ok(stream) => {
                world.opened(age);
                Some(Self {
                    world: Arc::clone(world),
                    kind,
                    age,
                    stream,
                    pattern: Pattern::new(seed),
                    sent: AtomicU64::new(0),
                    received: AtomicU64::new(0),
                    entered: AtomicBool::new(false),
                })
            }
            Err(error) => {
                world.book.enter(kind, false, 0, 0, &world.judge(age, Failure::NotOpened(error)));
                None
            }
        }
    }

    /// Enters how it went, and closes it.
    pub(crate) fn finish(self, went: Result<Went, Failure>) {
        let end = match went {
            Ok(Went::Whole) => End::Whole,
            Ok(Went::Reset) => End::Reset,
            Err(failure) => self.world.judge(self.age, failure),
        };
        self.entered.store(true, Ordering::Relaxed);
        let count = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        self.world.book.enter(self.kind, true, count(&self.sent), count(&self.received), &end);
    }

    /// The local port.
    pub(crate) fn port(&self) -> u16 {
        self.stream.local_addr().map_or(0, |address| address.port())
    }

    /// Sends the next so many bytes of its pattern.
    pub(crate) fn send(&self, bytes: u64) -> Result<(), Failure> {
        let mut left = bytes;
        let mut piece = [0; 16 << 10];
        while left > 0 {
            let len = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.pattern.fill(self.sent.load(Ordering::Relaxed), &mut piece[..len]);
            self.send_bytes(&piece[..len])?;
            left -= len as u64;
        }
        Ok(())
    }

    /// Sends these.
    pub(crate) fn send_bytes(&self, mut bytes: &[u8]) -> Result<(), Failure> {
        let mut begin = Instant::now();
        while !bytes.is_empty() {
            match (&self.stream).write(bytes) {
                Ok(count) => {
                    self.sent.fetch_add(count as u64, Ordering::Relaxed);
                    bytes = &bytes[count..];
                    begin = Instant::now();
                }
                Err(error) => self.waiting(begin, &error, "could be sent")?,
            }
        }
        Ok(())
    }

    /// Reads so many bytes, which must be the next of its pattern.
    pub(crate) fn expect(&self, bytes: u64) -> Result<(), Failure> {
        let mut piece = [0; 16 << 10];
        let mut left = bytes;
        while left > 0 {
            let most = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            left -= self.expect_some(&mut piece[..most])? as u64;
        }
        Ok(())
    }

    /// Reads what there is, up to `piece`, which must be the next of its pattern.
    pub(crate) fn expect_some(&self, piece: &mut [u8]) -> Result<usize, Failure> {
        let count = self.read_some(piece)?;
        let at = self.received.load(Ordering::Relaxed) - count as u64;
        match self.pattern.differs(at, &piece[..count]) {
            None => Ok(count),
            Some(offset) => Err(Failure::Changed(format!("the byte at {} is not the one that was sent", at + offset))),
        }
    }

    /// Reads exactly so much.
    pub(crate) fn read_exact(&self, piece: &mut [u8]) -> Result<(), Failure> {
        let mut done = 0;
        while done < piece.len() {
            done += self.read_some(&mut piece[done..])?;
        }
        Ok(())
    }

    /// Reads what there is, which must not be the end.
    pub(crate) fn read_some(&self, piece: &mut [u8]) -> Result<usize, Failure> {
        match self.read(piece)? {
            0 => {
                let (sent, received) = (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed));
                Err(Failure::Broken(format!("the stream ended behind {received} bytes, {sent} were sent")))
            }
            count => Ok(count),
        }
    }

    /// The peer's FIN, and nothing before it.
    pub(crate) fn expect_end(&self) -> Result<(), Failure> {
        match self.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(Failure::Changed("more came than was sent".into())),
        }
    }

    /// A reset from the other end.
    pub(crate) fn expect_reset(&self) -> Result<(), Failure> {
        let begin = Instant::now();
        loop {
            match (&self.stream).read(&mut [0]) {
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => {
                    self.waiting(begin, &error, "came, and a reset should have")?;
                    // A reset is sent once, and the path may have lost it: who says something then is told again.
                    if (&self.stream).write(&[0]).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset) {
                        return Ok(());
                    }
                }
                Ok(count) => return Err(Failure::Broken(format!("{count} bytes came where a reset should have"))),
            }
        }
    }

    pub(crate) fn half_close(&self) -> Result<(), Failure> {
        self.stream.shutdown(Shutdown::Write).map_err(|error| Failure::Broken(format!("a half-close: {error}")))
    }

    /// From now on its close is a reset.
    pub(crate) fn linger_not(&self) -> Result<(), Failure> {
        set_socket_linger(&self.stream, Some(Duration::ZERO)).map_err(|error| Failure::Broken(error.to_string()))
    }

    fn read(&self, piece: &mut [u8]) -> Result<usize, Failure> {
        let begin = Instant::now();
        loop {
            match (&self.stream).read(piece) {
                Ok(count) => {
                    self.received.fetch_add(count as u64, Ordering::Relaxed);
                    return Ok(count);
                }
                Err(error) => self.waiting(begin, &error, "came")?,
            }
        }
    }

    /// Whether there is something to wait for.
    fn waiting(&self, begin: Instant, error: &io::Error, what: &str) -> Result<(), Failure> {
        match error.kind() {
            // An end of the connection's own time is of the kind `TimedOut`, an end of the socket's is this.
            ErrorKind::WouldBlock | ErrorKind::Interrupted => {}
            _ => return Err(Failure::Broken(error.to_string())),
        }
        if self.world.lost_for(self.age) > GIVEN_UP {
            return Err(Failure::Broken("the other end was killed".into()));
        }
        if begin.elapsed() > PATIENCE {
            let (seconds, port) = (PATIENCE.as_secs(), self.port());
            let of_process = self.world.describe(&["dport", "=", &format!(":{port}")]);
            return Err(Failure::Broken(format!("nothing {what} for {seconds} s, client port {port}; {of_process}")));
        }
        if self.world.hurries() {
            return Err(Failure::Broken("interrupted".into()));
        }
        Ok(())
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        // What nobody finished has no end, and that is an error of this program.
        if !self.entered.load(Ordering::Relaxed) && !std::thread::panicking() {
            self.world.book.deviation(format!("{}: a connection was forgotten", self.kind));
        }
    }
}
