//! Programmes of calls: what both sides of a connection do, step by step.

use std::fmt;
use std::io::ErrorKind;

/// A side of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Side {
    /// The side under test: fourwave, or the kernel in its place.
    D,
    /// The peer: always the kernel.
    P,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Send(usize),
    /// One call that takes all there is.
    Recv,
    ShutWrite,
    ShutRead,
    ShutBoth,
    Close,
    /// SO_LINGER with zero, and close.
    Reset,
    /// SO_LINGER with more than enough, and close.
    Linger,
    /// TCP_USER_TIMEOUT of two seconds.
    Patience,
}

/// What a call returned, in the words of design.md's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Bytes sent or received.
    Bytes(usize),
    /// 0 of a read: the end of the file.
    Eof,
    /// Would block.
    Nothing,
    Done,
    Failed(ErrorKind),
    /// The handle was closed before: no call was made (the kernel would say EBADF, or mean another file).
    NoHandle,
}

/// Who opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    ByD,
    ByP,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) side: Side,
    pub(crate) verb: Verb,
}

/// Calls of one step follow each other at once; between steps everything comes to rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) opened: Opened,
    pub(crate) steps: Vec<Vec<Call>>,
    /// In the first step P calls before D, and what P sends is lost until the step is over: both sides act without having
    /// heard of each other.
    pub(crate) crossing: bool,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.", self.side)?;
        match self.verb {
            Verb::Send(n) => write!(f, "send {n}"),
            Verb::Recv => f.write_str("recv"),
            Verb::ShutWrite => f.write_str("shutdown_wr"),
            Verb::ShutRead => f.write_str("shutdown_rd"),
            Verb::ShutBoth => f.write_str("shutdown_rdwr"),
            Verb::Close => f.write_str("close"),
            Verb::Reset => f.write_str("linger0_close"),
            Verb::Linger => f.write_str("linger_close"),
            Verb::Patience => f.write_str("user_timeout"),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.opened == Opened::ByD { "D opens" } else { "P opens" })?;
        f.write_str(if self.crossing { ", first step crossing" } else { "" })?;
        for step in &self.steps {
            f.write_str("; ")?;
            for (at, call) in step.iter().enumerate() {
                f.write_str(if at > 0 { " + " } else { "" })?;
                call.fmt(f)?;
            }
        }
        Ok(())
    }
}

impl Program {
    /// One call per step.
    pub(crate) fn of(opened: Opened, calls: &[(Side, Verb)]) -> Self {
        let steps = calls.iter().map(|(side, verb)| vec![Call { side: *side, verb: *verb }]).collect();
        Self { opened, steps, crossing: false }
    }
}

/// The verbs that end something.
const ENDS: [Verb; 5] = [Verb::ShutWrite, Verb::ShutRead, Verb::ShutBoth, Verb::Close, Verb::Reset];

/// Those, and one that waits for the peer: not for ends that cross.
fn ends() -> impl Iterator<Item = Verb> {
    ENDS.into_iter().chain([Verb::Linger])
}

/// What has been sent when the ends begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// Both sides have sent, and both have read.
    Read,
    /// Data lies unread at D, at P, at both.
    UnreadAtD,
    UnreadAtP,
    UnreadAtBoth,
    /// The side that ends first sends right before it, without waiting; nothing is read.
    WithTheEnd,
}

const BEFORE: [Before; 6] =
    [Before::Nothing, Before::Read, Before::UnreadAtD, Before::UnreadAtP, Before::UnreadAtBoth, Before::WithTheEnd];

/// What is tried when the ends are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// Read on both sides, and close, D first.
    Read,
    /// D sends first, then both read.
    SendD,
    /// P sends first, then both read.
    SendP,
    /// Both send and read twice; P closes first.
    Twice,
}

const AFTER: [After; 4] = [After::Read, After::SendD, After::SendP, After::Twice];

fn d(verb: Verb) -> Vec<Call> {
    vec![Call { side: Side::D, verb }]
}

fn p(verb: Verb) -> Vec<Call> {
    vec![Call { side: Side::P, verb }]
}

fn before(kind: Before) -> Vec<Vec<Call>> {
    match kind {
        Before::Nothing | Before::WithTheEnd => vec![],
        Before::Read => vec![d(Verb::Send(11)), p(Verb::Recv), p(Verb::Send(12)), d(Verb::Recv)],
        Before::UnreadAtD => vec![p(Verb::Send(13))],
        Before::UnreadAtP => vec![d(Verb::Send(14))],
        Before::UnreadAtBoth => vec![p(Verb::Send(13)), d(Verb::Send(14))],
    }
}

