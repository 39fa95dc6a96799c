//! One direction of a connection, as the wire shows it.

use wire::SeqNum;

/// Earlier streams that are remembered: a listener that answers by cookies has several.
const EARLIER: usize = 256;

/// What arrived of a stream at its receiver.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrived {
    /// Everything before this; `None` before the SYN.
    next: Option<SeqNum>,
    /// Apart from each other, in order, beyond `next`.
    runs: Vec<(SeqNum, SeqNum)>,
}

impl Arrived {
    pub(super) fn add(&mut self, start: SeqNum, end: SeqNum) {
        let Some(mut next) = self.next else {
            return self.next = Some(end);
        };
        if end.before_eq(next) {
            return;
        }
        if start.before_eq(next) && self.runs.is_empty() {
            return self.next = Some(end);
        }
        // The run that `start` lies in or touches, or the place for a new one.
        let at = self.runs.partition_point(|run| run.1.before(start));
        let (mut first, mut last, mut to) = (start, end, at);
        while let Some(run) = self.runs.get(to).filter(|run| run.0.before_eq(end)) {
            (first, last) = (first.min(run.0), last.max(run.1));
            to += 1;
        }
        self.runs.splice(at..to, [(first, last)]);
        let reached = self.runs.iter().take_while(|run| {
            let reached = run.0.before_eq(next);
            next = if reached { next.max(run.1) } else { next };
            reached
        });
        let reached = reached.count();
        self.runs.drain(..reached);
        self.next = Some(next);
    }

    /// All octets before `end` have arrived.
    pub(super) fn up_to(&self, end: SeqNum) -> bool {
        self.next.is_some_and(|next| end.before_eq(next))
    }

    /// The octets from `start` to `end` have arrived.
    pub(super) fn holds(&self, start: SeqNum, end: SeqNum) -> bool {
        let at = self.runs.partition_point(|run| run.1.before(end));
        let next = self.next.unwrap_or(start);
        end.before_eq(next) || self.runs.get(at).is_some_and(|run| run.0.before_eq(start) && end.before_eq(run.1))
    }
}

/// A stream of before.
#[derive(Debug, Clone, Copy)]
struct Earlier {
    iss: SeqNum,
    /// The number behind its last.
    end: SeqNum,
    astray: bool,
    scale: Option<u8>,
    mss: Option<u16>,
}

/// What one end sends.
#[derive(Debug, Clone, Default)]
pub(super) struct Stream {
    pub(super) iss: Option<SeqNum>,
    earlier: Vec<Earlier>,
    /// Counts initial sequence numbers: what is under way from before belongs to another stream.
    pub(super) incarnation: u32,
    /// One above the highest sequence number sent.
    pub(super) sent: SeqNum,
    pub(super) fin: Option<SeqNum>,
    /// The window scale and the MSS that this end's SYN offers.
    pub(super) scale: Option<u8>,
    pub(super) mss: Option<u16>,
    /// The right edge of the window: the farthest that was heard of by this end,
    pub(super) heard: Option<SeqNum>,
    /// and that the peer has promised.
    pub(super) promised: Option<SeqNum>,
    /// The highest acknowledgment the peer has sent.
    pub(super) acked: Option<SeqNum>,
    pub(super) arrived: Arrived,
    /// Its end answers to a SYN that the other has not sent.
    pub(super) astray: bool,
    /// Its end's connection may be over: a reset was sent or has come, or both FINs were sent.
    pub(super) over: bool,
    /// It began with an earlier SYN after all: what arrived of it is not known.
    pub(super) rebased: bool,
}

impl Stream {
    /// A SYN with this number was sent. True if it is a new one.
    pub(super) fn begin(&mut self, iss: SeqNum) -> bool {
        if self.iss == Some(iss) {
            return false;
        }
        let mut earlier = std::mem::take(&mut self.earlier);
        let Self { sent: end, astray, scale, mss, .. } = *self;
        earlier.extend(self.iss.map(|iss| Earlier { iss, end, astray, scale, mss }));
        if earlier.len() > EARLIER {
            earlier.remove(0);
        }
        let incarnation = self.incarnation + 1;
        *self = Self { iss: Some(iss), earlier, incarnation, sent: iss + 1, ..Self::default() };
        true
    }

    /// The stream is that of an earlier SYN, if there was one with this number and nothing behind it.
    pub(super) fn rebase(&mut self, iss: SeqNum) -> bool {
        let Some(at) = self.earlier.iter().position(|old| old.iss == iss && old.end == iss + 1) else { return false };
        let (old, incarnation) = (self.earlier.remove(at), self.incarnation);
        self.begin(iss);
        (self.incarnation, self.rebased) = (incarnation, true);
        (self.astray, self.scale, self.mss) = (old.astray, old.scale, old.mss);
        true
    }

    /// This acknowledges less than was acknowledged already.
    pub(super) fn goes_back(&self, ack: SeqNum) -> bool {
        self.iss.is_some_and(|iss| ack.after(iss)) && self.acked.is_some_and(|acked| acked.after(ack))
    }

    /// The number belongs to an earlier stream: TIME-WAIT comes back when the SYN that ended it turns out to be nobody's.
    pub(super) fn is_earlier(&self, seq: SeqNum) -> bool {
        self.earlier.iter().any(|old| seq.after(old.iss) && seq.before_eq(old.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a map of octets.
    #[test]
    fn what_arrived_is_what_was_added() {
        let mut rng = crate::Rng::new(7);
        for _ in 0..200 {
            let base = SeqNum::new(u32::MAX - 20);
            let (mut arrived, mut octets) = (Arrived::default(), vec![false; 64]);
            arrived.add(base, base);
            for _ in 0..20 {
                let start = rng.index(60);
                let end = start + 1 + rng.index(64 - start - 1);
                arrived.add(base + u32::try_from(start).unwrap_or(0), base + u32::try_from(end).unwrap_or(0));
                octets[start..end].fill(true);
                let whole = octets.iter().take_while(|there| **there).count();
                for a in 0..64 {
                    let seq = |n: usize| base + u32::try_from(n).unwrap_or(0);
                    assert_eq!(arrived.up_to(seq(a)), a <= whole);
                    for b in a + 1..64 {
                        assert_eq!(arrived.holds(seq(a), seq(b)), octets[a..b].iter().all(|there| *there), "{a} {b}");
                    }
                }
            }
        }
    }
}
