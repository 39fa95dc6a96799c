//! A fuzz target (docs/FUZZING.md): the scoreboard against a map that knows of every byte in flight on its own, and looks at
//! all of them every time.

use super::{Delivered, Scoreboard, Transmission};
use fuzz::Input;
use std::{ops::Range, vec::Vec};
use wheel::{Duration, Instant};
use wire::{SeqNum, tcp::SackBlocks};

#[test]
fn fuzz_scoreboard() {
    fuzz::check("scoreboard", scoreboard);
}

#[derive(Debug, Clone, Copy, Default)]
struct Byte {
    sent: Instant,
    sacked: bool,
    lost: bool,
    again: bool,
    ever: bool,
    probed: bool,
    push: bool,
    /// The last one of its segment.
    last: bool,
}

/// The bytes from `una` on, and what the acknowledgments have said so far.
#[derive(Debug)]
struct Map {
    bytes: Vec<Byte>,
    una: SeqNum,
    fack: SeqNum,
}

/// What the map says of an acknowledgment, in the terms of [`Delivered`].
#[derive(Debug, Default, PartialEq)]
struct News {
    bytes: u32,
    segments: u32,
    acked: Option<(Instant, Instant)>,
    sacked: Option<(Instant, Instant)>,
    retransmitted: bool,
    latest: Option<Transmission>,
    sent: Option<Instant>,
    reordered: bool,
    duplicate: Option<(SeqNum, SeqNum)>,
}

fn news(d: &Delivered) -> News {
    News {
        bytes: d.bytes,
        segments: d.segments,
        acked: d.acked,
        sacked: d.sacked,
        retransmitted: d.retransmitted,
        latest: d.latest,
        sent: d.sent,
        reordered: d.reordered > 0,
        duplicate: d.duplicate,
    }
}

fn len(range: &Range<usize>) -> u32 {
    u32::try_from(range.len()).expect("few bytes")
}

impl Map {
    fn at(&self, index: usize) -> SeqNum {
        self.una + u32::try_from(index).expect("few bytes")
    }

    fn end(&self) -> SeqNum {
        self.at(self.bytes.len())
    }

    /// The segments, as ranges of bytes.
    fn segments(&self) -> Vec<Range<usize>> {
        let ends = self.bytes.iter().enumerate().filter(|(_, byte)| byte.last).map(|(i, _)| i + 1);
        ends.scan(0, |start, end| Some(core::mem::replace(start, end)..end)).collect()
    }

    fn of(&mut self, segment: &Range<usize>, f: impl Fn(&mut Byte)) {
        self.bytes[segment.clone()].iter_mut().for_each(f);
    }

    fn count(&self, test: impl Fn(&Byte) -> bool) -> u32 {
        u32::try_from(self.bytes.iter().filter(|byte| test(byte)).count()).expect("few bytes")
    }

    /// `part` of a segment that ends at `end` is delivered, unless it was.
    fn deliver(
        &self,
        segment: &Range<usize>,
        part: u32,
        cumulative: bool,
        news: &mut News,
        ambiguous_after: Instant,
        fack: SeqNum,
    ) {
        let byte = self.bytes[segment.start];
        if byte.sacked {
            return;
        }
        news.bytes += part;
        news.segments += 1;
        if byte.ever {
            news.retransmitted |= cumulative;
        } else {
            let times = if cumulative { &mut news.acked } else { &mut news.sacked };
            *times = Some((times.map_or(byte.sent, |(first, _)| first), byte.sent));
            news.reordered |= self.at(segment.end).before(fack);
        }
        if !byte.ever || byte.sent <= ambiguous_after {
            let this = Transmission { sent: byte.sent, end: self.at(segment.end) };
            news.sent = Some(byte.sent);
            if news.latest.is_none_or(|latest| this.after(latest)) {
                news.latest = Some(this);
            }
        }
    }

