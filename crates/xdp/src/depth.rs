//! How deep the fill ring is kept: as deep as bursts are long, and no deeper.
//!
//! The kernel takes frames from it in turn. The deeper it is the more memory is in turn, and the fewer of these frames are in a
//! cache when the next packet comes: with 2048 in the ring a request and its response took a fifth longer on their way through
//! two cores of a veth pair than with 256.

/// The least: what NICs' drivers have by default (igb, e1000e, virtio_net), and more than a loop leaves there while it works off
/// one batch.
const LEAST: u32 = 256;
/// How many times the ring must be used up without a burst until it is kept half as deep.
const CALM_ROUNDS: u32 = 8;

/// The depth a fill ring is kept at, by what the kernel left of it each time.
#[derive(Debug)]
pub(crate) struct Depth {
    /// Frames, up to the ring's.
    frames: u32,
    ring: u32,
    /// Frames that came since the last burst or change.
    calm: u32,
}

impl Depth {
    /// Of a ring of so many frames: full, until it is known that less is enough.
    pub(crate) const fn new(ring: u32) -> Self {
        Self { frames: ring, ring, calm: 0 }
    }

    /// Frames to be with the kernel.
    pub(crate) const fn frames(&self) -> u32 {
        self.frames
    }

    /// `taken` frames have come since the ring was refilled, and `left` are still in it. Less than half: the next burst may be
    /// longer, the ring is to be full. True if it was not.
    pub(crate) const fn on_refill(&mut self, taken: u32, left: u32) -> bool {
        if left < self.frames / 2 {
            let deepened = self.frames < self.ring;
            (self.frames, self.calm) = (self.ring, 0);
            return deepened;
        }
        self.calm = self.calm.saturating_add(taken);
        if self.calm / CALM_ROUNDS >= self.frames && self.frames / 2 >= LEAST {
            (self.frames, self.calm) = (self.frames / 2, 0);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refills until the depth is another; how many frames came meanwhile.
    fn calm(depth: &mut Depth) -> u32 {
        let (before, mut came) = (depth.frames(), 0);
        while depth.frames() == before && came < 1_000_000 {
            assert!(!depth.on_refill(16, before - 16));
            came += 16;
        }
        came
    }

    #[test]
    fn a_calm_ring_gets_shallower_by_halves_down_to_256() {
        let mut depth = Depth::new(2048);
        for frames in [2048, 1024, 512] {
            assert_eq!((depth.frames(), calm(&mut depth)), (frames, 8 * frames));
        }
        assert_eq!((depth.frames(), calm(&mut depth)), (256, 1_000_000));
    }

    #[test]
    fn a_burst_fills_it_at_once_and_calm_begins_anew() {
        let mut depth = Depth::new(2048);
        (0..3).for_each(|_| assert!(calm(&mut depth) > 0));
        assert!(!depth.on_refill(128, 128), "half of it");
        assert_eq!(depth.frames(), 256);
        assert!(depth.on_refill(129, 127));
        assert_eq!(depth.frames(), 2048);
        assert!(!depth.on_refill(2000, 48), "it was as deep as it can be");
        assert_eq!(calm(&mut depth), 8 * 2048);
    }

    /// One that a driver empties into a ring of its own (zero-copy) stays full, and so does a small one.
    #[test]
    fn what_is_always_empty_or_small_stays_as_it_is() {
        let mut depth = Depth::new(2048);
        assert!((0..10_000).all(|_| !depth.on_refill(64, 0)));
        assert_eq!(depth.frames(), 2048);
        let mut small = Depth::new(256);
        assert_eq!((calm(&mut small), small.frames()), (1_000_000, 256));
    }
}
