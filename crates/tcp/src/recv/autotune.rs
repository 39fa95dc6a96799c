//! How large the receive buffer should be: Dynamic Right-Sizing (Fisk and Feng, 2001), as Linux's tcp_rcv_space_adjust. No RFC
//! has a rule; RFC 9293 section 3.8.6 asks only that the window never shrinks, and a buffer that never does sees to that.
//!
//! What the application takes within a round trip is what the path and the application are good for. Twice as much lets the
//! sender go on while a loss is repaired, and what comes on top lets it double, as slow start does, before we measure again.

use wheel::{Duration, Instant};
use wire::SeqNum;

/// How a segment tells that a round trip has passed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clue {
    /// It echoes this timestamp, which we sent so many milliseconds ago (RFC 7323).
    Echo(u32, u32),
    /// It echoes what the one before did, or nothing that we sent.
    Nothing,
    /// There are no timestamps: only data beyond the window that was promised before. A sender that does not fill the window
    /// takes several round trips for it; this is the sender's own idea of one, from the handshake at least.
    Window(Option<Duration>),
}

/// Data has arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) now: Instant,
    pub(crate) clue: Clue,
    /// Bytes of data, and the number behind them.
    pub(crate) len: u32,
    pub(crate) end: SeqNum,
    /// The right edge promised so far.
    pub(crate) edge: SeqNum,
    /// The next number for the application: what lies before was taken by it.
    pub(crate) taken: SeqNum,
}

/// What a measurement says of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is large enough, or as large as may be, or it is not known yet.
    Enough,
    /// It has grown.
    Grown,
    /// It would have grown, but memory is short.
    Held,
}

/// A measurement has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) verdict: Verdict,
    /// Bytes that a round trip brings, if they are hardly more than in the best one before: the sender is not in slow start.
    pub(crate) settled: Option<u32>,
}

/// One connection's receive buffer, and the measurement under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Autotune {
    buffer: u32,
    /// The most the application has taken in a round trip.
    space: u32,
    /// Where the application was when the measurement began, and when that was, in milliseconds modulo 2^32.
    from: SeqNum,
    began: u32,
    /// Without timestamps: which edge had been promised then. With them: what was echoed last. If that did not end the
    /// measurement, it does not when it is echoed again: as much time has passed since it was sent as since the beginning.
    edge_or_echo: u32,
    /// Bytes that have arrived since.
    arrived: u32,
}

impl Autotune {
    /// A connection opens with a buffer of `buffer` bytes. A sender that begins with RFC 6928's ten segments is no surprise.
    pub(crate) fn new(now: Instant, buffer: u32, mss: u32, rcv_nxt: SeqNum, edge: SeqNum) -> Self {
        Self::resumed((buffer, buffer.min(10 * mss)), now, rcv_nxt, edge)
    }

    /// The buffer, and the most the application has taken in a round trip: what outlives a rest.
    pub(crate) const fn sizes(&self) -> (u32, u32) {
        (self.buffer, self.space)
    }

    /// With these sizes a measurement begins at `since`.
    pub(crate) fn resumed((buffer, space): (u32, u32), since: Instant, rcv_nxt: SeqNum, edge: SeqNum) -> Self {
        let edge_or_echo = edge.value();
        Self { buffer, space, from: rcv_nxt, began: milliseconds(since), edge_or_echo, arrived: 0 }
    }

    /// Bytes the buffer may hold now. It never falls.
    pub(crate) const fn buffer(&self) -> u32 {
        self.buffer
    }

    /// What a segment tells that echoes `ecr`, which we sent `age` milliseconds ago, if we did.
    #[inline]
    pub(crate) fn clue(&self, ecr: u32, age: impl FnOnce() -> Option<u32>) -> Clue {
        match if ecr == self.edge_or_echo { None } else { age() } {
            Some(age) => Clue::Echo(ecr, age),
            None => Clue::Nothing,
        }
    }

    /// Data has arrived that says nothing of the round trip: the measurement goes on.
    #[inline]
    pub(crate) const fn on_more(&mut self, len: u32) {
        self.arrived = self.arrived.saturating_add(len);
    }

