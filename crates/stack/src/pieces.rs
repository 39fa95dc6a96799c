//! A vector in pieces of some MiB each, for what there may be millions of. What is there stays where it is when it grows: nobody
//! waits while it is copied, and pages of 2 MiB stay whole, which the kernel would take apart to move them.

use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

/// A piece has a power of two of places, as many as fit.
const BYTES: usize = 8 << 20;

#[derive(Debug)]
pub(crate) struct Pieces<T> {
    /// Full but for the last that has any; behind that one there may be empty ones.
    pieces: Vec<Vec<T>>,
    len: usize,
}

impl<T> Pieces<T> {
    const SHIFT: u32 = (BYTES / size_of::<T>()).ilog2();
    const PIECE: usize = 1 << Self::SHIFT;

    pub(crate) const fn new() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }

    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        let at = self.len >> Self::SHIFT;
        if at == self.pieces.len() {
            // The first one grows: most never have another.
            self.pieces.push(if at == 0 { Vec::new() } else { Vec::with_capacity(Self::PIECE) });
        }
        self.pieces[at].push(value);
        self.len += 1;
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        self.pieces.get(at >> Self::SHIFT)?.get(at % Self::PIECE)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.pieces.get_mut(at >> Self::SHIFT)?.get_mut(at % Self::PIECE)
    }

    /// The last one takes its place. Where it is that one itself nothing is copied.
    ///
    /// # Panics
    /// When it is not there, as by an index.
    #[inline]
    pub(crate) fn swap_remove(&mut self, at: usize) {
        self.len -= 1;
        let (piece, last) = (&mut self.pieces[self.len >> Self::SHIFT], self.len % Self::PIECE);
        if at == self.len {
            piece.truncate(last);
        } else if let Some(moved) = piece.pop() {
            self[at] = moved;
        }
    }
}

impl<T> Index<usize> for Pieces<T> {
    type Output = T;

    #[inline]
    fn index(&self, at: usize) -> &T {
        &self.pieces[at >> Self::SHIFT][at % Self::PIECE]
    }
}

impl<T> IndexMut<usize> for Pieces<T> {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.pieces[at >> Self::SHIFT][at % Self::PIECE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Three of a piece's worth of memory each, so that a handful has many pieces.
    type Large = [u8; BYTES / 3];

    /// As a vector has it, whatever comes and goes.
    #[test]
    fn it_is_a_vector() {
        let (mut pieces, mut vector) = (Pieces::<Large>::new(), Vec::new());
        let same = |pieces: &Pieces<Large>, vector: &[u8]| {
            let found: Vec<_> = (0..vector.len() + 3).map(|at| pieces.get(at).map(|value| value[0])).collect();
            let there: Vec<_> = vector.iter().copied().map(Some).chain([None; 3]).collect();
            assert_eq!((found, pieces.len()), (there, vector.len()));
        };
        // Beyond the end of a piece and back again, and the one that goes is the last, the first, and one between.
        for (number, goes) in [(1, None), (2, None), (3, Some(2)), (4, Some(0)), (5, None), (6, Some(1)), (7, Some(3))]
        {
            pieces.push([number; BYTES / 3]);
            vector.push(number);
            same(&pieces, &vector);
            if let Some(at) = goes {
                pieces.swap_remove(at);
                vector.swap_remove(at);
                same(&pieces, &vector);
            }
        }
        while !vector.is_empty() {
            if let Some(first) = pieces.get_mut(0) {
                first[0] += 10;
            }
            vector[0] += 10;
            assert_eq!(pieces[vector.len() - 1][0], vector[vector.len() - 1]);
            same(&pieces, &vector);
            pieces.swap_remove(vector.len() / 2);
            vector.swap_remove(vector.len() / 2);
            same(&pieces, &vector);
        }
    }
}
