//! Messages between the applications of a stack's shards: what one of them has posted, until it is moved on.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

/// What an application sends to that of another shard: anything that may change threads. The receiver finds out what it is
/// by [`downcast`](Box::downcast).
pub type Message = Box<dyn core::any::Any + Send>;

/// A queue for each shard, so that one which is slow holds up nobody else's.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// As many as there are shards, as soon as anything was posted.
    queues: Vec<VecDeque<Message>>,
    /// Which is the shard itself.
    own: usize,
    shards: usize,
    most: usize,
    /// Messages to others, and to the shard itself.
    waiting: usize,
    own_waiting: usize,
}

impl Outbox {
    pub(crate) fn new(place: crate::Place, most: u32) -> Self {
        let (own, shards) = (place.index.into(), place.count.into());
        Self { queues: Vec::new(), own, shards, most: most as usize, waiting: 0, own_waiting: 0 }
    }

    /// Back if there is no such shard, or no room.
    pub(crate) fn put(&mut self, shard: u16, message: Message) -> Result<(), Message> {
        if self.queues.is_empty() {
            self.queues.resize_with(self.shards, VecDeque::new);
        }
        let Some(queue) = self.queues.get_mut(usize::from(shard)).filter(|queue| queue.len() < self.most) else {
            return Err(message);
        };
        queue.push_back(message);
        *(if usize::from(shard) == self.own { &mut self.own_waiting } else { &mut self.waiting }) += 1;
        Ok(())
    }

    /// How many messages the shard has posted to itself.
    pub(crate) const fn own_len(&self) -> usize {
        self.own_waiting
    }

    /// The next message the shard has posted to itself.
    pub(crate) fn next_own(&mut self) -> Option<Message> {
        let message = self.queues.get_mut(self.own)?.pop_front()?;
        self.own_waiting -= 1;
        Some(message)
    }

    /// Whether there are messages to others.
    pub(crate) const fn waits(&self) -> bool {
        self.waiting > 0
    }

    /// Gives each message to another shard to `send`, until that hands one back: it waits, and those behind it.
    pub(crate) fn forward(&mut self, mut send: impl FnMut(u16, Message) -> Result<(), Message>) {
        let others = self.queues.iter_mut().zip(0..).filter(|(_, to)| usize::from(*to) != self.own);
        for (queue, to) in others {
            while let Some(message) = queue.pop_front() {
                if let Err(message) = send(to, message) {
                    queue.push_front(message);
                    break;
                }
                self.waiting -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;
    use std::vec;

    fn number(message: &Message) -> u32 {
        *message.downcast_ref().expect("a number")
    }

    #[test]
    fn a_receiver_without_room_holds_up_its_own_messages_only() {
        let mut outbox = Outbox::new(Place { index: 1, count: 3 }, 2);
        for (to, n) in [(0, 1u32), (0, 2), (2, 3), (1, 4)] {
            outbox.put(to, Box::new(n)).unwrap();
        }
        assert_eq!(number(&outbox.put(0, Box::new(5u32)).unwrap_err()), 5, "two is the limit");
        outbox.put(3, Box::new(6u32)).expect_err("there is no such shard");
        let mut sent = vec![];
        outbox.forward(|to, message| {
            if to == 0 {
                return Err(message);
            }
            sent.push((to, number(&message)));
            Ok(())
        });
        assert_eq!((&sent[..], outbox.waits()), (&[(2, 3)][..], true));
        outbox.forward(|to, message| {
            sent.push((to, number(&message)));
            Ok(())
        });
        assert_eq!((&sent[1..], outbox.waits()), (&[(0, 1), (0, 2)][..], false));
        assert_eq!((outbox.own_len(), outbox.next_own().map(|m| number(&m))), (1, Some(4)));
        assert!(outbox.next_own().is_none());
    }
}