    /// Measures; the buffer grows to `most` at the utmost, and only if there is memory: `spare`. `None`: the measurement goes on.
    #[inline]
    pub(crate) fn on_data(&mut self, arrival: Arrival, most: u32, spare: bool) -> Option<Measured> {
        let elapsed = milliseconds(arrival.now).wrapping_sub(self.began);
        let over = match arrival.clue {
            // We sent it after the measurement had begun, not in the same millisecond.
            Clue::Echo(ecr, age) => {
                self.edge_or_echo = ecr;
                age < elapsed
            }
            Clue::Window(_) => arrival.end.after(SeqNum::new(self.edge_or_echo)),
            Clue::Nothing => false,
        };
        if !over {
            self.on_more(arrival.len);
            return None;
        }
        // What was taken, but not what had waited behind a gap or for a lazy reader: that says nothing of the path.
        let taken = arrival.taken.since(self.from).min(self.arrived);
        let taken = per_round_trip(taken, elapsed, arrival.clue);
        let settled = (taken <= self.space.saturating_add(self.space / 8)).then_some(self.space);
        let verdict = self.judge(taken, most, spare);
        if verdict != Verdict::Held {
            self.space = self.space.max(taken);
        }
        (self.from, self.began, self.arrived) = (arrival.taken, milliseconds(arrival.now), arrival.len);
        if matches!(arrival.clue, Clue::Window(_)) {
            self.edge_or_echo = arrival.edge.value();
        }
        Some(Measured { verdict, settled })
    }

