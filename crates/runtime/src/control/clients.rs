//! Who asks: each has a thread of its own, so that who is slow, or says nothing, holds up nobody else.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// As many are served at once; one more, and the one that has had the longest time goes.
pub(super) const MOST: usize = 16;
/// What a thread needs that reads a line and writes some: a listing is written piece by piece.
const STACK_BYTES: usize = 256 << 10;

/// What became of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has its answer.
    Answered,
    /// It asked for nothing that there is.
    Malformed,
    /// It did not ask, or take the answer, in time.
    Slow,
    /// It went away.
    Gone,
    /// It had to go for others.
    Crowded,
    /// A loop did not answer, or there was no thread or memory for it.
    Unanswered,
}

impl Outcome {
    const ALL: [(Self, &str); 6] = [
        (Self::Answered, "answered"),
        (Self::Malformed, "malformed"),
        (Self::Slow, "slow"),
        (Self::Gone, "gone"),
        (Self::Crowded, "crowded"),
        (Self::Unanswered, "unanswered"),
    ];

    /// Of one whose question was answered, or was not; `asked`: it had said anything at all.
    fn of(result: &io::Result<()>, asked: bool) -> Self {
        use io::ErrorKind as Kind;
        match result.as_ref().map_err(io::Error::kind) {
            Ok(()) => Self::Answered,
            // How a deadline of a socket is told depends on the system.
            Err(Kind::TimedOut | Kind::WouldBlock) => Self::Slow,
            Err(Kind::BrokenPipe | Kind::ConnectionReset | Kind::NotConnected) => Self::Gone,
            Err(Kind::InvalidData | Kind::UnexpectedEof) if asked => Self::Malformed,
            // Whether somebody listens is found out by a connection that says nothing.
            Err(Kind::InvalidData | Kind::UnexpectedEof) => Self::Gone,
            Err(_) => Self::Unanswered,
        }
    }
}

/// How many clients there were, by what became of them.
#[derive(Debug, Default)]
pub(crate) struct ClientCounts([AtomicU64; Outcome::ALL.len()]);

impl ClientCounts {
    fn add(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Each with its name.
    pub(crate) fn list(&self) -> Vec<(&'static str, u64)> {
        let of = |(outcome, name): &(Outcome, &'static str)| (*name, self.0[*outcome as usize].load(Ordering::Relaxed));
        Outcome::ALL.iter().map(of).collect()
    }
}

/// Those that are being served. They are sent away when this is dropped.
#[derive(Debug)]
pub(super) struct Clients {
    serving: VecDeque<Serving>,
    counts: Arc<ClientCounts>,
}

#[derive(Debug)]
struct Serving {
    handle: Handle,
    thread: JoinHandle<()>,
}

/// What a client can be sent away by. Who takes it first decides: its thread when it is done, which also lets go of the stream,
/// or who sends it away.
type Handle = Arc<Mutex<Option<UnixStream>>>;

fn take(handle: &Handle) -> Option<UnixStream> {
    handle.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Serving {
    fn send_away(self) {
        // Whatever it waits for on the stream ends.
        take(&self.handle).inspect(|stream| _ = stream.shutdown(Shutdown::Both));
        let _ = self.thread.join();
    }
}

impl Clients {
    pub(super) const fn new(counts: Arc<ClientCounts>) -> Self {
        Self { serving: VecDeque::new(), counts }
    }

    /// Serves one: `answer` says whether it had asked anything, and how it went.
    pub(super) fn serve(
        &mut self,
        stream: UnixStream,
        answer: impl FnOnce(UnixStream) -> (bool, io::Result<()>) + Send + 'static,
    ) {
        self.serving.retain(|one| !one.thread.is_finished());
        if self.serving.len() >= MOST
            && let Some(oldest) = self.serving.pop_front()
        {
            oldest.send_away();
        }
        let counts = Arc::clone(&self.counts);
        let started = stream.try_clone().and_then(|kept| {
            let handle = Arc::new(Mutex::new(Some(kept)));
            let own = Arc::clone(&handle);
            let serve = move || {
                let (asked, result) = answer(stream);
                let crowded = take(&own).is_none() && result.is_err();
                counts.add(if crowded { Outcome::Crowded } else { Outcome::of(&result, asked) });
                if let Err(error) = result {
                    tracing::debug!(%error, "control socket");
                }
            };
            let builder = std::thread::Builder::new().name("fw-asked".into()).stack_size(STACK_BYTES);
            Ok(Serving { handle, thread: builder.spawn(serve)? })
        });
        match started {
            Ok(serving) => self.serving.push_back(serving),
            Err(error) => {
                tracing::debug!(%error, "control socket");
                self.counts.add(Outcome::Unanswered);
            }
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.serving.drain(..).for_each(Serving::send_away);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::time::Duration;

    fn counts(counts: &ClientCounts, name: &str) -> u64 {
        counts.list().iter().find(|(n, _)| *n == name).unwrap().1
    }

    /// One more than there may be: the one that came first goes, and nobody else.
    #[test]
    fn the_oldest_goes_where_there_are_too_many() {
        let told = Arc::new(ClientCounts::default());
        let mut clients = Clients::new(Arc::clone(&told));
        let mut ends = Vec::new();
        for _ in 0..=MOST {
            let (near, far) = UnixStream::pair().unwrap();
            clients.serve(far, |mut stream| {
                let read = stream.read_exact(&mut [0]);
                (true, read.and_then(|()| stream.write_all(b"y")))
            });
            ends.push(near);
        }
        let mut answer = [0];
        assert_eq!(ends[0].read(&mut answer).unwrap(), 0, "it was sent away");
        for end in &mut ends[1..] {
            end.write_all(b"x").unwrap();
            let mut answer = Vec::new();
            end.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, b"y", "and that is all");
        }
        drop(clients);
        let seen = ["answered", "crowded", "slow", "malformed", "gone", "unanswered"].map(|name| counts(&told, name));
        assert_eq!(seen, [MOST as u64, 1, 0, 0, 0, 0]);
    }

    /// A drop does not wait for those that never ask.
    #[test]
    fn the_end_waits_for_nobody() {
        let told = Arc::new(ClientCounts::default());
        let mut clients = Clients::new(Arc::clone(&told));
        let (_near, far) = UnixStream::pair().unwrap();
        far.set_read_timeout(Some(Duration::from_secs(600))).unwrap();
        clients.serve(far, |mut stream| (false, stream.read_exact(&mut [0])));
        drop(clients);
        assert_eq!(counts(&told, "crowded"), 1);
    }

    #[test]
    fn every_outcome_has_its_place() {
        for (at, (outcome, _)) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, at);
        }
    }
}
