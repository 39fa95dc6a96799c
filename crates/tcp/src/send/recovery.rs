//! Loss recovery: what an acknowledgment, or the want of one, says of the segments in flight, and when the window comes
//! down. RACK-TLP (RFC 8985) for a peer that sends SACK, `NewReno` (RFC 6582) for one that doesn't; for both, proportional
//! rate reduction and, once it shows that nothing was lost, its undoing.

use super::{
    Sender,
    acknowledge::{Ack, ECHO_RESOLUTION},
    frto::{self, Frto},
    prr::{Progress, Prr},
    rack::Latest,
    scoreboard::{Delivered, Passed, Scoreboard},
    tlp::{self, Probe, Verdict},
};
use crate::{
    cc::{Acked, Congestion, Signal},
    env::Env,
};
use wheel::{Duration, Instant};
use wire::SeqNum;

/// Duplicate ACKs that mean loss (RFC 5681 section 3.2).
const DUPLICATE_THRESHOLD: u32 = 3;

/// What is being done about congestion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// Nothing.
    #[default]
    Open,
    /// The window comes down because the network has marked a segment (RFC 3168 section 6.1.2).
    Reducing,
    /// Lost segments are sent again (RFC 5681 section 3.2).
    Recovery,
    /// The retransmission timer expired: slow start, lost segments first.
    Loss,
}

/// What a reduction would be undone to.
#[derive(Debug)]
struct Undo {
    congestion: Congestion,
    /// Behind what was acknowledged when it began.
    from: SeqNum,
    /// When the first segment was sent again, how many were and have not been reported as duplicates, and behind the last of them.
    first: Option<Instant>,
    copies: u32,
    to: SeqNum,
    /// What it was for is over. Once this is acknowledged nothing that is heard is about it any more.
    ends: Option<SeqNum>,
    /// CWR was to be sent already.
    cwr: bool,
}

/// What a connection with data in flight keeps of it; one without has none.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    pub(super) board: Scoreboard,
    pub(super) phase: Phase,
    /// The phase ends when this is acknowledged (`RecoveryPoint`).
    high: SeqNum,
    prr: Prr,
    latest: Latest,
    /// When waiting for a reordered segment ends.
    pub(super) reorder_at: Option<Instant>,
    /// When a tail loss probe is due, and that it is to be sent at once.
    pub(super) probe_at: Option<Instant>,
    pub(super) probe_due: bool,
    /// Without SACK: duplicate ACKs, each a segment that has left the network.
    duplicates: u32,
    undo: Option<Undo>,
    /// Whether a timeout was spurious, and behind what was sent again last.
    pub(super) frto: Frto,
    resent: SeqNum,
}

impl Flight {
    /// For the next connection.
    pub(crate) fn reset(&mut self) {
        let Self { board, phase, high, prr, latest, reorder_at, probe_at, probe_due, duplicates, undo, frto, resent } =
            self;
        board.reset();
        (*phase, *high, *duplicates, *probe_due) = (Phase::Open, SeqNum::default(), 0, false);
        (*reorder_at, *probe_at, *undo) = (None, None, None);
        (*prr, *latest) = (Prr::default(), Latest::default());
        (*frto, *resent) = (Frto::Off, SeqNum::default());
    }

    /// Bytes believed to be in the network.
    pub(super) fn in_flight(&self, mss: u32) -> u32 {
        self.board.in_flight().saturating_sub(self.duplicates.saturating_mul(mss))
    }

    /// Nothing was lost, `SACKed` or sent again, or all of that is over.
    pub(super) fn is_smooth(&self) -> bool {
        self.phase == Phase::Open && self.undo.is_none() && self.duplicates == 0 && !self.board.is_marked()
    }

    /// Something has arrived out of order, or was lost (Linux's Disorder).
    pub(super) fn is_disordered(&self) -> bool {
        self.board.sacked() > 0 || self.board.lost() > 0 || self.duplicates > 0
    }

