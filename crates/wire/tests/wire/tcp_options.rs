use proptest::prelude::*;
use wire::SeqNum;
use wire::tcp::{Options, SackBlocks, Timestamps};

use crate::bytes;

fn blocks(edges: &[(u32, u32)]) -> SackBlocks {
    let mut blocks = SackBlocks::default();
    for (start, end) in edges {
        assert!(blocks.push(SeqNum::new(*start), SeqNum::new(*end)));
    }
    blocks
}

fn emitted(options: &Options) -> Vec<u8> {
    let mut buf = vec![0xee; options.len()];
    options.emit(&mut buf);
    buf
}

pub(crate) fn any_options() -> impl Strategy<Value = Options> {
    let timestamps = any::<Option<(u32, u32)>>().prop_map(|t| t.map(|(val, ecr)| Timestamps { val, ecr }));
    let sack = prop::collection::vec(any::<(u32, u32)>(), 0..5).prop_map(|edges| blocks(&edges));
    (any::<Option<u16>>(), prop::option::of(0u8..15), any::<bool>(), timestamps, sack).prop_map(
        |(mss, window_scale, sack_permitted, timestamps, sack)| Options {
            mss,
            window_scale,
            sack_permitted,
            timestamps,
            sack,
            malformed: false,
        },
    )
}

const STAMPS: Timestamps = Timestamps { val: 0x0102_0304, ecr: 0xa0b0_c0d0 };

