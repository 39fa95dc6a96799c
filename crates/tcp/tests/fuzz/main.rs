//! Fuzz targets (docs/FUZZING.md): any segment into any state of a connection, and into the records that stand for one
//! before and after. What must be so is computed from the RFCs here, not asked of the code.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod records;
mod rules;
mod states;

use fuzz::Input;
use wire::{
    SeqNum,
    tcp::{Flags, Header, Options, SackBlocks, Segment, Timestamps},
};

#[test]
fn fuzz_states() {
    fuzz::check("states", states::run);
}

#[test]
fn fuzz_half_open() {
    fuzz::check("half_open", records::half_open);
}

#[test]
fn fuzz_time_wait() {
    fuzz::check("time_wait", records::time_wait);
}

/// The bytes of both streams, by sequence number.
const PATTERN: [u8; 8192] = {
    let mut pattern = [0; 8192];
    let mut i = 0;
    while i < pattern.len() {
        pattern[i] = ((i % 4096) as u32).wrapping_mul(0x9E37_79B9).to_be_bytes()[0];
        i += 1;
    }
    pattern
};

fn stream(from: u32, len: usize) -> &'static [u8] {
    &PATTERN[from as usize % 4096..][..len]
}

/// One of some numbers that mean something, and a distance from it.
fn number(input: &mut Input<'_>, near: &[SeqNum]) -> SeqNum {
    let choice = input.u8();
    let base = near[usize::from(choice) % near.len()];
    match choice >> 5 {
        0..=2 => base,
        3 | 4 => base + (u32::from(input.u8())) - 128,
        5 | 6 => base + u32::from(input.u16()) - 0x8000,
        _ => SeqNum::new(input.u32()),
    }
}

/// TCP without urgent data: mostly ACK, all flags in the end.
fn flags(input: &mut Input<'_>) -> Flags {
    const USUAL: [u8; 12] = [0x10, 0x10, 0x18, 0x11, 0x12, 0x14, 0x04, 0x02, 0x01, 0x30, 0x00, 0x50];
    let byte = input.u8();
    Flags::from_bits(USUAL.get(usize::from(byte)).copied().unwrap_or(byte))
}

/// Any segment: its numbers are of these, or near them.
fn segment(input: &mut Input<'_>, seqs: &[SeqNum], acks: &[SeqNum], stamps: &[Timestamps]) -> Segment<'static> {
    let (seq, ack, flags) = (number(input, seqs), number(input, acks), flags(input));
    let (size, shape) = (input.u8(), input.u8());
    let window = if shape & 1 == 0 { 10_000 } else { input.u16() };
    let mut options = Options::default();
    if shape & 2 == 0 {
        options.timestamps = stamps.get(usize::from(shape >> 6) % stamps.len().max(1)).copied();
    } else if shape & 4 == 0 {
        options.timestamps = Some(Timestamps { val: input.u32(), ecr: input.u32() });
    }
    if shape & 0x38 == 8 {
        let mut blocks = SackBlocks::default();
        for _ in 0..=input.below(4) {
            let start = number(input, acks);
            blocks.push(start, start + u32::from(input.u8()) * 8);
        }
        options.sack = blocks;
    }
    if flags.contains(Flags::SYN) || shape & 0x38 == 0x38 {
        let offered = input.u8();
        options.window_scale = (offered & 1 != 0).then_some(offered >> 4);
        options.sack_permitted = offered & 2 != 0;
        options.mss = (offered & 4 != 0).then(|| input.u16());
    }
    let len = match size {
        0..100 => 0,
        100..250 => usize::from(size - 99),
        _ => usize::from(size - 249) * 400,
    };
    let urgent = if flags.contains(Flags::URG) { input.u16() } else { 0 };
    let header = Header { src_port: 0, dst_port: 0, seq, ack, flags, window, urgent, options };
    let first = seq.value().wrapping_add(flags.contains(Flags::SYN).into());
    Segment { header, payload: stream(first, len) }
}