    fn acknowledge(&mut self, n: usize, news: &mut News, ambiguous_after: Instant) {
        let fack = self.fack;
        for segment in self.segments().into_iter().take_while(|s| s.start < n) {
            let part = len(&(segment.start..segment.end.min(n)));
            self.deliver(&segment, part, true, news, ambiguous_after, fack);
        }
        self.una = self.at(n);
        self.bytes.drain(..n);
        self.fack = self.fack.max(self.una);
    }

    /// RFC 2018 section 4, RFC 2883 section 4.
    fn sack(
        &mut self,
        ack: SeqNum,
        blocks: &[(SeqNum, SeqNum)],
        news: &mut News,
        ambiguous_after: Instant,
        fack: SeqNum,
    ) {
        if self.bytes.is_empty() {
            return;
        }
        if let [(start, end), rest @ ..] = blocks {
            let within = rest.first().is_some_and(|(s, e)| s.before_eq(*start) && end.before_eq(*e));
            if start.before(*end) && end.before_eq(self.end()) && (end.before_eq(ack) || within) {
                news.duplicate = Some((*start, *end));
            }
        }
        let segments = self.segments();
        for (start, end) in blocks {
            if !(start.before(*end) && start.after(self.una) && end.before_eq(self.end())) {
                continue;
            }
            let block = start.since(self.una) as usize..end.since(self.una) as usize;
            for segment in &segments {
                if block.start <= segment.start && segment.end <= block.end && !self.bytes[segment.start].sacked {
                    self.deliver(segment, len(segment), false, news, ambiguous_after, fack);
                    self.of(segment, |b| (b.sacked, b.lost, b.again) = (true, false, false));
                    self.fack = self.fack.max(self.at(segment.end));
                }
            }
        }
    }

    /// What was sent last of the segment is lost; its bytes, if that is news.
    fn lose(&mut self, segment: &Range<usize>) -> u32 {
        let byte = self.bytes[segment.start];
        if byte.lost && !byte.again {
            return 0;
        }
        self.of(segment, |b| (b.lost, b.again) = (true, false));
        len(segment)
    }

    /// RFC 8985 section 6.2, step 5, of what was sent once, and of copies.
    fn detect(&mut self, latest: Transmission, wait: Duration, now: Instant) -> (u32, Option<Instant>) {
        let (mut lost, mut next) = (0, None);
        for segment in self.segments() {
            let byte = self.bytes[segment.start];
            let watched =
                if byte.again { !byte.sacked } else { !byte.sacked && !byte.lost && (!byte.ever || byte.probed) };
            if watched && latest.after(Transmission { sent: byte.sent, end: self.at(segment.end) }) {
                let due = byte.sent + wait;
                if due <= now {
                    lost += self.lose(&segment);
                } else {
                    next = Some(next.map_or(due, |other: Instant| other.min(due)));
                }
            }
        }
        (lost, next)
    }

    fn expire(&mut self, wait: Duration, now: Instant) -> u32 {
        if self.bytes.first().is_some_and(|b| b.sacked) {
            self.bytes.iter_mut().for_each(|b| b.sacked = false);
        }
        let due = |map: &Self, s: &Range<usize>| {
            !map.bytes[s.start].sacked && (s.start == 0 || map.bytes[s.start].sent + wait <= now)
        };
        self.segments().iter().map(|s| if due(self, s) { self.lose(s) } else { 0 }).sum()
    }

    fn waits(&self, segment: &Range<usize>) -> bool {
        self.bytes[segment.start].lost && !self.bytes[segment.start].again
    }

    fn next_lost(&self, segments: &[Range<usize>], most: u32) -> Option<(SeqNum, SeqNum)> {
        let first = segments.iter().position(|s| self.waits(s))?;
        let mut end = segments[first].end;
        for more in segments[first + 1..].iter().take_while(|s| self.waits(s)) {
            if len(&(segments[first].start..more.end)) > most {
                break;
            }
            end = more.end;
        }
        Some((self.at(segments[first].start), self.at(end)))
    }

