use proptest::prelude::*;
use wire::checksum;

use crate::{bytes, naive_sum, pair, v4, v6};

/// RFC 1071, section 3 works this example out: 0001 + f203 + f4f5 + f6f7 = ddf2.
#[test]
fn the_example_of_rfc_1071() {
    let message = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(checksum::finish(checksum::sum(0, &message)), !0xddf2);
}

#[test]
fn an_odd_byte_is_the_high_half_of_a_word() {
    assert_eq!(checksum::finish(checksum::sum(0, &[0xab])), !0xab00);
    assert_eq!(checksum::finish(checksum::sum(0, &[1, 2, 3])), !0x0402);
    assert_eq!(checksum::finish(checksum::sum(0, &[1, 2, 3, 4, 5])), !0x0906);
}

#[test]
fn nothing_sums_to_zero() {
    assert_eq!(checksum::finish(checksum::sum(0, &[])), 0xffff);
    assert_eq!(checksum::finish(checksum::sum(0, &[0; 64])), 0xffff);
    assert_eq!(checksum::finish(checksum::sum(0, &[0xff; 65536])), 0);
    assert_eq!(checksum::finish(u64::MAX), 0);
    assert_eq!(checksum::finish(0x0001_0000_ffff_ffff), !1, "a carry out of every step of the folding");
}

proptest! {
    #[test]
    fn agrees_with_the_definition(message in bytes(600)) {
        prop_assert_eq!(checksum::finish(checksum::sum(0, &message)), !naive_sum(0, &message));
    }

    #[test]
    fn every_length_and_extreme_value(len in 0usize..800, fill in prop_oneof![Just(0u8), Just(0xff), any::<u8>()]) {
        let message = vec![fill; len];
        prop_assert_eq!(checksum::finish(checksum::sum(0, &message)), !naive_sum(0, &message));
    }

    #[test]
    fn even_pieces_sum_to_the_whole(message in bytes(200), at in 0usize..100) {
        let at = (2 * at).min(message.len() & !1);
        let (front, back) = message.split_at(at);
        let pieces = checksum::sum(checksum::sum(0, front), back);
        prop_assert_eq!(checksum::finish(pieces), !naive_sum(0, &message));
    }

    #[test]
    fn any_64_bits_are_four_words(words: [u16; 4], extremes: [Option<bool>; 4]) {
        let word = |i: usize| extremes[i].map_or(words[i], |ones| if ones { 0xffff } else { words[i] & 1 });
        let acc = (0..4).fold(0, |acc, i| acc << 16 | u64::from(word(i)));
        prop_assert_eq!(checksum::finish(acc), !naive_sum(0, &acc.to_be_bytes()));
    }

    /// Only a sum that folds to all ones is; those are few among random ones.
    #[test]
    fn valid_is_what_leaves_nothing(acc: u64, times in 0..=u64::MAX / 0xffff, off in -2..2i64) {
        for acc in [acc, (times * 0xffff).wrapping_add_signed(off), times.wrapping_add_signed(off)] {
            prop_assert_eq!(checksum::is_valid(acc), checksum::finish(acc) == 0);
        }
    }

    #[test]
    fn a_message_with_its_checksum_is_valid(mut message in bytes(200)) {
        message.splice(0..0, [0, 0]);
        let sum = checksum::finish(checksum::sum(0, &message)).to_be_bytes();
        message[..2].copy_from_slice(&sum);
        prop_assert!(checksum::is_valid(checksum::sum(0, &message)));
    }

    /// RFC 9293, section 3.1, figure 2: addresses, zero, PTCL, TCP length.
    /// MUST-2.
    #[test]
    fn the_ipv4_pseudo_header(src in v4(), dst in v4(), protocol: u8, len: u16) {
        let [l0, l1] = len.to_be_bytes();
        let laid_out = [&src.octets()[..], &dst.octets(), &[0, protocol, l0, l1]].concat();
        let sum = checksum::pseudo_header_v4(src, dst, protocol, len.into());
        prop_assert_eq!(checksum::finish(sum), !naive_sum(0, &laid_out));
        prop_assert_eq!(checksum::pseudo_header(src.into(), dst.into(), protocol, len.into()), sum);
    }

    /// RFC 8200, section 8.1: addresses, a 32-bit length, three zeros, next header.
    /// MUST-2.
    #[test]
    fn the_ipv6_pseudo_header(src in v6(), dst in v6(), next_header: u8, len: u32) {
        let laid_out = [&src.octets()[..], &dst.octets(), &len.to_be_bytes(), &[0, 0, 0, next_header]].concat();
        let sum = checksum::pseudo_header_v6(src, dst, next_header, len);
        prop_assert_eq!(checksum::finish(sum), !naive_sum(0, &laid_out));
        prop_assert_eq!(checksum::pseudo_header(src.into(), dst.into(), next_header, len), sum);
    }

    #[test]
    fn a_pseudo_header_of_mixed_families_has_a_sum_too((src, _) in pair(), (_, dst) in pair(), len: u32) {
        let _ = checksum::finish(checksum::pseudo_header(src, dst, 6, len));
    }
}
