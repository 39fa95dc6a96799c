//! What became of every connection.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// The first deviations of each world are told one by one, the others only counted.
const MOST_TOLD: usize = 20;

/// How an attempt or a connection has ended, which is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every byte was there, and both ends closed in order.
    Whole,
    /// By a reset that belongs to the plan: the client's own, or one that an operator asked for.
    Reset,
    /// With a process that was killed, or before it was there again.
    Killed,
    /// It could not begin while its link was down.
    Unreachable,
    /// None of that, and why.
    Wrong(String),
}

/// Counts of one kind of traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    pub(crate) attempts: u64,
    pub(crate) opened: u64,
    pub(crate) whole: u64,
    pub(crate) reset: u64,
    pub(crate) killed: u64,
    pub(crate) unreachable: u64,
    pub(crate) wrong: u64,
    /// Bytes that were handed to the kernel, and that came and were what they should be.
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// The same of connections that ended whole.
    pub(crate) whole_sent: u64,
    pub(crate) whole_received: u64,
}

impl Tally {
    /// Every attempt has ended in one way.
    pub(crate) const fn adds_up(&self) -> bool {
        self.attempts == self.whole + self.reset + self.killed + self.unreachable + self.wrong
    }

    fn add(&mut self, opened: bool, sent: u64, received: u64, end: &End) {
        self.attempts += 1;
        self.opened += u64::from(opened);
        self.bytes_sent += sent;
        self.bytes_received += received;
        match end {
            End::Whole => {
                self.whole += 1;
                self.whole_sent += sent;
                self.whole_received += received;
            }
            End::Reset => self.reset += 1,
            End::Killed => self.killed += 1,
            End::Unreachable => self.unreachable += 1,
            End::Wrong(_) => self.wrong += 1,
        }
    }
}

/// Tallies by kind, and the sentences about what was wrong.
#[derive(Debug, Default)]
pub(crate) struct Book {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    kinds: BTreeMap<&'static str, Tally>,
    deviations: Vec<String>,
    more: u64,
}

impl Book {
    pub(crate) fn enter(&self, kind: &'static str, opened: bool, sent: u64, received: u64, end: &End) {
        if let End::Wrong(why) = end {
            self.deviation(format!("{kind}: {why}"));
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.kinds.entry(kind).or_default().add(opened, sent, received, end);
    }

    /// Something was not as it should be.
    pub(crate) fn deviation(&self, sentence: String) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.deviations.len() < MOST_TOLD {
            eprintln!("soak: not as it should be: {sentence}");
            inner.deviations.push(sentence);
        } else {
            inner.more += 1;
        }
    }

    pub(crate) fn kinds(&self) -> BTreeMap<&'static str, Tally> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).kinds.clone()
    }

    pub(crate) fn deviations(&self) -> Vec<String> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = inner.deviations.clone();
        if inner.more > 0 {
            all.push(format!("{} deviations more", inner.more));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_is_counted_once_and_what_is_wrong_is_told() {
        let book = Book::default();
        let ends = [End::Whole, End::Reset, End::Killed, End::Unreachable, End::Wrong("why".into())];
        for end in &ends {
            book.enter("bulk", true, 10, 9, end);
        }
        book.enter("bulk", false, 0, 0, &End::Killed);
        let tally = book.kinds()["bulk"].clone();
        assert!(tally.adds_up(), "{tally:?}");
        assert_eq!((tally.attempts, tally.opened, tally.killed), (6, 5, 2));
        assert_eq!((tally.bytes_sent, tally.whole_sent, tally.whole_received), (50, 10, 9));
        assert_eq!(book.deviations(), ["bulk: why"]);
        for _ in 0..30 {
            book.deviation("again".into());
        }
        assert_eq!(book.deviations().len(), MOST_TOLD + 1);
        assert_eq!(book.deviations()[MOST_TOLD], "11 deviations more");
    }
}
