//! How large a packet the path carries: by what routers say (RFC 1191, RFC 8201, with the checks of RFC 5927 section 7.2),
//! and by trying (RFC 4821), so that a path on which nobody says anything heals as well.
//!
//! A size here is what lies behind the fixed TCP header, options and data: it compares with an MSS.

use wheel::{Duration, Instant};
use wire::SeqNum;

/// How long a router's word holds: RFC 1191 section 6.3, RFC 8201 section 5.3.
const ROUTERS_WORD: Duration = Duration::from_secs(600);
/// After a guess more is tried as soon as the path may have healed; the wait doubles with each failure.
const SOON: Duration = Duration::from_secs(10);
/// What is tried first when full-sized segments vanish: `BASE_PLPMTU` of RFC 8899 section 5.1.2, as Linux (`tcp_base_mss`).
const BASE: u16 = 1024;
/// Timeouts in a row after which a full-sized segment is taken to vanish for its size.
const BLACK_HOLE: u8 = 3;
/// A search that is this close is over.
const CLOSE: u16 = 64;

/// The largest segment that was sent, and the largest that was acknowledged (`maxsizesent`, `maxsizeacked`).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sizes {
    sent: u16,
    acked: u16,
    /// Behind the first segment of the size `sent`.
    end: SeqNum,
}

impl Sizes {
    /// A segment of `size` went out; it ends at `end`.
    pub(crate) fn sent(&mut self, size: u16, end: SeqNum) {
        if size > self.sent {
            (self.sent, self.end) = (size, end);
        }
    }

    /// Everything before `una` is acknowledged.
    pub(crate) fn acknowledged(&mut self, una: SeqNum) {
        if self.acked != self.sent && una.after_eq(self.end) {
            self.acked = self.sent;
        }
    }

    /// All that was sent is acknowledged: the largest size is all there is to know.
    pub(crate) fn settled(&self) -> Option<u16> {
        (self.sent == self.acked).then_some(self.sent)
    }

    /// The largest segment that was sent had this size, and is acknowledged.
    pub(crate) fn of(size: u16) -> Self {
        Self { sent: size, acked: size, end: SeqNum::default() }
    }

    /// Nothing larger than `size` is sent any more.
    fn limit(&mut self, size: u16) {
        (self.sent, self.acked) = (self.sent.min(size), self.acked.min(size));
    }
}

/// What is done about a router's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooBig {
    /// We send nothing that large.
    Ignored,
    /// Larger ones have arrived: it is believed if the segment times out.
    Later,
    /// Send no more than this.
    Now(u16),
}

/// A larger segment that is on its way.
#[derive(Debug, Clone, Copy)]
struct Probe {
    size: u16,
    start: SeqNum,
    end: SeqNum,
    /// Some of it was sent again.
    again: bool,
}

/// What is known of the path when it carries less than both ends would take.
#[derive(Debug, Default)]
pub(crate) struct Pmtu {
    /// What both ends would take.
    ceiling: Option<u16>,
    /// What our own link carries, if it was narrowed since.
    link: Option<u16>,
    limit: Option<u16>,
    pending: Option<(u16, SeqNum)>,
    /// When a larger segment is tried.
    raise_at: Option<Instant>,
    wait: Duration,
    /// The least size that was tried in vain.
    failed: Option<u16>,
    probe: Option<Probe>,
}

impl Pmtu {
    /// What was learnt of this path by another connection, good until `until`.
    pub(crate) fn start(&mut self, limit: u16, until: Instant) {
        (self.limit, self.raise_at, self.wait) = (Some(limit), Some(until), ROUTERS_WORD);
    }

    /// Both ends would take `mss`: how much is sent to begin with.
    pub(crate) fn negotiated(&mut self, mss: u16) -> u16 {
        self.ceiling = Some(mss);
        [self.limit, self.link].into_iter().flatten().fold(mss, u16::min)
    }

    /// Our own link carries `link` now, and nothing larger is tried; `current` is what is sent so far. Returns the size to go
    /// down to. What lies between that and what both ends would take is tried when the link carries it again.
    pub(crate) fn set_link(&mut self, now: Instant, link: u16, current: u16, sizes: &mut Sizes) -> Option<u16> {
        self.link = Some(link);
        if current <= link {
            // The path may carry what is tried just now, our link does not any more.
            self.probe.take_if(|probe| probe.size > link);
            return None;
        }
        self.lower(now, link, current, false, sizes);
        Some(link)
    }

