//! The clock of a measurement: the processor's counter where that can be trusted, else the kernel's; and whether it kept time.
//!
//! The counter (TSC) is read in a third of the time that `CLOCK_MONOTONIC` takes. Its rate is measured against
//! `CLOCK_MONOTONIC_RAW`, which nobody adjusts, before anything else is, and checked against it in every second of the run.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::out;

/// How long the counter's rate is measured: a look is good to some 30 ns, so the rate is to some millionths.
const CALIBRATION: Duration = Duration::from_millis(20);
/// A clock that is wrong by more is unstable, in millionths. Crystals are good to 50, and the calibration to a few.
const DRIFT_LIMIT_PPM: u32 = 100;
/// Over less time than this a drift can't be told from how long a look takes.
const SHORTEST: Duration = Duration::from_millis(100);
/// Readings of which the best is one look.
const READINGS: usize = 16;
/// Clock sources of the kernel that are the same counter.
const COUNTED: [&str; 3] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page"];

static COUNTER: OnceLock<quanta::Clock> = OnceLock::new();

/// What time stamps are made with: monotonic, in nanoseconds. Its times have the type of the stack's clock but are not comparable
/// with that one's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Source);

#[derive(Clone, Copy, Debug)]
enum Source {
    Tsc(&'static quanta::Clock, Scale),
    Monotonic(Instant),
}

impl Clock {
    /// The kernel's `CLOCK_MONOTONIC`, which the stack's own clock is as well.
    pub(crate) fn monotonic() -> Self {
        Self(Source::Monotonic(Instant::now()))
    }

    /// The counter, which takes 20 ms to calibrate. An error says why it can't be trusted.
    pub(crate) fn tsc() -> Result<Self, String> {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let source = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
        trusted(&read("/proc/cpuinfo"), source.trim())?;
        let counter = COUNTER.get_or_init(quanta::Clock::new);
        let from = Look::take(|| counter.raw(), kernel_ns);
        std::thread::sleep(CALIBRATION);
        let to = Look::take(|| counter.raw(), kernel_ns);
        let scale = Scale::between(&from, &to).ok_or("it stands still")?;
        Ok(Self(Source::Tsc(counter, scale)))
    }

    #[inline]
    pub(crate) fn now(&self) -> fourwave::Instant {
        match self.0 {
            Source::Tsc(counter, scale) => fourwave::Instant::from_nanos(scale.nanos(counter.raw())),
            Source::Monotonic(origin) => fourwave::Instant::ZERO + origin.elapsed().into(),
        }
    }
}

/// Why the processor's counter can't be used, if it can't, by `/proc/cpuinfo` and the kernel's clock source.
fn trusted(cpuinfo: &str, source: &str) -> Result<(), String> {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    let missing =
        ["constant_tsc", "nonstop_tsc", "rdtscp"].into_iter().find(|flag| !flags.split(' ').any(|f| f == *flag));
    if let Some(flag) = missing {
        return Err(format!("the processor has no {flag}"));
    }
    match COUNTED.contains(&source) {
        true => Ok(()),
        false => Err(format!("the kernel does not use it, but {source}")),
    }
}

fn kernel_ns() -> u64 {
    let time = clock_gettime(ClockId::MonotonicRaw);
    let whole = u64::try_from(time.tv_sec).unwrap_or_default() * 1_000_000_000;
    whole + u64::try_from(time.tv_nsec).unwrap_or_default()
}

/// From counts to nanoseconds: 2^32 of the one are `factor` of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scale {
    origin: u64,
    factor: u64,
}

impl Scale {
    /// None if either clock has not gone on.
    fn between(from: &Look, to: &Look) -> Option<Self> {
        let counts = to.ours.checked_sub(from.ours).filter(|counts| *counts > 0)?;
        let ns = to.kernel.checked_sub(from.kernel).filter(|ns| *ns > 0)?;
        let factor = u64::try_from((u128::from(ns) << 32) / u128::from(counts)).ok()?;
        Some(Self { origin: from.ours, factor })
    }

    /// Counts before the calibration are at zero.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "nanoseconds of 584 years")]
    fn nanos(&self, count: u64) -> u64 {
        ((u128::from(count.saturating_sub(self.origin)) * u128::from(self.factor)) >> 32) as u64
    }

    /// Counts per second.
    fn hz(&self) -> u64 {
        u64::try_from((1_000_000_000u128 << 32) / u128::from(self.factor.max(1))).unwrap_or(u64::MAX)
    }
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    ours: u64,
    kernel: u64,
    /// The two may be as far apart.
    slack: u64,
}

impl Look {
    /// The best of several: each reads the kernel's clock before and behind ours.
    fn take(mut ours: impl FnMut() -> u64, mut kernel: impl FnMut() -> u64) -> Self {
        let mut before = kernel();
        let mut reading = || {
            let (from, ours, to) = (before, ours(), kernel());
            before = to;
            Self { ours, kernel: u64::midpoint(from, to), slack: to.saturating_sub(from) }
        };
        let first = reading();
        (1..READINGS).map(|_| reading()).fold(first, |best, next| if next.slack < best.slack { next } else { best })
    }

