//! The ends over fourwave.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fourwave::{App, Congestion, ConnId, ConnectionError, Io, ListenerId, Running, Settings, Stack};

use crate::end::{BLOCK, BUFFER_BYTES, EndArgs, Idle, READY, Received, Sent};

/// How often the sender looks at its counters.
const LOOK: Duration = Duration::from_millis(20);

fn stack(args: &EndArgs) -> Stack {
    let settings = Settings {
        receive_buffer_bytes: BUFFER_BYTES,
        send_buffer_bytes: BUFFER_BYTES,
        congestion: Congestion::Cubic,
        ..Settings::default()
    };
    let idle = match args.idle {
        Idle::Adaptive => fourwave::Idle::Adaptive,
        Idle::Sleep => fourwave::Idle::Sleep,
    };
    Stack::on(&args.interface).cores([args.core]).idle(idle).tcp(settings)
}

/// To the first that connects, until it has gone.
pub(crate) fn send(args: &EndArgs) -> anyhow::Result<Sent> {
    let sender = Sender { sent: Sent::default(), look: Instant::now() };
    let running = stack(args).listen(args.at).start(sender)?;
    println!("{READY}");
    Ok(only(running)?.sent)
}

/// The path has one queue, so one shard.
fn only<A>(running: Running<A>) -> anyhow::Result<A> {
    Ok(running.join()?.pop().context("the stack has no shard")?.app)
}

#[derive(Clone)]
struct Sender {
    sent: Sent,
    look: Instant,
}

impl Sender {
    fn fill(&mut self, io: &mut Io<'_>, conn: ConnId) {
        while io.send(conn, &BLOCK) == Ok(BLOCK.len()) {}
        if self.look.elapsed() > LOOK {
            self.look = Instant::now();
            self.note(io, conn);
        }
    }

    fn note(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if let Ok(info) = io.info(conn) {
            self.sent.retransmits = info.retransmits.into();
        }
    }
}

impl App for Sender {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.fill(io, conn);
    }

    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.fill(io, conn);
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.note(io, conn);
        let _ = io.abort(conn);
        io.finish();
    }

    fn on_closed(&mut self, io: &mut Io<'_>, _: ConnId, _: Option<ConnectionError>) {
        io.finish();
    }
}

pub(crate) fn receive(args: &EndArgs, time: Duration) -> anyhow::Result<Received> {
    let receiver = Receiver { from: args.at, time, asked: false, open: None, bytes: 0, took: None, failed: None };
    let receiver = only(stack(args).active_opens().start(receiver)?)?;
    if let Some(error) = receiver.failed {
        bail!("{}: {error}", args.at);
    }
    let seconds = receiver.took.context("the stack ended by itself")?.as_secs_f64();
    Ok(Received { bytes: receiver.bytes, seconds })
}

#[derive(Clone)]
struct Receiver {
    from: SocketAddr,
    time: Duration,
    asked: bool,
    /// The connection, when it opened, and when it is over on the stack's own clock.
    open: Option<(ConnId, Instant, fourwave::Instant)>,
    bytes: u64,
    took: Option<Duration>,
    failed: Option<String>,
}

impl App for Receiver {
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.open = Some((conn, Instant::now(), io.now() + self.time.into()));
    }

    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        self.bytes += data.len() as u64;
        data.len()
    }

    fn on_closed(&mut self, io: &mut Io<'_>, _: ConnId, error: Option<ConnectionError>) {
        if self.took.is_none() {
            self.failed = Some(error.map_or_else(|| "closed early".into(), |error| error.to_string()));
        }
        io.finish();
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        if !self.asked {
            self.asked = true;
            if let Err(error) = io.connect(self.from) {
                self.failed = Some(error.to_string());
                io.finish();
            }
        }
        if let Some((conn, since, _)) = self.open
            && self.took.is_none()
            && since.elapsed() >= self.time
        {
            self.took = Some(since.elapsed());
            let _ = io.abort(conn);
            io.finish();
        }
    }

    fn wake_at(&self) -> Option<fourwave::Instant> {
        self.open.filter(|_| self.took.is_none()).map(|(_, _, end)| end)
    }
}
