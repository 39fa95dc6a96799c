//! How many bare frames go there and back, and how many bytes they carry one way: what `fourwave bench` measures stacks against.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::args::StackConfig;
use crate::measure::Latency;
use crate::serve::READY;
use crate::stop::Stop;
use crate::{out, say, stack};

const HIGHEST_NS: u64 = 60_000_000_000;
/// With nothing back for so long there is no point in going on.
const SILENCE: Duration = Duration::from_secs(5);

/// What to do with frames, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) role: Role,
    /// Frames under way.
    pub(crate) window: u32,
    /// Of a message that a segment as long as a frame would carry; of [`Role::Ask`].
    pub(crate) bytes: usize,
    pub(crate) seconds: Duration,
    pub(crate) warmup: Duration,
    pub(crate) at: StackConfig,
}

/// Which end, and of what.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// Sends frames that are sent back.
    Ask(SocketAddr),
    /// Sends full frames one way.
    Send(SocketAddr),
    /// Takes them in.
    Receive(SocketAddr),
}

/// What was measured, behind the warm-up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RawReport {
    /// That came back, or that the receiver has.
    pub(crate) frames: u64,
    pub(crate) lost: u64,
    pub(crate) duration_s: f64,
    pub(crate) frames_per_s: f64,
    /// All of a frame's bytes but the checksum of Ethernet, one way.
    pub(crate) gbit_per_s: f64,
    pub(crate) frame_bytes: Option<usize>,
    /// There and back, with so many under way.
    pub(crate) latency_ns: Latency,
}

/// `fourwave internal raw`.
pub(crate) fn run(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    match config.role {
        Role::Ask(target) => out::json(&ask(config, target, stop)?),
        Role::Send(target) => out::json(&send(config, target, stop)?),
        Role::Receive(listen) => receive(config, listen, stop),
    }
}

fn receive(config: &Config, listen: SocketAddr, stop: &Stop) -> anyhow::Result<()> {
    let mut port = stack::builder(&config.at, listen.ip())?.raw_server()?;
    drop_privileges(config)?;
    say!("{READY}{listen} (raw frames one way)");
    let ended = Arc::new(AtomicBool::new(stop.requested()));
    let end = Arc::clone(&ended);
    stop.on_request(move || end.store(true, Ordering::Relaxed));
    port.receive(&ended)?;
    Ok(())
}

fn drop_privileges(config: &Config) -> anyhow::Result<()> {
    if !config.at.keep_privileges {
        fourwave::drop_privileges()?;
    }
    Ok(())
}

fn ask(config: &Config, target: SocketAddr, stop: &Stop) -> anyhow::Result<RawReport> {
    let builder = stack::builder(&config.at, target.ip())?;
    let (mut port, mut window) = builder.raw_window(target.ip(), config.bytes, config.window)?;
    drop_privileges(config)?;
    let mut histogram = Histogram::new_with_bounds(1, HIGHEST_NS, 3).expect("bounds of a constant");
    let mut course = Course::new(config);
    while course.goes_on(stop) {
        let frames = &mut course.frames;
        port.exchange(&mut window, |sent, back, count| {
            let took = back.saturating_duration_since(sent).as_nanos();
            histogram.saturating_record_n(u64::try_from(took).unwrap_or(HIGHEST_NS), count);
            *frames += count;
        })?;
        if course.tick(target, window.lost())? {
            histogram.reset();
        }
    }
    let report = course.report(None);
    Ok(RawReport { latency_ns: Latency::of(&histogram), ..report })
}

fn send(config: &Config, target: SocketAddr, stop: &Stop) -> anyhow::Result<RawReport> {
    let (mut port, mut sender) = stack::builder(&config.at, target.ip())?.raw_sender(target.ip(), config.window)?;
    drop_privileges(config)?;
    let mut course = Course::new(config);
    while course.goes_on(stop) {
        port.send(&mut sender)?;
        course.frames = sender.received();
        course.tick(target, sender.lost())?;
    }
    tracing::info!(dropped = port.dropped(), "sent");
    Ok(course.report(Some(sender.frame_bytes())))
}

/// Begins, measures, ends when it is time.
struct Course<'a> {
    config: &'a Config,
    began: Instant,
    /// When measuring began, with the frames and losses until then.
    from: Option<(Instant, u64, u64)>,
    now: Instant,
    frames: u64,
    lost: u64,
    /// When frames were last seen to come, and how many.
    heard: (Instant, u64),
}

impl<'a> Course<'a> {
    fn new(config: &'a Config) -> Self {
        let now = Instant::now();
        Self { config, began: now, from: None, now, frames: 0, lost: 0, heard: (now, 0) }
    }

    fn goes_on(&self, stop: &Stop) -> bool {
        !stop.requested() && self.from.is_none_or(|(from, ..)| self.now < from + self.config.seconds)
    }

    /// True: measuring begins.
    fn tick(&mut self, target: SocketAddr, lost: u64) -> anyhow::Result<bool> {
        (self.now, self.lost) = (Instant::now(), lost);
        if self.frames != self.heard.1 {
            self.heard = (self.now, self.frames);
        } else if self.now.saturating_duration_since(self.heard.0) > SILENCE {
            bail!("no frame came back from {target} for {} s: is its raw end running?", SILENCE.as_secs());
        }
        let begins = self.from.is_none() && self.now >= self.began + self.config.warmup;
        if begins {
            self.from = Some((self.now, self.frames, lost));
        }
        Ok(begins)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    fn report(&self, frame_bytes: Option<usize>) -> RawReport {
        let (from, before, lost) = self.from.unwrap_or((self.now, self.frames, self.lost));
        let (frames, duration_s) = (self.frames - before, self.now.saturating_duration_since(from).as_secs_f64());
        let frames_per_s = if duration_s > 0.0 { frames as f64 / duration_s } else { 0.0 };
        RawReport {
            frames,
            lost: self.lost - lost,
            duration_s,
            frames_per_s,
            gbit_per_s: frame_bytes.unwrap_or(0) as f64 * 8.0 * frames_per_s / 1e9,
            frame_bytes,
            latency_ns: Latency::default(),
        }
    }
}