fn after(kind: After) -> Vec<Vec<Call>> {
    let read = [d(Verb::Recv), p(Verb::Recv)];
    let again = [d(Verb::Recv), p(Verb::Recv)];
    let close = [d(Verb::Close), p(Verb::Close)];
    let (send_d, send_p) = (d(Verb::Send(21)), p(Verb::Send(22)));
    let mut steps = Vec::new();
    match kind {
        After::Read => steps.extend(read.into_iter().chain(again).chain(close)),
        After::SendD => {
            steps.extend([send_d.clone()].into_iter().chain(read).chain([send_d]).chain(again).chain(close))
        }
        After::SendP => {
            steps.extend([send_p.clone()].into_iter().chain(read).chain([send_p]).chain(again).chain(close))
        }
        After::Twice => {
            steps.extend([send_p.clone(), send_d.clone()].into_iter().chain(read).chain([send_d, send_p]).chain(again));
            steps.extend(close.into_iter().rev());
        }
    }
    steps
}

fn end(side: Side, verb: Verb, kind: Before) -> Vec<Call> {
    let mut calls = Vec::new();
    if kind == Before::WithTheEnd {
        calls.push(Call { side, verb: Verb::Send(15) });
    }
    calls.push(Call { side, verb });
    calls
}

/// Every ordered pair of ends, either side first, also only one end; each opened by either side, with every kind of data
/// before and every kind of try after. `everything` or those with the first kind of try only.
pub(crate) fn every_order(everything: bool) -> Vec<Program> {
    let others = || ends().map(Some).chain([None]);
    let mut programs = Vec::new();
    let tries = if everything { &AFTER[..] } else { &AFTER[..1] };
    for opened in [Opened::ByP, Opened::ByD] {
        for kind in BEFORE {
            for (first, second) in [(Side::D, Side::P), (Side::P, Side::D)] {
                for one in ends() {
                    for other in others() {
                        let lingers = one == Verb::Linger || other == Some(Verb::Linger);
                        // A close that waits leaves the same behind as one that does not.
                        for try_after in if lingers { &AFTER[..1] } else { tries } {
                            let mut steps = before(kind);
                            steps.push(end(first, one, kind));
                            steps.extend(other.map(|verb| vec![Call { side: second, verb }]));
                            steps.extend(after(*try_after));
                            programs.push(Program { opened, steps, crossing: false });
                        }
                    }
                }
            }
        }
    }
    programs
}

/// Every pair of ends at the same time, with and without data before each.
pub(crate) fn crossing() -> Vec<Program> {
    let mut programs = Vec::new();
    for opened in [Opened::ByP, Opened::ByD] {
        for kind in [Before::Nothing, Before::WithTheEnd] {
            for one in ENDS {
                for other in ENDS {
                    for try_after in [After::Read, After::Twice] {
                        let mut both = end(Side::P, one, kind);
                        both.extend(end(Side::D, other, kind));
                        let mut steps = vec![both];
                        steps.extend(after(try_after));
                        programs.push(Program { opened, steps, crossing: true });
                    }
                }
            }
        }
    }
    programs
}

/// Programmes by lot: calls of either side in any order, the same ones for the same seed.
pub(crate) fn by_lot(seed: u64, count: usize) -> Vec<Program> {
    /// Sends and receives are frequent, so that there is something left to end. No send needs two segments: the first may be
    /// answered by a reset before the second leaves, or not.
    const LOTS: [Verb; 16] = [
        Verb::Send(31),
        Verb::Send(32),
        Verb::Send(33),
        Verb::Send(34),
        Verb::Send(1000),
        Verb::Recv,
        Verb::Recv,
        Verb::Recv,
        Verb::Recv,
        Verb::ShutWrite,
        Verb::ShutWrite,
        Verb::ShutRead,
        Verb::ShutBoth,
        Verb::Close,
        Verb::Close,
        Verb::Reset,
    ];
    const STEPS: usize = 14;
    let mut state = seed;
    // Knuth's MMIX generator; its upper bits are the good ones.
    let mut lot = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut call = move || {
        let side = if lot(2) == 0 { Side::D } else { Side::P };
        vec![Call { side, verb: LOTS[lot(LOTS.len())] }]
    };
    let mut program = |number: usize| {
        let opened = if number.is_multiple_of(2) { Opened::ByP } else { Opened::ByD };
        Program { opened, steps: (0..STEPS).map(|_| call()).collect(), crossing: false }
    };
    (0..count).map(&mut program).collect()
}