/// Layouts as Linux sends them, from the formats in RFC 9293 (3.2), RFC 7323 (2.2, 3.2) and RFC 2018 (2, 3).
/// MUST-4, MUST-68.
#[test]
fn layouts() {
    let syn = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(STAMPS),
        ..Options::default()
    };
    let plain_syn = Options { timestamps: None, ..syn };
    let data = Options { timestamps: Some(STAMPS), ..Options::default() };
    let two = blocks(&[(0x1000, 0x2000), (0xffff_fff0, 0x10)]);
    let sacked = Options { sack: two, ..data };
    let plain_sacked = Options { sack: blocks(&[(1, 2)]), ..Options::default() };
    #[rustfmt::skip]
    let layouts: [(Options, &[u8]); 7] = [
        (Options::default(), &[]),
        (syn, &[2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0xa0, 0xb0, 0xc0, 0xd0, 1, 3, 3, 7]),
        (plain_syn, &[2, 4, 0x05, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7]),
        (Options { sack_permitted: false, ..plain_syn }, &[2, 4, 0x05, 0xb4, 1, 3, 3, 7]),
        (data, &[1, 1, 8, 10, 1, 2, 3, 4, 0xa0, 0xb0, 0xc0, 0xd0]),
        (sacked, &[1, 1, 8, 10, 1, 2, 3, 4, 0xa0, 0xb0, 0xc0, 0xd0,
                   1, 1, 5, 18, 0, 0, 0x10, 0, 0, 0, 0x20, 0, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 0x10]),
        (plain_sacked, &[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
    ];
    for (options, layout) in layouts {
        assert_eq!(emitted(&options), layout);
        assert_eq!(Options::parse(layout), options);
        assert_eq!(options.is_empty(), layout.is_empty());
    }
}

/// MUST-6.
#[test]
fn unknown_kinds_are_skipped_by_their_length() {
    let options = Options::parse(&[254, 4, 0xf9, 0x89, 30, 2, 2, 4, 1, 2]);
    assert_eq!(options, Options { mss: Some(0x0102), ..Options::default() });
}

/// MUST-4.
#[test]
fn nothing_counts_behind_the_end_of_the_list() {
    assert_eq!(Options::parse(&[1, 3, 3, 2, 0, 2, 4, 5, 9]), Options { window_scale: Some(2), ..Options::default() });
    assert_eq!(Options::parse(&[0, 8, 1, 0]), Options::default());
}

/// RFC 9293, MUST-7: an illegal length is survived. Those of 0 and 1 would loop for ever if they were believed.
#[test]
fn an_illegal_length_ends_the_parse() {
    let kept = Options { mss: Some(1460), malformed: true, ..Options::default() };
    let illegal: [&[u8]; 7] =
        [&[3, 0, 7, 1], &[3, 1, 7, 1], &[3], &[1, 1, 1, 8], &[8, 10, 0, 0], &[254, 3], &[200, 255, 3, 3, 7]];
    for tail in illegal {
        let options = Options::parse(&[&[2, 4, 0x05, 0xb4], tail].concat());
        assert_eq!(options, kept, "{tail:?}");
        assert_eq!(emitted(&options), [2, 4, 0x05, 0xb4], "malformed is never sent");
    }
}

#[test]
fn a_known_kind_of_a_wrong_length_is_ignored() {
    let wrong: [&[u8]; 8] = [
        &[2, 3, 5],
        &[2, 6, 5, 5, 5, 5],
        &[3, 2],
        &[3, 4, 1, 1],
        &[4, 3, 0],
        &[8, 6, 1, 2, 3, 4],
        &[5, 6, 1, 2, 3, 4],
        &[5, 2],
    ];
    for option in wrong {
        let options = Options::parse(&[option, &[3, 3, 5]].concat());
        assert_eq!(options, Options { window_scale: Some(5), ..Options::default() }, "{option:?}");
    }
}

#[test]
fn of_an_option_that_comes_twice_the_last_counts() {
    assert_eq!(Options::parse(&[2, 4, 0, 1, 2, 4, 0, 2]).mss, Some(2));
    let sack = [[5, 10, 0, 0, 0, 1, 0, 0, 0, 2], [5, 10, 0, 0, 0, 3, 0, 0, 0, 4]].concat();
    assert_eq!(Options::parse(&sack).sack, blocks(&[(3, 4)]));
}

/// RFC 7323, section 2.3.
/// RFC7323-2.3-b.
#[test]
fn a_window_scale_beyond_14_counts_as_14() {
    for (sent, read) in [(0, 0), (13, 13), (14, 14), (15, 14), (255, 14)] {
        assert_eq!(Options::parse(&[3, 3, sent]).window_scale, Some(read));
    }
    let options = Options { window_scale: Some(200), ..Options::default() };
    assert_eq!(emitted(&options), [1, 3, 3, 14]);
}

#[test]
fn sack_holds_four_blocks_and_three_beside_timestamps() {
    let mut four = blocks(&[(1, 2), (3, 4), (5, 6), (7, 8)]);
    assert!(!four.push(SeqNum::new(9), SeqNum::new(10)));
    assert_eq!((four.len(), four.is_empty()), (4, false));
    let options = Options { sack: four, ..Options::default() };
    assert_eq!(options.len(), 36);
    assert_eq!(Options::parse(&emitted(&options)), options);
    let crowded = Options { timestamps: Some(STAMPS), ..options };
    assert_eq!(crowded.len(), 40);
    assert_eq!(Options::parse(&emitted(&crowded)).sack, blocks(&[(1, 2), (3, 4), (5, 6)]));
    assert_eq!(four.iter().rev().map(|(start, _)| start.value()).collect::<Vec<_>>(), [7, 5, 3, 1]);
    assert_eq!(format!("{:?}", blocks(&[(1, 2), (3, 4)])), "[1..2, 3..4]");
}

proptest! {
    #[test]
    fn come_back(options in any_options()) {
        let bytes = emitted(&options);
        prop_assert!(bytes.len() <= 40 && bytes.len().is_multiple_of(4));
        let read = Options::parse(&bytes);
        let fitting = options.sack.iter().take(read.sack.len());
        prop_assert!(read.sack.iter().eq(fitting));
        prop_assert!(read.sack.len() >= options.sack.len().min(2));
        prop_assert_eq!(Options { sack: options.sack, ..read }, options);
        prop_assert_eq!(Options { malformed: true, ..options }.len(), options.len());
    }

    /// The fast path reads what the list reads.
    /// MUST-64.
    #[test]
    fn padding_changes_nothing(options in any_options(), nops in 0usize..4) {
        let bytes = emitted(&options);
        let padded = [&[1; 4][..nops], &bytes, &[0]].concat();
        prop_assert_eq!(Options::parse(&padded), Options::parse(&bytes));
    }

    /// MUST-7.
    #[test]
    fn arbitrary_bytes_dont_panic(bytes in bytes(60)) {
        let options = Options::parse(&bytes);
        prop_assert!(options.len() <= Options::MAX_LEN);
        prop_assert!(options.window_scale.is_none_or(|shift| shift <= 14));
    }

    #[test]
    fn plausible_lists_dont_panic(pieces in prop::collection::vec((0u8..10, 0u8..14), 0..20)) {
        let bytes: Vec<u8> = pieces.into_iter().flat_map(|(kind, len)| [kind, len]).collect();
        let _ = Options::parse(&bytes);
    }

    #[test]
    fn a_list_cut_short_keeps_what_it_has(options in any_options(), at in 0usize..40) {
        let bytes = emitted(&options);
        let cut = Options::parse(&bytes[..at.min(bytes.len())]);
        prop_assert!(cut.mss.is_none() || cut.mss == options.mss);
        prop_assert!(cut.timestamps.is_none() || cut.timestamps == options.timestamps);
        prop_assert!(cut.window_scale.is_none() || cut.window_scale == options.window_scale);
        prop_assert!(!cut.sack_permitted || options.sack_permitted);
    }
}

/// Nothing of what was there is left, or it would go out with the next header that is written in its place.
#[test]
fn what_is_cleared_is_empty() {
    let mut options = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(STAMPS),
        sack: blocks(&[(1, 2)]),
        malformed: true,
    };
    options.clear();
    assert_eq!(options, Options::default());
}
