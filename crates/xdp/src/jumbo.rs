//! Frames larger than a buffer of the kernel's: what comes in pieces is copied together, what is to go is cut to pieces.
//!
//! A buffer is no larger than a page, and the kernel takes any free ones for the pieces of a packet, so they lie apart. The
//! stack reads and writes a frame as one slice; hence one copy each way, while the MTU asks for it, and none otherwise.

/// Pieces of a packet: one in the linear part of an skb, and a fragment less than the kernel's `MAX_SKB_FRAGS` of 17, as
/// `net/xdp/xsk.c` counts them.
pub(crate) const MAX_PIECES: u32 = 17;
/// Large frames of a port. A loop takes in 64 at a time, and one that is sent is free again at once.
const FRAMES: u32 = 256;
/// Those that are never received into, so that there is something to answer with.
const SEND_RESERVE: usize = 64;

/// The large frames of a port, and the packet that is being put together.
#[derive(Debug)]
pub(crate) struct Pool {
    memory: Box<[u8]>,
    frame_bytes: usize,
    free: Vec<u32>,
    chain: Chain,
    /// Packets that could not be put together.
    lost: u64,
}

/// What became of the pieces so far.
#[derive(Debug, Clone, Copy)]
enum Chain {
    /// No packet has begun.
    Between,
    Gathering {
        index: u32,
        len: usize,
        pieces: u32,
    },
    /// The rest of a packet that is lost.
    Skipping,
}

impl Pool {
    /// Frames of `frame_bytes` each.
    pub(crate) fn new(frame_bytes: usize) -> Self {
        Self {
            memory: vec![0; frame_bytes * FRAMES as usize].into_boxed_slice(),
            frame_bytes,
            free: (0..FRAMES).rev().collect(),
            chain: Chain::Between,
            lost: 0,
        }
    }

    pub(crate) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// The next piece of a packet, `None` for one that can't be read; `more` are to come. The frame and its length once it
    /// is whole.
    pub(crate) fn piece(&mut self, bytes: Option<&[u8]>, more: bool) -> Option<(u32, usize)> {
        let (index, len, pieces) = match self.chain {
            Chain::Between if self.free.len() > SEND_RESERVE => (self.free.pop()?, 0, 0),
            Chain::Between => return self.lose(None, more),
            Chain::Gathering { index, len, pieces } => (index, len, pieces),
            Chain::Skipping => {
                self.chain = if more { Chain::Skipping } else { Chain::Between };
                return None;
            }
        };
        let room = &mut self.memory[index as usize * self.frame_bytes..][len..self.frame_bytes];
        let Some((bytes, room)) = bytes.and_then(|bytes| Some((bytes, room.get_mut(..bytes.len())?))) else {
            return self.lose(Some(index), more);
        };
        if pieces == MAX_PIECES {
            return self.lose(Some(index), more);
        }
        room.copy_from_slice(bytes);
        let len = len + bytes.len();
        if more {
            self.chain = Chain::Gathering { index, len, pieces: pieces + 1 };
            return None;
        }
        self.chain = Chain::Between;
        Some((index, len))
    }

    fn lose(&mut self, index: Option<u32>, more: bool) -> Option<(u32, usize)> {
        self.lost += 1;
        self.free.extend(index);
        self.chain = if more { Chain::Skipping } else { Chain::Between };
        None
    }

    /// Packets that could not be put together: too long, too many pieces, a bad one, or no frame free.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// A frame to send.
    pub(crate) fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    pub(crate) fn give(&mut self, index: u32) {
        self.free.push(index);
    }

    pub(crate) fn bytes(&self, index: usize) -> &[u8] {
        &self.memory[index * self.frame_bytes..][..self.frame_bytes]
    }

