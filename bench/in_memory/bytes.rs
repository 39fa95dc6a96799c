//! Checksums and TCP options.

use super::Run;
use core::hint::black_box;
use smoltcp::wire::{TcpOption, checksum as theirs};
use wire::{
    SeqNum, checksum as ours,
    tcp::{Options, SackBlocks, Timestamps},
};

pub fn checksum(len: usize) -> Run {
    let bytes = vec![0x5a; len];
    Box::new(move |times| {
        for _ in 0..times {
            black_box(ours::finish(ours::sum(0, black_box(&bytes))));
        }
    })
}

pub fn smoltcp_checksum(len: usize) -> Run {
    let bytes = vec![0x5a; len];
    Box::new(move |times| {
        for _ in 0..times {
            black_box(!theirs::data(black_box(&bytes)));
        }
    })
}

/// The options of a usual segment (12 bytes), of a SYN (20), and of an ACK with three SACK blocks (40).
fn options(len: usize) -> Options {
    let timestamps = Some(Timestamps { val: 0x0102_0304, ecr: 0x0506_0708 });
    let mut options = Options { timestamps, ..Options::default() };
    if len == 20 {
        (options.mss, options.window_scale, options.sack_permitted) = (Some(1460), Some(7), true);
    }
    if len == 40 {
        let mut blocks = SackBlocks::default();
        for n in 1..4 {
            blocks.push(SeqNum::new(n * 9000), SeqNum::new(n * 9000 + 1448));
        }
        options.sack = blocks;
    }
    assert_eq!(options.len(), len);
    options
}

fn emitted(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    options(len).emit(&mut bytes);
    bytes
}

pub fn parse(len: usize) -> Run {
    let bytes = emitted(len);
    Box::new(move |times| {
        for _ in 0..times {
            black_box(Options::parse(black_box(&bytes)));
        }
    })
}

pub fn smoltcp_parse(len: usize) -> Run {
    let bytes = emitted(len);
    Box::new(move |times| {
        for _ in 0..times {
            let mut rest = black_box(&*bytes);
            while !rest.is_empty() {
                let Ok((next, option)) = TcpOption::parse(rest) else { break };
                black_box(option);
                rest = next;
            }
        }
    })
}

pub fn emit(len: usize) -> Run {
    let options = options(len);
    let mut bytes = [0; 40];
    Box::new(move |times| {
        for _ in 0..times {
            black_box(&options).emit(&mut bytes[..len]);
            black_box(&mut bytes);
        }
    })
}

pub fn smoltcp_emit(len: usize) -> Run {
    let stamps = TcpOption::TimeStamp { tsval: 0x0102_0304, tsecr: 0x0506_0708 };
    let mut list = match len {
        20 => vec![TcpOption::MaxSegmentSize(1460), TcpOption::SackPermitted, TcpOption::WindowScale(7)],
        40 => vec![TcpOption::SackRange([1, 2, 3].map(|n| Some((n * 9000, n * 9000 + 1448))))],
        _ => vec![],
    };
    list.push(stamps);
    let mut bytes = [0; 40];
    Box::new(move |times| {
        for _ in 0..times {
            let mut rest = &mut bytes[..len];
            for option in black_box(&list) {
                rest = option.emit(rest);
            }
            // What is left is padding.
            if !rest.is_empty() {
                TcpOption::EndOfList.emit(rest);
            }
            black_box(&mut bytes);
        }
    })
}
