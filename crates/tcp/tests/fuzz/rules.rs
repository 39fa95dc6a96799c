//! What RFC 9293 section 3.10.7 and RFC 5961 allow a segment to do, computed with numbers relative to the connection's.

use tcp::{DropReason, Error, Event, Outcome, State, testing::Numbers};
use wire::{
    SeqNum,
    tcp::{Flags, Segment},
};

/// `a - b`, as far apart as numbers of one connection can be.
fn ahead(a: SeqNum, b: SeqNum) -> i64 {
    i64::from(a.value().wrapping_sub(b.value()) as i32)
}

fn is(segment: &Segment<'_>, flag: Flags) -> bool {
    segment.header.flags.contains(flag)
}

/// SEG.LEN.
fn len(segment: &Segment<'_>) -> i64 {
    segment.payload.len() as i64 + i64::from(is(segment, Flags::SYN)) + i64::from(is(segment, Flags::FIN))
}

/// Table 6.
pub(crate) fn acceptable(rcv_nxt: SeqNum, rcv_wnd: u32, segment: &Segment<'_>) -> bool {
    let (first, wnd, len) = (ahead(segment.header.seq, rcv_nxt), i64::from(rcv_wnd), len(segment));
    let last = first + len - 1;
    match (len, wnd) {
        (0, 0) => first == 0,
        (0, _) => 0 <= first && first < wnd,
        (_, 0) => false,
        // (A segment longer than the window may have both ends outside of it: the table says no.)
        _ => (0 <= first && first < wnd) || (0 <= last && last < wnd),
    }
}

/// PAWS, RFC 7323 section 5.3, R1: not if the connection has been idle for 24 days.
fn stamp_is_old(before: &Numbers, segment: &Segment<'_>) -> bool {
    let (Some(recent), Some(t)) = (before.ts_recent, segment.header.options.timestamps) else { return false };
    (t.val.wrapping_sub(recent) as i32) < 0
}

/// What was known before the segment arrived.
#[derive(Debug)]
pub(crate) struct Before {
    pub(crate) state: State,
    pub(crate) numbers: Numbers,
    pub(crate) iss: SeqNum,
    pub(crate) irs: SeqNum,
    /// The application has closed, or has shut down reading.
    pub(crate) deaf: bool,
    /// There was no memory left, or may not have been.
    pub(crate) scarce: bool,
}

/// What it did.
#[derive(Debug)]
pub(crate) struct After<'a> {
    pub(crate) state: State,
    pub(crate) numbers: Numbers,
    pub(crate) outcome: Outcome,
    pub(crate) events: &'a [Event],
    /// Segments sent in reply.
    pub(crate) sent: usize,
}

