//! More than can be done: does the rate hold?
//!
//! The most is measured by a closed loop. Then requests, or connections with one request each, are offered at shares of that
//! rate, whatever comes back (open loop), and their time counts from when they should have been sent.

use anyhow::bail;
use serde::Serialize;

use super::place::Place;
use super::samples::{Sample, Samples};
use super::task::{Point, Task};
use super::{http, strings};

/// Connections at the most: many times as many as keep both ends busy, so that what is offered too much waits at the server as
/// well.
pub(super) const CONNECTIONS: &str = "1024";

/// What is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Load {
    /// Over kept connections.
    Requests,
    /// A connection for each request; the server closes.
    Connects,
}

impl Load {
    pub(super) const ALL: [Self; 2] = [Self::Requests, Self::Connects];

    /// Its key in the document.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Requests => "rps",
            Self::Connects => "cps",
        }
    }

    /// Of its tasks.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "overload rps",
            Self::Connects => "overload cps",
        }
    }

    /// Of its plot.
    pub(super) const fn plot(self) -> &'static str {
        match self {
            Self::Requests => "overload_rps",
            Self::Connects => "overload_cps",
        }
    }
}

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
pub(super) fn point(place: &Place<'_>, load: Load, offer: Offer, samples: &Samples) -> anyhow::Result<Sample> {
    let mut words = match load {
        Load::Requests => Vec::new(),
        Load::Connects => strings(&["--close", "server"]),
    };
    let offered_per_s = match offer {
        Offer::Most => None,
        Offer::Percent(_) => {
            let most = samples.of(Task::Overload(load, Offer::Most)).last().and_then(|sample| sample.per_s);
            let Some(most) = most else { bail!("the most is not known, so no share of it can be offered") };
            Some((most * offer.share()).round().max(1.0))
        }
    };
    words.extend(offered_per_s.iter().flat_map(|rate| ["--rate".to_owned(), rate.to_string()]));
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let server = http::serve(place, Point::Fourwave)?;
    let sample = http::ask(place, server, Point::Fourwave, CONNECTIONS, &words)?;
    let per_s = if load == Load::Connects { sample.connects_per_s } else { sample.per_s };
    Ok(Sample { per_s, offered_per_s, ..sample })
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
pub(super) fn step(samples: &Samples, load: Load, offer: Offer) -> Option<Step> {
    let figures = samples.figures(Task::Overload(load, offer))?;
    let offered = samples.of(Task::Overload(load, offer)).iter().filter_map(|sample| sample.offered_per_s).collect();
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
    pub(super) fn of(samples: &Samples, load: Load) -> Self {
        let open = Offer::ALL.iter().filter(|offer| **offer != Offer::Most);
        Self {
            max_per_s: step(samples, load, Offer::Most).map(|step| step.per_s),
            steps: open.filter_map(|offer| step(samples, load, *offer)).collect(),
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
            samples.add(Task::Overload(Load::Connects, Offer::Most), Sample { per_s: Some(most), ..Sample::default() });
            let sample = Sample { per_s: Some(most - 1.0), offered_per_s: Some(1.5 * most), ..Sample::default() };
            samples.add(Task::Overload(Load::Connects, Offer::Percent(150)), sample);
        }
        let overload = Overload::of(&samples, Load::Connects);
        assert_eq!((overload.max_per_s, overload.steps.len()), (Some(110_000.0), 1));
        let step = &overload.steps[0];
        assert!(Overload::of(&samples, Load::Requests).steps.is_empty());
        assert_eq!((step.share, step.offered_per_s, step.per_s), (1.5, 165_000.0, 109_999.0));
    }
}
