//! The asking end: what all shards have captured, in the order of its time.

use super::message::{self, Kind, Mark};
use super::record::{HEADER, Header};
use super::{Counts, Opened, Queue};
use crate::control::nothing_within;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long the process may take to begin: large buffers are made first.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of the first line at most, and of a message.
const MOST_LINE: usize = 1 << 20;
const MOST_MESSAGE: u32 = 64 << 20;
/// Bytes read at once.
const READ: usize = 256 << 10;

/// A capture that is under way. It ends when this is dropped.
#[derive(Debug)]
pub struct Capture {
    stream: UnixStream,
    queues: Vec<Queue>,
    counts: Vec<Counts>,
    /// What was read and not looked at.
    input: Buffer,
    /// Records of each queue.
    records: Vec<Buffer>,
    /// Records up to this time are all there.
    mark: Option<Mark>,
    /// It is over, and whether the process is.
    over: Option<bool>,
}

/// Bytes that are taken from the front.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    at: usize,
}

impl Buffer {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Makes room at the front, where that is the larger part.
    fn settle(&mut self) {
        if self.at * 2 >= self.bytes.len() {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
    }
}

/// What comes of a capture.
#[derive(Debug)]
pub enum Event<'a> {
    /// A frame.
    Frame(Frame<'a>),
    /// All frames that are older than this have come: time to hand them on.
    Mark(Moment),
    /// Nothing came within the time to wait.
    Nothing,
    /// It is over: the process has ended, or it was asked for.
    Over {
        /// The process has ended.
        process: bool,
    },
}

/// A time, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since 1970, as the machine's clock was set when this was told: it may go back.
    pub unix_nanos: u64,
    /// Nanoseconds on a clock that nobody sets, which never goes back from one frame or mark to the next.
    pub clock_nanos: u64,
}

/// A captured frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Where, by its place in [`Capture::queues`].
    pub queue: usize,
    /// When.
    pub at: Moment,
    /// It was sent; otherwise it came in.
    pub sent: bool,
    /// How long it was, bytes.
    pub len: u32,
    /// What was kept of it.
    pub bytes: &'a [u8],
    /// Frames of this queue that were dropped between the one before and this.
    pub lost: u64,
    /// What its connection is like, if that was asked for.
    pub comment: &'a str,
}

impl Capture {
    /// Asks over a stream for what a line of JSON says; waits so long for what comes then.
    pub(crate) fn open(mut stream: UnixStream, line: &str, wait: Duration) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(line.as_bytes())?;
        let mut capture = Self {
            stream,
            queues: Vec::new(),
            counts: Vec::new(),
            input: Buffer::default(),
            records: Vec::new(),
            mark: None,
            over: None,
        };
        let line = capture.first_line()?;
        match serde_json::from_slice(&line)? {
            Opened::Refused(why) => return Err(io::Error::other(why)),
            Opened::Queues(queues) => capture.queues = queues,
        }
        capture.counts = vec![Counts::default(); capture.queues.len()];
        capture.records.resize_with(capture.queues.len(), Buffer::default);
        capture.stream.set_read_timeout(Some(wait))?;
        Ok(capture)
    }

    fn first_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.input.rest().iter().position(|byte| *byte == b'\n') {
                let line = self.input.rest()[..end].to_vec();
                self.input.at += end + 1;
                return Ok(line);
            }
            if self.input.rest().len() > MOST_LINE {
                return Err(no_capture());
            }
            if !self.read()? {
                return Err(nothing_within(PATIENCE));
            }
        }
    }

    /// Where frames are captured.
    #[must_use]
    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// What each queue had seen at the last mark.
    #[must_use]
    pub fn counts(&self) -> &[Counts] {
        &self.counts
    }

    /// Asks for the end, which comes behind the frames that are under way.
    ///
    /// # Errors
    /// The process has gone.
    pub fn finish(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// What comes next.
    ///
    /// # Errors
    /// The process went away without an end, or sends what is no capture.
    pub fn wait(&mut self) -> io::Result<Event<'_>> {
        loop {
            if let Some(mark) = self.mark {
                let until = if self.over.is_some() { u64::MAX } else { mark.at };
                if let Some((queue, header)) = self.oldest(until) {
                    return Ok(Event::Frame(self.frame(queue, header, mark)?));
                }
                self.mark = None;
                self.records.iter_mut().for_each(Buffer::settle);
                return Ok(self.over.map_or(Event::Mark(moment(mark, mark.at)), |process| Event::Over { process }));
            }
            if !self.message()? && !self.read()? {
                return Ok(Event::Nothing);
            }
        }
    }

    /// The queue whose next frame is the oldest, of those up to a time.
    fn oldest(&self, until: u64) -> Option<(usize, Header)> {
        let heads = self.records.iter().map(|records| Header::read(records.rest())).enumerate();
        let heads = heads.filter_map(|(queue, head)| head.map(|head| (queue, head)));
        heads.filter(|(_, head)| head.at <= until).min_by_key(|(_, head)| head.at)
    }

    fn frame(&mut self, queue: usize, header: Header, mark: Mark) -> io::Result<Frame<'_>> {
        let records = &mut self.records[queue];
        let begins = records.at + HEADER;
        records.at += header.whole();
        let (bytes, comment) = records.bytes[begins..records.at].split_at(header.kept as usize);
        let comment = std::str::from_utf8(comment).map_err(|_| no_capture())?;
        let Header { at, sent, len, lost, .. } = header;
        Ok(Frame { queue, at: moment(mark, at), sent, len, bytes, lost: lost.into(), comment })
    }

    /// Looks at a message; false if there is no whole one.
    fn message(&mut self) -> io::Result<bool> {
        let Some((header, rest)) = self.input.rest().split_first_chunk() else { return Ok(false) };
        let (kind, shard, len) = message::read_header(*header).ok_or_else(no_capture)?;
        if len > MOST_MESSAGE {
            return Err(no_capture());
        }
        let Some(body) = rest.get(..len as usize) else { return Ok(false) };
        match kind {
            Kind::Records => {
                let records = self.records.get_mut(usize::from(shard)).ok_or_else(no_capture)?;
                records.bytes.extend_from_slice(body);
            }
            Kind::Mark => self.mark = Some(message::read_mark(body, &mut self.counts).ok_or_else(no_capture)?),
            Kind::End => {
                // What is newer than the end belongs to it as well.
                self.mark = Some(message::read_mark(body, &mut self.counts).ok_or_else(no_capture)?);
                self.over = Some(shard != 0);
            }
        }
        self.input.at += message::HEADER + len as usize;
        self.input.settle();
        Ok(true)
    }

    /// Reads more; false if nothing came within the time to wait.
    fn read(&mut self) -> io::Result<bool> {
        self.input.settle();
        let have = self.input.bytes.len();
        self.input.bytes.resize(have + READ, 0);
        let read = self.stream.read(&mut self.input.bytes[have..]);
        self.input.bytes.truncate(have + read.as_ref().map_or(0, |count| *count));
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }
}

fn moment(mark: Mark, at: u64) -> Moment {
    Moment { unix_nanos: mark.unix(at), clock_nanos: at }
}

fn no_capture() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it sends what is no capture: is it of another version?")
}
