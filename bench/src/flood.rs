//! Frames that somebody made up, sent from an interface: once, or again and again at a rate.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use xdp::{AttachMode, Port, XskConfig, XskPort};

use crate::lab::within;

/// Frames between two kicks.
const BATCH: u32 = 64;

/// A thread that sends. Dropping it stops it.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Flood {
    /// Sends `frames` in their order, and then from the first again, by an AF_XDP socket on the first queue of an interface,
    /// until it is stopped, and for `longest` at most: `rate` a second, by 64 at a time, and none later what the machine had no
    /// time for. What the kernel sends and receives there goes on: no program is attached.
    ///
    /// # Errors
    /// There is nothing to send, a frame does not fit, or the socket can't be opened.
    pub fn start(
        namespace: &str,
        interface: &str,
        frames: Vec<Vec<u8>>,
        rate: u32,
        longest: Duration,
    ) -> anyhow::Result<Self> {
        ensure!(!frames.is_empty() && rate > 0, "there is nothing to send");
        let pause = Duration::from_secs(1) * BATCH / rate;
        let mut port = open(namespace, interface, &frames)?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::Builder::new().name("flood".into()).spawn(move || {
            let mut due = Instant::now();
            let end = due + longest;
            for frame in frames.iter().cycle() {
                if count.load(Ordering::Relaxed).is_multiple_of(BATCH.into()) {
                    port.flush()?;
                    due = (due + pause).max(Instant::now());
                    if stopped.load(Ordering::Relaxed) || due >= end {
                        break;
                    }
                    std::thread::sleep(due - Instant::now());
                }
                send(&mut port, frame)?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            finish(&mut port)
        })?;
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    /// Frames handed to the kernel until now.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it; how many frames it has sent.
    ///
    /// # Errors
    /// The device failed meanwhile.
    pub fn stop(mut self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or_else(|| anyhow!("the flood has ended"))?;
        thread.join().map_err(|_| anyhow!("the flood panicked"))??;
        Ok(self.sent())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Sends each frame once, from the first queue of an interface.
///
/// # Errors
/// A frame does not fit, or the socket can't be opened.
pub fn send_frames(namespace: &str, interface: &str, frames: &[Vec<u8>]) -> anyhow::Result<()> {
    let mut port = open(namespace, interface, frames)?;
    frames.iter().try_for_each(|frame| send(&mut port, frame))?;
    Ok(finish(&mut port)?)
}

fn open(namespace: &str, interface: &str, frames: &[Vec<u8>]) -> anyhow::Result<XskPort> {
    let config = XskConfig { interface: interface.into(), frame_count: 1024, fill_ring: 64, ..XskConfig::default() };
    let end = Instant::now() + Duration::from_secs(60);
    let port = within(namespace, || {
        loop {
            match XskPort::open(&config, AttachMode::Generic) {
                // The kernel gives a queue back some time after the last socket on it was closed.
                Err(xdp::Error::QueueTaken { .. }) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                opened => break opened,
            }
        }
    })??;
    let fits = |frame: &Vec<u8>| (1..=port.frame_bytes()).contains(&frame.len());
    ensure!(frames.iter().all(fits), "frames have 1 to {} bytes", port.frame_bytes());
    Ok(port)
}

/// Waits for room, if there is none.
fn send(port: &mut XskPort, bytes: &[u8]) -> io::Result<()> {
    loop {
        if let Some(mut frame) = port.allocate() {
            port.buffer(&mut frame)[..bytes.len()].copy_from_slice(bytes);
            match port.transmit(frame, bytes.len()) {
                Ok(()) => return Ok(()),
                Err(frame) => port.recycle(frame),
            }
        }
        port.flush()?;
    }
}

/// Until the kernel has taken all.
fn finish(port: &mut XskPort) -> io::Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    port.flush()?;
    while port.needs_flush() && Instant::now() < end {
        port.flush()?;
    }
    Ok(())
}
