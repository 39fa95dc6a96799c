//! What idle connections come to over time: a thread looks once a second at what the shards count, at the memory, and at what the
//! probe connection has measured.

use std::fs::File;
use std::io::{Read, Seek};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::counts::{Count, Counts};
use crate::measure::{self, Latency, Live};
use crate::out::Progress;

const SECOND: Duration = Duration::from_secs(1);

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Connections are opened.
    RampUp,
    /// All are there, and short ones come and go beside them.
    Churn,
    /// All are there.
    Hold,
    /// They are closed.
    RampDown,
}

pub(super) const PARTS: usize = Part::RampDown as usize + 1;

/// Round trips of the probe connection that nobody has looked at yet: one shard adds to them, the thread takes them away.
#[derive(Debug, Default)]
pub(super) struct Probed(Mutex<Vec<(Part, u64)>>);

impl Probed {
    pub(super) fn add(&self, part: Part, ns: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((part, ns));
    }

    fn take(&self) -> Vec<(Part, u64)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One second, or what there was of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    /// From when the stack was there.
    at_s: f64,
    length_s: f64,
    /// Connections that are there at its end.
    open: u64,
    /// Within it; of `closed` those that were lost as well.
    opened: u64,
    closed: u64,
    lost: u64,
    /// Short ones that came and went beside them.
    churned: u64,
    requests: u64,
    responses: u64,
    /// Memory in RAM at its end, of this process and of the server's.
    resident_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_resident_bytes: Option<u64>,
    /// Of the probe connection's requests that were answered within it.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<Second>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Second {
    count: u64,
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    pub(super) samples: Vec<Sample>,
    /// Of the probe connection, of each part.
    pub(super) probe: [Histogram<u64>; PARTS],
}

impl Timeline {
    fn new() -> Self {
        Self { samples: Vec::new(), probe: std::array::from_fn(|_| measure::histogram()) }
    }

    pub(super) fn peak(&self) -> u64 {
        self.samples.iter().map(|sample| sample.resident_bytes).max().unwrap_or(0)
    }

    pub(super) fn server_peak(&self) -> Option<u64> {
        self.samples.iter().filter_map(|sample| sample.server_resident_bytes).max()
    }
}

/// What the thread looks at.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    pub(super) connections: usize,
    pub(super) counts: Arc<Counts>,
    pub(super) churn: Arc<Counts>,
    /// If there is a probe connection.
    pub(super) probed: Option<Arc<Probed>>,
    pub(super) server: Option<u32>,
}

/// The thread.
#[derive(Debug)]
pub(super) struct Watch(Sender<()>, JoinHandle<Timeline>);

impl Watch {
    pub(super) fn start(live: Live, looked: Looked) -> anyhow::Result<Self> {
        let (sender, end) = mpsc::channel::<()>();
        let mut watching = Watching::new(looked);
        let watch = move || {
            if let Err(error) = fourwave::drop_privileges() {
                tracing::warn!("{error}");
            }
            let (mut progress, began) = (Progress::new(), Instant::now());
            let mut due = SECOND;
            while end.recv_timeout(due.saturating_sub(began.elapsed())) == Err(RecvTimeoutError::Timeout) {
                watching.look(began.elapsed());
                // Behind a stall what was missed is one long second.
                due = Duration::from_secs(began.elapsed().as_secs() + 1);
                let line = || format!("{:4.0} s  {}", began.elapsed().as_secs_f64(), watching.line());
                match live {
                    Live::Off => {}
                    Live::Lines => progress.done(&line()),
                    Live::InPlace => progress.now(&line()),
                }
            }
            watching.end(began.elapsed());
            watching.timeline
        };
        Ok(Self(sender, thread::Builder::new().name("watch".into()).spawn(watch)?))
    }

    pub(super) fn finish(self) -> anyhow::Result<Timeline> {
        drop(self.0);
        self.1.join().map_err(|_| anyhow::anyhow!("the thread that looks at each second panicked"))
    }
}

struct Watching {
    looked: Looked,
    here: Resident,
    there: Option<Resident>,
    timeline: Timeline,
    /// What there was at the end of the last second.
    until: Duration,
    last: Totals,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    opened: u64,
    closed: u64,
    lost: u64,
    churned: u64,
    requests: u64,
    responses: u64,
}

impl Totals {
    fn of(looked: &Looked) -> Self {
        let counts = &looked.counts;
        // What ends is counted first: never more of that than there were.
        let lost = counts.lost();
        let closed = lost + counts.get(Count::InOrder) + counts.get(Count::NotInOrder);
        Self {
            closed,
            lost,
            churned: looked.churn.get(Count::InOrder),
            responses: counts.get(Count::Responses),
            requests: counts.get(Count::Requests),
            opened: counts.get(Count::Established),
        }
    }
}

impl Watching {
    fn new(looked: Looked) -> Self {
        Self {
            here: Resident::here(),
            there: looked.server.map(Resident::of),
            timeline: Timeline::new(),
            until: Duration::ZERO,
            last: Totals::default(),
            looked,
        }
    }

