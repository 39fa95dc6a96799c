//! What systemd is told of a stack that runs: sd_notify(3), a datagram to the socket that `$NOTIFY_SOCKET` names. Without that
//! nothing is said, asked or kept.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use fourwave::trace::Tracer;
use fourwave::{Pulse, Running};
use rustix::time::{ClockId, clock_gettime};

use crate::stack;

/// How long a datagram may find no room: systemd is then busy with something else.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the loops are asked where no watchdog sets a time.
const INTERVAL: Duration = Duration::from_secs(2);
/// How much longer than the unit says an end may take, while the loops turn: as long as it drains.
const MORE_TIME: Duration = Duration::from_secs(20);

/// Who watches over this program, if anybody does.
#[derive(Debug, Default)]
pub(crate) struct Supervisor(Option<Watched>);

#[derive(Debug)]
struct Watched {
    socket: UnixDatagram,
    to: SocketAddr,
    pulse: Pulse,
    /// Writes down what the loops that turn know when one stands still.
    tracer: Option<Tracer>,
    /// A sign of life is due within this.
    watchdog: Option<Duration>,
    interval: Duration,
    /// When the loops were asked; until all have answered.
    asked: Option<Instant>,
    /// When they are to be asked next.
    next: Instant,
    /// It was said that they don't answer.
    told: bool,
    /// The end was asked for.
    stopping: bool,
}

impl Supervisor {
    /// Says that the stack is up.
    pub(crate) fn ready<A: Send + 'static>(running: &Running<A>) -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        match Watched::new(&name, watchdog(), running.pulse()) {
            Ok(mut watched) => {
                watched.tracer = Some(running.tracer());
                watched.say(&format!("READY=1\nSTATUS={}", stack::place(running)));
                Self(Some(watched))
            }
            Err(error) => {
                tracing::warn!("systemd is told nothing, for {} can't be used: {error}", name.display());
                Self::default()
            }
        }
    }

    /// To be called several times a second: gives a sign of life as long as every loop turns.
    pub(crate) fn look(&mut self) {
        if let Some(watched) = &mut self.0 {
            watched.look(Instant::now());
        }
    }

    /// The configuration is read again.
    pub(crate) fn reloading(&self) {
        if let Some(watched) = &self.0 {
            // Signals that systemd has sent before this moment are taken to be heard.
            let now = clock_gettime(ClockId::Monotonic);
            let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
            watched.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
        }
    }

    /// It has been, or not; things go on either way.
    pub(crate) fn reloaded(&self, what: &str) {
        if let Some(watched) = &self.0 {
            watched.say(&format!("READY=1\nSTATUS={}", what.replace('\n', " ")));
        }
    }

    /// The end has begun.
    pub(crate) fn stopping(&mut self) {
        if let Some(watched) = &mut self.0 {
            watched.stopping = true;
            watched.say("STOPPING=1\nSTATUS=closing connections");
        }
    }
}

impl Watched {
    fn new(name: &OsStr, watchdog: Option<Duration>, pulse: Pulse) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let interval = watchdog.map_or(INTERVAL, |time| time / 4);
        let next = Instant::now();
        Ok(Self {
            socket,
            to: address(name)?,
            pulse,
            tracer: None,
            watchdog,
            interval,
            asked: None,
            next,
            told: false,
            stopping: false,
        })
    }

    fn say(&self, what: &str) {
        if let Err(error) = self.socket.send_to_addr(what.as_bytes(), &self.to) {
            tracing::debug!(%error, what, "systemd was not told");
        }
    }

    fn look(&mut self, now: Instant) {
        let Some(asked) = self.asked else {
            if now >= self.next {
                self.pulse.ask();
                (self.asked, self.next) = (Some(now), now + self.interval);
            }
            return;
        };
        let silent = self.pulse.silent();
        if silent.is_empty() {
            self.asked = None;
            self.on_turned();
        } else if !self.told && now - asked > self.interval * 2 {
            self.told = true;
            let which = silent.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            let what = format!("shard {which} stands still since {:.1} s", (now - asked).as_secs_f64());
            tracing::warn!("{what}: is its application waiting for something?");
            self.say(&format!("STATUS={what}"));
            if let Some(tracer) = self.tracer.clone() {
                // It is asked as well, and may not answer for long.
                std::thread::spawn(move || stack::say_trace(&tracer, "stall"));
            }
        }
    }

    /// Every loop has turned since it was asked.
    fn on_turned(&mut self) {
        if std::mem::take(&mut self.told) {
            tracing::warn!("all shards turn again");
            self.say("STATUS=all shards turn again");
        }
        match (self.stopping, self.watchdog) {
            (true, _) => self.say(&format!("EXTEND_TIMEOUT_USEC={}", MORE_TIME.as_micros())),
            (false, Some(_)) => self.say("WATCHDOG=1"),
            (false, None) => {}
        }
    }
}

