use proptest::prelude::*;
use wire::SeqNum;

fn seq(value: u32) -> SeqNum {
    SeqNum::new(value)
}

/// RFC9293-3.4-a.
#[test]
fn comparisons_wrap_at_two_to_the_32() {
    assert!(seq(u32::MAX).before(seq(0)));
    assert!(seq(0).after(seq(u32::MAX)));
    assert!(seq(0xffff_fff0).before_eq(seq(0x10)));
    assert!(!seq(0x10).before(seq(0xffff_fff0)));
    assert!(seq(7).before_eq(seq(7)) && seq(7).after_eq(seq(7)));
    assert!(!seq(7).before(seq(7)) && !seq(7).after(seq(7)));
    assert_eq!(seq(3).since(seq(u32::MAX - 1)), 5);
    assert_eq!(seq(u32::MAX) + 1, seq(0));
    assert_eq!(seq(0) - 1, seq(u32::MAX));
    assert_eq!(seq(u32::MAX).max(seq(0)), seq(0));
    assert_eq!(seq(u32::MAX).min(seq(0)), seq(u32::MAX));
    let mut next = seq(u32::MAX);
    next += 2;
    assert_eq!(next.value(), 1);
}

#[test]
fn half_the_space_apart_is_before_and_after() {
    assert!(seq(0).before(seq(1 << 31)) && seq(0).after(seq(1 << 31)));
    assert!(seq(0).before(seq((1 << 31) - 1)) && !seq(0).after(seq((1 << 31) - 1)));
    assert!(!seq(0).before(seq((1 << 31) + 1)) && seq(0).after(seq((1 << 31) + 1)));
}

#[test]
fn a_window_holds_its_start_and_not_its_end() {
    assert!(seq(u32::MAX).in_window(seq(u32::MAX), 2));
    assert!(seq(0).in_window(seq(u32::MAX), 2));
    assert!(!seq(1).in_window(seq(u32::MAX), 2));
    assert!(!seq(u32::MAX - 1).in_window(seq(u32::MAX), 2));
    assert!(!seq(5).in_window(seq(5), 0));
    assert!(!seq(4).in_window(seq(5), u32::MAX));
    assert!(seq(3).in_window(seq(5), u32::MAX));
}

/// Distances of all sizes, and often those next to 0, 2^31 and 2^32.
fn distance() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), 0..4u32, (1u32 << 31) - 3..(1 << 31) + 3, u32::MAX - 3..=u32::MAX]
}

proptest! {
    /// RFC9293-3.4-a.
    #[test]
    fn order_is_the_order_of_positions(start in distance(), by in distance()) {
        let (a, b) = (seq(start), seq(start) + by);
        prop_assert_eq!(b.since(a), by);
        prop_assert_eq!(b - by, a);
        let half = 1 << 31;
        prop_assert_eq!(a.before(b), by != 0 && by <= half);
        prop_assert_eq!(a.after(b), by >= half);
        prop_assert_eq!(a.before_eq(b), by <= half);
        prop_assert_eq!(a.after_eq(b), by == 0 || by >= half);
        prop_assert_eq!(a.before(b), b.after(a));
        prop_assert_eq!(a.before_eq(b), b.after_eq(a));
    }

    #[test]
    fn max_and_min_are_the_two(start in distance(), by in 0u32..1 << 31) {
        let (a, b) = (seq(start), seq(start) + by);
        prop_assert_eq!((a.max(b), a.min(b)), (b, a));
        prop_assert_eq!((b.max(a), b.min(a)), (b, a));
    }

    /// RFC9293-3.4-a.
    #[test]
    fn windows_agree_with_64_bit_arithmetic(start in distance(), len in distance(), at in distance()) {
        let (low, high) = (u64::from(start), u64::from(start) + u64::from(len));
        let at = u64::from(at);
        let inside = (low..high).contains(&at) || (low..high).contains(&(at + (1 << 32)));
        prop_assert_eq!(seq(u32::try_from(at).unwrap()).in_window(seq(start), len), inside);
    }
}