    /// Octets of new data sent since the phase began.
    pub(super) fn new_since(&self, snd_max: SeqNum) -> u32 {
        snd_max.since(self.high)
    }

    /// A segment of `bytes` up to `end` was sent.
    pub(super) fn sent(&mut self, end: SeqNum, bytes: u32, again: bool, now: Instant) {
        self.prr.sent(bytes);
        if again {
            self.resent = end;
        }
        if let Some(undo) = self.undo.as_mut().filter(|_| again) {
            undo.first.get_or_insert(now);
            undo.copies += 1;
            undo.to = undo.to.max(end);
        }
    }

    /// Whether the retransmissions were for nothing: every copy was a duplicate (RFC 3708), or what is acknowledged was sent
    /// before the first copy (RFC 4015, by the echoed timestamp).
    fn is_spurious(&mut self, delivered: &Delivered, echo: Option<Duration>, now: Instant) -> bool {
        let Some(undo) = &mut self.undo else { return false };
        let Some(first) = undo.first else { return false };
        // What lies elsewhere came twice for another reason: a tail loss probe of before, or the network's own doing.
        if delivered.duplicate.is_some_and(|(_, end)| end.after(undo.from) && end.before_eq(undo.to)) {
            undo.copies = undo.copies.saturating_sub(1);
        }
        undo.copies == 0 || echo.is_some_and(|age| age > now - first + ECHO_RESOLUTION)
    }
}

impl Sender {
    pub(super) fn smss(&self) -> u32 {
        self.mss.into()
    }

    /// What an acknowledgment that is not older than SND.UNA, or carries SACK blocks, says of the flight.
    pub(super) fn on_evidence(&mut self, env: &Env<'_>, f: &mut Flight, ack: &Ack<'_>, new: bool, d: &mut Delivered) {
        let duplicate = !new
            && ack.number == self.snd_una
            && ack.empty
            && !ack.window_changed
            // What answers a window probe is no sign of loss.
            && self.persist.deadline().is_none();
        if !self.sack {
            self.count_duplicates(f, new, duplicate, d);
        }
        self.path.observe(d, self.snd_una, self.snd_nxt, self.smss());
        f.latest.advance(d, env.now);
        let verdict = self.tail.acknowledged(ack.number, d.duplicate, duplicate && ack.sack.is_empty());
        if verdict == Verdict::Repaired && f.phase == Phase::Open {
            // RFC 8985 section 7.4.2: a loss, though it is repaired.
            // Of what was in flight with it nothing is left to tell; the window held all of that.
            self.reduce(f, Signal::Loss, self.congestion.window());
            self.congestion.set_window(self.congestion.ssthresh());
            f.undo = None;
        }
        if f.is_spurious(d, ack.echo.filter(|_| new), env.now) {
            self.undo(env, f);
        }
        f.undo.take_if(|undo| undo.ends.is_some_and(|end| self.snd_una.after_eq(end)));
        if f.frto != Frto::Off {
            self.judge_timeout(env, f, ack, new, duplicate, d);
        }
        let over = match f.phase {
            Phase::Open => false,
            // Something above it must be acknowledged, so that the peer has seen CWR (as Linux).
            Phase::Reducing => self.snd_una.after(f.high),
            Phase::Recovery | Phase::Loss => self.snd_una.after_eq(f.high),
        };
        if over {
            self.end(f);
        }
        let lost = if self.sack { self.detect(f, env.now) } else { self.next_hole(f, new) };
        if f.board.lost() > 0 && matches!(f.phase, Phase::Open | Phase::Reducing) {
            self.enter_recovery(f);
        } else if ack.ece && self.ecn && f.phase == Phase::Open {
            self.reduce(f, Signal::Ecn, self.congestion.window());
            f.undo = None;
            (f.phase, f.high) = (Phase::Reducing, self.snd_max);
        }
        self.steer(env, f, new, d, lost);
        if new || d.bytes > 0 {
            f.probe_due = false;
        }
    }

