//! Where a capture goes: a pipe, a file, or a ring of files.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use fourwave::capture::pcapng::{Interface, Packet, Section, Statistics, Writer};
use fourwave::capture::{Counts, Frame, Moment, Queue};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Config;
use super::pipe::Pipe;
use crate::measure::Machine;
use crate::stop::Stop;

/// Where it goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    File(PathBuf),
    Ring(Ring),
}

/// Files that follow one another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    /// Between its stem and its extension each has its number and its time.
    pub(crate) name: PathBuf,
    /// How many are kept; `None`: all.
    pub(crate) files: Option<u32>,
    /// When the next one begins.
    pub(crate) bytes: Option<u64>,
    pub(crate) time: Option<Duration>,
}

/// What stands at the beginning of each file.
#[derive(Debug)]
struct Head {
    hardware: String,
    os: String,
    filter: String,
    snaplen: u32,
    /// Name and description of each interface.
    interfaces: Vec<(String, String)>,
}

/// The files of a capture.
pub(super) struct Files {
    head: Head,
    ring: Option<Ring>,
    /// `None`: who reads it went away.
    writer: Option<Writer<BufWriter<Box<dyn Write>>>>,
    stdout: bool,
    /// Of what there is now, in their order; and how many there were.
    paths: VecDeque<PathBuf>,
    number: u64,
    /// When the capture began, nanoseconds since 1970.
    began: u64,
    /// When this file did, on the clock that nobody sets; not known before the first frame or mark.
    file_began: Option<u64>,
    now: Moment,
}

impl Files {
    pub(super) fn open(config: &Config, queues: &[Queue], stop: &Stop) -> anyhow::Result<Self> {
        let target = &config.target;
        let ring = match target {
            Target::Ring(Ring { name, files, bytes, time }) => {
                Some(Ring { name: name.clone(), files: *files, bytes: *bytes, time: *time })
            }
            _ => None,
        };
        let now = Moment { unix_nanos: nanos(SystemTime::now()), clock_nanos: 0 };
        let mut files = Self {
            head: Head::new(config, queues),
            ring,
            writer: None,
            stdout: *target == Target::Stdout,
            paths: VecDeque::new(),
            number: 0,
            began: now.unix_nanos,
            file_began: None,
            now,
        };
        match target {
            Target::Stdout => files.begin(Box::new(Pipe::stdout(stop).context("cannot write to stdout")?))?,
            Target::File(path) => files.create(path.clone())?,
            Target::Ring(_) => files.create_next()?,
        }
        Ok(files)
    }

    /// Whether there is still somebody who reads it.
    pub(super) fn is_open(&self) -> bool {
        self.writer.is_some()
    }

    fn create(&mut self, path: PathBuf) -> anyhow::Result<()> {
        let file = File::create(&path).with_context(|| format!("cannot write to {}", path.display()))?;
        self.paths.push_back(path);
        self.begin(Box::new(file))
    }

    fn create_next(&mut self) -> anyhow::Result<()> {
        let Some(ring) = &self.ring else { return Ok(()) };
        self.number += 1;
        let path = numbered(&ring.name, self.number, self.now.unix_nanos);
        let most = ring.files.map_or(usize::MAX, |files| files as usize);
        self.create(path)?;
        while self.paths.len() > most {
            let oldest = self.paths.pop_front();
            // Somebody may have taken it away.
            oldest.map(fs::remove_file);
        }
        Ok(())
    }

    fn begin(&mut self, out: Box<dyn Write>) -> anyhow::Result<()> {
        self.file_began = (self.number > 1).then_some(self.now.clock_nanos);
        let Head { hardware, os, filter, snaplen, interfaces } = &self.head;
        let application = concat!("fourwave ", env!("CARGO_PKG_VERSION"));
        let section = Section { hardware, os, application, comment: "" };
        let interfaces = interfaces.iter();
        let interfaces: Vec<_> =
            interfaces.map(|(name, description)| Interface { name, description, filter, snaplen: *snaplen }).collect();
        let writer = Writer::new(BufWriter::with_capacity(256 << 10, out), &section, &interfaces);
        let flushed = writer.and_then(|mut writer| writer.flush().map(|()| writer));
        self.writer = self.kept(flushed)?;
        Ok(())
    }

