/// The bytes of an input, read from the front. What is asked for beyond their end is zero.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether all of them are read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes that are left.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// As many bytes as there are, at most `n`.
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(n.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// One byte.
    pub fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// Two bytes, the first one high.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// Four bytes, the first one high.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// Eight bytes, the first one high.
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// One byte's lowest bit.
    pub fn bool(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    /// One byte, below `n`.
    ///
    /// # Panics
    /// When `n` is zero.
    pub fn below(&mut self, n: u8) -> u8 {
        self.u8() % n
    }
}

#[cfg(test)]
mod tests {
    use super::Input;

    #[test]
    fn bytes_are_read_from_the_front_and_zero_follows() {
        let mut input = Input::new(&[1, 2, 3, 4, 7]);
        assert_eq!((input.u8(), input.u16(), input.rest()), (1, 0x0203, &[4, 7][..]));
        assert_eq!((input.u32(), input.u64(), input.u8()), (0x0407_0000, 0, 0));
        assert!(input.is_empty());
        assert_eq!((Input::new(&[9]).below(4), Input::new(&[9]).bool()), (1, true));
    }
}
