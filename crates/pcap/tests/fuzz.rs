//! A fuzz target (docs/FUZZING.md): any program and any packet. What is accepted runs to an end and says what an interpreter
//! says that was written from the words of libpcap's bpf_filter(), instruction by instruction; what that can't run is refused.

use fuzz::Input;
use pcap::bpf::{Instruction, Program};

#[test]
fn fuzz_bpf() {
    fuzz::check("bpf", bpf);
}

/// Every operation there is, and some that are none.
const CODES: [u16; 64] = [
    0x00, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x80, 0x01, 0x61, 0x81, 0xb1, 0x02, 0x03, 0x04, 0x0c, 0x14, 0x1c,
    0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c, 0x74, 0x7c, 0x84, 0x94, 0x9c, 0xa4, 0xac, 0x05, 0x15,
    0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d, 0x06, 0x16, 0x07, 0x87, 0x38, 0x58, 0x68, 0x0a, 0x0e, 0x1e, 0x55, 0xb4,
    0x8c, 0x21, 0xa0, 0x0f, 0x17, 0x120, 0xffff,
];

fn bpf(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (count, with_manners) = (usize::from(input.below(24)), input.below(4) > 0);
    let mut program: Vec<_> = (0..count).map(|_| any_instruction(&mut input)).collect();
    if with_manners {
        program.push((0x16, 0, 0, 0));
        (0..count).for_each(|at| mend(&mut program[at], count - at));
    }
    match Program::check(&program) {
        Ok(checked) => assert_eq!(checked.run(input.rest()), reference(&program, input.rest()), "{program:x?}"),
        Err(refused) => assert!(!is_sound(&program), "{refused}: {program:x?}"),
    }
}

fn any_instruction(input: &mut Input<'_>) -> Instruction {
    let code = CODES[usize::from(input.below(64))];
    let k = match input.below(4) {
        0 => u32::from(input.u8()),
        1 => u32::from(input.below(17)),
        2 => input.u32(),
        _ => u32::MAX - u32::from(input.u8()),
    };
    (code, input.below(8), input.below(8), k)
}

/// Makes it one that is accepted, before so many others.
fn mend((code, yes, no, k): &mut Instruction, behind: usize) {
    let behind = u8::try_from(behind).unwrap();
    (*yes, *no) = (*yes % behind, *no % behind);
    match *code {
        0x60 | 0x61 | 0x02 | 0x03 => *k %= 16,
        0x05 => *k %= u32::from(behind),
        0x34 | 0x94 => *k |= 1,
        0x64 | 0x74 => *k %= 32,
        other if !CODES[..49].contains(&other) => *code = 0x00,
        _ => {}
    }
}

/// bpf_validate() of libpcap, and that shifts by constants are below 32, as Linux has it.
fn is_sound(program: &[Instruction]) -> bool {
    let fits = |(at, (code, yes, no, k)): (usize, &Instruction)| {
        let inside = |ahead: usize| at + 1 + ahead < program.len();
        match code {
            0x60 | 0x61 | 0x02 | 0x03 => *k < 16,
            0x34 | 0x94 => *k != 0,
            0x64 | 0x74 => *k < 32,
            0x05 => inside(*k as usize),
            0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => inside((*yes).into()) && inside((*no).into()),
            code => CODES[..49].contains(code),
        }
    };
    let returns = program.last().is_some_and(|(code, ..)| [0x06, 0x16].contains(code));
    returns && program.iter().enumerate().all(fits)
}

/// bpf_filter() of libpcap.
fn reference(program: &[Instruction], packet: &[u8]) -> u32 {
    let (mut a, mut x, mut memory, mut pc) = (0u64, 0u64, [0u64; 16], 0);
    let low = |value: u64| value & 0xffff_ffff;
    loop {
        let (code, yes, no, k) = program[pc];
        let k = u64::from(k);
        pc += 1;
        let octets = |from: u64, count: u64| -> Option<u64> {
            let byte = |at: u64| packet.get(usize::try_from(at).ok()?).map(|byte| u64::from(*byte));
            (from..from + count).try_fold(0, |sum, at| Some(sum << 8 | byte(at)?))
        };
        let loaded = match code {
            0x20 => Some(octets(k, 4)),
            0x28 => Some(octets(k, 2)),
            0x30 => Some(octets(k, 1)),
            0x40 => Some(octets(x + k, 4)),
            0x48 => Some(octets(x + k, 2)),
            0x50 => Some(octets(x + k, 1)),
            0xb1 => Some(octets(k, 1)),
            _ => None,
        };
        if let Some(value) = loaded {
            match value {
                None => return 0,
                Some(value) if code == 0xb1 => x = (value & 0xf) << 2,
                Some(value) => a = value,
            }
            continue;
        }
        let operand = if code & 8 == 0 { k } else { x };
        match code {
            0x00 => a = k,
            0x01 => x = k,
            0x60 => a = memory[usize::try_from(k).unwrap()],
            0x61 => x = memory[usize::try_from(k).unwrap()],
            0x80 => a = packet.len() as u64,
            0x81 => x = packet.len() as u64,
            0x02 => memory[usize::try_from(k).unwrap()] = a,
            0x03 => memory[usize::try_from(k).unwrap()] = x,
            0x04 | 0x0c => a = low(a + operand),
            0x14 | 0x1c => a = low(a + (1 << 32) - operand),
            0x24 | 0x2c => a = low(a * operand),
            0x34 | 0x3c | 0x94 | 0x9c if operand == 0 => return 0,
            0x34 | 0x3c => a /= operand,
            0x94 | 0x9c => a %= operand,
            0x44 | 0x4c => a |= operand,
            0x54 | 0x5c => a &= operand,
            0xa4 | 0xac => a ^= operand,
            0x64 | 0x6c => a = if operand < 32 { low(a << operand) } else { 0 },
            0x74 | 0x7c => a = if operand < 32 { a >> operand } else { 0 },
            0x84 => a = low((1 << 32) - a),
            0x05 => pc += usize::try_from(k).unwrap(),
            0x15 | 0x1d => pc += usize::from(if a == operand { yes } else { no }),
            0x25 | 0x2d => pc += usize::from(if a > operand { yes } else { no }),
            0x35 | 0x3d => pc += usize::from(if a >= operand { yes } else { no }),
            0x45 | 0x4d => pc += usize::from(if a & operand != 0 { yes } else { no }),
            0x06 => return u32::try_from(k).unwrap(),
            0x16 => return u32::try_from(a).unwrap(),
            0x07 => x = a,
            0x87 => a = x,
            _ => panic!("{code:#x} was accepted"),
        }
    }
}
