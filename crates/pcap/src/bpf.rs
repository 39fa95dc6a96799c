//! Classic BPF (McCanne and Jacobson, "The BSD Packet Filter", USENIX 1993): programs that say of a packet how many of its bytes
//! to keep. They are checked once; then they run on whatever comes, to an end and without a panic.
//!
//! Numbers and meanings are those of libpcap's `bpf.h` and of Linux's `linux/filter.h`. Linux's extensions (loads from beyond
//! 0xffff_f000: queue, mark, offloaded VLAN tag) are beyond any packet here, and match nothing.

use std::fmt;

/// Instructions of one program at most (`BPF_MAXINSNS`).
pub const MOST: usize = 4096;
/// Words of a program's own memory (`BPF_MEMWORDS`).
const WORDS: usize = 16;

/// An instruction as compilers print it: operation, jumps if true and if false, and a constant.
pub type Instruction = (u16, u8, u8, u32);

/// Why a program is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It has no instruction, or more than [`MOST`].
    Length(usize),
    /// The instruction of this number is none.
    Operation(usize),
    /// That one jumps to where no instruction is.
    Jump(usize),
    /// That one uses a word of memory that is not there.
    Memory(usize),
    /// That one divides by zero, or shifts by more than 31.
    Constant(usize),
    /// The last one is not a return.
    NoEnd,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "a filter has 1 to {MOST} instructions, and this one {length}"),
            Self::Operation(at) => write!(f, "instruction {at} of the filter is none of classic BPF"),
            Self::Jump(at) => write!(f, "instruction {at} of the filter jumps beyond its end"),
            Self::Memory(at) => write!(f, "instruction {at} of the filter uses memory beyond {WORDS} words"),
            Self::Constant(at) => write!(f, "instruction {at} of the filter divides by zero, or shifts too far"),
            Self::NoEnd => f.write_str("the filter does not end in a return"),
        }
    }
}

impl std::error::Error for Refused {}

/// Where an operand comes from.
#[derive(Debug, Clone, Copy)]
enum Operand {
    K(u32),
    X,
}

#[derive(Debug, Clone, Copy)]
enum Size {
    Word,
    Half,
    Byte,
}

#[derive(Debug, Clone, Copy)]
enum Math {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Or,
    And,
    Xor,
    Shl,
    Shr,
}

#[derive(Debug, Clone, Copy)]
enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    Any,
}

/// An instruction that was checked: jumps are targets.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// A = packet[k]; with `indexed` packet[X + k].
    Load {
        size: Size,
        indexed: bool,
        k: u32,
    },
    /// A = k.
    Immediate(u32),
    /// A = the packet's length.
    Length,
    /// A = memory[k].
    Recall(usize),
    /// X = k.
    IndexImmediate(u32),
    /// X = the packet's length.
    IndexLength,
    /// X = memory[k].
    IndexRecall(usize),
    /// X = 4 * (packet[k] & 15): the length of an IPv4 header.
    HeaderLength(u32),
    Store(usize),
    IndexStore(usize),
    Math(Math, Operand),
    Negate,
    Jump(usize),
    Branch {
        test: Test,
        with: Operand,
        yes: usize,
        no: usize,
    },
    Return(u32),
    ReturnA,
    /// X = A.
    ToIndex,
    /// A = X.
    FromIndex,
}

/// A program that was checked.
#[derive(Debug, Clone)]
pub struct Program(Vec<Op>);