    /// A router says that `claimed` is the most it forwards, about the segment at `seq`.
    pub(crate) fn too_big(&mut self, claimed: u16, seq: SeqNum, sizes: Sizes) -> TooBig {
        if claimed >= sizes.sent {
            return TooBig::Ignored;
        }
        if claimed >= sizes.acked {
            return TooBig::Now(claimed);
        }
        if self.pending.is_none_or(|(_, first)| !seq.after(first)) {
            self.pending = Some((claimed, seq));
        }
        TooBig::Later
    }

    /// The retransmission timer expired for the `nth` time in a row, with SND.UNA = `una`; `full` is the size of the segment
    /// there if it is as large as any. Returns the size to go down to, not below `least`, and whether a router said so.
    pub(crate) fn on_timeout(&mut self, nth: u8, una: SeqNum, full: Option<u16>, least: u16) -> Option<(u16, bool)> {
        if let Some((claimed, _)) = self.pending.take_if(|(_, seq)| *seq == una) {
            return Some((claimed, true));
        }
        let size = full.filter(|_| nth >= BLACK_HOLE && (nth - BLACK_HOLE).is_multiple_of(2))?;
        let lower = if size > BASE { BASE } else { size / 2 }.max(least);
        (lower < size).then_some((lower, false))
    }

    /// From now on at most `limit` is sent, where `current` was.
    pub(crate) fn lower(&mut self, now: Instant, limit: u16, current: u16, routers_word: bool, sizes: &mut Sizes) {
        sizes.limit(limit);
        self.ceiling.get_or_insert(current);
        (self.limit, self.failed, self.probe, self.pending) = (Some(limit), None, None, None);
        self.wait = if routers_word { ROUTERS_WORD } else { SOON };
        self.raise_at = Some(now + self.wait);
    }

    /// The size of a segment that should try the path now.
    pub(crate) fn probe_due(&self, now: Instant) -> Option<u16> {
        let (limit, ceiling) = (self.limit?, self.ceiling?);
        let ceiling = self.link.map_or(ceiling, |link| link.min(ceiling));
        if self.probe.is_some() || limit >= ceiling || self.raise_at.is_none_or(|at| at > now) {
            return None;
        }
        Some(self.failed.map_or(ceiling, |failed| limit.midpoint(failed).min(ceiling)))
    }

    /// A segment larger than `size` is on its way, to see whether the path carries it.
    pub(crate) fn tries_more_than(&self, size: u16) -> bool {
        self.probe.is_some_and(|probe| probe.size > size)
    }

    /// It went out.
    pub(crate) fn probing(&mut self, size: u16, start: SeqNum, end: SeqNum) {
        self.probe = Some(Probe { size, start, end, again: false });
    }

    /// `start` to `end` goes out again: if it is of what tries a larger size, its acknowledgment says nothing of that any more.
    pub(crate) fn sent_again(&mut self, start: SeqNum, end: SeqNum) {
        if let Some(probe) = &mut self.probe {
            probe.again |= end.after(probe.start) && start.before(probe.end);
        }
    }