    fn judge(&mut self, taken: u32, most: u32, spare: bool) -> Verdict {
        let wanted = if taken > self.space { wanted(taken, self.space).min(most) } else { 0 };
        match (wanted > self.buffer, spare) {
            (false, _) => Verdict::Enough,
            (true, false) => Verdict::Held,
            (true, true) => {
                self.buffer = wanted;
                Verdict::Grown
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // taken modulo 2^32
const fn milliseconds(now: Instant) -> u32 {
    (now.as_nanos() / 1_000_000) as u32
}

/// What was taken in `elapsed` milliseconds, as if for one round trip only. An echo ends a measurement after one anyway.
fn per_round_trip(taken: u32, elapsed: u32, clue: Clue) -> u32 {
    let elapsed = u64::from(elapsed) * 1_000_000;
    match clue {
        Clue::Window(Some(rtt)) if rtt.as_nanos() < elapsed && elapsed > 1_000_000 => {
            u32::try_from(u64::from(taken) * rtt.as_micros() / (elapsed / 1000)).unwrap_or(u32::MAX)
        }
        _ => taken,
    }
}

/// `taken` bytes went to the application within a round trip, `space` before. Twice that; and as the acknowledgments sent now
/// let the sender go on a round trip after the one that is under way already, twice the growth again on top, which is a
/// doubling at most: 2 · taken · (1 + 2 · min(1, growth)).
fn wanted(taken: u32, space: u32) -> u32 {
    let (taken, space) = (u64::from(taken), u64::from(space.max(1)));
    let growth = (taken - space.min(taken)).min(space);
    u32::try_from(2 * taken + (4 * taken).saturating_mul(growth) / space).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    const MSS: u32 = 1000;
    const START: u32 = 64 << 10;

    fn tune() -> Autotune {
        Autotune::new(at(100), START, MSS, SeqNum::new(1), SeqNum::new(1) + START)
    }

    /// After `ms` an empty segment arrives behind data up to `end`, of which the application has taken all; it echoes what we
    /// sent `age` ms ago.
    fn echo(ms: u64, end: u32, age: u32) -> Arrival {
        let (taken, edge) = (SeqNum::new(end), SeqNum::new(end) + START);
        Arrival { now: at(ms), clue: Clue::Echo(0, age), len: 0, end: taken, edge, taken }
    }

    fn judge(tune: &mut Autotune, arrival: Arrival, most: u32, spare: bool) -> Verdict {
        tune.on_data(arrival, most, spare).map_or(Verdict::Enough, |measured| measured.verdict)
    }

    /// So much arrives, and proves nothing.
    fn arrive(tune: &mut Autotune, len: u32) {
        let nothing = Arrival { len, clue: Clue::Nothing, ..echo(0, 0, 0) };
        assert_eq!(tune.on_data(nothing, 1 << 30, true), None);
    }

    /// The arithmetic of Linux's tcp_rcv_space_adjust: twice what was taken, six times while it doubles.
    #[test]
    fn the_formula() {
        assert_eq!(wanted(20_000, 10_000), 120_000);
        assert_eq!(wanted(15_000, 10_000), 60_000);
        assert_eq!(wanted(10_001, 10_000), 20_006);
        // More than a doubling is no rate of growth, but a sender that was silent before.
        assert_eq!(wanted(100_000, 10_000), 600_000);
        assert_eq!(wanted(1 << 30, 1), u32::MAX);
        assert_eq!(wanted(u32::MAX, 1 << 31), u32::MAX);
    }

    #[test]
    fn a_measurement_ends_with_the_echo_of_what_was_sent_within_it() {
        let mut tune = tune();
        arrive(&mut tune, 50_000);
        // Sent before it began, or in the same millisecond.
        assert_eq!(judge(&mut tune, echo(120, 50_001, 21), 1 << 20, true), Verdict::Enough);
        assert_eq!(judge(&mut tune, echo(120, 50_001, 20), 1 << 20, true), Verdict::Enough);
        assert_eq!(tune.buffer(), START);
        // Five times ten segments were taken within the round trip.
        assert_eq!(judge(&mut tune, echo(121, 50_001, 20), 1 << 20, true), Verdict::Grown);
        assert_eq!(tune.buffer(), 300_000);
        // As much again is no growth; nor is less.
        arrive(&mut tune, 50_000);
        assert_eq!(judge(&mut tune, echo(142, 100_001, 20), 1 << 20, true), Verdict::Enough);
        assert_eq!(judge(&mut tune, echo(163, 100_101, 20), 1 << 20, true), Verdict::Enough);
        assert_eq!(tune.buffer(), 300_000);
        // 200,000 is a doubling and more, but there is a limit.
        arrive(&mut tune, 200_000);
        assert_eq!(judge(&mut tune, echo(184, 300_101, 20), 1 << 20, true), Verdict::Grown);
        assert_eq!(tune.buffer(), 1 << 20);
        arrive(&mut tune, 600_000);
        assert_eq!(judge(&mut tune, echo(205, 900_101, 20), 1 << 20, true), Verdict::Enough);
    }

    /// What is echoed again tells nothing, but for the first time it does; nor what we have not sent.
    #[test]
    fn an_echo_tells_something_once() {
        let mut tune = tune();
        let mut judged = |ms, ecr, age| {
            let clue = tune.clue(ecr, || age);
            let judged = tune.on_data(Arrival { clue, len: 20_000, ..echo(ms, 50_001, 0) }, 1 << 20, true).is_some();
            (matches!(clue, Clue::Nothing), judged)
        };
        assert_eq!(judged(120, 7000, Some(20)), (false, false), "sent as it began");
        assert_eq!(judged(130, 7000, Some(30)), (true, false));
        assert_eq!(judged(130, 6000, None), (true, false));
        assert_eq!(judged(130, 7001, Some(29)), (false, true), "sent behind that");
        assert_eq!(judged(140, 7001, Some(39)), (true, false));
        assert_eq!(judged(151, 7031, Some(20)), (false, true));
    }

    #[test]
    fn what_had_waited_is_not_what_has_come() {
        // A gap is filled, or the application reads at last: 60,000 octets at once, of which ten segments came now.
        let mut tune = tune();
        arrive(&mut tune, 10_000);
        assert_eq!(judge(&mut tune, echo(121, 60_001, 20), 1 << 20, true), Verdict::Enough);
        assert_eq!(tune.buffer(), START);
    }

    #[test]
    fn a_sender_in_slow_start_never_meets_the_window() {
        // Ten segments, then twice as many each round trip: what it may send two round trips later fits.
        let (mut tune, mut end, mut burst, mut now) = (tune(), 1, 10 * MSS, 100);
        while burst < 8 << 20 {
            end += burst;
            now += 21;
            arrive(&mut tune, burst);
            tune.on_data(echo(now, end, 20), 64 << 20, true);
            assert!(tune.buffer() >= 4 * burst || burst <= START / 4, "{} for {burst}", tune.buffer());
            burst *= 2;
        }
        // And it ends at a small multiple of what was used.
        assert!(tune.buffer() <= 6 * burst);
    }

    #[test]
    fn a_sender_has_settled_when_a_round_trip_brings_hardly_more() {
        let mut tune = tune();
        let mut end = 1;
        let mut round = |n: u64, len: u32| {
            arrive(&mut tune, len);
            end += len;
            tune.on_data(echo(100 + 21 * n, end, 20), 1 << 30, true).expect("a round trip").settled
        };
        // It began with ten segments of 1000. Twice as many, then a quarter more (RFC 9406: slow start, CSS), then an eighth.
        assert_eq!(round(1, 20_000), None);
        assert_eq!(round(2, 40_000), None);
        assert_eq!(round(3, 50_000), None);
        assert_eq!(round(4, 56_000), Some(50_000));
        assert_eq!(round(5, 20_000), Some(56_000));
        assert_eq!(round(6, 70_000), None);
    }

    #[test]
    fn what_nobody_reads_is_no_reason_to_grow() {
        let mut tune = tune();
        for n in 1..100 {
            arrive(&mut tune, 60_000);
            let arrival = Arrival { taken: SeqNum::new(1), ..echo(100 + 21 * n, 60_000, 20) };
            assert_eq!(judge(&mut tune, arrival, 1 << 20, true), Verdict::Enough);
        }
        assert_eq!(tune.buffer(), START);
    }

    #[test]
    fn short_memory_puts_growth_off() {
        let mut tune = tune();
        arrive(&mut tune, 50_000);
        assert_eq!(judge(&mut tune, echo(121, 50_001, 20), 1 << 20, false), Verdict::Held);
        assert_eq!(tune.buffer(), START);
        // The same rate is enough to grow by once there is memory.
        arrive(&mut tune, 50_000);
        assert_eq!(judge(&mut tune, echo(142, 100_001, 20), 1 << 20, true), Verdict::Grown);
        assert_eq!(tune.buffer(), 300_000);
    }

    #[test]
    fn without_timestamps_a_window_full_is_a_round_trip_or_several() {
        let arrive = |tune: &mut Autotune, ms: u64, end: u32, rtt: Option<u64>| {
            let clue = Clue::Window(rtt.map(Duration::from_millis));
            tune.arrived = START + 1;
            judge(tune, Arrival { clue, ..echo(ms, end, 0) }, 1 << 20, true)
        };
        // The first window was 65,536 octets: only what lies beyond proves that a later one was heard of.
        let mut full = tune();
        assert_eq!(arrive(&mut full, 120, 1 + START, Some(20)), Verdict::Enough);
        assert_eq!(arrive(&mut full, 120, 2 + START, Some(20)), Verdict::Grown);
        assert_eq!(full.buffer(), 6 * (START + 1));
        // Ten round trips for one window: a tenth of it is in flight, less than the sender began with.
        let mut slow = tune();
        assert_eq!(arrive(&mut slow, 300, 2 + START, Some(20)), Verdict::Enough);
        assert_eq!(slow.buffer(), START);
        // Nobody knows the round trip: the window is taken for one.
        let mut unknown = tune();
        assert_eq!(arrive(&mut unknown, 300, 2 + START, None), Verdict::Grown);
    }

    #[test]
    fn the_clock_and_the_numbers_wrap() {
        let start = SeqNum::new(u32::MAX - 9);
        let now = Instant::ZERO + Duration::from_millis(u64::from(u32::MAX) - 3);
        let mut tune = Autotune::new(now, START, MSS, start, start + START);
        let clue = Clue::Echo(0, 20);
        arrive(&mut tune, 50_000);
        let (now, taken) = (now + Duration::from_millis(21), start + 50_000);
        let arrival = Arrival { now, clue, len: 0, end: start, edge: start, taken };
        assert_eq!(judge(&mut tune, arrival, 1 << 20, true), Verdict::Grown);
        assert_eq!(tune.buffer(), 300_000);
    }
}