    /// The same of new data's acknowledgment without blocks and ECE while all [is smooth](Flight::is_smooth) and no tail loss
    /// probe is out: nothing can have been lost, undone or repaired.
    pub(super) fn on_smooth_evidence(&mut self, env: &Env<'_>, f: &mut Flight, passed: Option<Passed>) {
        self.path.passed(self.snd_una);
        let mut bytes = 0;
        if let Some(passed) = passed {
            f.latest.heard_of(passed.last, env.now);
            bytes = passed.bytes;
        }
        f.reorder_at = None;
        self.grow(env, bytes, passed.map(|p| env.now - p.last.sent));
        f.probe_due = false;
    }

    /// RFC 5682: what an acknowledgment says of the timeout.
    fn judge_timeout(
        &mut self,
        env: &Env<'_>,
        f: &mut Flight,
        ack: &Ack<'_>,
        new: bool,
        duplicate: bool,
        d: &Delivered,
    ) {
        let end = self.data_end();
        let heard = frto::Heard {
            sack: self.sack,
            una: self.snd_una,
            new,
            duplicate,
            resent: f.resent,
            point: f.high,
            beyond: self.snd_una.after(f.high) || ack.sack.iter().any(|(_, end)| end.after(f.high)),
            original: d.acked.or(d.sacked).is_some(),
            has_new: self.snd_nxt.before(end) && self.snd_nxt.since(self.snd_una) < self.snd_wnd,
        };
        let sent_new = f.frto.prefers_new();
        match f.frto.on_ack(&heard) {
            frto::Verdict::Spurious => self.undo(env, f),
            // Step 3 (a): what was sent anew is in flight, and one that is lost may go besides.
            frto::Verdict::Genuine if sent_new => {
                let mss = self.smss();
                self.congestion.set_window((f.in_flight(mss) + mss).min(3 * mss));
            }
            frto::Verdict::Genuine | frto::Verdict::Open => {}
        }
    }

    /// RFC 5681 section 3.2 and RFC 3042: each duplicate is a segment that has left the network. An acknowledgment fills one
    /// hole; what it acknowledges beyond that had been counted.
    fn count_duplicates(&self, f: &mut Flight, new: bool, duplicate: bool, d: &mut Delivered) {
        let mss = self.smss();
        if new {
            let counted = f.duplicates.min(d.segments.saturating_sub(1));
            f.duplicates = if f.phase == Phase::Loss { 0 } else { f.duplicates - counted };
            d.bytes = d.bytes.saturating_sub(counted * mss).max(d.bytes.min(mss));
        } else if duplicate && f.phase != Phase::Loss {
            // There is at least one hole.
            let room = f.board.outstanding().saturating_sub(f.board.lost().max(f.board.head_len())) / mss;
            if f.duplicates < room.max(DUPLICATE_THRESHOLD) {
                f.duplicates += 1;
            }
            d.bytes = mss;
        }
    }

    /// RFC 6582 section 3.2 without SACK: the third duplicate, or an acknowledgment of a part, says that the first segment
    /// is lost. Nothing at or below `recover` starts a recovery: it may come from retransmissions.
    fn next_hole(&mut self, f: &mut Flight, new: bool) -> u32 {
        let third = f.duplicates >= DUPLICATE_THRESHOLD && self.snd_una.after(self.recover);
        match f.phase {
            Phase::Recovery if new => f.board.lose_head(),
            Phase::Open | Phase::Reducing if third => f.board.lose_head(),
            _ => 0,
        }
    }

    /// RFC 8985 section 6.2, steps 4 and 5.
    fn detect(&mut self, f: &mut Flight, now: Instant) -> u32 {
        let Some(latest) = f.latest.transmission() else { return 0 };
        let wait = self.reordering_wait(f);
        let (lost, next) = f.board.detect(latest, wait, now);
        f.reorder_at = next;
        lost
    }