    /// Everything before `una` is acknowledged. Returns the size that is sent from now on, if a larger one has arrived (RFC 4821
    /// section 7.6.1).
    pub(crate) fn on_ack(&mut self, now: Instant, una: SeqNum) -> Option<u16> {
        // Progress: the segment that was said to be too big has arrived, or one that was sent for it.
        self.pending.take_if(|(_, seq)| una.after(*seq));
        let probe = self.probe.take_if(|probe| una.after_eq(probe.end))?;
        let limit = self.limit?;
        if !probe.again {
            self.wait = SOON;
            let whole = self.ceiling.is_none_or(|ceiling| probe.size >= ceiling);
            self.limit = (!whole).then_some(probe.size);
            self.raise_at = (!whole).then(|| now + self.wait);
            return Some(probe.size);
        }
        if probe.size.saturating_sub(limit) <= CLOSE {
            (self.failed, self.wait) = (None, ROUTERS_WORD);
        } else {
            (self.failed, self.wait) = (Some(probe.size), (self.wait * 2).min(ROUTERS_WORD));
        }
        self.raise_at = Some(now + self.wait);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ZERO;

    fn seq(n: u32) -> SeqNum {
        SeqNum::new(n)
    }

    fn sizes(sent: u16, acked: u16) -> Sizes {
        Sizes { sent, acked, end: seq(5000) }
    }

    #[test]
    fn the_largest_that_arrived_is_known() {
        let mut sizes = Sizes::default();
        sizes.sent(100, seq(100));
        sizes.sent(1000, seq(1100));
        sizes.sent(1000, seq(2100));
        sizes.acknowledged(seq(1099));
        assert_eq!((sizes.sent, sizes.acked), (1000, 0));
        sizes.acknowledged(seq(1100));
        assert_eq!(sizes.acked, 1000);
        sizes.limit(500);
        assert_eq!((sizes.sent, sizes.acked), (500, 500));
    }

    /// RFC5927-7.2-a.
    #[test]
    fn a_claim_is_checked() {
        let mut pmtu = Pmtu::default();
        assert_eq!(pmtu.too_big(1460, seq(1), sizes(1460, 0)), TooBig::Ignored);
        assert_eq!(pmtu.too_big(1400, seq(1), sizes(1460, 512)), TooBig::Now(1400));
        // Larger ones have arrived: believed when this very segment times out.
        assert_eq!(pmtu.too_big(1400, seq(1), sizes(1460, 1460)), TooBig::Later);
        assert_eq!(pmtu.on_timeout(1, seq(0), None, 512), None);
        assert_eq!(pmtu.on_timeout(2, seq(1), None, 512), Some((1400, true)));
        assert_eq!(pmtu.on_timeout(2, seq(1), None, 512), None);
        // Progress: forgotten.
        assert_eq!(pmtu.too_big(512, seq(1), sizes(1460, 1460)), TooBig::Later);
        assert_eq!(pmtu.on_ack(NOW, seq(2)), None);
        assert_eq!(pmtu.on_timeout(1, seq(1), None, 512), None);
    }

    #[test]
    fn a_black_hole_is_left_in_steps() {
        let mut pmtu = Pmtu::default();
        let mut size = 1460;
        let mut steps = std::vec::Vec::new();
        for nth in 1..12 {
            if let Some((lower, false)) = pmtu.on_timeout(nth, seq(1), Some(size), 512) {
                steps.push((nth, lower));
                size = lower;
            }
        }
        assert_eq!(steps, [(3, 1024), (5, 512)]);
        assert_eq!(pmtu.on_timeout(3, seq(1), Some(1440), 1220), Some((1220, false)), "IPv6 carries 1,280 anywhere");
        assert_eq!(pmtu.on_timeout(3, seq(1), None, 512), None, "a small segment does not vanish for its size");
    }

    #[test]
    fn larger_ones_are_tried_again() {
        let (mut pmtu, mut s) = (Pmtu::default(), sizes(1460, 0));
        pmtu.lower(NOW, 1024, 1460, false, &mut s);
        assert_eq!(pmtu.probe_due(NOW + SOON - Duration::from_nanos(1)), None);
        assert_eq!(pmtu.probe_due(NOW + SOON), Some(1460));
        // Lost: something was sent again. 20 s later half-way.
        pmtu.probing(1460, seq(50), seq(100));
        assert_eq!((pmtu.probe_due(NOW + SOON), pmtu.on_ack(NOW, seq(99))), (None, None));
        pmtu.sent_again(seq(90), seq(100));
        assert_eq!(pmtu.on_ack(NOW, seq(100)), None);
        assert_eq!((pmtu.probe_due(NOW + SOON), pmtu.probe_due(NOW + SOON * 2)), (None, Some(1242)));
        // What lies before it, or behind it, may be sent again.
        pmtu.probing(1242, seq(150), seq(200));
        pmtu.sent_again(seq(100), seq(150));
        pmtu.sent_again(seq(200), seq(250));
        assert_eq!(pmtu.on_ack(NOW, seq(200)), Some(1242));
        // (1242 + 1460) / 2 = 1351; then the search is close, and ends for ten minutes: then the whole is tried.
        for (tried, next) in [(1351, Some(1296)), (1296, None)] {
            let due = (0..700).find_map(|s| pmtu.probe_due(NOW + Duration::from_secs(s)));
            assert_eq!(due, Some(tried));
            pmtu.probing(tried, seq(250), seq(300));
            pmtu.sent_again(seq(200), seq(251));
            assert_eq!(pmtu.on_ack(NOW, seq(300)), None);
            assert_eq!(pmtu.probe_due(NOW + ROUTERS_WORD - Duration::from_secs(1)), next);
        }
        assert_eq!(pmtu.probe_due(NOW + ROUTERS_WORD), Some(1460));
        pmtu.probing(1460, seq(350), seq(400));
        assert_eq!(pmtu.on_ack(NOW, seq(400)), Some(1460));
        assert_eq!(pmtu.probe_due(Instant::MAX), None, "there is no more");
    }

    /// A link that carries less: nothing larger is tried before it carries more, and then no more than it does.
    #[test]
    fn a_link_is_never_overstepped() {
        let (mut pmtu, mut s) = (Pmtu::default(), sizes(1460, 1460));
        assert_eq!(pmtu.set_link(NOW, 1460, 1460, &mut s), None);
        assert_eq!(pmtu.set_link(NOW, 1360, 1460, &mut s), Some(1360));
        assert_eq!((pmtu.probe_due(NOW + ROUTERS_WORD * 2), s.sent), (None, 1360));
        assert_eq!(pmtu.set_link(NOW + SOON, 1400, 1360, &mut s), None);
        assert_eq!(pmtu.probe_due(NOW + SOON), Some(1400));
        pmtu.probing(1400, seq(50), seq(100));
        assert_eq!(pmtu.on_ack(NOW + SOON, seq(100)), Some(1400));
        assert_eq!(pmtu.probe_due(NOW + ROUTERS_WORD * 2), None);
        pmtu.set_link(NOW + ROUTERS_WORD, 9000, 1400, &mut s);
        assert_eq!(pmtu.probe_due(NOW + ROUTERS_WORD), Some(1460), "what both ends agreed on");
        // What is on its way when the link shrinks arrives, and counts for nothing.
        pmtu.lower(NOW, 1000, 1460, false, &mut s);
        pmtu.probing(1460, seq(150), seq(200));
        assert_eq!(pmtu.set_link(NOW, 1100, 1000, &mut s), None);
        assert_eq!((pmtu.on_ack(NOW, seq(200)), pmtu.probe_due(NOW + SOON)), (None, Some(1100)));
        // Half-way to what was tried in vain lies beyond it.
        pmtu.set_link(NOW, 1460, 1000, &mut s);
        pmtu.probing(1460, seq(250), seq(300));
        pmtu.sent_again(seq(250), seq(300));
        assert_eq!(pmtu.on_ack(NOW, seq(300)), None);
        assert_eq!(pmtu.probe_due(NOW + SOON * 2), Some(1230));
        pmtu.set_link(NOW, 1100, 1000, &mut s);
        assert_eq!(pmtu.probe_due(NOW + SOON * 2), Some(1100));
        // A connection that is being opened.
        let mut pmtu = Pmtu::default();
        pmtu.set_link(NOW, 1360, 0, &mut s);
        assert_eq!(pmtu.negotiated(1460), 1360);
    }

    #[test]
    fn a_routers_word_holds_for_ten_minutes() {
        let (mut pmtu, mut s) = (Pmtu::default(), sizes(1460, 0));
        pmtu.lower(NOW, 1360, 1460, true, &mut s);
        assert_eq!(pmtu.probe_due(NOW + Duration::from_secs(599)), None);
        assert_eq!(pmtu.probe_due(NOW + Duration::from_secs(600)), Some(1460));
        // So does what another connection was told.
        let mut pmtu = Pmtu::default();
        pmtu.start(1360, NOW + Duration::from_secs(100));
        assert_eq!((pmtu.negotiated(1460), pmtu.negotiated(1000)), (1360, 1000));
        assert_eq!(pmtu.negotiated(1460), 1360);
        assert_eq!(pmtu.probe_due(NOW + Duration::from_secs(99)), None);
        assert_eq!(pmtu.probe_due(NOW + Duration::from_secs(100)), Some(1460));
    }
}