pub(crate) fn check(before: &Before, segment: &Segment<'_>, after: &After<'_>) {
    if let (State::Closed, state) = (before.state, after.state) {
        return assert_eq!((state, after.outcome, after.sent), (State::Closed, Outcome::default(), 0));
    }
    if before.state == State::TimeWait {
        return assert_eq!((after.state, after.outcome), (State::TimeWait, Outcome::default()));
    }
    transition(before.state, after.state);
    if after.state == State::Closed {
        return may_end(before, segment, after);
    }
    if before.state == State::SynSent {
        return syn_sent(before, segment, after);
    }
    let (b, a) = (&before.numbers, &after.numbers);
    let unchanged = || {
        assert_eq!((after.state, a.rcv_nxt, a.snd_una), (before.state, b.rcv_nxt, b.snd_una), "{before:?} {segment:?}");
        assert!(after.outcome.deliver.is_none() && after.outcome.reset.is_none());
        assert!(a.snd_wnd == b.snd_wnd && after.outcome.dropped.is_some());
    };
    // R1: a segment without the option is dropped (RFC 7323 section 3.2), an old one is answered; not a RST.
    if let (Some(_), false) = (b.ts_recent, is(segment, Flags::RST)) {
        let asks = is(segment, Flags::SYN) && before.state.is_synchronized();
        if segment.header.options.timestamps.is_none() && !asks {
            unchanged();
            return assert_eq!(after.outcome.dropped, Some(DropReason::NoTimestamp));
        }
        if stamp_is_old(b, segment) && after.outcome.dropped == Some(DropReason::OldTimestamp) {
            return unchanged();
        }
    }
    let acceptable = acceptable(b.rcv_nxt, b.rcv_wnd, segment);
    // "If the RCV.WND is zero, no segments will be acceptable, but special allowance should be made to accept valid ACKs,
    // URGs, and RSTs."
    let shut = b.rcv_wnd == 0 && segment.header.seq == b.rcv_nxt;
    if !acceptable && !shut {
        if before.state == State::SynReceived && is(segment, Flags::SYN) && segment.header.seq == before.irs {
            // A SYN-ACK that crossed our SYN completes the handshake; the peer's SYN again does nothing.
            return assert_eq!(a.rcv_nxt, b.rcv_nxt);
        }
        let (edge, bare) = (b.rcv_nxt + b.rcv_wnd, len(segment) == 0 && !is(segment, Flags::RST));
        if bare && is(segment, Flags::ACK) && segment.header.seq == edge && before.state != State::SynReceived {
            // The ACK of a peer that has filled our window is heard: decision of ARCHITECTURE.md.
            assert_eq!(a.rcv_nxt, b.rcv_nxt);
            return acknowledgment(before, segment, after);
        }
        let plain = !is(segment, Flags::RST) && !is(segment, Flags::SYN) && !is(segment, Flags::FIN);
        let last = plain && segment.header.seq + 1 == b.rcv_nxt && segment.payload.len() <= 1;
        if last && is(segment, Flags::ACK) && before.state != State::SynReceived {
            // And so may be what is numbered as the last octet that was taken, of a peer that has probed our window with it.
            assert!(a.rcv_nxt == b.rcv_nxt && after.outcome.deliver.is_none() && after.outcome.reset.is_none());
            assert!(segment.payload.is_empty() || after.sent > 0 || after.state != before.state);
            let heard = (a.snd_una, a.snd_wnd, after.state) != (b.snd_una, b.snd_wnd, before.state);
            return if heard { acknowledgment(before, segment, after) } else { unchanged() };
        }
        unchanged();
        // "an acknowledgment should be sent in reply (unless the RST bit is set)"; data that came twice always.
        let answers = !is(segment, Flags::RST) && !is(segment, Flags::SYN) && len(segment) > 0;
        assert!(!answers || after.sent > 0, "no answer: {before:?} {segment:?} {after:?}");
        return;
    }
    // RFC 5961 sections 3.2 and 4.2: what is left of RST and SYN in the window is a challenge. (The exact RST has ended it.)
    if is(segment, Flags::RST) {
        assert_ne!(segment.header.seq, b.rcv_nxt, "an exact RST is taken");
        return unchanged();
    }
    if is(segment, Flags::SYN) || !is(segment, Flags::ACK) {
        return unchanged();
    }
    acknowledgment(before, segment, after);
    if acceptable {
        text(before, segment, after);
    } else {
        assert_eq!(a.rcv_nxt, b.rcv_nxt, "nothing is taken into a closed window");
    }
}

/// Figure 5, of segments: with the FIN and the acknowledgment of ours at once, and with what was closed early.
fn transition(from: State, to: State) {
    use State::{CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, SynReceived, SynSent, TimeWait};
    let allowed: &[State] = match from {
        SynSent => &[SynReceived, Established, CloseWait],
        // A CLOSE in SYN-RECEIVED takes effect with the handshake: FIN-WAIT-1, and CLOSING if the FIN comes along.
        SynReceived => &[Established, CloseWait, FinWait1, Closing],
        Established => &[CloseWait],
        FinWait1 => &[FinWait2, Closing, TimeWait],
        FinWait2 | Closing => &[TimeWait],
        _ => &[],
    };
    let any = to == from || to == Closed || allowed.contains(&to);
    assert!(any && (from != LastAck || matches!(to, LastAck | Closed)), "{from:?} to {to:?}");
}

/// The ways in which a segment may end a connection.
fn may_end(before: &Before, segment: &Segment<'_>, after: &After<'_>) {
    let b = &before.numbers;
    let ended = after.events.iter().find_map(|event| match event {
        Event::Closed(error) => Some(*error),
        _ => None,
    });
    let ended = ended.expect("the application is told of the end");
    let acks_syn = is(segment, Flags::ACK) && ahead(segment.header.ack, before.iss) > 0;
    if is(segment, Flags::RST) {
        match before.state {
            // A5: the acknowledgment proves that our SYN was seen.
            State::SynSent => {
                assert!(acks_syn && ahead(b.snd_max, segment.header.ack) >= 0);
                assert_eq!(ended, Some(Error::Refused));
            }
            // RFC 5961 section 3.2: exactly RCV.NXT.
            state => {
                assert_eq!(segment.header.seq, b.rcv_nxt);
                let error = if state == State::SynReceived { Error::Refused } else { Error::Reset };
                assert_eq!(ended, Some(error));
            }
        }
        return assert!(after.outcome.reset.is_none(), "a reset is never answered by one");
    }
    if before.state == State::LastAck && ended.is_none() {
        assert!(is(segment, Flags::ACK) && !is(segment, Flags::SYN));
        return assert_eq!(segment.header.ack, b.snd_max, "our FIN is acknowledged");
    }
    // Data that nobody will read: a reset with the number that the peer expects (RFC 2525 section 2.17).
    assert!(before.deaf && !segment.payload.is_empty(), "{before:?} {segment:?} {after:?}");
    let reset = after.outcome.reset.expect("the peer must learn of it");
    // What it expects is behind all that was sent, or, if that does not arrive, what it acknowledges.
    assert_eq!(after.outcome.dropped, Some(DropReason::NobodyReads));
    assert!([segment.header.ack, b.snd_nxt, b.snd_max].contains(&reset.seq), "{before:?} {segment:?} {after:?}");
}

