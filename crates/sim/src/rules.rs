//! A tamper node that knows what it looks for: "the third data segment of node 0", "every pure ACK", "the second
//! retransmission of the FIN".
//!
//! ```
//! use sim::{Action, Rules, Select};
//! let rules = Rules::new()
//!     .rule(Select::data().nth(3).from(0), Action::Drop)
//!     .rule(Select::fin().retransmission(2), Action::Duplicate)
//!     .rule(Select::pure_ack().from(1), Action::Delay(stack::Duration::from_millis(5)));
//! ```

use crate::{
    check::{FastMap, FlowId, Seen, parse},
    forge,
    world::Fate,
};
use stack::Duration;
use std::fmt;
use wire::{
    SeqNum, eth, ip,
    tcp::{Flags, Header},
};

/// What a segment is. One that is several things at once (data with a FIN) is each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Syn,
    SynAck,
    Data,
    Fin,
    PureAck,
    Reset,
}

const KINDS: usize = 7;

/// Which transmissions of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copies {
    /// The first.
    Original,
    /// So many retransmissions later.
    Again(u32),
    /// Every one.
    All,
}

/// Which segments. Those of each direction of each connection are counted apart, from 1 and in the order in which they are
/// sent for the first time; the copies that a link makes are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Select {
    kind: Kind,
    from: Option<usize>,
    /// The first and the last by number.
    places: Option<(usize, usize)>,
    copies: Copies,
}

impl Select {
    const fn kind(kind: Kind) -> Self {
        Self { kind, from: None, places: None, copies: Copies::Original }
    }

    /// Every segment, whatever it is; each transmission is one of its own.
    #[must_use]
    pub const fn any() -> Self {
        Self::kind(Kind::Any)
    }

    /// SYN without ACK.
    #[must_use]
    pub const fn syn() -> Self {
        Self::kind(Kind::Syn)
    }

    /// SYN with ACK.
    #[must_use]
    pub const fn syn_ack() -> Self {
        Self::kind(Kind::SynAck)
    }

    /// Segments with data.
    #[must_use]
    pub const fn data() -> Self {
        Self::kind(Kind::Data)
    }

    /// Segments with FIN.
    #[must_use]
    pub const fn fin() -> Self {
        Self::kind(Kind::Fin)
    }

    /// ACKs that carry nothing; each transmission is one of its own.
    #[must_use]
    pub const fn pure_ack() -> Self {
        Self::kind(Kind::PureAck)
    }

    /// RSTs; each transmission is one of its own.
    #[must_use]
    pub const fn reset() -> Self {
        Self::kind(Kind::Reset)
    }

    /// Only what this node sends.
    #[must_use]
    pub const fn from(self, node: usize) -> Self {
        Self { from: Some(node), ..self }
    }

    /// Only number `n`, from 1.
    #[must_use]
    pub const fn nth(self, n: usize) -> Self {
        Self { places: Some((n, n)), ..self }
    }

    /// Only the numbers from `first` to `last`, both included.
    #[must_use]
    pub const fn between(self, first: usize, last: usize) -> Self {
        Self { places: Some((first, last)), ..self }
    }

    /// Not the first transmission, but the `n`th time that its first octet is sent again, from 1.
    #[must_use]
    pub const fn retransmission(self, n: u32) -> Self {
        Self { copies: Copies::Again(n), ..self }
    }

    /// Every transmission, not only the first.
    #[must_use]
    pub const fn every_time(self) -> Self {
        Self { copies: Copies::All, ..self }
    }

    fn selects(&self, from: usize, kind: Kind, place: usize, again: u32) -> bool {
        let placed = self.places.is_none_or(|(first, last)| (first..=last).contains(&place));
        let copy = match self.copies {
            Copies::Original => again == 0,
            Copies::Again(n) => again == n,
            Copies::All => true,
        };
        self.kind == kind && self.from.is_none_or(|node| node == from) && placed && copy
    }
}

/// Changes a segment's header and payload.
pub type Change = Box<dyn FnMut(&mut Header, &mut Vec<u8>)>;

/// What happens to a segment that was chosen.
pub enum Action {
    /// It is lost.
    Drop,
    /// It arrives later by this much.
    Delay(Duration),
    /// It arrives twice.
    Duplicate,
    /// It arrives damaged: its checksum is wrong.
    Corrupt,
    /// Its header and payload are changed, and its checksums are right.
    Alter(Change),
}

impl Action {
    /// Changes header and payload.
    pub fn alter(change: impl FnMut(&mut Header, &mut Vec<u8>) + 'static) -> Self {
        Self::Alter(Box::new(change))
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop => f.write_str("Drop"),
            Self::Delay(by) => write!(f, "Delay({by:?})"),
            Self::Duplicate => f.write_str("Duplicate"),
            Self::Corrupt => f.write_str("Corrupt"),
            Self::Alter(_) => f.write_str("Alter"),
        }
    }
}