    /// One segment now, whatever it was before.
    fn sent_again(&mut self, range: Range<usize>, now: Instant) {
        let (segments, first) = (self.segments(), self.bytes[range.start]);
        let whole = |s: &&Range<usize>| range.start <= s.start && s.end <= range.end;
        let push = first.push || segments.iter().filter(whole).any(|s| self.bytes[s.start].push);
        for (i, byte) in self.bytes[range.clone()].iter_mut().enumerate() {
            *byte =
                Byte { sent: now, again: true, ever: true, probed: false, push, last: i + 1 == range.len(), ..first };
        }
    }

    fn check(&self, board: &mut Scoreboard) {
        let segments = self.segments();
        assert_eq!(board.outstanding(), self.end().since(self.una));
        assert_eq!((board.segments(), board.is_empty()), (segments.len(), segments.is_empty()));
        assert_eq!(board.head_len(), segments.first().map_or(0, len));
        assert_eq!(board.tail(), segments.last().map(|s| (self.at(s.start), self.at(s.end))));
        assert_eq!((board.sacked(), board.lost()), (self.count(|b| b.sacked), self.count(|b| b.lost)));
        let sacked = segments.iter().filter(|s| self.bytes[s.start].sacked).count();
        assert_eq!(board.sacked_segments() as usize, sacked);
        // What is in the network: the first copy unless it was delivered or lost, and a later one.
        let in_flight = self.count(|b| !b.sacked && !b.lost) + self.count(|b| b.again);
        assert_eq!(board.in_flight(), in_flight);
        // What RACK has passed by is not the first copy any more, or is lost, or was delivered.
        let original = |b: &Byte| !b.sacked && !b.lost && (!b.ever || b.probed);
        assert!(!segments.iter().take(board.originals).any(|s| original(&self.bytes[s.start])));
        let most = [5, u32::MAX][segments.len() % 2];
        assert_eq!(board.next_lost(most, u32::MAX), self.next_lost(&segments, most));
        if let Some(segment) = segments.get(self.bytes.len() % segments.len().max(1)) {
            assert_eq!(board.pushed(self.at(segment.end)), self.bytes[segment.start].push);
        }
    }
}

/// Blocks near what is in flight, some anywhere.
fn blocks(input: &mut Input<'_>, map: &Map) -> SackBlocks {
    let mut blocks = SackBlocks::default();
    for _ in 0..=input.below(4) {
        let (from, len) = (input.u8(), input.u8());
        let start = match from {
            // RFC 2883: something below what is acknowledged.
            0..20 => map.una - u32::from(from),
            20..250 => map.una + u32::from(from - 20),
            _ => SeqNum::new(input.u32()),
        };
        let end = if len == 255 { SeqNum::new(input.u32()) } else { start + u32::from(len % 64) };
        blocks.push(start, end);
    }
    blocks
}

