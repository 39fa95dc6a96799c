//! Whether the loops turn. Who watches over the process asks now and then; a loop answers when it looks at its commands, which
//! is all that this costs it, and one that stands still does not answer.

use crate::neighbours::Mailbox;
use crate::worker::Command;
use crossbeam::channel::{Receiver, TryRecvError, TrySendError, bounded};

/// The way to ask the loops of a stack whether they turn. Nothing here waits.
#[derive(Debug)]
pub struct Pulse {
    shards: Vec<(Mailbox, Answer)>,
}

#[derive(Debug)]
enum Answer {
    /// It was given, or nothing was asked, or the loop has ended.
    Given,
    Awaited(Receiver<()>),
    /// The question found no room: the loop has not looked at its commands for long.
    Refused,
}

impl Answer {
    fn is_given(&self) -> bool {
        match self {
            Self::Given => true,
            Self::Awaited(answer) => answer.try_recv() != Err(TryRecvError::Empty),
            Self::Refused => false,
        }
    }
}

impl Pulse {
    pub(crate) fn of(shards: &[Mailbox]) -> Self {
        Self { shards: shards.iter().map(|shard| (shard.clone(), Answer::Given)).collect() }
    }

    /// Asks every loop, and wakes those that sleep; also one that has yet to answer, for it may have ended with the question.
    pub fn ask(&mut self) {
        for (shard, answer) in &mut self.shards {
            let (reply, given) = bounded(1);
            *answer = match shard.commands.try_send(Command::Turn(reply)) {
                Ok(()) => Answer::Awaited(given),
                Err(TrySendError::Full(_)) => Answer::Refused,
                Err(TrySendError::Disconnected(_)) => Answer::Given,
            };
            let _ = shard.waker.wake();
        }
    }

    /// The shards that have not answered since they were asked, in their order; none that has ended.
    #[must_use]
    pub fn silent(&self) -> Vec<usize> {
        let shards = self.shards.iter().enumerate();
        shards.filter(|(_, (_, answer))| !answer.is_given()).map(|(shard, _)| shard).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Poll, Waker};
    use std::sync::Arc;

    #[test]
    fn who_looks_at_its_commands_answers() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let ((first, commands), (second, others)) = (bounded(2), bounded(2));
        let mailbox = |commands| Mailbox { shard: 0, commands, waker: Arc::clone(&waker) };
        let mut pulse = Pulse::of(&[mailbox(first.clone()), mailbox(second)]);
        let turn = || {
            assert!(!commands.is_empty(), "it was not asked");
            for command in commands.try_iter() {
                let Command::Turn(reply) = command else { panic!("{command:?}") };
                // To the question before the last nobody listens.
                let _ = reply.try_send(());
            }
        };
        assert!(pulse.silent().is_empty(), "nobody was asked");
        pulse.ask();
        assert_eq!(pulse.silent(), [0, 1]);
        turn();
        assert_eq!(pulse.silent(), [1]);
        // Being asked again is no answer.
        pulse.ask();
        assert_eq!(pulse.silent(), [0, 1]);
        turn();
        assert_eq!(pulse.silent(), [1]);
        // One that has ended, with a question, stands in nobody's way from the next one on.
        drop(others);
        pulse.ask();
        assert_eq!(pulse.silent(), [0]);
        turn();
        assert!(pulse.silent().is_empty());
        // A question that finds no room has no answer.
        (0..2).for_each(|_| first.try_send(Command::Gone).unwrap());
        pulse.ask();
        assert_eq!(pulse.silent(), [0]);
        assert_eq!(commands.try_iter().count(), 2);
        pulse.ask();
        turn();
        assert!(pulse.silent().is_empty());
    }
}
