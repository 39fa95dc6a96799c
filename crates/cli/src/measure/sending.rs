//! How well an open loop kept its schedule.

use std::fmt;

use fourwave::{Duration, Instant};
use serde::{Deserialize, Serialize};

use crate::out;

/// A message that is begun later than this behind its time is late.
const LATE: Duration = Duration::from_micros(10);
/// One in so many messages may be late, or held back, without a word: a scheduler takes that many.
const FEW: u64 = 100;

/// What became of the messages of the schedule, but for the warm-up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sending {
    /// Given to the stack.
    pub(crate) sent: u64,
    /// Of these, begun more than `late_over_ns` behind their time, because the loop came late.
    pub(crate) late: u64,
    pub(crate) late_over_ns: u64,
    /// The worst of all lags that were the loop's.
    pub(crate) worst_lag_ns: u64,
    /// Sent later because the connection had as many messages under way as it may, or the stack took no more.
    pub(crate) held_back: u64,
    /// Due, and never sent.
    pub(crate) unsent: u64,
    /// Sent, and not answered by the end.
    pub(crate) unanswered: u64,
}

impl Sending {
    /// A message is begun now. `held`: when its connection had no room for one last.
    pub(crate) fn begun(&mut self, intended: Instant, now: Instant, held: Option<Instant>) {
        self.sent += 1;
        let lag = now - intended;
        if held.is_some_and(|held| held >= intended) {
            self.held_back += 1;
            return;
        }
        self.late += u64::from(lag > LATE);
        self.worst_lag_ns = self.worst_lag_ns.max(lag.as_nanos());
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.late += other.late;
        self.late_over_ns = LATE.as_nanos();
        self.worst_lag_ns = self.worst_lag_ns.max(other.worst_lag_ns);
        self.held_back += other.held_back;
        self.unsent += other.unsent;
        self.unanswered += other.unanswered;
    }

    /// A sentence if the load was not the one that was asked for.
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    pub(crate) fn complaint(&self) -> Option<String> {
        let Self { sent, late, held_back, unsent, unanswered, .. } = self;
        let late = (late * FEW > *sent).then(|| {
            let worst = out::nanoseconds(self.worst_lag_ns as f64);
            format!(
                "the generator was the bottleneck: it sent {late} of {sent} messages more than {} late, the worst by {worst}; \
                 give it a core that nobody else uses (--cores, --idle busy), or a lower --rate",
                out::nanoseconds(LATE.as_nanos() as f64)
            )
        });
        let held = (unsent * FEW > sent + unsent || held_back * FEW > *sent).then(|| {
            format!(
                "the load was not what --rate asks for: {held_back} of {} messages had to wait for answers to others, or for \
                 room to send, and {unsent} were never sent; the other end is slower than that, or --pipeline too small",
                sent + unsent
            )
        });
        let lost = (unanswered * FEW > *sent).then(|| {
            format!("{unanswered} of {sent} messages were not answered by the end: they are in none of the times")
        });
        [late, held, lost].into_iter().flatten().reduce(|one, more| format!("{one}; and {more}"))
    }
}

/// For people.
impl fmt::Display for Sending {
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { late, late_over_ns, worst_lag_ns, held_back, unsent, unanswered, .. } = self;
        let (over, worst) = (out::nanoseconds(*late_over_ns as f64), out::nanoseconds(*worst_lag_ns as f64));
        write!(
            f,
            "sent more than {over} late: {late}, the worst by {worst}; held back {held_back}, never sent {unsent}, \
             unanswered {unanswered}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_is_the_loops_unless_the_connection_had_no_room() {
        let at = |us| Instant::ZERO + Duration::from_micros(us);
        let mut part = Sending::default();
        part.begun(at(100), at(110), None);
        assert_eq!((part.late, part.worst_lag_ns), (0, 10_000), "10 µs are in time");
        part.begun(at(100), at(111), Some(at(99)));
        assert_eq!((part.late, part.held_back, part.worst_lag_ns), (1, 0, 11_000));
        part.begun(at(100), at(900), Some(at(100)));
        let mut all = Sending::default();
        all.add(&part);
        assert_eq!((all.sent, all.late, all.held_back, all.worst_lag_ns, all.late_over_ns), (3, 1, 1, 11_000, 10_000));
    }

    #[test]
    fn one_message_in_a_hundred_may_be_late() {
        let of = |late, held_back, unsent| Sending {
            sent: 1000,
            late,
            held_back,
            unsent,
            unanswered: 10,
            ..Sending::default()
        };
        assert_eq!(of(10, 10, 10).complaint(), None);
        let lost = Sending { unanswered: 11, ..of(10, 10, 10) }.complaint().unwrap();
        assert!(lost.starts_with("11 of 1000 messages were not answered"), "{lost}");
        assert!(of(11, 0, 0).complaint().unwrap().contains("the generator was the bottleneck"));
        assert!(of(0, 11, 0).complaint().unwrap().contains("--pipeline"));
        assert!(of(0, 0, 11).complaint().unwrap().contains("11 were never sent"));
        let both = of(11, 0, 2000).complaint().unwrap();
        assert!(both.contains("the bottleneck") && both.contains("2000 were never sent"), "{both}");
    }
}
