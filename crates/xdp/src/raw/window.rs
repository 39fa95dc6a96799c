//! Several frames under way at once: how many a second there and back.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::{BATCH, MIN_FRAME_BYTES, SPINS, first_number, number_of, put_number, send_new, template, turn_round};
use crate::facts::MacAddr;
use crate::port::{Frame, Port};

/// With nothing back for so long, all that is under way is taken for lost: longer than a small virtual machine stalls.
const SILENCE: Duration = Duration::from_millis(200);

/// Keeps a number of frames under way to an [`echo_frames`](super::echo_frames). An echo is sent again with another number, as
/// it is: no frame is written anew unless one was lost.
#[derive(Debug)]
pub struct RawWindow {
    template: Vec<u8>,
    window: u64,
    /// Of the frame that is sent next, and of the echo that comes next: one queue keeps their order.
    next: u64,
    awaited: u64,
    /// When frames were sent: one entry for those of a batch, with the number behind its last one.
    sent: VecDeque<(u64, Instant)>,
    frames: Vec<Frame>,
    heard: Option<Instant>,
    lost: u64,
    strays: u64,
}

impl RawWindow {
    /// `window` frames of `frame_bytes` bytes (at least [`MIN_FRAME_BYTES`], without the checksum of Ethernet) from `local` to
    /// `remote`.
    #[must_use]
    pub fn new(local: (MacAddr, Ipv4Addr), remote: (MacAddr, Ipv4Addr), frame_bytes: usize, window: u32) -> Self {
        let first = first_number();
        Self {
            template: template(local, remote, frame_bytes.max(MIN_FRAME_BYTES)),
            window: window.max(1).into(),
            next: first,
            awaited: first,
            sent: VecDeque::with_capacity(window as usize + 1),
            frames: Vec::with_capacity(BATCH),
            heard: None,
            lost: 0,
            strays: 0,
        }
    }

    /// Looks for echoes until some have come, sends as many frames again, and tells `each` of the echoes: when those of one
    /// batch were sent, when they were back, and how many there were. Returns after a while if none has come.
    ///
    /// # Errors
    /// The interface went down, or `InvalidInput`: the port's frames are too short.
    pub fn turn(&mut self, port: &mut impl Port, mut each: impl FnMut(Instant, Instant, u64)) -> io::Result<()> {
        let mut frames = std::mem::take(&mut self.frames);
        let received = (0..SPINS).any(|_| {
            let received = port.receive(&mut frames, BATCH);
            if received == 0 {
                std::hint::spin_loop();
            }
            received > 0
        });
        let now = Instant::now();
        if received {
            self.heard = Some(now);
        }
        let mut batch: Option<(Instant, u64)> = None;
        for frame in frames.drain(..) {
            let Some(sent) = self.take(port, frame) else { continue };
            match &mut batch {
                Some((when, count)) if *when == sent => *count += 1,
                other => {
                    if let Some((when, count)) = other.replace((sent, 1)) {
                        each(when, now, count);
                    }
                }
            }
        }
        if let Some((when, count)) = batch {
            each(when, now, count);
        }
        self.frames = frames;
        self.give_up(now);
        self.fill(port)?;
        if self.sent.back().is_none_or(|(behind, _)| *behind < self.next) {
            self.sent.push_back((self.next, now));
        }
        port.flush()
    }