impl Program {
    /// Checks a program: its length, that each instruction is one, that jumps stay within it (they go forward only, so that
    /// every run ends), that no constant divides by zero, and that it ends in a return.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(instructions: &[Instruction]) -> Result<Self, Refused> {
        let count = instructions.len();
        if count == 0 || count > MOST {
            return Err(Refused::Length(count));
        }
        let ops = (0..).zip(instructions).map(|(at, instruction)| decode(at, count, *instruction));
        let ops: Vec<_> = ops.collect::<Result<_, _>>()?;
        match ops.last() {
            Some(Op::Return(_) | Op::ReturnA) => Ok(Self(ops)),
            _ => Err(Refused::NoEnd),
        }
    }

    /// One that keeps all of every packet.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![Op::Return(u32::MAX)])
    }

    /// How many bytes of the packet to keep: 0, it is not wanted.
    #[must_use]
    pub fn run(&self, packet: &[u8]) -> u32 {
        let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; WORDS]);
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let mut at = 0;
        // A load from beyond the packet ends the program, and so does what the check has left no way to.
        while let Some(op) = self.0.get(at) {
            at += 1;
            match *op {
                Op::Load { size, indexed, k } => {
                    let from = k.checked_add(if indexed { x } else { 0 });
                    let Some(value) = from.and_then(|from| load(packet, from, size)) else { return 0 };
                    a = value;
                }
                Op::Immediate(k) => a = k,
                Op::Length => a = length,
                Op::Recall(k) => a = memory[k],
                Op::IndexImmediate(k) => x = k,
                Op::IndexLength => x = length,
                Op::IndexRecall(k) => x = memory[k],
                Op::HeaderLength(k) => {
                    let Some(value) = load(packet, k, Size::Byte) else { return 0 };
                    x = (value & 15) * 4;
                }
                Op::Store(k) => memory[k] = a,
                Op::IndexStore(k) => memory[k] = x,
                Op::Math(math, with) => {
                    let Some(value) = compute(math, a, with.value(x)) else { return 0 };
                    a = value;
                }
                Op::Negate => a = a.wrapping_neg(),
                Op::Jump(to) => at = to,
                Op::Branch { test, with, yes, no } => at = if holds(test, a, with.value(x)) { yes } else { no },
                Op::Return(k) => return k,
                Op::ReturnA => return a,
                Op::ToIndex => x = a,
                Op::FromIndex => a = x,
            }
        }
        0
    }
}

impl Operand {
    const fn value(self, x: u32) -> u32 {
        match self {
            Self::K(k) => k,
            Self::X => x,
        }
    }
}

fn load(packet: &[u8], from: u32, size: Size) -> Option<u32> {
    let rest = packet.get(from as usize..)?;
    match size {
        Size::Word => rest.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)),
        Size::Half => rest.first_chunk().map(|bytes| u16::from_be_bytes(*bytes).into()),
        Size::Byte => rest.first().map(|byte| (*byte).into()),
    }
}

/// `None`: a division by zero, which ends a program.
fn compute(math: Math, a: u32, b: u32) -> Option<u32> {
    Some(match math {
        Math::Add => a.wrapping_add(b),
        Math::Sub => a.wrapping_sub(b),
        Math::Mul => a.wrapping_mul(b),
        Math::Div => a.checked_div(b)?,
        Math::Mod => a.checked_rem(b)?,
        Math::Or => a | b,
        Math::And => a & b,
        Math::Xor => a ^ b,
        // libpcap's interpreter: all bits are out.
        Math::Shl => a.checked_shl(b).unwrap_or(0),
        Math::Shr => a.checked_shr(b).unwrap_or(0),
    })
}

const fn holds(test: Test, a: u32, b: u32) -> bool {
    match test {
        Test::Equal => a == b,
        Test::Greater => a > b,
        Test::GreaterOrEqual => a >= b,
        Test::Any => a & b != 0,
    }
}

/// Reads the instruction of a number, of so many.
fn decode(at: usize, count: usize, (code, yes, no, k): Instruction) -> Result<Op, Refused> {
    let wrong = Refused::Operation(at);
    let word = || Some(k as usize).filter(|k| *k < WORDS).ok_or(Refused::Memory(at));
    let to = |ahead: usize| Some(at + 1 + ahead).filter(|to| *to < count).ok_or(Refused::Jump(at));
    let size = match code & 0x18 {
        0x00 => Some(Size::Word),
        0x08 => Some(Size::Half),
        0x10 => Some(Size::Byte),
        _ => None,
    };
    let with = if code & 0x08 == 0 { Operand::K(k) } else { Operand::X };
    Ok(match (code & 0x07, code & !0x07) {
        // Class LD: mode in the upper three bits, size in two.
        (0x00, mode @ 0x20..=0x5f) => Op::Load { size: size.ok_or(wrong)?, indexed: mode & 0xe0 == 0x40, k },
        (0x00, 0x00) => Op::Immediate(k),
        (0x00, 0x60) => Op::Recall(word()?),
        (0x00, 0x80) => Op::Length,
        (0x01, 0x00) => Op::IndexImmediate(k),
        (0x01, 0x60) => Op::IndexRecall(word()?),
        (0x01, 0x80) => Op::IndexLength,
        (0x01, 0xb0) => Op::HeaderLength(k),
        (0x02, 0x00) => Op::Store(word()?),
        (0x03, 0x00) => Op::IndexStore(word()?),
        (0x04, 0x80) => Op::Negate,
        (0x04, operation) => math(at, operation, with)?,
        (0x05, 0x00) => Op::Jump(to(k as usize)?),
        (0x05, operation) => {
            let test = match operation & !0x08 {
                0x10 => Test::Equal,
                0x20 => Test::Greater,
                0x30 => Test::GreaterOrEqual,
                0x40 => Test::Any,
                _ => return Err(wrong),
            };
            Op::Branch { test, with, yes: to(yes.into())?, no: to(no.into())? }
        }
        (0x06, 0x00) => Op::Return(k),
        (0x06, 0x10) => Op::ReturnA,
        (0x07, 0x00) => Op::ToIndex,
        (0x07, 0x80) => Op::FromIndex,
        _ => return Err(wrong),
    })
}