    pub(crate) fn bytes_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.memory[index * self.frame_bytes..][..self.frame_bytes]
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Frames that are neither free nor being received into.
    pub(crate) fn out(&self) -> usize {
        let gathering = usize::from(matches!(self.chain, Chain::Gathering { .. }));
        (FRAMES as usize).saturating_sub(self.free.len() + gathering)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 1000;

    /// Puts a packet in; what comes out of it.
    fn packet(pool: &mut Pool, pieces: &[&[u8]]) -> Option<Vec<u8>> {
        let (last, first) = pieces.split_last().unwrap();
        for piece in first {
            assert_eq!(pool.piece(Some(piece), true), None);
        }
        let (index, len) = pool.piece(Some(last), false)?;
        let bytes = pool.bytes(index as usize)[..len].to_vec();
        pool.give(index);
        Some(bytes)
    }

    #[test]
    fn pieces_are_put_together_in_order() {
        let mut pool = Pool::new(BYTES);
        assert_eq!(packet(&mut pool, &[b"one", b"two", b"three"]).unwrap(), b"onetwothree");
        assert_eq!(packet(&mut pool, &[&[7; 500], &[8; 500]]).unwrap(), [[7; 500], [8; 500]].concat());
        assert_eq!((pool.lost(), pool.out(), pool.free()), (0, 0, 256));
    }

    #[test]
    fn what_is_too_long_is_lost_whole_and_the_next_one_is_not() {
        let mut pool = Pool::new(BYTES);
        assert_eq!(packet(&mut pool, &[&[1; 500], &[2; 501]]), None);
        assert_eq!(packet(&mut pool, &[&[1; 500], &[2; 501], &[3; 1]]), None);
        let crumbs = [&[1][..]; MAX_PIECES as usize + 1];
        assert_eq!(packet(&mut pool, &crumbs), None);
        assert_eq!(pool.lost(), 3);
        assert_eq!(packet(&mut pool, &crumbs[1..]).unwrap(), [1; MAX_PIECES as usize]);
        assert_eq!((pool.lost(), pool.out(), pool.free()), (3, 0, 256));
    }

    #[test]
    fn a_piece_that_cannot_be_read_costs_its_packet_wherever_it_is() {
        for bad in 0..3 {
            let mut pool = Pool::new(BYTES);
            for piece in 0..3 {
                assert_eq!(pool.piece((piece != bad).then_some(b"piece"), piece < 2), None);
            }
            assert_eq!(packet(&mut pool, &[b"good"]).unwrap(), b"good");
            assert_eq!((pool.lost(), pool.out(), pool.free()), (1, 0, 256));
        }
    }

    #[test]
    fn receiving_leaves_frames_to_answer_with() {
        let mut pool = Pool::new(BYTES);
        let held: Vec<_> = (0..256 - 64).map(|_| pool.piece(Some(b"x"), false).unwrap().0).collect();
        assert_eq!(packet(&mut pool, &[b"no", b"room"]), None);
        assert_eq!((pool.lost(), pool.out(), pool.free()), (1, 192, 64));
        let taken: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(taken.len(), 64);
        held.into_iter().chain(taken).for_each(|index| pool.give(index));
        assert_eq!(packet(&mut pool, &[b"room ", b"again"]).unwrap(), b"room again");
    }

    /// Whatever the kernel says, no frame is lost or given out twice, and each packet comes out whole or is counted.
    #[test]
    fn the_books_balance_whatever_comes() {
        let mut pool = Pool::new(BYTES);
        let mut random = 1_u64;
        let (mut held, mut packets, mut out) = (Vec::new(), 0, 0);
        for _ in 0..200_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let dice = random >> 33;
            let bytes = vec![0; usize::try_from(dice % 300).unwrap()];
            let more = dice >> 10 & 3 != 0;
            packets += u64::from(!more);
            if let Some((index, len)) = pool.piece((dice >> 20 & 15 != 0).then_some(&bytes[..]), more) {
                assert!(len <= BYTES && !held.contains(&index));
                out += 1;
                held.push(index);
            }
            assert_eq!(pool.out(), held.len());
            if dice >> 12 & 1 == 0 || held.len() > 250 {
                held.drain(..).for_each(|index| pool.give(index));
            }
        }
        let begun = u64::from(!matches!(pool.chain, Chain::Between));
        assert!((packets..=packets + begun).contains(&(out + pool.lost())), "{packets} {out} {}", pool.lost());
        assert!(out > 10_000 && pool.lost() > 10_000);
    }
}
