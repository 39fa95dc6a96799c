//! What the wire shows: no segment outside of the window the peer advertised, no acknowledgment of what has not arrived, no
//! window that shrinks, no stream with a hole or an end that moves.

use super::{FastMap, FlowId, Seen, flow::Stream};
use wire::{SeqNum, tcp::Flags};

/// The flows of a world.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    flows: FastMap<FlowId, Flow>,
}

#[derive(Debug, Default)]
struct Flow {
    ends: [Stream; 2],
    /// Segments were altered, or made up, in a way that an end may have believed.
    tainted: bool,
}

/// To which streams a segment belongs: the sender's incarnation, and the peer's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stamp(u32, u32);

impl Wire {
    /// A node sends a segment. Returns to which streams it belongs, and what is wrong with it.
    pub(crate) fn sent(&mut self, seen: &Seen) -> (Stamp, Result<(), &'static str>) {
        let flow = self.flows.entry(seen.flow).or_default();
        let tainted = flow.tainted;
        let [a, b] = &mut flow.ends;
        let (own, peer) = if seen.side == 0 { (a, b) } else { (b, a) };
        if seen.has(Flags::RST) {
            own.over = true;
            return (Stamp::default(), Ok(()));
        }
        own.over |= own.fin.is_some() && peer.fin.is_some();
        let strange = own.iss.is_some_and(|iss| seen.header.seq.before(iss) || seen.header.seq.after(own.sent));
        if strange && !seen.has(Flags::SYN) && !own.rebase(seen.header.seq - 1) && own.is_earlier(seen.header.seq) {
            return (Stamp(u32::MAX, u32::MAX), Ok(()));
        }
        // A listener takes a SYN that comes late, when its connection is over, for a new one.
        let anew = own.over && seen.has(Flags::SYN | Flags::ACK) && own.iss != Some(seen.header.seq);
        let answered = peer.iss.is_some_and(|iss| seen.header.ack == iss + 1);
        // The other end has completed its handshake with the stream before this one, and does not begin again.
        let late = own.acked.is_some() && own.iss != Some(seen.header.seq);
        let astray = own.astray && own.iss == Some(seen.header.seq);
        let result = own.sends(seen, peer.mss);
        // Who answers a SYN that somebody has made up, or that comes late, goes on talking to nobody.
        if seen.has(Flags::SYN | Flags::ACK) {
            own.astray = !answered || late || astray;
        }
        if own.astray {
            return (Stamp(own.incarnation, u32::MAX), result);
        }
        // A cookie that comes again when its connection is over is believed again: the same numbers, from the beginning.
        let believed = own.over && own.iss.is_some_and(|iss| seen.header.seq == iss + 1);
        if (anew || believed) && peer.goes_back(seen.header.ack) {
            (peer.acked, peer.promised, peer.rebased) = (None, None, true);
        }
        let (about, result) = match peer.is_acknowledged(seen, own.scale, tainted) {
            Ok(about) => (about, result),
            Err(wrong) => (true, result.and(Err(wrong))),
        };
        // An acknowledgment of another incarnation says nothing of this one.
        let stamp = Stamp(own.incarnation, if about { peer.incarnation } else { u32::MAX });
        (stamp, if tainted { Ok(()) } else { result })
    }

    /// A segment is about to arrive at its destination, intact.
    pub(crate) fn arrives(&mut self, seen: &Seen, stamp: Stamp) {
        let Some(flow) = self.flows.get_mut(&seen.flow) else { return };
        let [a, b] = &mut flow.ends;
        let (own, peer) = if seen.side == 0 { (a, b) } else { (b, a) };
        if seen.has(Flags::RST) {
            peer.over = true;
            return;
        }
        if stamp.0 == own.incarnation && (seen.len > 0 || seen.header.flags.intersects(Flags::SYN | Flags::FIN)) {
            own.arrived.add(seen.header.seq, seen.end());
        }
        if stamp.1 == peer.incarnation && seen.has(Flags::ACK) {
            let edge = edge(seen, own.scale, peer.scale);
            if peer.heard.is_none_or(|heard| edge.after(heard)) {
                peer.heard = Some(edge);
            }
        }
    }

