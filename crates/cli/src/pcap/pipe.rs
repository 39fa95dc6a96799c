//! A capture's way to its reader, who may stop reading.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::say;
use crate::stop::Stop;

/// A pipe that has room for anything has room for this much (`PIPE_BUF`): to write it does not wait, pipe(7).
const PIECE: usize = 4096;
/// How often it is looked whether the end was asked for, and how long the reader has from then on.
const LOOK_MS: i64 = 20;
const PATIENCE: Duration = Duration::from_secs(1);

/// Stdout, as long as there is somebody who reads it. For all else than pipes and sockets it is as if there always were.
pub(super) struct Pipe {
    out: File,
    stop: Stop,
    /// When the reader was first waited for with the end asked for.
    late: Option<Instant>,
    over: bool,
}

impl Pipe {
    pub(super) fn stdout(stop: &Stop) -> io::Result<Self> {
        let out = io::stdout().as_fd().try_clone_to_owned()?.into();
        Ok(Self { out, stop: stop.clone(), late: None, over: false })
    }

    /// Whether something can be written, or would fail, within a moment.
    fn has_room(&self) -> io::Result<bool> {
        let mut pipe = [PollFd::new(&self.out, PollFlags::OUT)];
        let moment = Timespec { tv_sec: 0, tv_nsec: LOOK_MS * 1_000_000 };
        Ok(poll(&mut pipe, Some(&moment))? > 0)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while !self.over {
            if self.has_room()? {
                return self.out.write(&bytes[..bytes.len().min(PIECE)]);
            }
            if self.stop.requested() && self.late.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                say!("the capture's reader does not read: what it has not taken is lost");
                self.over = true;
            }
        }
        Err(ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
