//! More requests than can be answered: does the rate hold?
//!
//! The most is measured by a closed loop. Then requests are offered at shares of that rate, whatever comes back (open loop), and
//! their time counts from when they should have been sent.

use serde::Serialize;

use super::http;
use super::place::Place;
use super::samples::{Sample, Samples};
use super::task::{Point, Task};

/// How much is offered, in percent of the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Offer {
    /// A closed loop.
    Most,
    /// An open loop.
    Percent(u32),
}

impl Offer {
    pub(super) const ALL: [Self; 6] =
        [Self::Most, Self::Percent(50), Self::Percent(90), Self::Percent(100), Self::Percent(120), Self::Percent(150)];

    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Most => "closed loop",
            Self::Percent(50) => "0.5",
            Self::Percent(90) => "0.9",
            Self::Percent(100) => "1.0",
            Self::Percent(120) => "1.2",
            Self::Percent(_) => "1.5",
        }
    }

    fn share(self) -> f64 {
        match self {
            Self::Most => 1.0,
            Self::Percent(percent) => f64::from(percent) / 100.0,
        }
    }
}

/// A closed loop, or an open one at a share of what the last closed one gave.
pub(super) fn point(place: &Place<'_>, offer: Offer, samples: &Samples) -> anyhow::Result<Sample> {
    if offer == Offer::Most {
        return http::requests(place, Point::Fourwave);
    }
    let most = samples.of(Task::Overload(Offer::Most)).last().and_then(|sample| sample.per_s);
    let Some(most) = most else { anyhow::bail!("the most is not known, so no share of it can be offered") };
    let rate = (most * offer.share()).round().max(1.0);
    let server = http::serve(place, Point::Fourwave)?;
    let sample = http::ask(place, server, Point::Fourwave, &["--rate", &rate.to_string()])?;
    Ok(Sample { offered_per_s: Some(rate), ..sample })
}

/// A share, for the document: medians over the rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Step {
    pub(super) share: f64,
    pub(super) offered_per_s: f64,
    pub(super) per_s: f64,
    pub(super) p50_ns: Option<u64>,
    pub(super) p99_ns: Option<u64>,
    pub(super) p999_ns: Option<u64>,
    pub(super) per_s_rounds: Vec<f64>,
}

/// What was measured of an offer.
pub(super) fn step(samples: &Samples, offer: Offer) -> Option<Step> {
    let figures = samples.figures(Task::Overload(offer))?;
    let offered = samples.of(Task::Overload(offer)).iter().filter_map(|sample| sample.offered_per_s).collect();
    Some(Step {
        share: offer.share(),
        offered_per_s: super::samples::median(offered).or(figures.per_s)?,
        per_s: figures.per_s?,
        p50_ns: figures.p50_ns,
        p99_ns: figures.p99_ns,
        p999_ns: figures.p999_ns,
        per_s_rounds: figures.per_s_rounds,
    })
}

/// For the document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Overload {
    /// Of the closed loop.
    pub(super) max_per_s: Option<f64>,
    pub(super) steps: Vec<Step>,
}

impl Overload {
    pub(super) fn of(samples: &Samples) -> Self {
        let open = Offer::ALL.iter().filter(|offer| **offer != Offer::Most);
        Self {
            max_per_s: step(samples, Offer::Most).map(|step| step.per_s),
            steps: open.filter_map(|offer| step(samples, *offer)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_most_of_their_round() {
        let mut samples = Samples::default();
        for most in [100_000.0, 120_000.0, 110_000.0] {
            samples.add(Task::Overload(Offer::Most), Sample { per_s: Some(most), ..Sample::default() });
            let sample = Sample { per_s: Some(most - 1.0), offered_per_s: Some(1.5 * most), ..Sample::default() };
            samples.add(Task::Overload(Offer::Percent(150)), sample);
        }
        let overload = Overload::of(&samples);
        assert_eq!((overload.max_per_s, overload.steps.len()), (Some(110_000.0), 1));
        let step = &overload.steps[0];
        assert_eq!((step.share, step.offered_per_s, step.per_s), (1.5, 165_000.0, 109_999.0));
    }
}
