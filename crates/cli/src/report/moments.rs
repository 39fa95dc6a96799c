//! What idle connections came to second by second: the `timeline` of `load tcp --mode idle`.

/// A second, or several of them in one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Moment {
    /// From the beginning.
    pub(super) at_s: f64,
    pub(super) length_s: f64,
    /// At its end.
    pub(super) open: u64,
    /// Within it.
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) lost: u64,
    pub(super) churned: u64,
    pub(super) resident_bytes: u64,
    pub(super) server_resident_bytes: Option<u64>,
    /// Of the probe, in nanoseconds.
    pub(super) p50: Option<u64>,
    pub(super) p99: Option<u64>,
    pub(super) max: Option<u64>,
}

impl Moment {
    pub(super) fn end_s(&self) -> f64 {
        self.at_s + self.length_s
    }

    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(super) fn per_s(&self, count: u64) -> f64 {
        if self.length_s > 0.0 { count as f64 / self.length_s } else { 0.0 }
    }

    /// Both in one: of what is there what the later has, but of memory and times the larger.
    fn with(&self, later: &Self) -> Self {
        Self {
            at_s: self.at_s,
            length_s: self.length_s + later.length_s,
            open: later.open,
            opened: self.opened.saturating_add(later.opened),
            closed: self.closed.saturating_add(later.closed),
            lost: self.lost.saturating_add(later.lost),
            churned: self.churned.saturating_add(later.churned),
            resident_bytes: self.resident_bytes.max(later.resident_bytes),
            server_resident_bytes: self.server_resident_bytes.max(later.server_resident_bytes),
            p50: self.p50.max(later.p50),
            p99: self.p99.max(later.p99),
            max: self.max.max(later.max),
        }
    }
}

/// No more than so many: as many neighbours as it takes are one.
pub(super) fn thinned(moments: &[Moment], most: usize) -> Vec<Moment> {
    let each = moments.len().div_ceil(most.max(1)).max(1);
    let one = |part: &[Moment]| part[1..].iter().fold(part[0].clone(), |sum, moment| sum.with(moment));
    moments.chunks(each).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinned_moments_keep_their_sums_and_peaks() {
        let moment = |at: u32| Moment {
            at_s: f64::from(at),
            length_s: 1.0,
            open: u64::from(at),
            opened: 3,
            resident_bytes: if at == 777 { 9000 } else { 5 },
            max: (at == 123).then_some(70),
            ..Moment::default()
        };
        let all: Vec<_> = (0..1001).map(moment).collect();
        let few = thinned(&all, 300);
        assert!(few.len() <= 300 && few.len() > 200, "{}", few.len());
        assert_eq!(few.iter().map(|moment| moment.opened).sum::<u64>(), 3003);
        assert_eq!(few.iter().filter(|moment| moment.resident_bytes == 9000).count(), 1);
        assert_eq!(few.iter().filter(|moment| moment.max == Some(70)).count(), 1);
        assert_eq!((few.last().unwrap().open, few.last().unwrap().end_s()), (1000, 1001.0));
        assert!(few.iter().take(200).all(|moment| (moment.per_s(moment.opened) - 3.0).abs() < 1e-9));
        assert_eq!(thinned(&all[..5], 300), all[..5]);
    }
}
