//! Whether connections got the same.

use serde::{Deserialize, Serialize};

/// Round trips of each connection, compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PerConnection {
    pub(crate) min: u64,
    pub(crate) max: u64,
    /// Jain's index (DEC-TR-301, 1984): 1 if all had as many, 1/n if one had all.
    pub(crate) jain: f64,
}

impl PerConnection {
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(super) fn of(counts: &[u64]) -> Option<Self> {
        let (min, max) = (*counts.iter().min()?, *counts.iter().max()?);
        let sum: f64 = counts.iter().map(|count| *count as f64).sum();
        let squares: f64 = counts.iter().map(|count| (*count as f64).powi(2)).sum();
        let jain = if squares > 0.0 { sum * sum / (counts.len() as f64 * squares) } else { 1.0 };
        Some(Self { min, max, jain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jains_index() {
        let jain = |counts: &[u64]| PerConnection::of(counts).unwrap().jain;
        assert!((jain(&[7, 7, 7]) - 1.0).abs() < 1e-12);
        assert!((jain(&[9, 0, 0]) - 1.0 / 3.0).abs() < 1e-12);
        // (1 + 2 + 3)^2 / (3 * (1 + 4 + 9))
        assert!((jain(&[1, 2, 3]) - 36.0 / 42.0).abs() < 1e-12);
        assert!((jain(&[0, 0]) - 1.0).abs() < 1e-12);
        let of = PerConnection::of(&[4, 2, 9]).unwrap();
        assert_eq!((of.min, of.max), (2, 9));
        assert!(PerConnection::of(&[]).is_none());
    }
}