    /// Frames that have not come back, and whose place others have taken.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Frames received that were no echo awaited.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.strays
    }

    /// Takes an echo, sends it again, and says when it was sent. Those with lower numbers that have not come are lost.
    fn take(&mut self, port: &mut impl Port, mut frame: Frame) -> Option<Instant> {
        let len = self.template.len();
        let number = number_of(port.bytes(&frame)).filter(|_| frame.len() == len);
        let Some(number) = number.filter(|number| (self.awaited..self.next).contains(number)) else {
            self.strays += 1;
            port.recycle(frame);
            return None;
        };
        self.lost += number - self.awaited;
        self.awaited = number + 1;
        while self.sent.front().is_some_and(|(behind, _)| *behind <= number) {
            self.sent.pop_front();
        }
        let sent = self.sent.front().map(|(_, when)| *when);
        if self.next - self.awaited >= self.window {
            port.recycle(frame);
            return sent;
        }
        let bytes = port.buffer(&mut frame);
        if bytes.len() < len {
            port.recycle(frame);
            return sent;
        }
        turn_round(bytes);
        put_number(bytes, self.next);
        match port.transmit(frame, len) {
            Ok(()) => self.next += 1,
            Err(frame) => port.recycle(frame),
        }
        sent
    }

    /// Takes all that is under way for lost, if nothing has come for long.
    fn give_up(&mut self, now: Instant) {
        let heard = *self.heard.get_or_insert(now);
        if now.saturating_duration_since(heard) >= SILENCE {
            self.lost += self.next - self.awaited;
            self.awaited = self.next;
            self.sent.clear();
            self.heard = Some(now);
        }
    }

    /// Sends new frames in the places of lost ones, and at first.
    fn fill(&mut self, port: &mut impl Port) -> io::Result<()> {
        while self.next - self.awaited < self.window {
            if !send_new(port, &self.template, self.template.len(), self.next)? {
                break;
            }
            self.next += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::echo_frames;
    use super::super::tests::{LOCAL, REMOTE};
    use super::*;
    use crate::memory::{MemoryConfig, MemoryPort};
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn all_frames_of_a_window_come_back() {
        let (mut near, mut far) = MemoryPort::pair(MemoryConfig::default());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let echo = scope.spawn(|| echo_frames(&mut far, &stop).unwrap());
            let mut window = RawWindow::new(LOCAL, REMOTE, 100, 64);
            let mut back = 0;
            while back < 10_000 {
                window
                    .turn(&mut near, |sent, now, count| {
                        assert!(sent <= now);
                        back += count;
                    })
                    .unwrap();
            }
            assert_eq!((window.lost(), window.strays(), window.next - window.awaited), (0, 0, 64));
            stop.store(true, Ordering::Relaxed);
            let echoed = echo.join().unwrap();
            assert!((back..=back + 64).contains(&echoed), "{echoed} {back}");
        });
    }

    /// Every second frame is dropped by hand: the next one that comes tells, and its place is taken.
    #[test]
    fn lost_frames_are_noticed_and_made_good() {
        let (mut near, mut far) = MemoryPort::pair(MemoryConfig::default());
        let mut window = RawWindow::new(LOCAL, REMOTE, 100, 4);
        let (mut back, mut frames) = (0, Vec::new());
        for _ in 0..10 {
            window.turn(&mut near, |_, _, count| back += count).unwrap();
            assert_eq!(window.next - window.awaited, 4);
            far.receive(&mut frames, 64);
            for (at, mut frame) in frames.drain(..).enumerate() {
                if at % 2 == 0 {
                    far.recycle(frame);
                    continue;
                }
                turn_round(far.buffer(&mut frame));
                far.transmit(frame, 100).unwrap();
            }
            far.flush().unwrap();
        }
        // Of each four under way the first and the third were lost; the last round's echoes are not taken yet.
        assert_eq!((back, window.lost()), (9 * 2, 9 * 2));
    }

    /// With all of them lost there is no next one: silence tells.
    #[test]
    fn silence_is_loss_of_all() {
        let (mut near, mut far) = MemoryPort::pair(MemoryConfig::default());
        let mut window = RawWindow::new(LOCAL, REMOTE, 100, 4);
        let mut frames = Vec::new();
        while window.lost() == 0 {
            window.turn(&mut near, |_, _, _| panic!("nothing was echoed")).unwrap();
            far.receive(&mut frames, 64);
            frames.drain(..).for_each(|frame| far.recycle(frame));
            far.flush().unwrap();
        }
        assert_eq!((window.lost(), window.next - window.awaited), (4, 4));
    }
}
