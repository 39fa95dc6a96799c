//! Where fourwave differs from Linux on purpose, and where the two say the same in other words.

use std::io::ErrorKind;

use crate::capture::Kind;
use crate::program::{Answer, Call, Side, Verb};
use crate::run::Transcript;

/// The kernel's transcript in the words of design.md's table.
///
/// * A socket tells an error once; afterwards it answers as one that is closed, with 0 or EPIPE. Ours keeps to the error.
/// * After a FIN of the peer the socket calls a reset EPIPE; the table calls it `ConnectionReset`, and only our own shutdown
///   `BrokenPipe`. What was read to its end stays so for both.
/// * Our handle lives, and a shutdown of it does nothing, until what came before an end in order is read; a socket is not
///   connected any more.
pub(crate) fn as_we_say_it(kernel: &Transcript) -> Transcript {
    const RESET: Answer = Answer::Failed(ErrorKind::ConnectionReset);
    let mut said = kernel.clone();
    let (mut told, mut told_reader, mut fin, mut reset, mut reset_after_fin) = (false, false, false, false, false);
    for (at, step) in said.steps.iter_mut().enumerate() {
        for (call, answer) in step.answers.iter_mut().filter(|(call, _)| call.side == Side::D) {
            *answer = match (call.verb, *answer) {
                (Verb::Send(_), Answer::Failed(ErrorKind::BrokenPipe)) if told || reset_after_fin => RESET,
                (Verb::Recv, Answer::Eof) if told_reader || (told && !fin) => RESET,
                (Verb::ShutWrite | Verb::ShutRead | Verb::ShutBoth, Answer::Failed(ErrorKind::NotConnected))
                    if !reset && unread_at_d(kernel, at) > 0 =>
                {
                    Answer::Done
                }
                (_, answer) => answer,
            };
            told |= *answer == RESET;
            told_reader |= *answer == RESET && call.verb == Verb::Recv;
        }
        for (side, kind) in &step.segments {
            reset |= *kind == Kind::Rst;
            reset_after_fin |= *side == Side::P && *kind == Kind::Rst && fin;
            // A FIN behind data that D answers with a reset is not taken.
            fin |= *side == Side::P && *kind == Kind::Fin && !step.segments.contains(&(Side::D, Kind::Rst));
        }
    }
    said
}

/// The first step from which on a programme is decided to differ.
pub(crate) fn first_decided(kernel: &Transcript) -> Option<usize> {
    DECISIONS.iter().filter_map(|decision| (decision.from)(kernel)).min()
}

/// A difference on purpose.
struct Decision {
    /// What and why.
    #[expect(dead_code, reason = "for the reader")]
    why: &'static str,
    /// The first step in which it shows.
    from: fn(&Transcript) -> Option<usize>,
}

const DECISIONS: [Decision; 3] = [
    Decision {
        why: "After shutdown(Read) Linux goes on queueing what comes and reads it out; to us the data has no reader, and the \
            peer is told by a reset (design.md's table; POSIX: further receive operations are disabled).",
        from: |linux| {
            let shut = first_call(linux, |call| call.verb == Verb::ShutRead)?;
            sent_by_p(linux).find(|(at, _)| *at >= shut).map(|(at, _)| at)
        },
    },
    Decision {
        why: "shutdown(Read) throws away what is queued, so that nothing is left to read, and nothing unread at the close; \
            Linux keeps it.",
        from: |linux| {
            let shuts = |call: &Call| matches!(call.verb, Verb::ShutRead | Verb::ShutBoth);
            let shut = first_call(linux, shuts)?;
            (unread_at_d(linux, shut) > 0).then_some(shut)
        },
    },
    Decision {
        why: "What is sent leaves at the end of the loop's turn, not within the call: a reset in the same turn overtakes it \
            and throws it away (RFC 9293 section 3.10.5: queued SENDs are flushed). Linux has sent it already.",
        from: |linux| {
            let resets = |segments: &[(Side, Kind)]| {
                segments.windows(2).any(|two| matches!(two, [(Side::D, Kind::Data(_)), (Side::D, Kind::Rst)]))
            };
            linux.steps.iter().position(|step| resets(&step.segments))
        },
    },
];

/// The first step with a call of D that succeeded.
fn first_call(transcript: &Transcript, which: impl Fn(&Call) -> bool) -> Option<usize> {
    transcript.steps.iter().position(|step| {
        step.answers.iter().any(|(call, answer)| call.side == Side::D && which(call) && *answer == Answer::Done)
    })
}

fn sent_by_p(transcript: &Transcript) -> impl Iterator<Item = (usize, usize)> + '_ {
    let all = transcript.steps.iter().enumerate().flat_map(|(at, step)| step.segments.iter().map(move |s| (at, *s)));
    all.filter_map(|(at, segment)| match segment {
        (Side::P, Kind::Data(bytes)) => Some((at, bytes)),
        _ => None,
    })
}

/// Bytes that lie unread at D when a step begins.
fn unread_at_d(transcript: &Transcript, step: usize) -> usize {
    let sent: usize = sent_by_p(transcript).filter(|(at, _)| *at < step).map(|(_, bytes)| bytes).sum();
    let answers = transcript.steps[..step].iter().flat_map(|step| &step.answers);
    let read = answers.filter_map(|(call, answer)| match (call.side, call.verb, answer) {
        (Side::D, Verb::Recv, Answer::Bytes(n)) => Some(n),
        _ => None,
    });
    sent - read.sum::<usize>()
}
