//! What one shard counts, and all count together.

use std::net::SocketAddr;

use anyhow::bail;
use fourwave::{Duration, Instant};
use hdrhistogram::Histogram;

use crate::measure::{HIGHEST_NS, Sending, UnderWay, histogram};

/// What one shard counts behind the warm-up, and what all count together.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) responses: u64,
    pub(super) connects: u64,
    pub(super) connect_errors: u64,
    /// Of those: there was no local port, or no room, for another connection.
    pub(super) no_port: u64,
    pub(super) timeouts: u64,
    pub(super) resets: u64,
    /// Connections that the server ended before it had answered.
    pub(super) cut_off: u64,
    pub(super) malformed: u64,
    /// Responses of another status or length than expected.
    pub(super) unexpected: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) latency: Histogram<u64>,
    pub(super) connect_latency: Histogram<u64>,
    /// How well an open loop kept its schedule.
    pub(super) sending: Sending,
    /// What there was of it at the end of a closed loop's time, if more could come behind that.
    pub(super) in_time: Option<Rated>,
    pub(super) under_way: UnderWay,
    pub(super) began: Option<Instant>,
    pub(super) ended: Option<Instant>,
}

/// The counts that rates are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rated {
    pub(super) responses: u64,
    pub(super) connects: u64,
    pub(super) bytes: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            requests: 0,
            responses: 0,
            connects: 0,
            connect_errors: 0,
            no_port: 0,
            timeouts: 0,
            resets: 0,
            cut_off: 0,
            malformed: 0,
            unexpected: 0,
            bytes_sent: 0,
            bytes_received: 0,
            latency: histogram(),
            connect_latency: histogram(),
            sending: Sending::default(),
            in_time: None,
            under_way: UnderWay::default(),
            began: None,
            ended: None,
        }
    }

    /// Begins to measure.
    pub(super) fn begin(&mut self, now: Instant) {
        *self = Self { began: Some(now), ..Self::new() };
    }

    /// It ended before measuring began: what went wrong counts, and nothing else.
    pub(super) fn without_warmup(self) -> Self {
        if self.began.is_some() {
            return self;
        }
        let Self { connect_errors, no_port, timeouts, resets, cut_off, malformed, unexpected, .. } = self;
        Self { connect_errors, no_port, timeouts, resets, cut_off, malformed, unexpected, ..Self::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.responses == 0
    }

    /// Returns the nanoseconds that it recorded.
    pub(super) fn record(histogram: &mut Histogram<u64>, took: Duration) -> u64 {
        let ns = took.as_nanos().clamp(1, HIGHEST_NS);
        histogram.saturating_record(ns);
        ns
    }

    /// From the first that began to the last that ended.
    pub(super) fn add(&mut self, other: &Self) {
        let (one, more) = (self.rated(), other.rated());
        self.in_time = Some(Rated {
            responses: one.responses + more.responses,
            connects: one.connects + more.connects,
            bytes: one.bytes + more.bytes,
        });
        self.requests += other.requests;
        self.responses += other.responses;
        self.connects += other.connects;
        self.connect_errors += other.connect_errors;
        self.no_port += other.no_port;
        self.timeouts += other.timeouts;
        self.resets += other.resets;
        self.cut_off += other.cut_off;
        self.malformed += other.malformed;
        self.unexpected += other.unexpected;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        // Of equal bounds.
        let _ = self.latency.add(&other.latency);
        let _ = self.connect_latency.add(&other.connect_latency);
        self.sending.add(&other.sending);
        self.under_way.add(&other.under_way);
        self.began = [self.began, other.began].into_iter().flatten().min();
        self.ended = self.ended.max(other.ended);
    }

    /// An error if nothing came of it at all.
    pub(super) fn verdict(&self, target: SocketAddr) -> anyhow::Result<()> {
        match self.responses {
            0 => bail!("{target} has answered nothing that could be read: see the counters above"),
            all if all == self.unexpected => {
                bail!(
                    "none of the {all} responses of {target} was what it was to be: see what it answers, with curl -v or nc"
                )
            }
            all if self.failures() > all => {
                let failures = self.failures();
                bail!(
                    "with {target} {failures} requests or connections failed, and {all} came to a response: see the counters above"
                )
            }
            _ => Ok(()),
        }
    }

    /// Requests that came to nothing, and connections: but for want of a port, which is waited for.
    pub(super) const fn failures(&self) -> u64 {
        self.connect_errors - self.no_port + self.timeouts + self.resets + self.cut_off + self.malformed
    }

    /// What rates are of: all of it, but for what came behind the end of a closed loop's time.
    pub(super) fn rated(&self) -> Rated {
        let Self { responses, connects, bytes_sent, bytes_received, .. } = *self;
        self.in_time.unwrap_or(Rated { responses, connects, bytes: bytes_sent + bytes_received })
    }

    /// The time is over: what comes from now on is no part of any rate.
    pub(super) fn end_of_time(&mut self, now: Instant) {
        (self.in_time, self.ended) = (Some(self.rated()), Some(now));
    }

    pub(super) fn duration_s(&self) -> f64 {
        self.began.zip(self.ended).map_or(0.0, |(began, ended)| ended.saturating_since(began).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> Tally {
        let mut tally = Tally { requests: 9, responses: 8, connects: 2, timeouts: 3, bytes_sent: 70, ..Tally::new() };
        Tally::record(&mut tally.latency, Duration::from_micros(5));
        tally
    }

    /// Ended within the warm-up, it has measured nothing; but what went wrong is why.
    #[test]
    fn of_a_warm_up_only_what_went_wrong_counts() {
        let tally = counted().without_warmup();
        assert_eq!((tally.requests, tally.responses, tally.connects, tally.bytes_sent), (0, 0, 0, 0));
        assert!(tally.is_empty() && tally.latency.is_empty() && tally.timeouts == 3);
        let tally = Tally { began: Some(Instant::ZERO), ..counted() }.without_warmup();
        assert_eq!((tally.responses, tally.bytes_sent, tally.latency.len(), tally.timeouts), (8, 70, 1, 3));
    }

    /// The first shard to begin and the last to end are the measurement's.
    #[test]
    fn shards_add_up() {
        let at = |ms| Some(Instant::ZERO + Duration::from_millis(ms));
        let mut all = Tally { began: at(500), ended: at(1500), ..counted() };
        all.add(&Tally { began: at(0), ended: at(2000), ..counted() });
        assert_eq!((all.requests, all.responses, all.timeouts, all.latency.len()), (18, 16, 6, 2));
        assert!((all.duration_s() - 2.0).abs() < 1e-9);
    }

    /// One shard has waited for what was under way at its end, and another had nothing to wait for.
    #[test]
    fn what_comes_behind_the_end_is_in_no_rate() {
        let end = Instant::ZERO + Duration::from_secs(1);
        let mut late = Tally { began: Some(Instant::ZERO), ..counted() };
        late.end_of_time(end);
        (late.responses, late.bytes_received) = (late.responses + 5, 1000);
        assert_eq!(late.rated(), Rated { responses: 8, connects: 2, bytes: 70 });
        let mut all = Tally::new();
        all.add(&late);
        all.add(&counted());
        assert_eq!((all.responses, all.rated()), (21, Rated { responses: 16, connects: 4, bytes: 140 }));
        assert!((all.duration_s() - 1.0).abs() < 1e-9);
    }
}
