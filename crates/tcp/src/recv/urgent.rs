//! The peer's urgent pointer: RFC 9293 section 3.8.5. The data stays where it is in the stream; only the mark is kept.

use wire::SeqNum;

/// RCV.UP, behind the last urgent octet (MUST-62), while it lies ahead of what was read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Urgent {
    up: Option<SeqNum>,
}

impl Urgent {
    /// A segment says that what lies before `up` is urgent; the application is at `read`. True if it should hear of it: an
    /// end that is new, or farther than the last one (MUST-32).
    pub(crate) fn on_segment(&mut self, up: SeqNum, read: SeqNum) -> bool {
        self.forget(read);
        let news = up.after(read) && self.up.is_none_or(|old| up.after(old));
        if news {
            self.up = Some(up);
        }
        news
    }

    /// Octets from `read` up to the mark; `None` when there is none ahead (MUST-33).
    pub(crate) fn ahead(&self, read: SeqNum) -> Option<u32> {
        self.up.filter(|up| up.after(read)).map(|up| up.since(read))
    }

    /// The application is at `read`: a mark behind it is over. (It would be ahead again after 2 GiB.)
    pub(crate) fn forget(&mut self, read: SeqNum) {
        self.up = self.up.filter(|up| up.after(read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_only_advances() {
        for start in [100u32, u32::MAX - 2] {
            let at = |n: u32| SeqNum::new(start.wrapping_add(n));
            let mut urgent = Urgent::default();
            assert_eq!(urgent.ahead(at(0)), None);
            assert!(!urgent.on_segment(at(0), at(0)), "nothing is urgent");
            assert!(urgent.on_segment(at(5), at(0)));
            assert!(!urgent.on_segment(at(5), at(0)) && !urgent.on_segment(at(3), at(0)));
            assert_eq!((urgent.ahead(at(0)), urgent.ahead(at(4)), urgent.ahead(at(5))), (Some(5), Some(1), None));
            assert!(urgent.on_segment(at(9), at(2)));
            assert_eq!(urgent.ahead(at(2)), Some(7));
            urgent.forget(at(9));
            assert_eq!(urgent.ahead(at(9).add_half()), None);
            assert!(urgent.on_segment(at(20), at(9)));
        }
    }

    trait Half {
        fn add_half(self) -> Self;
    }

    impl Half for SeqNum {
        fn add_half(self) -> Self {
            self + (1 << 31) + 1
        }
    }
}
