//! Full frames one way: how much a device carries without a protocol.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{BATCH, MIN_FRAME_BYTES, SPINS, first_number, number_of, put_number, send_new, template};
use crate::facts::MacAddr;
use crate::port::{Frame, Port};

/// The receiver says what has come whenever so many frames have.
const ACKNOWLEDGE_EACH: u64 = 32;
/// Behind the number that is awaited next: how many frames have come in all.
const RECEIVED_AT: usize = MIN_FRAME_BYTES;
const ACKNOWLEDGMENT_BYTES: usize = MIN_FRAME_BYTES + 8;
/// With nothing acknowledged for so long, all that is under way is taken for lost.
const SILENCE: Duration = Duration::from_millis(200);

/// Takes frames in, looks at nothing but their numbers, and acknowledges them by a small frame now and then, until `stop` is
/// set. Returns how many.
///
/// # Errors
/// The interface went down.
pub fn receive_frames(port: &mut impl Port, stop: &AtomicBool) -> io::Result<u64> {
    let mut frames = Vec::with_capacity(BATCH);
    let (mut received, mut said, mut awaited) = (0, 0, 0);
    let mut answer: Option<Vec<u8>> = None;
    while !stop.load(Ordering::Relaxed) {
        let mut came = false;
        for _ in 0..SPINS {
            if port.receive(&mut frames, BATCH) == 0 && !port.needs_flush() {
                std::hint::spin_loop();
                continue;
            }
            came = true;
            for frame in frames.drain(..) {
                if let Some(number) = number_of(port.bytes(&frame)) {
                    (awaited, received) = (number + 1, received + 1);
                    let made = answer.take().filter(|answer| is_to(answer, port.bytes(&frame)));
                    answer = Some(made.unwrap_or_else(|| answer_to(port.bytes(&frame))));
                }
                port.recycle(frame);
            }
            if received - said >= ACKNOWLEDGE_EACH {
                said = acknowledge(port, answer.as_deref(), awaited, received, said);
            }
            port.flush()?;
        }
        if !came && received > said {
            said = acknowledge(port, answer.as_deref(), awaited, received, said);
            port.flush()?;
        }
    }
    Ok(received)
}

/// Sends an acknowledgment, if there is a frame for it; what was said then.
fn acknowledge(port: &mut impl Port, answer: Option<&[u8]>, awaited: u64, received: u64, said: u64) -> u64 {
    let Some((answer, mut frame)) = answer.and_then(|answer| Some((answer, port.allocate()?))) else { return said };
    let Some(bytes) = port.buffer(&mut frame).get_mut(..answer.len()) else {
        port.recycle(frame);
        return said;
    };
    bytes.copy_from_slice(answer);
    put_number(bytes, awaited);
    bytes[RECEIVED_AT..RECEIVED_AT + 8].copy_from_slice(&received.to_be_bytes());
    match port.transmit(frame, ACKNOWLEDGMENT_BYTES) {
        Ok(()) => received,
        Err(frame) => {
            port.recycle(frame);
            said
        }
    }
}

/// An acknowledgment for who sent a frame, which has a number.
fn answer_to(frame: &[u8]) -> Vec<u8> {
    let mac = |at: usize| MacAddr(std::array::from_fn(|n| frame[at + n]));
    let ip = |at: usize| Ipv4Addr::from(std::array::from_fn::<u8, 4, _>(|n| frame[at + n]));
    template((mac(0), ip(30)), (mac(6), ip(26)), ACKNOWLEDGMENT_BYTES)
}

/// Whether an acknowledgment is for who sent a frame.
fn is_to(answer: &[u8], frame: &[u8]) -> bool {
    answer[..6] == frame[6..12] && answer[30..34] == frame[26..30]
}

/// Sends full frames as fast as they are acknowledged, by a [`receive_frames`].
#[derive(Debug)]
pub struct RawSender {
    template: Vec<u8>,
    window: u64,
    next: u64,
    acknowledged: u64,
    /// Frames that the receiver has, since it began.
    received: u64,
    frames: Vec<Frame>,
    heard: Option<Instant>,
    lost: u64,
}