    /// How much further our clock went than the kernel's since `earlier`, in nanoseconds, and how long that was by the
    /// kernel's.
    fn ahead_since(&self, earlier: &Self) -> (i64, u64) {
        let signed = |to: u64, from: u64| i64::try_from(i128::from(to) - i128::from(from)).unwrap_or(i64::MAX);
        let (ours, kernel) = (signed(self.ours, earlier.ours), signed(self.kernel, earlier.kernel));
        (ours.saturating_sub(kernel), kernel.unsigned_abs())
    }
}

/// Compares a clock with the kernel's over a whole run. Copies are of the same.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    clock: Clock,
    /// Why it is not the counter, where that was asked for.
    no_tsc: Option<String>,
    check: Arc<Mutex<Check>>,
}

impl Watch {
    pub(super) fn new(clock: Clock, no_tsc: Option<String>) -> Self {
        let watch = Self { clock, no_tsc, check: Arc::default() };
        watch.look();
        watch
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Now and then.
    pub(super) fn look(&self) {
        let look = Look::take(|| self.clock.now().as_nanos(), kernel_ns);
        if let Ok(mut check) = self.check.lock() {
            check.add(look);
        }
    }

    pub(super) fn report(&self) -> ClockReport {
        let check = self.check.lock().map(|check| check.clone()).unwrap_or_default();
        let (source, tsc_hz) = match self.clock.0 {
            Source::Tsc(_, scale) => ("tsc", Some(scale.hz())),
            Source::Monotonic(_) => ("clock_monotonic", None),
        };
        ClockReport {
            source: source.to_owned(),
            no_tsc: self.no_tsc.clone(),
            tsc_hz,
            drift_ppm: check.drift_ppm(),
            largest_jump_ns: check.jump.unsigned_abs(),
            stable: check.complaint().is_none(),
        }
    }

    /// A sentence if times are not to be trusted.
    pub(super) fn complaint(&self) -> Option<String> {
        self.check.lock().ok()?.complaint()
    }
}

#[derive(Clone, Debug, Default)]
struct Check {
    first: Option<Look>,
    last: Option<Look>,
    /// The largest difference between two looks that neither their slack nor a drift within the limit explains, in
    /// nanoseconds: above zero our clock went ahead.
    jump: i64,
}

impl Check {
    fn add(&mut self, look: Look) {
        if let Some(last) = &self.last {
            let (ahead, over) = look.ahead_since(last);
            let allowed = look.slack + last.slack + over / 1_000_000 * u64::from(DRIFT_LIMIT_PPM);
            if ahead.unsigned_abs() > allowed && ahead.unsigned_abs() > self.jump.unsigned_abs() {
                self.jump = ahead;
            }
        }
        self.first.get_or_insert(look);
        self.last = Some(look);
    }

    /// Above zero our clock is the faster one.
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    fn drift_ppm(&self) -> Option<f64> {
        let (first, last) = self.first.zip(self.last)?;
        let (ahead, over) = last.ahead_since(&first);
        let enough = u128::from(over) >= SHORTEST.as_nanos();
        enough.then(|| (ahead as f64 / over as f64 * 1e8).round() / 100.0)
    }

    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    fn complaint(&self) -> Option<String> {
        if self.jump != 0 {
            let way = if self.jump > 0 { "ahead" } else { "back" };
            return Some(format!(
                "the clock is unstable: it went {way} by {} that the kernel's clock does not know of; some times are wrong by as much",
                out::nanoseconds(self.jump.unsigned_abs() as f64)
            ));
        }
        let drift = self.drift_ppm().filter(|drift| drift.abs() > f64::from(DRIFT_LIMIT_PPM))?;
        let way = if drift > 0.0 { "fast" } else { "slow" };
        Some(format!(
            "the clock is unstable: it is {:.0} millionths too {way} by the kernel's; all times are wrong by as much",
            drift.abs()
        ))
    }
}

/// How well the clock kept time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClockReport {
    /// `tsc` or `clock_monotonic`.
    pub(crate) source: String,
    /// Why it is not `tsc`, where that was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) no_tsc: Option<String>,
    /// Of the processor's counter, if that is the source.
    pub(crate) tsc_hz: Option<u64>,
    /// How much faster than `CLOCK_MONOTONIC_RAW` it went, over the whole run; none if that was too short to tell.
    pub(crate) drift_ppm: Option<f64>,
    /// What it went ahead or back within a second that the kernel's clock did not, beyond any drift that is allowed.
    #[serde(default)]
    pub(crate) largest_jump_ns: u64,
    /// Neither of them is too much.
    pub(crate) stable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn look(ours: u64, kernel: u64, slack: u64) -> Look {
        Look { ours, kernel, slack }
    }