fn math(at: usize, operation: u16, with: Operand) -> Result<Op, Refused> {
    let math = match operation & !0x08 {
        0x00 => Math::Add,
        0x10 => Math::Sub,
        0x20 => Math::Mul,
        0x30 => Math::Div,
        0x40 => Math::Or,
        0x50 => Math::And,
        0x60 => Math::Shl,
        0x70 => Math::Shr,
        0x90 => Math::Mod,
        0xa0 => Math::Xor,
        _ => return Err(Refused::Operation(at)),
    };
    match (math, with) {
        (Math::Div | Math::Mod, Operand::K(0)) | (Math::Shl | Math::Shr, Operand::K(32..)) => {
            Err(Refused::Constant(at))
        }
        _ => Ok(Op::Math(math, with)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &[Instruction], packet: &[u8]) -> u32 {
        Program::check(program).unwrap().run(packet)
    }

    const fn ret(k: u32) -> Instruction {
        (0x06, 0, 0, k)
    }

    /// The paper's own example: IP packets between two hosts (figure 4 and section 3.3), over Ethernet.
    #[test]
    fn the_paper_s_example() {
        let program = [
            (0x28, 0, 0, 12),
            (0x15, 0, 4, 0x800),
            (0x20, 0, 0, 26),
            (0x15, 0, 2, 0x8003_700f),
            (0x20, 0, 0, 30),
            (0x15, 1, 0, 0x8003_700f),
            ret(0),
            ret(u32::MAX),
        ];
        let mut frame = vec![0; 60];
        frame[12] = 8;
        assert_eq!(run(&program, &frame), 0);
        frame[26..30].copy_from_slice(&[128, 3, 112, 15]);
        frame[30..34].copy_from_slice(&[128, 3, 112, 15]);
        assert_eq!(run(&program, &frame), u32::MAX);
        frame[12] = 9;
        assert_eq!(run(&program, &frame), 0);
    }

    /// What each operation gives, by arithmetic: A = 1000 and X = 3 before it.
    #[test]
    fn operations_compute_what_they_say() {
        let after = |instruction| {
            let program = [(0x01, 0, 0, 3), (0x00, 0, 0, 1000), instruction, (0x16, 0, 0, 0)];
            run(&program, &[1, 2, 3, 4, 0x45, 6])
        };
        for (code, k, gives) in [
            (0x04, 24, 1024),
            (0x0c, 0, 1003),
            (0x14, 1001, u32::MAX),
            (0x1c, 0, 997),
            (0x24, 5_000_000, 705_032_704),
            (0x2c, 0, 3000),
            (0x34, 7, 142),
            (0x3c, 0, 333),
            (0x94, 7, 6),
            (0x9c, 0, 1),
            (0x44, 0x17, 0x3ff),
            (0x54, 0xff, 0xe8),
            (0xa4, 0xffff, 0xfc17),
            (0xac, 0, 0x3eb),
            (0x64, 31, 0),
            (0x6c, 0, 8000),
            (0x74, 3, 125),
            (0x7c, 0, 125),
            (0x84, 0, 1000u32.wrapping_neg()),
            (0x20, 1, 0x0203_0445),
            (0x28, 4, 0x4506),
            (0x30, 5, 6),
            (0x40, 0, 0),
            (0x48, 1, 0x4506),
            (0x50, 2, 6),
            (0x80, 0, 6),
            (0x87, 0, 3),
            (0x60, 15, 0),
        ] {
            assert_eq!(after((code, 0, 0, k)), gives, "{code:#x} {k}");
        }
        // 4 * (0x45 & 15), from X to A; memory; the length in X.
        assert_eq!(run(&[(0xb1, 0, 0, 4), (0x87, 0, 0, 0), (0x16, 0, 0, 0)], &[0, 0, 0, 0, 0x45]), 20);
        let memory =
            [(0x00, 0, 0, 9), (0x02, 0, 0, 15), (0x61, 0, 0, 15), (0x03, 0, 0, 0), (0x60, 0, 0, 0), (0x16, 0, 0, 0)];
        assert_eq!(run(&memory, &[]), 9);
        assert_eq!(run(&[(0x81, 0, 0, 0), (0x87, 0, 0, 0), (0x16, 0, 0, 0)], &[0; 77]), 77);
    }

    #[test]
    fn jumps_go_where_they_say() {
        for (code, k, yes) in [
            (0x15, 10, true),
            (0x15, 11, false),
            (0x25, 9, true),
            (0x25, 10, false),
            (0x35, 10, true),
            (0x35, 11, false),
            (0x45, 2, true),
            (0x45, 5, false),
            (0x1d, 0, true),
            (0x2d, 0, false),
            (0x3d, 0, true),
            (0x4d, 0, true),
        ] {
            let program = [(0x01, 0, 0, 10), (0x00, 0, 0, 10), (code, 1, 0, k), ret(0), ret(1)];
            assert_eq!(run(&program, &[]), u32::from(yes), "{code:#x} {k}");
        }
        assert_eq!(run(&[(0x05, 0, 0, 1), ret(0), ret(5)], &[]), 5);
    }

    /// A division by an index of zero, a shift too far, and a load from beyond the packet, however far.
    #[test]
    fn what_only_a_packet_tells_ends_a_program_quietly() {
        for division in [0x3c, 0x9c] {
            assert_eq!(run(&[(0x00, 0, 0, 8), (division, 0, 0, 0), ret(1)], &[]), 0);
        }
        for shift in [0x6c, 0x7c] {
            let program = [(0x00, 0, 0, 8), (0x01, 0, 0, 32), (shift, 0, 0, 0), (0x16, 0, 0, 0)];
            assert_eq!(run(&program, &[]), 0);
        }
        for (code, k) in [(0x20, 7), (0x28, 9), (0x30, 10), (0x20, u32::MAX), (0x30, 0xffff_f000), (0xb1, 10)] {
            assert_eq!(run(&[(code, 0, 0, k), ret(1)], &[0; 10]), 0, "{code:#x} {k}");
        }
        for k in [10, u32::MAX] {
            assert_eq!(run(&[(0x01, 0, 0, u32::MAX), (0x50, 0, 0, k), ret(1)], &[0; 10]), 0);
        }
    }

    #[test]
    fn what_is_no_program_is_refused_with_its_place() {
        let refused = |program: &[Instruction]| Program::check(program).unwrap_err();
        assert_eq!(refused(&[]), Refused::Length(0));
        assert_eq!(refused(&vec![ret(0); 4097]), Refused::Length(4097));
        assert!(Program::check(&vec![ret(0); 4096]).is_ok());
        assert_eq!(refused(&[(0x00, 0, 0, 0)]), Refused::NoEnd);
        assert_eq!(refused(&[ret(0), (0x05, 0, 0, 0)]), Refused::Jump(1));
        assert_eq!(refused(&[(0x05, 0, 0, u32::MAX), ret(0)]), Refused::Jump(0));
        assert_eq!(refused(&[(0x15, 0, 1, 0), ret(0)]), Refused::Jump(0));
        assert_eq!(refused(&[(0x15, 1, 0, 0), ret(0)]), Refused::Jump(0));
        for store in [0x02, 0x03, 0x60, 0x61] {
            assert_eq!(refused(&[(store, 0, 0, 16), ret(0)]), Refused::Memory(0));
        }
        for (code, k) in [(0x34, 0), (0x94, 0), (0x64, 32), (0x74, u32::MAX)] {
            assert_eq!(refused(&[ret(0), (code, 0, 0, k), ret(0)]), Refused::Constant(1));
        }
        // A load of no size, a mode and a class's operation that are none, what Linux or others have added, and rubbish.
        for code in [0x38, 0x58, 0xa0, 0x08, 0x68, 0x21, 0x0a, 0xb4, 0x55, 0x0e, 0x1e, 0x0f, 0x100, 0xff00, 0xffff] {
            assert_eq!(refused(&[(code, 0, 0, 0), ret(0)]), Refused::Operation(0), "{code:#x}");
        }
    }
}
