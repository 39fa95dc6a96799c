//! Our urgent pointer: RFC 9293 section 3.8.5.

use wire::SeqNum;

/// SND.UP, behind the last urgent octet (MUST-62), while that is not acknowledged.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Urgent {
    up: Option<SeqNum>,
}

impl Urgent {
    /// What was queued up to `end` is urgent.
    pub(crate) fn mark(&mut self, end: SeqNum) {
        self.up = Some(end);
    }

    /// Everything before `una` is acknowledged.
    pub(crate) fn acknowledged(&mut self, una: SeqNum) {
        self.up = self.up.filter(|up| up.after(una));
    }

    /// The pointer of a segment that begins at `seq`, if it has one. An end too far for the field is as far as it can say:
    /// later segments advance it (MUST-31).
    pub(crate) fn pointer(&self, seq: SeqNum) -> Option<u16> {
        let up = self.up.filter(|up| up.after(seq))?;
        Some(u16::try_from(up.since(seq)).unwrap_or(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pointer_is_behind_the_last_urgent_octet() {
        let (mut urgent, seq) = (Urgent::default(), SeqNum::new(u32::MAX - 2));
        assert_eq!(urgent.pointer(seq), None);
        urgent.mark(seq + 5);
        assert_eq!((urgent.pointer(seq), urgent.pointer(seq + 4), urgent.pointer(seq + 5)), (Some(5), Some(1), None));
        urgent.mark(seq + 100_000);
        assert_eq!((urgent.pointer(seq), urgent.pointer(seq + 40_000)), (Some(u16::MAX), Some(60_000)));
        urgent.acknowledged(seq + 99_999);
        assert_eq!(urgent.pointer(seq + 99_999), Some(1));
        urgent.acknowledged(seq + 100_000);
        assert_eq!(urgent.pointer(seq), None);
    }
}