fn scoreboard(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let base = SeqNum::new([0, 0u32.wrapping_sub(40), (1 << 31) - 40, 7][usize::from(input.below(4))]);
    let mut board = Scoreboard::default();
    let mut map = Map { bytes: Vec::new(), una: base, fack: base };
    let mut latest: Option<Transmission> = None;
    let mut now = Instant::from_nanos(1000);
    while !input.is_empty() {
        // No two transmissions at the same time: which of them is the later one is RACK's own business (`Transmission`).
        now += Duration::from_nanos(1 + u64::from(input.below(8)));
        let ambiguous_after = now - Duration::from_nanos(3);
        let mut delivered = board.delivered(ambiguous_after);
        let (mut expected, fack) = (News::default(), map.fack);
        match input.below(16) {
            0..=3 => send(&mut input, &mut board, &mut map, now),
            4 | 5 => {
                let n = usize::from(input.u8()).min(map.bytes.len());
                map.acknowledge(n, &mut expected, ambiguous_after);
                board.acknowledge(map.una, &mut delivered);
            }
            6..=8 => {
                let blocks = blocks(&mut input, &map);
                let ack = map.una - u32::from(input.below(3));
                map.sack(ack, blocks.as_slice(), &mut expected, ambiguous_after, fack);
                board.sack(ack, map.una, &blocks, &mut delivered);
            }
            9 | 10 => resend(&mut input, &mut board, &mut map, now),
            11 | 12 => {
                let wait = Duration::from_nanos(input.below(64).into());
                if let Some(latest) = latest {
                    assert_eq!(board.detect(latest, wait, now), map.detect(latest, wait, now));
                }
            }
            13 => {
                let wait = Duration::from_nanos(input.below(64).into());
                assert_eq!(board.expire(wait, now), map.expire(wait, now));
            }
            14 => {
                let mss = input.below(9);
                let larger = |s: &Range<usize>| s.len() > usize::from(mss);
                let segments = map.segments().into_iter().filter(larger);
                let segments: Vec<_> = segments.filter(|s| !map.bytes[s.start].sacked).collect();
                let lost: u32 = segments.iter().map(|s| map.lose(s)).sum();
                assert_eq!(board.lose_larger(mss.into()), lost);
            }
            _ => rest(&mut input, &mut board, &mut map),
        }
        assert_eq!(news(&delivered), expected);
        if let Some(this) = delivered.latest.filter(|this| latest.is_none_or(|latest| this.after(latest))) {
            latest = Some(this);
        }
        map.check(&mut board);
    }
}

fn send(input: &mut Input<'_>, board: &mut Scoreboard, map: &mut Map, now: Instant) {
    let (len, marks) = (1 + u32::from(input.below(8)), input.u8());
    let (push, before) = (marks & 1 != 0, marks >= 250);
    if map.bytes.len() > 100 {
        return;
    }
    board.sent(map.end(), map.end() + len, now, before, push);
    for i in 1..=len {
        map.bytes.push(Byte { sent: now, ever: before, probed: before, push, last: i == len, ..Byte::default() });
    }
}

/// As the sender does: the first lost segment or what was joined to it, as much as a smaller MSS or the window lets; or the
/// last one (RFC 8985 section 7).
fn resend(input: &mut Input<'_>, board: &mut Scoreboard, map: &mut Map, now: Instant) {
    let (how, mss, room) = (input.u8(), 1 + u32::from(input.below(24)), 1 + u32::from(input.below(40)));
    let (start, end) = if how & 1 == 0 {
        let Some((start, end)) = board.next_lost(mss, room) else { return };
        assert_eq!(Some((start, end)), map.next_lost(&map.segments(), mss.min(room)));
        let cut = if how & 2 == 0 { mss.min(room) } else { 1 + mss / 2 };
        (start, start + end.since(start).min(cut))
    } else {
        let Some((start, end)) = board.tail() else { return };
        (start, end)
    };
    let range = start.since(map.una) as usize..end.since(map.una) as usize;
    board.sent_again(start, end, now);
    if !map.bytes[range.start].sacked {
        map.sent_again(range, now);
    }
}

fn rest(input: &mut Input<'_>, board: &mut Scoreboard, map: &mut Map) {
    match input.below(4) {
        0 => {
            board.unmark_lost();
            map.bytes.iter_mut().for_each(|b| b.lost = false);
        }
        1 => {
            let head = map.segments().into_iter().next();
            let fresh = head.filter(|s| !map.bytes[s.start].sacked && !map.bytes[s.start].lost);
            let lost = fresh.map_or(0, |s| map.lose(&s));
            assert_eq!(board.lose_head(), lost);
        }
        2 => {
            board.head_probed();
            if let Some(head) = map.segments().first() {
                map.of(head, |b| (b.ever, b.probed) = (true, b.probed || !b.ever));
            }
        }
        _ => {
            board.reset();
            (map.una, map.fack) = (map.end(), map.end());
            map.bytes.clear();
        }
    }
}
