//! Slow start, congestion avoidance, fast retransmit and fast recovery: RFC 5681 and RFC 6582, initial window by RFC 6928.

use super::{Flight, Reaction};
use wheel::Duration;
use wire::SeqNum;

/// Duplicate ACKs that mean loss (RFC 5681 section 3.2).
const DUPLICATE_THRESHOLD: u8 = 3;

#[derive(Debug, Clone)]
pub(crate) struct NewReno {
    cwnd: u32,
    ssthresh: u32,
    /// Bytes acknowledged since cwnd last grew in congestion avoidance.
    credit: u32,
    /// RFC 6582: the highest sequence number sent when the last recovery began.
    recover: SeqNum,
    duplicates: u8,
    in_recovery: bool,
}

impl NewReno {
    pub(crate) const fn new(iss: SeqNum) -> Self {
        Self { cwnd: 0, ssthresh: u32::MAX, credit: 0, recover: iss, duplicates: 0, in_recovery: false }
    }

    /// RFC 6928: min(10 MSS, max(2 MSS, 14600)); one segment if the SYN was lost twice (RFC 5681 section 3.1, as RFC 6928
    /// relaxes it).
    pub(crate) fn established(&mut self, mss: u32) {
        let lost = self.cwnd != 0;
        self.cwnd = if lost { mss } else { initial_window(mss) };
        self.ssthresh = u32::MAX;
    }

    pub(crate) const fn window(&self) -> u32 {
        self.cwnd
    }

    pub(crate) fn on_ack(&mut self, acked: u32, before: u32, flight: Flight) -> Reaction {
        self.duplicates = 0;
        if self.in_recovery {
            return self.in_recovery(acked, flight);
        }
        if flight.snd_una.after(self.recover) {
            // It has done its work; left behind it would come round again after 2 GiB.
            self.recover = flight.snd_una - 1;
        }
        if !self.limited(before, flight.mss) {
            return Reaction::None;
        }
        if self.cwnd < self.ssthresh {
            // RFC 3465 with L = 2 would be for delayed ACKs; whole batches are acknowledged at once here, as Linux counts.
            self.cwnd = self.cwnd.saturating_add(acked).min(self.ssthresh.max(self.cwnd.saturating_add(flight.mss)));
        } else {
            self.credit = self.credit.saturating_add(acked);
            while self.credit >= self.cwnd.max(1) {
                self.credit -= self.cwnd.max(1);
                self.cwnd = self.cwnd.saturating_add(flight.mss);
            }
        }
        Reaction::None
    }

    /// Whether `before` bytes in flight had used the window: one that is not used proves nothing about the path (RFC 7661;
    /// half of it will do in slow start, as in Linux, since it doubles).
    fn limited(&self, before: u32, mss: u32) -> bool {
        let used = if self.cwnd < self.ssthresh { before.saturating_mul(2) } else { before.saturating_add(mss) };
        used >= self.cwnd
    }

    /// RFC 5681 section 4.1: data is sent again after `idle`, longer than an RTO: from the initial window at most.
    pub(crate) fn on_restart(&mut self, idle: Duration, rto: Duration, mss: u32) {
        if idle > rto && self.cwnd != 0 {
            self.cwnd = self.cwnd.min(initial_window(mss));
        }
    }

    /// RFC 6582 section 3.2 step 3.
    fn in_recovery(&mut self, acked: u32, flight: Flight) -> Reaction {
        if flight.snd_una.after_eq(self.recover) {
            self.in_recovery = false;
            self.cwnd = self.ssthresh.min(flight.bytes().max(flight.mss) + flight.mss);
            return Reaction::None;
        }
        self.cwnd = self.cwnd.saturating_sub(acked).max(flight.mss);
        if acked >= flight.mss {
            self.cwnd = self.cwnd.saturating_add(flight.mss);
        }
        Reaction::RetransmitHead
    }