/// A path, or `@` and an abstract name.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a path nor an abstract name")),
    }
}

/// Within which time systemd wants a sign of life of this process.
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let ours = env::var_os("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(std::process::id().into());
    number("WATCHDOG_USEC").filter(|micros| ours && *micros > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fourwave::{App, ConnId, Io, Message, Place, Stack};
    use std::sync::mpsc::{Receiver, channel};

    const SOON: Duration = Duration::from_secs(60);
    const WATCHDOG: Duration = Duration::from_millis(200);

    /// Holds its loop up from a message on until it is told to go on.
    struct Stuck(Receiver<()>);

    impl App for Stuck {
        fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
            data.len()
        }
        fn on_message(&mut self, _: &mut Io<'_>, _: Message) {
            // A test that fails must end.
            let _ = self.0.recv_timeout(SOON);
        }
    }

    /// What is said within a time, or until it was said so often.
    fn heard(socket: &UnixDatagram, watched: &mut Watched, within: Duration, word: &str, times: usize) -> Vec<String> {
        let (end, mut all) = (Instant::now() + within, Vec::new());
        let mut bytes = [0; 512];
        while Instant::now() < end && all.iter().filter(|what: &&String| what.starts_with(word)).count() < times {
            watched.look(Instant::now());
            if let Ok(len) = socket.recv(&mut bytes) {
                all.push(String::from_utf8(bytes[..len].to_vec()).unwrap());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        all
    }

    /// sd_notify(3), sd_watchdog_enabled(3): the watchdog is for the whole service, so one loop of two that stands still is
    /// enough for silence.
    #[test]
    fn there_is_no_sign_of_life_while_a_loop_stands_still() {
        let name = format!("fourwave-notify-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut ends = Vec::new();
        let make = |_: Place| {
            let (go_on, wait) = channel();
            ends.push(go_on);
            Stuck(wait)
        };
        let running = Stack::kernel().shards(2).start_each(make).unwrap();
        let name = format!("@{name}");
        let mut watched = Watched::new(OsStr::new(&name), Some(WATCHDOG), running.pulse()).unwrap();
        // Among them may be what is said of a machine that stalls.
        let alive = heard(&socket, &mut watched, SOON, "WATCHDOG=1", 5);
        assert_eq!(alive.iter().filter(|what| *what == "WATCHDOG=1").count(), 5, "{alive:?}");

        running.poster().post(1, Box::new(())).unwrap();
        // What is under way may still be answered.
        heard(&socket, &mut watched, WATCHDOG, "none", 1);
        let stuck = heard(&socket, &mut watched, WATCHDOG * 5, "WATCHDOG=1", 1);
        assert!(stuck.len() <= 1 && stuck.iter().all(|what| what.starts_with("STATUS=shard 1 stands")), "{stuck:?}");
        assert!(watched.told);

        ends[1].send(()).unwrap();
        let again = heard(&socket, &mut watched, SOON, "WATCHDOG=1", 2);
        assert_eq!(again.last().map(String::as_str), Some("WATCHDOG=1"));
        assert!(again.contains(&"STATUS=all shards turn again".to_owned()));

        watched.stopping = true;
        let ending = heard(&socket, &mut watched, SOON, "EXTEND_TIMEOUT_USEC=20000000", 1);
        assert!(!ending.is_empty());
        drop(ends);
        running.stop();
        running.join().unwrap();
    }

    #[test]
    fn a_socket_is_a_path_or_an_abstract_name() {
        let of = |name| address(OsStr::new(name));
        assert_eq!(of("@a/b").unwrap().as_abstract_name(), Some(&b"a/b"[..]));
        assert_eq!(of("/run/systemd/notify").unwrap().as_pathname(), Some("/run/systemd/notify".as_ref()));
        assert!(of("vsock:2:1234").is_err() && of("").is_err());
    }
}
