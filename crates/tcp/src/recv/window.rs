//! What receive window to advertise: never shrinking, never silly (RFC 9293 sections 3.8.6 and 3.8.6.2.2).

use wire::SeqNum;

/// What an outgoing segment says of our window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Advertisement {
    /// The header's 16-bit field, scaled.
    pub(crate) field: u16,
    /// The right edge it promises.
    pub(crate) edge: SeqNum,
}

/// The receiver's situation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    pub(crate) rcv_nxt: SeqNum,
    /// The right edge promised so far.
    pub(crate) edge: SeqNum,
    /// Room in the receive buffer, bytes.
    pub(crate) free: u32,
    /// The whole receive buffer, bytes.
    pub(crate) buffer: u32,
    /// Our MSS, bytes.
    pub(crate) mss: u32,
}

/// The window now: the edge moves right only by a worthwhile step, min(buffer / 2, MSS), and never left.
pub(crate) fn advertise(s: Situation, shift: u8) -> Advertisement {
    let promised = s.edge.since(s.rcv_nxt);
    let wnd = if s.free >= promised + (s.buffer / 2).min(s.mss) { s.free } else { promised };
    // A promise that is not a multiple of the scale is rounded up, a new one down: neither shrinks the window. Without room
    // for the rounding the edge is retracted by less than one unit, and kept (RFC 7323 section 2.4).
    let up = promised.div_ceil(1 << shift);
    let kept = if u64::from(up) << shift <= u64::from(s.free) { up } else { promised >> shift };
    let units = if wnd == promised { kept } else { (wnd >> shift).max(kept) };
    let field = u16::try_from(units).unwrap_or(u16::MAX);
    let edge = s.rcv_nxt + (u32::from(field) << shift);
    Advertisement { field, edge: if edge.before(s.edge) { s.edge } else { edge } }
}

/// Whether the window has opened so far that the peer should hear of it unasked: by two segments, or half the buffer.
pub(crate) fn worth_an_update(s: Situation) -> bool {
    let promised = s.edge.since(s.rcv_nxt);
    s.free >= promised.saturating_add((s.buffer / 2).min(2 * s.mss))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn situation(promised: u32, free: u32) -> Situation {
        let rcv_nxt = SeqNum::new(u32::MAX - 50);
        Situation { rcv_nxt, edge: rcv_nxt + promised, free, buffer: 100_000, mss: 1460 }
    }

    /// MUST-39.
    #[test]
    fn a_small_opening_is_not_advertised() {
        assert_eq!(advertise(situation(0, 1459), 0).field, 0);
        assert_eq!(advertise(situation(0, 1460), 0).field, 1460);
        assert!(!worth_an_update(situation(10_000, 12_919)));
        assert!(worth_an_update(situation(10_000, 12_920)));
    }

    proptest! {
        /// Said again, nothing having happened, it says the same: the segments of a train have one header.
        #[test]
        fn it_can_be_said_again(
            promised in 0u32..60_000, free in prop_oneof![0u32..70_000, 0u32..1 << 30], buffer in 0u32..200_000,
            mss in 0u32..9000, shift in 0u8..=14,
        ) {
            let free = free.min(0xffff << shift);
            let s = Situation { buffer, mss, ..situation(promised.min(0xffff << shift), free) };
            let once = advertise(s, shift);
            prop_assert_eq!(advertise(Situation { edge: once.edge, ..s }, shift), once);
        }

        /// SHLD-14.
        #[test]
        fn the_right_edge_never_moves_left(promised in 0u32..60_000, free in 0u32..1 << 20, shift in 0u8..=14) {
            let s = situation(promised, free);
            let a = advertise(s, shift);
            prop_assert!(a.edge.after_eq(s.edge));
            // What the peer computes from the field is what we remember, up to the rounding of an old promise.
            let heard = s.rcv_nxt + (u32::from(a.field) << shift);
            prop_assert!(a.edge.since(heard) < 1 << shift || a.field == u16::MAX);
            // And no more than there is room for is promised anew.
            prop_assert!(a.edge == s.edge || a.edge.since(s.rcv_nxt) <= free);
        }
    }
}
