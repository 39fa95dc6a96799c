//! The acceptability test of RFC 9293 section 3.10.7.4, first step, and the trimming to the window.

use wire::{
    SeqNum,
    tcp::{Flags, Segment},
};

/// The receive window: from RCV.NXT, as far as it was ever advertised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) rcv_nxt: SeqNum,
    pub(crate) rcv_wnd: u32,
}

/// Evidence that a segment passed the test; its data and FIN are trimmed to the window. [`check`] makes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acceptable<'a> {
    /// The first octet of `payload`; at or after RCV.NXT.
    seq: SeqNum,
    payload: &'a [u8],
    /// Where `payload` begins in the segment's.
    skipped: usize,
    fin: bool,
}

impl<'a> Acceptable<'a> {
    pub(crate) const fn seq(&self) -> SeqNum {
        self.seq
    }
    pub(crate) const fn payload(&self) -> &'a [u8] {
        self.payload
    }
    pub(crate) const fn skipped(&self) -> usize {
        self.skipped
    }
    /// FIN, within the window and directly behind the payload.
    pub(crate) const fn fin(&self) -> bool {
        self.fin
    }
}

/// Table 6 of RFC 9293, by its letter: the segment's first or last octet lies in the window.
const fn in_window(window: Window, seq: SeqNum, len: u32) -> bool {
    match (len, window.rcv_wnd) {
        (0, 0) => seq.since(window.rcv_nxt) == 0,
        (0, wnd) => seq.in_window(window.rcv_nxt, wnd),
        (_, 0) => false,
        (len, wnd) => {
            seq.in_window(window.rcv_nxt, wnd)
                || SeqNum::new(seq.value().wrapping_add(len - 1)).in_window(window.rcv_nxt, wnd)
        }
    }
}

/// Tests a segment against the window and trims it.
pub(crate) fn check<'a>(window: Window, segment: &Segment<'a>) -> Option<Acceptable<'a>> {
    let header = &segment.header;
    if !in_window(window, header.seq, segment.len()) {
        return None;
    }
    let syn = u32::from(header.flags.contains(Flags::SYN));
    let start = header.seq + syn;
    // What lies before the window is old: cut it off.
    let old = if start.before(window.rcv_nxt) { window.rcv_nxt.since(start) as usize } else { 0 };
    let skipped = old.min(segment.payload.len());
    let seq = start + u32::try_from(skipped).unwrap_or(u32::MAX);
    // What lies beyond it does not fit: cut it off, and the FIN with it.
    let room = window.rcv_wnd.saturating_sub(seq.since(window.rcv_nxt)) as usize;
    let rest = &segment.payload[skipped..];
    let payload = &rest[..rest.len().min(room)];
    let whole = payload.len() == rest.len();
    let fin_at = seq + u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let fin = whole && header.flags.contains(Flags::FIN) && fin_at.in_window(window.rcv_nxt, window.rcv_wnd);
    Some(Acceptable { seq, payload, skipped, fin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::segment;

    /// Seed table P2: rows are SEQ, columns (LEN, WND) = (0,0) (0,1000) (1,0) (1,1000) (600,1000) (1600,1000).
    const TABLE: [(u32, [bool; 6]); 9] = [
        (400, [false, false, false, false, false, true]),
        (401, [false, false, false, false, true, false]),
        (500, [false, false, false, false, true, false]),
        (999, [false, false, false, false, true, false]),
        (1000, [true, true, false, true, true, true]),
        (1001, [false, true, false, true, true, true]),
        (1500, [false, true, false, true, true, true]),
        (1999, [false, true, false, true, true, true]),
        (2000, [false; 6]),
    ];

    /// RFC9293-3.4-a, RFC9293-3.10.7.4-a.
    #[test]
    fn table_6_wherever_the_numbers_lie() {
        let data = [0u8; 1600];
        for shift in [0u32, 0u32.wrapping_sub(1000), 0u32.wrapping_sub(1500), 1 << 31] {
            for (seq, row) in TABLE {
                for (column, (len, wnd)) in
                    [(0, 0), (0, 1000), (1, 0), (1, 1000), (600, 1000), (1600, 1000)].iter().enumerate()
                {
                    let window = Window { rcv_nxt: SeqNum::new(1000u32.wrapping_add(shift)), rcv_wnd: *wnd };
                    let s = segment(Flags::ACK, seq.wrapping_add(shift), 0, &data[..*len]);
                    assert_eq!(check(window, &s).is_some(), row[column], "SEQ={seq} LEN={len} WND={wnd} shift={shift}");
                }
            }
        }
    }

    /// RFC9293-3.10.7.4-c.
    #[test]
    fn a_straddling_segment_is_trimmed_at_both_ends() {
        let window = Window { rcv_nxt: SeqNum::new(1000), rcv_wnd: 100 };
        let data: [u8; 100] = core::array::from_fn(|i| u8::try_from(i).unwrap_or(0));
        let s = segment(Flags::ACK | Flags::FIN, 990, 0, &data);
        let a = check(window, &s).expect("acceptable");
        assert_eq!((a.seq(), a.payload(), a.skipped(), a.fin()), (SeqNum::new(1000), &data[10..], 10, true));
        let s = segment(Flags::ACK | Flags::FIN, 1050, 0, &data);
        let a = check(window, &s).expect("acceptable");
        assert_eq!((a.seq(), a.payload().len(), a.fin()), (SeqNum::new(1050), 50, false));
    }

    #[test]
    fn an_old_fin_is_no_fin() {
        // Retransmitted data of which the FIN lies before the window can't be acceptable; one at its very start is.
        let window = Window { rcv_nxt: SeqNum::new(1000), rcv_wnd: 100 };
        assert!(check(window, &segment(Flags::ACK | Flags::FIN, 999, 0, &[])).is_none());
        assert!(check(window, &segment(Flags::ACK | Flags::FIN, 1000, 0, &[])).expect("acceptable").fin());
    }
}