    /// 2.5 counts per nanosecond, from 1000 on.
    #[test]
    fn counts_become_nanoseconds() {
        let scale = Scale::between(&look(1000, 7, 0), &look(1000 + 50_000_000, 7 + 20_000_000, 0)).unwrap();
        assert_eq!([1000, 1005, 2_500_001_000, 999, 0].map(|count| scale.nanos(count)), [0, 1, 999_999_999, 0, 0]);
        // 2^32 * 0.4 is rounded down: by less than one in 2^30.
        assert!(scale.hz().abs_diff(2_500_000_000) <= 3, "{}", scale.hz());
        // Centuries don't overflow: 2^64 counts are 234 years.
        assert!(scale.nanos(u64::MAX).abs_diff(u64::MAX / 5 * 2) < u64::MAX >> 30);
        // 25 MHz, as on other machines.
        assert_eq!(Scale::between(&look(0, 0, 0), &look(25, 1000, 0)).map(|scale| scale.nanos(2)), Some(80));
        assert_eq!(Scale::between(&look(5, 0, 0), &look(5, 9, 0)), None, "it stands still");
        assert_eq!(Scale::between(&look(5, 9, 0), &look(4, 10, 0)), None, "it goes back");
        assert_eq!(Scale::between(&look(5, 9, 0), &look(6, 9, 0)), None, "the kernel's stands still");
    }

    #[test]
    fn a_look_is_the_reading_that_was_the_quickest() {
        // The kernel's clock before the first and behind each; in the third nothing came in between.
        let kernel = [0, 900, 2000, 2040, 3000].into_iter().chain((4..).map(|n| n * 1000));
        let (mut kernel, mut ours) = (kernel.into_iter(), 10..);
        let found = Look::take(|| ours.next().unwrap(), || kernel.next().unwrap());
        assert_eq!((found.ours, found.kernel, found.slack), (12, 2020, 40));
    }

    fn checked(looks: &[Look]) -> Check {
        let mut check = Check::default();
        looks.iter().for_each(|look| check.add(*look));
        check
    }

    #[test]
    fn a_drift_is_told_in_millionths_once_there_was_time_for_it() {
        let second = 1_000_000_000;
        // 50 µs and 2 s: 25 millionths.
        let check = checked(&[
            look(0, 500, 30),
            look(second + 25_000, second + 500, 30),
            look(2 * second + 50_000, 2 * second + 500, 30),
        ]);
        assert_eq!((check.drift_ppm(), check.complaint()), (Some(25.0), None));
        // Each second is within the limit but for its slack, the whole is not.
        let slow = [0, 1, 2].map(|at| look(at * (second - 100_020), at * second, 30));
        let said = checked(&slow).complaint().unwrap();
        assert_eq!(checked(&slow).drift_ppm(), Some(-100.02));
        assert!(said.contains("unstable") && said.contains("100 millionths too slow"), "{said}");
        let short = checked(&[look(0, 0, 30), look(90_001_000, 90_000_000, 30)]);
        assert_eq!((short.drift_ppm(), short.complaint()), (None, None));
        assert_eq!(checked(&[look(0, 0, 30)]).drift_ppm(), None);
    }

    #[test]
    fn a_jump_is_what_neither_drift_nor_a_slow_look_explains() {
        let second = 1_000_000_000;
        let of =
            |ours: u64, slack| checked(&[look(0, 0, 0), look(ours, second, slack), look(ours + second, 2 * second, 0)]);
        // A second may drift by 100 µs.
        assert_eq!(of(second + 100_000, 0).jump, 0);
        assert_eq!(of(second + 100_001, 0).jump, 100_001);
        assert_eq!(of(second + 100_001, 1).jump, 0, "the look took that long");
        let back = checked(&[look(5000, 0, 0), look(4000, 1000, 0)]);
        assert_eq!(back.jump, -2000);
        assert!(back.complaint().unwrap().contains("went back by 2.00 µs"), "{:?}", back.complaint());
        assert!(of(second + 2_000_000, 0).complaint().unwrap().contains("went ahead by 2.00 ms"));
    }

    #[test]
    fn a_counter_is_trusted_if_the_processor_and_the_kernel_do() {
        let cpu = |flags: &str| format!("processor\t: 0\nflags\t\t: fpu {flags} vme\nbogomips\t: 4890\n");
        let all = cpu("constant_tsc rdtscp nonstop_tsc");
        for source in ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page"] {
            assert_eq!(trusted(&all, source), Ok(()));
        }
        assert!(trusted(&all, "hpet").unwrap_err().contains("hpet"));
        assert!(trusted(&cpu("constant_tsc rdtscp"), "tsc").unwrap_err().contains("nonstop_tsc"));
        assert!(trusted("Features\t: fp asimd\n", "arch_sys_counter").unwrap_err().contains("constant_tsc"));
    }
}