    /// RACK.rtt + `RACK.reo_wnd`.
    fn reordering_wait(&self, f: &Flight) -> Duration {
        let recovering = matches!(f.phase, Phase::Recovery | Phase::Loss);
        let srtt = self.rto.srtt().unwrap_or_default();
        // Of this flight nothing was delivered yet: what it took before.
        let rtt = f.latest.transmission().map_or(srtt, |_| f.latest.rtt());
        rtt + self.path.reordering_window(recovering, f.board.sacked_segments(), srtt)
    }

    /// Moves the window: down by proportional rate reduction, or up.
    fn steer(&mut self, env: &Env<'_>, f: &mut Flight, new: bool, d: &Delivered, lost: u32) {
        let mss = self.smss();
        if matches!(f.phase, Phase::Recovery | Phase::Reducing) {
            let progress = Progress { delivered: d.bytes, in_flight: f.in_flight(mss), safe: new && lost == 0, mss };
            if let Some(window) = f.prr.window(progress) {
                self.congestion.set_window(window);
            }
        } else if new || (d.bytes > 0 && self.path.reorders()) {
            self.grow(env, d.bytes, d.last_sent().map(|at| env.now - at));
        }
    }

    /// The window grows, if that was what had held back what is acknowledged (RFC 7661, RFC 9438 section 4.2).
    fn grow(&mut self, env: &Env<'_>, bytes: u32, rtt: Option<Duration>) {
        let now = env.now;
        if !self.usage.allows_growth(self.congestion.window(), self.congestion.in_slow_start()) {
            return self.congestion.on_unused_ack(now);
        }
        let (una, snd_nxt, srtt, mss) = (self.snd_una, self.snd_nxt, self.rto.srtt().unwrap_or_default(), self.smss());
        self.congestion.on_ack(&Acked { now, una, snd_nxt, bytes, rtt, srtt, mss });
    }

    /// Sets ssthresh, and everything that goes with a reduction; `flight` bytes were outstanding.
    fn reduce(&mut self, f: &mut Flight, signal: Signal, flight: u32) {
        let before = self.congestion.window();
        let congestion = self.congestion.clone();
        f.undo = Some(Undo {
            congestion,
            from: self.snd_una,
            first: None,
            copies: 0,
            to: self.snd_una,
            ends: None,
            cwr: self.cwr,
        });
        self.congestion.reduce(signal, flight, self.smss());
        f.prr = Prr::new(before, self.congestion.ssthresh());
        self.tail = Probe::default();
        (f.probe_at, f.probe_due) = (None, false);
        // RFC 3168 section 6.1.2: the peer is told, whatever the reason was.
        self.cwr = self.ecn;
    }

    fn enter_recovery(&mut self, f: &mut Flight) {
        if f.phase == Phase::Open && self.sack && f.board.lost_only_larger(self.smss()) {
            // It tried a larger size, and its loss is no congestion (RFC 4821 section 4). Without SACK nobody knows that it is the
            // only one.
            return Self::lose_by_size(f, self.snd_max);
        }
        if f.phase == Phase::Open {
            self.reduce(f, Signal::Loss, f.board.outstanding());
        }
        self.tail = Probe::default();
        (f.probe_at, f.probe_due) = (None, false);
        (f.phase, f.high, self.recover) = (Phase::Recovery, self.snd_max, self.snd_max);
    }

    /// Everything that was outstanding when the phase began is acknowledged.
    pub(super) fn end(&mut self, f: &mut Flight) {
        if matches!(f.phase, Phase::Recovery | Phase::Reducing) {
            self.congestion.set_window(self.congestion.ssthresh());
        }
        if f.phase != Phase::Reducing {
            self.path.recovered();
        }
        if let Some(undo) = &mut f.undo {
            undo.ends = Some(self.snd_max);
        }
        f.phase = Phase::Open;
        f.frto = Frto::Off;
        f.duplicates = 0;
    }