    pub(crate) fn on_duplicate_ack(&mut self, flight: Flight) -> Reaction {
        if self.in_recovery {
            self.cwnd = self.cwnd.saturating_add(flight.mss);
            return Reaction::None;
        }
        self.duplicates = self.duplicates.saturating_add(1);
        // RFC 6582 step 1: an ACK at or below `recover` may come from retransmissions of the go-back after an RTO.
        if self.duplicates != DUPLICATE_THRESHOLD || flight.snd_una.before_eq(self.recover) {
            return Reaction::None;
        }
        self.ssthresh = (flight.bytes() / 2).max(2 * flight.mss);
        self.recover = flight.snd_max;
        self.in_recovery = true;
        self.cwnd = self.ssthresh.saturating_add(u32::from(DUPLICATE_THRESHOLD) * flight.mss);
        Reaction::RetransmitHead
    }

    pub(crate) fn on_rto(&mut self, flight: Flight, again: bool) {
        if !again {
            self.ssthresh = (flight.bytes() / 2).max(2 * flight.mss);
        }
        // Before ESTABLISHED cwnd is 0, and the first loss of a SYN leaves it so.
        if again || self.cwnd != 0 {
            self.cwnd = flight.mss;
        }
        self.credit = 0;
        self.recover = flight.snd_max;
        self.duplicates = 0;
        self.in_recovery = false;
    }
}

/// RFC 6928.
const fn initial_window(mss: u32) -> u32 {
    let (most, least) = (10 * mss, 2 * mss);
    let least = if least > 14_600 { least } else { 14_600 };
    if most < least { most } else { least }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    fn flight(una: u32, max: u32) -> Flight {
        Flight { snd_una: SeqNum::new(una), snd_max: SeqNum::new(max), mss: MSS }
    }

    fn open() -> NewReno {
        let mut c = NewReno::new(SeqNum::new(0));
        c.established(MSS);
        c
    }

    /// RFC5681-3.1-a.
    #[test]
    fn initial_window_is_rfc_6928s() {
        for (mss, expected) in [(536, 5360), (1460, 14_600), (4000, 14_600), (8960, 17_920)] {
            let mut c = NewReno::new(SeqNum::new(0));
            c.established(mss);
            assert_eq!(c.window(), expected, "MSS {mss}");
        }
    }

    /// MUST-19, RFC5681-3.1-c, RFC5681-3.1-d, RFC5681-3.1-e, RFC5681-3.1-f.
    #[test]
    fn slow_start_doubles_and_congestion_avoidance_adds_one_mss() {
        let mut c = open();
        c.on_ack(10_000, u32::MAX, flight(10_000, 10_000));
        assert_eq!(c.window(), 20_000);
        c.on_rto(flight(10_000, 30_000), false);
        // ssthresh = 20,000 / 2, cwnd = 1 MSS.
        assert_eq!(c.window(), 1000);
        for una in (11..=19).map(|k| k * 1000) {
            c.on_ack(1000, u32::MAX, flight(una, 30_000));
        }
        assert_eq!(c.window(), 10_000);
        c.on_ack(10_000, u32::MAX, flight(29_000, 30_000));
        assert_eq!(c.window(), 11_000);
    }

    /// RFC5681-3.2-a, RFC5681-3.2-b.
    #[test]
    fn three_duplicates_start_recovery_and_a_partial_ack_goes_on() {
        let mut c = open();
        let f = flight(1000, 11_000);
        assert_eq!(c.on_duplicate_ack(f), Reaction::None);
        assert_eq!(c.on_duplicate_ack(f), Reaction::None);
        assert_eq!(c.on_duplicate_ack(f), Reaction::RetransmitHead);
        // ssthresh = 10,000 / 2; cwnd = ssthresh + 3 MSS; each further duplicate adds one.
        assert_eq!(c.window(), 8000);
        c.on_duplicate_ack(f);
        assert_eq!(c.window(), 9000);
        assert_eq!(c.on_ack(2000, u32::MAX, flight(3000, 11_000)), Reaction::RetransmitHead);
        assert_eq!(c.window(), 8000);
        assert_eq!(c.on_ack(8000, u32::MAX, flight(11_000, 11_000)), Reaction::None);
        assert!(c.window() <= 5000);
    }

    #[test]
    fn duplicates_of_the_go_back_after_an_rto_start_nothing() {
        let mut c = open();
        c.on_rto(flight(1000, 11_000), false);
        for _ in 0..5 {
            assert_eq!(c.on_duplicate_ack(flight(11_000, 12_000)), Reaction::None);
        }
    }
}