/// What was sent in one direction.
#[derive(Debug, Default)]
struct Direction {
    kinds: [History; KINDS],
}

/// The segments of a kind.
#[derive(Debug, Default)]
struct History {
    /// Where each began, and how often that was sent again.
    begins: Vec<(SeqNum, u32)>,
    /// One above the highest number.
    end: Option<SeqNum>,
    /// Of a kind whose segments are never the same again: how many.
    count: usize,
}

impl History {
    /// The places among its kind of a segment that holds these numbers, and the how manieth time each is sent again.
    fn add(&mut self, kind: Kind, first: SeqNum, end: SeqNum, places: &mut Vec<(Kind, usize, u32)>) {
        if matches!(kind, Kind::Any | Kind::PureAck | Kind::Reset) {
            self.count += 1;
            return places.push((kind, self.count, 0));
        }
        if self.end.is_none_or(|before| first.after_eq(before)) {
            self.begins.push((first, 0));
            places.push((kind, self.begins.len(), 0));
        } else {
            for (place, (begin, times)) in self.begins.iter_mut().enumerate() {
                if first.before_eq(*begin) && begin.before(end) {
                    *times += 1;
                    places.push((kind, place + 1, *times));
                }
            }
        }
        self.end = Some(self.end.map_or(end, |before| before.max(end)));
    }
}

/// Rules of a tamper node: of those that select a segment the first acts.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<(Select, Action)>,
    directions: FastMap<(FlowId, usize), Direction>,
    places: Vec<(Kind, usize, u32)>,
    /// How often each rule has acted.
    hits: Vec<usize>,
}

impl Rules {
    /// A node that lets everything pass.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule.
    #[must_use]
    pub fn rule(mut self, select: Select, action: Action) -> Self {
        self.rules.push((select, action));
        self.hits.push(0);
        self
    }

    /// How often rule `n` (from 0) has acted.
    #[must_use]
    pub fn hits(&self, n: usize) -> usize {
        self.hits.get(n).copied().unwrap_or(0)
    }

    /// Decides over a frame of a node: what [`World::with_tamper`](crate::World::with_tamper) wants.
    pub fn decide(&mut self, from: usize, frame: &mut Vec<u8>) -> Fate {
        let Some(seen) = parse(frame) else { return Fate::Pass };
        self.classify(&seen);
        let places = &self.places;
        let of =
            |select: &Select| places.iter().any(|(kind, place, again)| select.selects(from, *kind, *place, *again));
        let Some(n) = self.rules.iter().position(|(select, _)| of(select)) else { return Fate::Pass };
        self.hits[n] += 1;
        match &mut self.rules[n].1 {
            Action::Drop => Fate::Drop,
            Action::Delay(by) => Fate::Delay(*by),
            Action::Duplicate => Fate::Duplicate,
            Action::Corrupt => {
                if let Some(last) = frame.last_mut() {
                    *last ^= 0x55;
                }
                Fate::Pass
            }
            Action::Alter(change) => {
                alter(frame, &seen, change);
                Fate::Pass
            }
        }
    }

    fn classify(&mut self, seen: &Seen) {
        let direction = self.directions.entry((seen.flow, seen.side)).or_default();
        let places = &mut self.places;
        places.clear();
        let (seq, end) = (seen.header.seq, seen.header.seq + seen.len);
        let mut add = |kind: Kind, first, end| direction.kinds[kind as usize].add(kind, first, end, places);
        add(Kind::Any, seq, end);
        if seen.has(Flags::RST) {
            return add(Kind::Reset, seq, end);
        }
        if seen.has(Flags::SYN) {
            return add(if seen.has(Flags::ACK) { Kind::SynAck } else { Kind::Syn }, seq, seq + 1);
        }
        if seen.len > 0 {
            add(Kind::Data, seq, end);
        }
        if seen.has(Flags::FIN) {
            add(Kind::Fin, end, end + 1);
        }
        if seen.len == 0 && seen.header.flags.without(Flags::ECE | Flags::CWR) == Flags::ACK {
            add(Kind::PureAck, seq, end);
        }
    }
}

/// Writes the frame anew with another header and payload.
fn alter(frame: &mut Vec<u8>, seen: &Seen, change: &mut dyn FnMut(&mut Header, &mut Vec<u8>)) {
    let Ok((link, _)) = eth::Header::parse(frame) else { return };
    let (src, dst) = (seen.src.ip(), seen.dst.ip());
    let mut payload = frame[frame.len() - seen.len as usize..].to_vec();
    let mut header = seen.header;
    change(&mut header, &mut payload);
    let mut segment = vec![0; header.len()];
    segment.extend(payload);
    header.emit(src, dst, &mut segment);
    if let Some(altered) = forge::packet(link, src, dst, ip::PROTOCOL_TCP, &segment) {
        *frame = altered;
    }
}