impl RawSender {
    /// Frames of `frame_bytes` bytes (at least [`MIN_FRAME_BYTES`], without the checksum of Ethernet) from `local` to `remote`,
    /// no more than `window` under way.
    #[must_use]
    pub fn new(local: (MacAddr, Ipv4Addr), remote: (MacAddr, Ipv4Addr), frame_bytes: usize, window: u32) -> Self {
        let first = first_number();
        Self {
            template: template(local, remote, frame_bytes.max(MIN_FRAME_BYTES)),
            window: u64::from(window).max(2 * ACKNOWLEDGE_EACH),
            next: first,
            acknowledged: first,
            received: 0,
            frames: Vec::with_capacity(BATCH),
            heard: None,
            lost: 0,
        }
    }

    /// Takes acknowledgments, and sends what they leave room for, a batch at the most. Returns after a while if there is none.
    ///
    /// # Errors
    /// The interface went down, or `InvalidInput`: the port's frames are too short.
    pub fn turn(&mut self, port: &mut impl Port) -> io::Result<()> {
        for _ in 0..SPINS {
            if port.receive(&mut self.frames, BATCH) > 0 {
                self.hear(port);
            }
            if self.next - self.acknowledged < self.window {
                self.send(port)?;
                return port.flush();
            }
            std::hint::spin_loop();
        }
        let now = Instant::now();
        let heard = *self.heard.get_or_insert(now);
        if now.saturating_duration_since(heard) >= SILENCE {
            self.acknowledged = self.next;
            self.heard = Some(now);
        }
        port.flush()
    }

    /// Bytes of each frame.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.template.len()
    }

    /// Frames that the receiver says it has, since it began.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Frames that went and didn't come, of those acknowledged since the first acknowledgment.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn hear(&mut self, port: &mut impl Port) {
        for frame in self.frames.drain(..) {
            let bytes = port.bytes(&frame);
            let received = bytes.get(RECEIVED_AT..ACKNOWLEDGMENT_BYTES).and_then(|bytes| bytes.try_into().ok());
            let known = number_of(bytes).zip(received.map(u64::from_be_bytes));
            if let Some((awaited, received)) = known.filter(|(n, _)| (self.acknowledged + 1..=self.next).contains(n)) {
                if self.heard.is_some() {
                    let (went, came) = (awaited - self.acknowledged, received.saturating_sub(self.received));
                    self.lost += went.saturating_sub(came);
                }
                (self.acknowledged, self.received) = (awaited, received);
                self.heard = Some(Instant::now());
            }
            port.recycle(frame);
        }
    }

    /// Only the headers are written: what a device carries does not depend on who fills the frames.
    fn send(&mut self, port: &mut impl Port) -> io::Result<()> {
        for _ in 0..(self.window - (self.next - self.acknowledged)).min(BATCH as u64) {
            if !send_new(port, &self.template, MIN_FRAME_BYTES, self.next)? {
                break;
            }
            self.next += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LOCAL, REMOTE};
    use super::*;
    use crate::memory::{MemoryConfig, MemoryPort};

    #[test]
    fn what_was_sent_is_acknowledged() {
        let (mut near, mut far) = MemoryPort::pair(MemoryConfig::default());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let receiver = scope.spawn(|| receive_frames(&mut far, &stop).unwrap());
            let mut sender = RawSender::new(LOCAL, REMOTE, 1514, 256);
            while sender.received() < 10_000 {
                sender.turn(&mut near).unwrap();
                assert!(sender.next - sender.acknowledged <= 256);
            }
            assert_eq!(sender.lost(), 0);
            stop.store(true, Ordering::Relaxed);
            assert!(receiver.join().unwrap() >= 10_000);
        });
    }

    #[test]
    fn an_acknowledgment_goes_back_the_way_a_frame_came() {
        let frame = template(LOCAL, REMOTE, 100);
        let answer = answer_to(&frame);
        assert_eq!(answer, template(REMOTE, LOCAL, ACKNOWLEDGMENT_BYTES));
        assert!(is_to(&answer, &frame) && !is_to(&answer, &answer));
    }
}