    /// `None` where who reads a pipe went away, which is no failure.
    fn kept<T>(&self, written: io::Result<T>) -> anyhow::Result<Option<T>> {
        match written {
            Err(error) if self.stdout && error.kind() == ErrorKind::BrokenPipe => Ok(None),
            written => {
                let to = self.paths.back().map_or_else(|| "stdout".into(), |path| path.display().to_string());
                written.map(Some).with_context(|| format!("cannot write to {to}"))
            }
        }
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut Writer<BufWriter<Box<dyn Write>>>) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        let written = write(&mut writer);
        if self.kept(written)?.is_some() {
            self.writer = Some(writer);
        }
        Ok(())
    }

    /// Writes a frame, into the next file if this one is full.
    pub(super) fn packet(&mut self, frame: &Frame<'_>, counts: &[Counts]) -> anyhow::Result<()> {
        self.now = frame.at;
        self.turn_over(counts)?;
        let packet = Packet {
            interface: u32::try_from(frame.queue).unwrap_or(0),
            at_nanos: frame.at.unix_nanos,
            bytes: frame.bytes,
            len: frame.len,
            outbound: frame.sent,
            lost: frame.lost,
            comment: frame.comment,
        };
        self.write(|writer| writer.packet(packet))
    }

    /// All frames before this time were written: who reads is to have them.
    pub(super) fn mark(&mut self, now: Moment, counts: &[Counts]) -> anyhow::Result<()> {
        self.now = now;
        self.turn_over(counts)?;
        self.write(Writer::flush)?;
        if self.stdout && self.writer.is_some() && reader_is_gone() {
            self.writer = None;
        }
        Ok(())
    }

    /// Begins the next file of a ring when its time has come.
    fn turn_over(&mut self, counts: &[Counts]) -> anyhow::Result<()> {
        let (Some(ring), Some(writer)) = (&self.ring, &self.writer) else { return Ok(()) };
        let full = ring.bytes.is_some_and(|bytes| writer.written() >= bytes);
        let age = self.now.clock_nanos.saturating_sub(*self.file_began.get_or_insert(self.now.clock_nanos));
        let old = ring.time.is_some_and(|time| u128::from(age) >= time.as_nanos());
        if !full && !old {
            return Ok(());
        }
        self.close(counts)?;
        self.create_next()
    }

    /// Writes what the interfaces have seen, and ends a file.
    fn close(&mut self, counts: &[Counts]) -> anyhow::Result<()> {
        let (from_nanos, to_nanos) = (self.began, self.began.max(self.now.unix_nanos).max(nanos(SystemTime::now())));
        for (interface, count) in (0..).zip(counts) {
            let Counts { seen, matched, dropped } = *count;
            let statistics = Statistics { interface, from_nanos, to_nanos, seen, matched, dropped };
            self.write(|writer| writer.statistics(&statistics))?;
        }
        self.write(Writer::flush)?;
        self.writer = None;
        Ok(())
    }

    /// Ends the last one. The files that there are.
    pub(super) fn finish(mut self, counts: &[Counts]) -> anyhow::Result<Vec<PathBuf>> {
        self.close(counts)?;
        Ok(self.paths.into())
    }
}

impl Head {
    fn new(config: &Config, queues: &[Queue]) -> Self {
        let machine = Machine::this();
        let several = queues.len() > 1;
        let interface = |queue: &Queue| {
            let Queue { interface, queue, shard } = queue;
            let name = if several { format!("{interface} queue {queue}") } else { interface.clone() };
            (name, format!("AF_XDP socket of queue {queue}, shard {shard} of fourwave"))
        };
        Self {
            hardware: machine.cpu,
            os: format!("Linux {}", machine.kernel),
            filter: config.filter.clone(),
            snaplen: config.snaplen,
            interfaces: queues.iter().map(interface).collect(),
        }
    }
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Nobody reads what a pipe is given any more: told by an error that is not asked for.
fn reader_is_gone() -> bool {
    let stdout = io::stdout();
    let mut pipe = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut pipe, Some(&now)).is_ok() && pipe[0].revents().contains(PollFlags::ERR)
}

/// `ring.pcapng` becomes `ring_00001_20260131120000.pcapng`, the time in UTC: as dumpcap names its files.
fn numbered(name: &Path, number: u64, now: u64) -> PathBuf {
    let stem = name.file_stem().unwrap_or_default().to_string_lossy();
    let extension = name.extension().map_or_else(|| "pcapng".into(), |extension| extension.to_string_lossy());
    name.with_file_name(format!("{stem}_{number:05}_{}.{extension}", date(now / 1_000_000_000)))
}

/// Seconds since 1970 as `20260131120000`, by the proleptic Gregorian calendar.
fn date(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days since the 1st of March of year 0: a leap day is then the last of its year.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `date -u -d @SECONDS +%Y%m%d%H%M%S` prints them.
    #[test]
    fn dates_are_those_of_date() {
        for (seconds, printed) in [
            (0, "19700101000000"),
            (951_782_399, "20000228235959"),
            (951_782_400, "20000229000000"),
            (951_868_800, "20000301000000"),
            (1_709_164_800, "20240229000000"),
            (1_767_225_599, "20251231235959"),
            (4_107_542_400, "21000301000000"),
        ] {
            assert_eq!(date(seconds), printed);
        }
    }

    #[test]
    fn files_of_a_ring_have_numbers_and_times() {
        let name = |name: &str| numbered(Path::new(name), 7, 951_782_400_000_000_000).display().to_string();
        assert_eq!(name("/tmp/ring.pcapng"), "/tmp/ring_00007_20000229000000.pcapng");
        assert_eq!(name("a.b.cap"), "a.b_00007_20000229000000.cap");
        assert_eq!(name("ring"), "ring_00007_20000229000000.pcapng");
    }
}