    /// What was taken for lost was not (RFC 9438 section 4.9, RFC 4015).
    fn undo(&mut self, env: &Env<'_>, f: &mut Flight) {
        if let Some(undo) = f.undo.take() {
            let window = self.congestion.window().max(undo.congestion.window());
            self.congestion = undo.congestion;
            // What was not reduced is not told; what was to be told before it still is.
            self.cwr &= undo.cwr;
            self.congestion.set_window(window);
        } else {
            // The reduction had another reason and stays.
            self.congestion.set_window(self.congestion.window().max(self.congestion.ssthresh()));
        }
        f.board.unmark_lost();
        f.frto = Frto::Off;
        (f.phase, f.duplicates) = (Phase::Open, 0);
        self.rto.forget_back_off();
        if self.persist.deadline().is_some() {
            // What the window was probed for is on its way, and has a timer of its own (RFC 6298 section 5.1).
            self.stop_probing();
            self.deadline = Some(env.now + self.rto.timeout(env.config));
        }
    }

    /// The retransmission timer expired with data outstanding: RFC 6298 (5.4) to (5.6), RFC 8985 section 6.3.
    pub(super) fn expire(&mut self, f: &mut Flight, now: Instant) {
        let again = self.rto.timeouts() > 0;
        f.frto.on_timeout(matches!(f.phase, Phase::Open | Phase::Reducing));
        if f.phase == Phase::Open || (f.phase == Phase::Loss && !again) {
            self.reduce(f, Signal::Timeout, f.board.outstanding());
        }
        // Without SACK nothing would say later that the rest is lost: go back.
        let wait = if self.sack { self.reordering_wait(f) } else { Duration::ZERO };
        f.board.expire(wait, now);
        f.duplicates = 0;
        self.tail = Probe::default();
        (f.reorder_at, f.probe_at, f.probe_due) = (None, None, false);
        (f.phase, f.high, self.recover) = (Phase::Loss, self.snd_max, self.snd_max);
        self.congestion.set_window(f.in_flight(self.smss()) + self.smss());
        self.rto.back_off();
    }

    /// Waiting for a reordered segment has ended.
    pub(super) fn reorder_timeout(&mut self, f: &mut Flight, now: Instant) {
        f.reorder_at = None;
        if self.detect(f, now) > 0 && matches!(f.phase, Phase::Open | Phase::Reducing) {
            self.enter_recovery(f);
            if f.phase != Phase::Recovery {
                return;
            }
            let mss = self.smss();
            let progress = Progress { delivered: mss, in_flight: f.in_flight(mss), safe: false, mss };
            if let Some(window) = f.prr.window(progress) {
                self.congestion.set_window(window);
            }
        }
    }

    /// RFC 8985 section 7.2: when to probe, counted from now.
    pub(super) fn schedule_probe(&self, env: &Env<'_>, f: &mut Flight) {
        let repairs = matches!(f.phase, Phase::Recovery | Phase::Loss);
        let quiet = self.sack && !repairs && f.board.sacked() == 0 && !f.board.is_empty();
        // Section 7.3: one probe, and the next only behind a new sample.
        f.probe_at = (quiet && !self.probed && !self.tail.is_out()).then(|| {
            let alone = f.board.segments() == 1;
            let at = env.now + tlp::timeout(self.rto.srtt(), alone, env.config.min_rto);
            self.deadline.map_or(at, |rto| at.min(rto))
        });
    }

    /// The path carries less: what is larger than the new MSS will not arrive, and that is no congestion (RFC 1191 section
    /// 6.5).
    pub(super) fn lose_larger(&mut self, f: &mut Flight) {
        if f.board.lose_larger(self.smss()) > 0 && f.phase == Phase::Open {
            Self::lose_by_size(f, self.snd_max);
        }
    }

    /// What was too large goes again, and the window stays as it is.
    fn lose_by_size(f: &mut Flight, snd_max: SeqNum) {
        (f.phase, f.high, f.undo, f.frto) = (Phase::Loss, snd_max, None, Frto::Off);
    }
}
