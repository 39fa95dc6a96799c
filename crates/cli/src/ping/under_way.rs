//! The messages under way on a connection, and their answers, which come in order.

use std::collections::VecDeque;

use fourwave::Instant;

/// A message that was begun and is not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    /// Which of the connection's it is: it begins with that, so that a stale answer is noticed.
    pub(super) number: u64,
    pub(super) bytes: usize,
    /// In an open loop when it should have gone, else when it went.
    pub(super) intended: Instant,
    /// Not of the warm-up, as far as the schedule says.
    pub(super) measured: bool,
}

/// What some bytes from the other end were.
#[derive(Debug)]
pub(super) enum Answer {
    /// So many of them ended a message.
    Whole(Message, usize),
    /// All of them belong to a message that goes on.
    Part,
    /// They are not what was sent.
    Wrong,
}

#[derive(Debug)]
pub(super) struct UnderWay {
    messages: VecDeque<Message>,
    /// When the answer to the oldest began to be waited for.
    since: Instant,
    /// Bytes of the youngest that the stack has taken: the send buffer may be smaller.
    queued: usize,
    /// Bytes of the answer to the oldest that have come.
    received: usize,
    /// Of the next message.
    number: u64,
}

impl UnderWay {
    pub(super) fn new(now: Instant) -> Self {
        Self { messages: VecDeque::new(), since: now, queued: 0, received: 0, number: 1 }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// When the answer to the oldest began to be waited for, if there is one.
    pub(super) fn since(&self) -> Option<Instant> {
        (!self.messages.is_empty()).then_some(self.since)
    }

    /// When the time of the oldest began to count.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.messages.front().map(|message| message.intended)
    }

    /// The number of the next message.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The youngest message, and how much of it the stack has taken, if that is not all.
    pub(super) fn unfinished(&self) -> Option<(Message, usize)> {
        let youngest = self.messages.back().filter(|message| self.queued < message.bytes)?;
        Some((*youngest, self.queued))
    }

    /// A message is under way; nothing of it is queued yet. The one before is queued.
    pub(super) fn begin(&mut self, bytes: usize, intended: Instant, measured: bool, now: Instant) {
        if self.messages.is_empty() {
            self.since = now;
        }
        self.messages.push_back(Message { number: self.number, bytes, intended, measured });
        (self.number, self.queued) = (self.number + 1, 0);
    }

    /// The stack has taken more of the youngest.
    pub(super) fn queued(&mut self, bytes: usize) {
        self.queued += bytes;
    }

    /// The answer to the oldest is there.
    fn answered(&mut self, now: Instant) -> Option<Message> {
        (self.received, self.since) = (0, now);
        self.messages.pop_front()
    }

    /// Compares what came with what was sent.
    pub(super) fn receive(&mut self, pattern: &[u8], data: &[u8], now: Instant) -> Answer {
        let Some(oldest) = self.messages.front().copied() else { return Answer::Wrong };
        // Nothing comes back before it was sent.
        let sent = if self.messages.len() == 1 { self.queued } else { oldest.bytes };
        let part = data.len().min(oldest.bytes - self.received);
        if self.received + part > sent || !matches(pattern, oldest.number, self.received, &data[..part]) {
            return Answer::Wrong;
        }
        self.received += part;
        match self.received == oldest.bytes {
            true => self.answered(now).map_or(Answer::Wrong, |message| Answer::Whole(message, part)),
            false => Answer::Part,
        }
    }
}

/// The bytes of every message behind its number.
pub(super) fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect()
}

/// Writes a message's number where it begins.
pub(super) fn number_into(pattern: &mut [u8], number: u64) {
    let number = number.to_le_bytes();
    let len = number.len().min(pattern.len());
    pattern[..len].copy_from_slice(&number[..len]);
}

/// Whether `data` is what stands in a message from `from` on.
fn matches(pattern: &[u8], number: u64, from: usize, data: &[u8]) -> bool {
    let number = number.to_le_bytes();
    let head = number.len().saturating_sub(from).min(data.len());
    let body = from + head;
    data[..head] == number[from.min(8)..][..head] && pattern.get(body..from + data.len()) == Some(&data[head..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use fourwave::Duration;

    /// A connection with messages of these sizes under way, all taken by the stack; and what an echo server sends back.
    fn with(sizes: &[usize]) -> (UnderWay, Vec<u8>, Vec<u8>) {
        let mut pattern = pattern(100);
        let (now, mut echo) = (Instant::ZERO, Vec::new());
        let mut link = UnderWay::new(now);
        for (index, size) in sizes.iter().enumerate() {
            assert!(link.unfinished().is_none());
            link.begin(*size, now + Duration::from_nanos(index as u64), true, now);
            let (message, queued) = link.unfinished().unwrap();
            assert_eq!(queued, 0);
            number_into(&mut pattern[..*size], message.number);
            echo.extend_from_slice(&pattern[..*size]);
            link.queued(*size);
        }
        (link, pattern, echo)
    }

    /// Gives it the bytes in pieces; how many messages were answered, or where it went wrong.
    fn give(link: &mut UnderWay, pattern: &[u8], echo: &[u8], piece: usize) -> Result<usize, usize> {
        let (mut at, mut whole) = (0, 0);
        for mut data in echo.chunks(piece) {
            while !data.is_empty() {
                match link.receive(pattern, data, Instant::ZERO) {
                    Answer::Whole(_, used) => (data, at, whole) = (&data[used..], at + used, whole + 1),
                    Answer::Part => break,
                    Answer::Wrong => return Err(at),
                }
            }
        }
        Ok(whole)
    }

    #[test]
    fn answers_are_matched_in_order_however_they_are_cut() {
        let sizes = [1, 64, 3, 8, 100, 9, 2];
        for piece in 1..=187 {
            let (mut link, pattern, echo) = with(&sizes);
            assert_eq!(give(&mut link, &pattern, &echo, piece), Ok(7), "pieces of {piece}");
            assert_eq!(link.len(), 0);
        }
    }

    #[test]
    fn any_other_byte_is_noticed() {
        let sizes = [5, 20];
        for at in 0..25 {
            let (mut link, pattern, mut echo) = with(&sizes);
            echo[at] ^= 1;
            assert!(give(&mut link, &pattern, &echo, 7).is_err(), "byte {at}");
        }
        let (mut link, pattern, mut echo) = with(&sizes);
        echo.push(0);
        assert_eq!(give(&mut link, &pattern, &echo, 100), Err(25), "more than was sent");
    }

    #[test]
    fn nothing_comes_back_before_it_was_sent() {
        let (mut link, mut pattern, _) = with(&[]);
        link.begin(10, Instant::ZERO, true, Instant::ZERO);
        link.queued(4);
        number_into(&mut pattern[..10], 1);
        let sent = pattern[..10].to_vec();
        assert!(matches!(link.receive(&pattern, &sent[..4], Instant::ZERO), Answer::Part));
        assert!(matches!(link.receive(&pattern, &sent[4..5], Instant::ZERO), Answer::Wrong));
    }
}