/// RFC 9293 section 3.10.7.3.
fn syn_sent(before: &Before, segment: &Segment<'_>, after: &After<'_>) {
    let (b, a) = (&before.numbers, &after.numbers);
    let ack = is(segment, Flags::ACK);
    let good = ack && ahead(segment.header.ack, before.iss) > 0 && ahead(b.snd_max, segment.header.ack) >= 0;
    if (ack && !good) || is(segment, Flags::RST) || !is(segment, Flags::SYN) {
        assert_eq!((after.state, a.snd_una), (State::SynSent, b.snd_una));
        let refused = ack && !good && !is(segment, Flags::RST);
        let reset = after.outcome.reset.map(|reset| (reset.seq, reset.ack));
        return assert_eq!(reset, refused.then_some((segment.header.ack, None)));
    }
    let fin = u32::from(after.state == State::CloseWait);
    assert_eq!(after.state == State::SynReceived, !good);
    assert_eq!(a.snd_una, if good { segment.header.ack } else { b.snd_una });
    let taken = ahead(a.rcv_nxt, segment.header.seq + 1 + fin);
    assert!(taken >= 0 && taken <= segment.payload.len() as i64 && (good || taken == 0));
    assert!(fin == 0 || is(segment, Flags::FIN));
}

/// The fifth step: RFC 9293 section 3.10.7.4, RFC 5961 section 5.2.
fn acknowledgment(before: &Before, segment: &Segment<'_>, after: &After<'_>) {
    let (b, a) = (&before.numbers, &after.numbers);
    let (new, sent) = (ahead(segment.header.ack, b.snd_una), ahead(b.snd_max, b.snd_una));
    if before.state == State::SynReceived {
        if new <= 0 || new > sent {
            assert_eq!((after.state, a.rcv_nxt, a.snd_una), (before.state, b.rcv_nxt, b.snd_una));
            return assert_eq!(after.outcome.reset.map(|reset| reset.seq), Some(segment.header.ack));
        }
        assert_ne!(after.state, State::SynReceived);
    } else if new > sent || -new > i64::from(b.max_snd_wnd) {
        assert_eq!((after.state, a.rcv_nxt, a.snd_una, a.snd_wnd), (before.state, b.rcv_nxt, b.snd_una, b.snd_wnd));
        // (Into a closed window nothing else would have been taken either.)
        let reasons = [DropReason::AckUnacceptable, DropReason::OutOfWindow];
        return assert!(after.outcome.dropped.is_some_and(|reason| reasons.contains(&reason)));
    }
    let expected = if new > 0 { segment.header.ack } else { b.snd_una };
    assert_eq!(a.snd_una, expected, "{before:?} {segment:?} {after:?}");
    if matches!((before.state, after.state), (State::FinWait1, State::FinWait2) | (_, State::TimeWait)) {
        assert_eq!(a.snd_una, a.snd_max, "our FIN is acknowledged");
    }
}

/// The seventh and eighth step: RCV.NXT moves over what lies in the window and in order, and no further than over what may
/// have been kept before.
fn text(before: &Before, segment: &Segment<'_>, after: &After<'_>) {
    let (b, a) = (&before.numbers, &after.numbers);
    let first = ahead(segment.header.seq, b.rcv_nxt);
    let end = (first + segment.payload.len() as i64).min(b.rcv_wnd.into());
    let moved = ahead(a.rcv_nxt, b.rcv_nxt);
    // The place of a FIN may be directly behind the window's last octet only if it was within the window.
    assert!((0..=i64::from(b.rcv_wnd)).contains(&moved), "{before:?} {segment:?} {after:?}");
    if after.outcome.dropped == Some(DropReason::AckUnacceptable) {
        return assert_eq!(moved, 0);
    }
    let receives = matches!(before.state, State::SynReceived | State::Established | State::FinWait1 | State::FinWait2);
    if !receives || first > 0 {
        assert_eq!(moved, 0, "{before:?} {segment:?} {after:?}");
    } else if !before.scarce {
        assert!(moved >= end, "{before:?} {segment:?} {after:?}");
    }
    if let Some((at, len)) = after.outcome.deliver {
        assert_eq!((at as i64, len as i64), (-first, end), "what is in order and in the window");
        assert!(moved == end || moved == end + 1);
    }
}
