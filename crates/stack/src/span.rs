//! What XORs of some numbers reach: the Toeplitz hash is linear in a port's bits, so the places of the indirection table that
//! ports lead to are those of such a span, moved by the hash of the rest.

/// The span of numbers of 16 bits: of each leading bit one number that begins with it, or 0.
#[derive(Debug, Default)]
pub(crate) struct Span([u32; 16]);

impl Span {
    pub(crate) fn add(&mut self, number: u32) {
        let rest = self.reduce(number & 0xffff);
        if let Some(bit) = rest.checked_ilog2() {
            self.0[bit as usize] = rest;
        }
    }

    /// How many of its numbers are independent: it has 2 to the power of that.
    pub(crate) fn rank(&self) -> usize {
        self.0.iter().filter(|number| **number != 0).count()
    }

    /// The least of all that differ from `number` by one of the span: the same for two if one leads to the other.
    pub(crate) fn reduce(&self, number: u32) -> u32 {
        let leading = |rest: u32, bit: usize| if rest >> bit & 1 == 1 { rest ^ self.0[bit] } else { rest };
        (0..16).rev().fold(number & 0xffff, leading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_reached_is_what_the_sums_are() {
        let mut span = Span::default();
        [0b1100, 0b0110, 0b1010, 0].into_iter().for_each(|number| span.add(number));
        // The third is the sum of the first two.
        assert_eq!(span.rank(), 2);
        let reached: BTreeSet<_> = (0..16).filter(|n| span.reduce(*n) == 0).collect();
        assert_eq!(reached, [0, 0b1100, 0b0110, 0b1010].into());
        assert_eq!((0..16).map(|n| span.reduce(n)).collect::<BTreeSet<_>>().len(), 4);
        assert_eq!(span.reduce(0b0101), span.reduce(0b0101 ^ 0b1010));
    }
}