    fn look(&mut self, now: Duration) {
        let (totals, last) = (Totals::of(&self.looked), self.last);
        let probe = self.looked.probed.as_ref().map(|probed| {
            let mut second = measure::histogram();
            for (part, ns) in probed.take() {
                second.saturating_record(ns);
                self.timeline.probe[part as usize].saturating_record(ns);
            }
            let Latency { p50, p99, p999, max, .. } = Latency::of(&second);
            Second { count: second.len(), p50, p99, p999, max }
        });
        self.timeline.samples.push(Sample {
            at_s: self.until.as_secs_f64(),
            length_s: now.saturating_sub(self.until).as_secs_f64(),
            open: totals.opened.saturating_sub(totals.closed),
            opened: totals.opened - last.opened,
            closed: totals.closed - last.closed,
            lost: totals.lost - last.lost,
            churned: totals.churned - last.churned,
            requests: totals.requests - last.requests,
            responses: totals.responses - last.responses,
            resident_bytes: self.here.bytes(),
            server_resident_bytes: self.there.as_mut().map(Resident::bytes),
            probe,
        });
        (self.until, self.last) = (now, totals);
    }

    /// The stack has gone: its memory is what it was in the second before.
    fn end(&mut self, now: Duration) {
        let before = self.timeline.samples.last().map(|sample| sample.resident_bytes);
        self.look(now);
        self.timeline.samples.last_mut().zip(before).into_iter().for_each(|(last, bytes)| last.resident_bytes = bytes);
    }

    /// For people.
    fn line(&self) -> String {
        let (counts, connections) = (&self.looked.counts, self.looked.connections);
        let (established, lost, failed) = (counts.get(Count::Established), counts.lost(), counts.not_opened());
        let mut line = format!(
            "{established} of {connections} established  {lost} lost  {failed} failed  {} answers",
            counts.get(Count::Responses)
        );
        let churned = self.looked.churn.get(Count::InOrder);
        if churned > 0 {
            line += &format!("  {churned} came and went");
        }
        line
    }
}

/// Memory of a process that is in RAM.
#[derive(Debug)]
pub(super) struct Resident {
    /// Open from the start: when it is wanted there may be no descriptor left.
    status: Option<File>,
}

impl Resident {
    pub(super) fn here() -> Self {
        Self { status: File::open("/proc/self/status").ok() }
    }

    pub(super) fn of(pid: u32) -> Self {
        Self { status: File::open(format!("/proc/{pid}/status")).ok() }
    }

    /// 0 of one that is gone.
    pub(super) fn bytes(&mut self) -> u64 {
        let mut status = String::new();
        let read = self.status.as_mut().map(|file| file.rewind().and_then(|()| file.read_to_string(&mut status)));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        read.and(kib).unwrap_or(0) << 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1000 come, 10 are lost, 490 are closed: what each second has adds up, and what is there at its end is what is left.
    #[test]
    fn seconds_are_what_changed_and_what_is_there() {
        let (counts, churn, probed) = (Arc::new(Counts::default()), Arc::new(Counts::default()), Arc::default());
        let looked = Looked {
            connections: 1000,
            counts: Arc::clone(&counts),
            churn: Arc::clone(&churn),
            probed: Some(Arc::clone(&probed)),
            server: None,
        };
        let mut watching = Watching::new(looked);
        counts.add(Count::Established, 1000);
        probed.add(Part::RampUp, 100);
        watching.look(Duration::from_secs(1));
        counts.add(Count::Reset, 10);
        churn.add(Count::InOrder, 5);
        watching.look(Duration::from_millis(2500));
        counts.add(Count::InOrder, 490);
        probed.add(Part::RampDown, 300);
        probed.add(Part::RampDown, 500);
        watching.end(Duration::from_secs(3));
        let of = |sample: &Sample| (sample.open, sample.opened, sample.closed, sample.lost, sample.churned);
        let seen: Vec<_> = watching.timeline.samples.iter().map(of).collect();
        assert_eq!(seen, [(1000, 1000, 0, 0, 0), (990, 0, 10, 10, 5), (500, 0, 490, 0, 0)]);
        let times: Vec<_> = watching.timeline.samples.iter().map(|sample| (sample.at_s, sample.length_s)).collect();
        assert_eq!(times, [(0.0, 1.0), (1.0, 1.5), (2.5, 0.5)]);
        let probes: Vec<_> = watching.timeline.samples.iter().map(|sample| sample.probe.unwrap().count).collect();
        assert_eq!(probes, [1, 0, 2]);
        assert_eq!(watching.timeline.samples[2].probe.unwrap().max, 500);
        assert_eq!(watching.timeline.probe.each_ref().map(Histogram::len), [1, 0, 0, 2]);
        assert_eq!(watching.timeline.samples[2].resident_bytes, watching.timeline.samples[1].resident_bytes);
        // A test's process has a megabyte at the least, and not a terabyte.
        assert!((1 << 20..1 << 40).contains(&watching.timeline.peak()), "{}", watching.timeline.peak());
        assert_eq!(watching.timeline.server_peak(), None);
        assert!(Resident::of(std::process::id()).bytes() > 1 << 20);
    }
}
