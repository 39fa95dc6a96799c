//! What an application has left unread.

/// Bytes in their order, in one piece. Empty it holds no memory.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    start: usize,
}

impl Queue {
    pub(super) fn front(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        // What was read is moved over only when it is most of what there is: each byte moves once or twice.
        if self.start > self.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.start += n.min(self.len());
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_is_what_went_in() {
        let (mut queue, mut taken, mut next) = (Queue::default(), Vec::new(), 0u32);
        for round in 0..1000usize {
            let piece: Vec<u8> = (0..round % 37).map(|i| u8::try_from((next as usize + i) % 251).unwrap()).collect();
            next += u32::try_from(piece.len()).unwrap();
            queue.push(&piece);
            let n = (round * 7 % 41).min(queue.len());
            taken.extend_from_slice(&queue.front()[..n]);
            queue.consume(n);
        }
        taken.extend_from_slice(queue.front());
        queue.consume(usize::MAX);
        assert!(taken.iter().enumerate().all(|(i, byte)| usize::from(*byte) == i % 251));
        assert_eq!((taken.len(), queue.len(), queue.bytes.capacity()), (next as usize, 0, 0));
    }
}
