//! Runs programmes in lock-step, and writes down what happened.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::capture::{Capture, Kind, Ports, Seen};
use crate::common;
use crate::decisions;
use crate::program::{Answer, Call, Opened, Program, Side};
use crate::side::{Kernel, Party};

/// What happened in a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) answers: Vec<(Call, Answer)>,
    pub(crate) segments: Vec<(Side, Kind)>,
}

/// What happened in a programme; the first step is the opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transcript {
    pub(crate) steps: Vec<Step>,
}

/// The peer, and the capture on its interface.
pub(crate) struct Run {
    /// Where D listens, and P.
    d: SocketAddr,
    p: SocketAddr,
    peer: Kernel,
    capture: Capture,
    /// How long nothing must come for a step to be over.
    silence: Duration,
}

impl Run {
    /// A peer that listens on `p`.
    pub(crate) fn new(d: SocketAddr, p: SocketAddr, silence: Duration) -> Self {
        Self { d, p, peer: Kernel::new("fw-b", &[p]), capture: Capture::start("fw-b", d.ip()), silence }
    }

    /// Runs programmes at the same time, each on a connection of its own.
    pub(crate) fn batch(&mut self, d: &mut dyn Party, programs: &[Program]) -> Vec<Transcript> {
        self.capture.settle(self.silence);
        self.capture.take();
        let ports: Vec<_> = programs.iter().map(|program| self.open(d, program.opened)).collect();
        let index: HashMap<Ports, usize> = ports.iter().enumerate().map(|(number, ports)| (*ports, number)).collect();
        let mut transcripts = vec![Transcript::default(); programs.len()];
        let most = programs.iter().map(|program| program.steps.len()).max().unwrap_or(0);
        self.capture.settle(self.silence);
        self.note(&index, &mut transcripts, 0);
        for at in 0..most {
            if at == 0 && programs[0].crossing {
                assert!(programs.iter().all(|program| program.crossing), "the wire is cut for all of a batch");
                self.cross(d, programs, &mut transcripts);
            } else {
                self.step(Side::D, d, programs, at, &mut transcripts);
                self.step(Side::P, d, programs, at, &mut transcripts);
                self.capture.settle(self.silence);
            }
            self.note(&index, &mut transcripts, at + 1);
        }
        d.forget();
        self.peer.forget();
        transcripts
    }

    fn open(&mut self, d: &mut dyn Party, opened: Opened) -> Ports {
        match opened {
            Opened::ByD => {
                let from = d.connect(self.p);
                self.peer.accept(from);
                (self.p.port(), from.port())
            }
            Opened::ByP => {
                let from = self.peer.connect(self.d);
                d.accept(from);
                (from.port(), self.d.port())
            }
        }
    }

    /// The calls of one side in a step of all programmes.
    fn step(&mut self, side: Side, d: &mut dyn Party, programs: &[Program], at: usize, to: &mut [Transcript]) {
        let all = programs.iter().enumerate();
        let calls = all
            .flat_map(|(number, program)| program.steps.get(at).into_iter().flatten().map(move |call| (number, *call)));
        let calls: Vec<_> = calls.filter(|(_, call)| call.side == side).collect();
        let verbs: Vec<_> = calls.iter().map(|(number, call)| (*number, call.verb)).collect();
        let answers = if side == Side::D { d.calls(&verbs) } else { self.peer.calls(&verbs) };
        for ((number, call), answer) in calls.into_iter().zip(answers) {
            to[number].at(at + 1).answers.push((call, answer));
        }
    }

    /// The first step while P's packets are lost: P has no route. What was lost comes again later.
    fn cross(&mut self, d: &mut dyn Party, programs: &[Program], to: &mut [Transcript]) {
        let to_d = format!("{}/{}", self.d.ip(), if self.d.is_ipv4() { 32 } else { 128 });
        let route = |verb: &str| {
            let script = format!("ip -n fw-b route {verb} blackhole {to_d}");
            let output = common::sh(&script);
            assert!(output.status.success(), "{script}: {}", common::stderr(&output));
        };
        route("add");
        self.step(Side::P, d, programs, 0, to);
        self.step(Side::D, d, programs, 0, to);
        self.capture.settle(self.silence);
        route("del");
        // Retransmission has backed off to 0.4 s or 0.8 s by then.
        self.capture.settle(self.silence.max(Duration::from_millis(1500)));
    }

    /// Notes the segments of a step.
    fn note(&self, index: &HashMap<Ports, usize>, transcripts: &mut [Transcript], at: usize) {
        for Seen { ports, side, kind } in self.capture.take() {
            let Some(number) = index.get(&ports) else { continue };
            let segments = &mut transcripts[*number].at(at).segments;
            match (segments.last_mut(), kind) {
                (Some((last, Kind::Data(sum))), Kind::Data(more)) if *last == side => *sum += more,
                // Each segment of a burst may be answered.
                (Some((last, Kind::Rst)), Kind::Rst) if *last == side => {}
                _ => segments.push((side, kind)),
            }
        }
    }
}

impl Transcript {
    fn at(&mut self, step: usize) -> &mut Step {
        if self.steps.len() <= step {
            self.steps.resize(step + 1, Step::default());
        }
        &mut self.steps[step]
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (call, answer) in &self.answers {
            write!(f, "{call} = {answer:?}, ")?;
        }
        for (side, kind) in &self.segments {
            write!(f, "{}{kind:?} ", if *side == Side::D { "D>" } else { "P>" })?;
        }
        Ok(())
    }
}

/// A programme that differs by no decision.
pub(crate) struct Difference {
    pub(crate) program: Program,
    /// What was the same.
    before: String,
    /// The first step that was not, over Linux and over fourwave.
    step: [String; 2],
}

/// All differences.
pub(crate) fn differences(programs: &[Program], kernel: &[Transcript], fourwave: &[Transcript]) -> Vec<Difference> {
    let mut found = Vec::new();
    for ((program, kernel), fourwave) in programs.iter().zip(kernel).zip(fourwave) {
        let kernel = decisions::as_we_say_it(kernel);
        let until = decisions::first_decided(&kernel).unwrap_or(usize::MAX);
        let steps = kernel.steps.len().max(fourwave.steps.len());
        let of = |transcript: &Transcript, at: usize| {
            let mut step = transcript.steps.get(at).cloned().unwrap_or_default();
            if program.crossing && at == 1 {
                // Whose retransmission comes first is a matter of milliseconds.
                step.segments.sort_by_key(|(side, _)| *side);
            }
            step
        };
        let Some(first) = (0..steps.min(until)).find(|at| of(&kernel, *at) != of(fourwave, *at)) else { continue };
        let before = (0..first).map(|at| format!("    both      {}\n", of(&kernel, at))).collect();
        let step = [of(&kernel, first).to_string(), of(fourwave, first).to_string()];
        found.push(Difference { program: program.clone(), before, step });
    }
    found
}

/// One example of each kind of difference, the shortest, and how many there are of the kind.
pub(crate) fn report(differences: &[Difference]) -> String {
    let mut kinds: BTreeMap<&[String; 2], Vec<&Difference>> = BTreeMap::new();
    for difference in differences {
        kinds.entry(&difference.step).or_default().push(difference);
    }
    let mut text = String::new();
    for ([linux, fourwave], all) in kinds {
        let Some(shortest) = all.iter().min_by_key(|difference| difference.program.steps.len()) else { continue };
        text += &format!("{} of this kind: {}\n{}", all.len(), shortest.program, shortest.before);
        text += &format!("    Linux     {linux}\n    fourwave  {fourwave}\n\n");
    }
    text
}
