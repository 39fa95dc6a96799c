//! What names a connection to its application.

/// By which way a connection goes, or a listener is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Via {
    /// The stack's own TCP, over the interface.
    #[default]
    Stack,
    /// The kernel's sockets.
    Kernel,
}

/// The bit of a generation that says [`Via::Kernel`]. A generation of the stack's own never has it.
const KERNEL: u32 = 1 << 31;

/// A connection's handle. It is dead after [`App::on_closed`](crate::App::on_closed) and after [`Io::close`](crate::Io::close) or [`Io::abort`](crate::Io::abort); a dead handle is
/// answered with [`Error::NotConnected`](crate::Error::NotConnected).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl ConnId {
    /// A small dense number, unique among the shard's living connections of the same [`Via`]: an index for the application's
    /// own state.
    #[must_use]
    pub const fn index(self) -> usize {
        self.slot as usize
    }

    /// By which way the connection goes.
    #[must_use]
    pub const fn via(self) -> Via {
        if self.is_kernel() { Via::Kernel } else { Via::Stack }
    }

    #[inline]
    pub(crate) const fn is_kernel(self) -> bool {
        self.generation & KERNEL != 0
    }

    /// A handle of [`Via::Kernel`], for who implements [`Sockets`](crate::Sockets): its index, and how often that was used
    /// before, modulo 2^31.
    #[must_use]
    pub const fn kernel(index: u32, generation: u32) -> Self {
        Self { slot: index, generation: generation | KERNEL }
    }

    /// How often the index was used before, modulo 2^31.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation & !KERNEL
    }

    /// The generation behind this one of a slot of the stack's own.
    pub(crate) const fn next_generation(generation: u32) -> u32 {
        generation.wrapping_add(1) & !KERNEL
    }

    /// The handle as a number, such as a timer's key ([`Io::start_timer`](crate::Io::start_timer)).
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The handle of a number that was one. Of any other number it is a dead one, most likely.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the two halves
    pub const fn from_bits(bits: u64) -> Self {
        Self { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_part_of_the_handle_and_of_nothing_else() {
        let last = ConnId { slot: 7, generation: KERNEL - 1 };
        let again = ConnId { slot: 7, generation: ConnId::next_generation(last.generation) };
        let kernel = ConnId::kernel(7, u32::MAX);
        assert_eq!((last.via(), again.via(), kernel.via()), (Via::Stack, Via::Stack, Via::Kernel));
        assert_eq!((last.index(), kernel.index()), (7, 7));
        assert_eq!((again.generation(), kernel.generation()), (0, KERNEL - 1));
        assert_ne!(last, kernel);
    }
}