    /// Somebody has put in, or altered, a segment of this flow so that it looks right.
    pub(crate) fn taint(&mut self, flow: FlowId) {
        self.flows.entry(flow).or_default().tainted = true;
    }
}

/// The right edge that a segment promises, whose sender and whose receiver have offered these window scales.
fn edge(seen: &Seen, own: Option<u8>, peer: Option<u8>) -> SeqNum {
    seen.header.ack + (u32::from(seen.header.window) << shift(seen, own, peer))
}

/// RFC 7323 section 2.2: the window of a SYN is never scaled, that of others if both SYNs had the option.
fn shift(seen: &Seen, own: Option<u8>, peer: Option<u8>) -> u8 {
    if seen.has(Flags::SYN) || peer.is_none() { 0 } else { own.unwrap_or(0).min(14) }
}

impl Stream {
    /// Its end sends a segment; the other's SYN had this MSS.
    fn sends(&mut self, seen: &Seen, peer_mss: Option<u16>) -> Result<(), &'static str> {
        let (seq, end) = (seen.header.seq, seen.end());
        if seen.has(Flags::SYN) {
            // What its first SYN says holds: one that answers somebody else's may say less.
            if self.begin(seq) {
                self.scale = seen.header.options.window_scale;
            }
            self.mss = seen.header.options.mss.or(Some(if seen.src.is_ipv4() { 536 } else { 1220 }));
        } else if !seen.has(Flags::ACK) {
            return Err("a segment without ACK that is no SYN");
        }
        let Some(iss) = self.iss else { return Ok(()) };
        if seq.before(iss) || seq.after(self.sent) {
            return Err("a sequence number that leaves a hole in the stream");
        }
        let octets = usize::try_from(seen.len).unwrap_or(0) + seen.header.options.len();
        if seen.len > 0 && peer_mss.is_some_and(|mss| octets > mss.into()) {
            return Err("more in a segment than the peer's MSS");
        }
        let fin = seen.has(Flags::FIN).then(|| end - 1);
        match (self.fin, fin) {
            (Some(old), Some(new)) if old != new => return Err("a FIN that moves"),
            (Some(old), _) if seen.len > 0 && (seq + seen.len).after(old) => return Err("data behind the FIN"),
            (None, Some(new)) if new.before(self.sent) => return Err("a FIN before data"),
            _ => self.fin = self.fin.or(fin),
        }
        self.sent = self.sent.max(end);
        // Less than 2^30 octets are in flight: what lies farther back is no number of this stream any more, and would look like
        // one to come.
        if self.sent.since(iss) > 1 << 30 {
            self.iss = Some(self.sent - (1 << 30));
        }
        // One octet beyond is a window probe (RFC 9293 section 3.8.6.1), or a FIN.
        if !seen.has(Flags::SYN) && !self.astray && self.heard.is_some_and(|edge| end.after(edge + 1)) {
            return Err("a segment outside of the window the peer advertised");
        }
        Ok(())
    }

    /// The other end, whose SYN had this window scale, sends a segment: what it says of this stream, if it is about it.
    fn is_acknowledged(&mut self, seen: &Seen, peer_scale: Option<u8>, tainted: bool) -> Result<bool, &'static str> {
        let ack = seen.header.ack;
        let Some(iss) = self.iss.filter(|_| seen.has(Flags::ACK)) else { return Ok(false) };
        if self.acked.is_none() {
            let ours = ack.after(iss) && ack.before_eq(self.sent);
            if !ours && !self.rebase(ack - 1) {
                return Ok(false);
            }
        }
        if ack.after(self.sent) {
            return Err("an acknowledgment of what was never sent");
        }
        if self.acked.is_some_and(|acked| ack.before(acked)) {
            return Err("an acknowledgment that moves back");
        }
        if !self.rebased && !tainted {
            if !self.arrived.up_to(ack) {
                return Err("an acknowledgment of what has not arrived");
            }
            if seen.header.options.sack.iter().any(|(start, end)| !self.arrived.holds(start, end)) {
                return Err("a SACK block of what has not arrived");
            }
        }
        self.acked = Some(ack);
        let shift = shift(seen, peer_scale, self.scale);
        let edge = edge(seen, peer_scale, self.scale);
        // Behind the FIN there is nothing that a window could be for.
        // And the field of a SYN, which is not scaled, can't say all.
        let free = seen.has(Flags::SYN) || self.fin.is_some_and(|fin| ack.after(fin));
        let back = self.promised.filter(|promised| edge.before(*promised)).map_or(0, |promised| promised.since(edge));
        if !free && back >= 1 << shift {
            return Err("a window that shrinks");
        }
        if self.promised.is_none_or(|promised| edge.after(promised)) {
            self.promised = Some(edge);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::segment::test_segment as segment;

    /// A handshake: each window scale 1, MSS 1000, and 5000 octets of window towards node 0, 4000 towards node 1.
    fn open() -> Wire {
        let mut wire = Wire::default();
        let mut syn = segment(0, Flags::SYN, 999, 0, 65_000, 0);
        let mut syn_ack = segment(1, Flags::SYN | Flags::ACK, 4999, 1000, 2000, 0);
        for header in [&mut syn.header, &mut syn_ack.header] {
            (header.options.mss, header.options.window_scale) = (Some(1000), Some(1));
        }
        for seen in [syn, syn_ack, segment(0, Flags::ACK, 1000, 5000, 2500, 0)] {
            assert_eq!(pass(&mut wire, &seen), Ok(()));
        }
        assert_eq!(pass(&mut wire, &segment(1, Flags::ACK, 5000, 1000, 2000, 0)), Ok(()));
        wire
    }

    /// A segment is sent, and arrives.
    fn pass(wire: &mut Wire, seen: &Seen) -> Result<(), &'static str> {
        let (stamp, result) = wire.sent(seen);
        wire.arrives(seen, stamp);
        result
    }

    #[test]
    fn data_within_the_window_passes_and_beyond_it_not() {
        let mut wire = open();
        for n in 0..4 {
            assert_eq!(pass(&mut wire, &segment(0, Flags::ACK, 1000 + 1000 * n, 5000, 2500, 1000)), Ok(()));
        }
        // 2000 << 1 is full. One octet beyond is a window probe.
        assert_eq!(pass(&mut wire, &segment(0, Flags::ACK, 5000, 5000, 2500, 1)), Ok(()));
        let beyond = Err("a segment outside of the window the peer advertised");
        assert_eq!(pass(&mut wire, &segment(0, Flags::ACK, 5001, 5000, 2500, 1)), beyond);
    }

    #[test]
    fn a_window_that_was_sent_but_has_not_arrived_is_no_window() {
        let mut wire = open();
        for n in 0..4 {
            assert_eq!(pass(&mut wire, &segment(0, Flags::ACK, 1000 + 1000 * n, 5000, 2500, 1000)), Ok(()));
        }
        let update = segment(1, Flags::ACK, 5000, 5000, 2000, 0);
        let (stamp, result) = wire.sent(&update);
        assert_eq!(result, Ok(()));
        let data = segment(0, Flags::ACK, 5000, 5000, 2500, 1000);
        assert!(wire.sent(&data).1.is_err());
        let mut wire = open();
        wire.arrives(&update, stamp);
        assert_eq!(pass(&mut wire, &segment(0, Flags::ACK, 1000, 5000, 2500, 1000)), Ok(()));
    }

    #[test]
    fn what_is_acknowledged_was_sent_and_has_arrived() {
        let mut wire = open();
        let lost = segment(0, Flags::ACK, 1000, 5000, 2500, 1000);
        assert_eq!(wire.sent(&lost).1, Ok(()));
        let unsent = wire.sent(&segment(1, Flags::ACK, 5000, 2001, 2000, 0)).1;
        assert_eq!(unsent, Err("an acknowledgment of what was never sent"));
        let lost = wire.sent(&segment(1, Flags::ACK, 5000, 2000, 1500, 0)).1;
        assert_eq!(lost, Err("an acknowledgment of what has not arrived"));
    }

    /// RFC 7323 section 2.4: by less than the scale's unit it may, by more not.
    #[test]
    fn a_window_shrinks_by_its_rounding_at_most() {
        let mut wire = open();
        assert_eq!(pass(&mut wire, &segment(0, Flags::ACK, 1000, 5000, 2500, 1)), Ok(()));
        assert_eq!(pass(&mut wire, &segment(1, Flags::ACK, 5000, 1001, 1999, 0)), Ok(()));
        let shrunk = pass(&mut wire, &segment(1, Flags::ACK, 5000, 1001, 1998, 0));
        assert_eq!(shrunk, Err("a window that shrinks"));
    }

    #[test]
    fn a_stream_has_no_hole_and_one_end() {
        let hole = pass(&mut open(), &segment(0, Flags::ACK, 1001, 5000, 2500, 10));
        assert_eq!(hole, Err("a sequence number that leaves a hole in the stream"));
        let mut wire = open();
        assert_eq!(pass(&mut wire, &segment(0, Flags::ACK | Flags::FIN, 1000, 5000, 2500, 10)), Ok(()));
        assert_eq!(pass(&mut wire, &segment(0, Flags::ACK | Flags::FIN, 1010, 5000, 2500, 0)), Ok(()));
        assert_eq!(pass(&mut wire, &segment(0, Flags::ACK, 1011, 5000, 2500, 0)), Ok(()));
        let behind = pass(&mut wire, &segment(0, Flags::ACK, 1011, 5000, 2500, 1));
        assert_eq!(behind, Err("data behind the FIN"));
        let moved = pass(&mut wire, &segment(0, Flags::ACK | Flags::FIN, 1000, 5000, 2500, 9));
        assert_eq!(moved, Err("a FIN that moves"));
        let large = pass(&mut open(), &segment(0, Flags::ACK, 1000, 5000, 2500, 1001));
        assert_eq!(large, Err("more in a segment than the peer's MSS"));
        let bare = pass(&mut open(), &segment(0, Flags::PSH, 1000, 0, 2500, 1));
        assert_eq!(bare, Err("a segment without ACK that is no SYN"));
    }

    /// Five gibioctets in full segments: a number comes round again, and none of them looks like a hole, or like an old one.
    #[test]
    fn a_stream_may_be_longer_than_its_numbers() {
        const LEN: u32 = 1000;
        let mut wire = open();
        let mut seq = 1000u32;
        for _ in 0..5_400_000 {
            assert_eq!(pass(&mut wire, &segment(0, Flags::ACK, seq, 5000, 2500, LEN)), Ok(()));
            seq = seq.wrapping_add(LEN);
            assert_eq!(pass(&mut wire, &segment(1, Flags::ACK, 5000, seq, 2000, 0)), Ok(()));
        }
        let hole = pass(&mut wire, &segment(0, Flags::ACK, seq.wrapping_add(1), 5000, 2500, 10));
        assert_eq!(hole, Err("a sequence number that leaves a hole in the stream"));
    }

    #[test]
    fn sack_blocks_have_arrived() {
        let mut wire = open();
        assert_eq!(wire.sent(&segment(0, Flags::ACK, 1000, 5000, 2500, 100)).1, Ok(()));
        assert_eq!(pass(&mut wire, &segment(0, Flags::ACK, 1100, 5000, 2500, 100)), Ok(()));
        let mut ack = segment(1, Flags::ACK, 5000, 1000, 2000, 0);
        ack.header.options.sack.push(SeqNum::new(1100), SeqNum::new(1200));
        assert_eq!(pass(&mut wire, &ack), Ok(()));
        ack.header.options.sack.push(SeqNum::new(1099), SeqNum::new(1200));
        assert_eq!(pass(&mut wire, &ack), Err("a SACK block of what has not arrived"));
    }
}
