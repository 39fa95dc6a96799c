//! One connection of a server over the kernel's sockets.

use std::io::{self, ErrorKind, Read, Write};

use crate::serve::sockperf::Messages;
use crate::serve::{Service, chargen_text};

const BUFFER_BYTES: usize = 64 * 1024;

/// Buffers moved before the other connections get their turn.
const TURNS: usize = 16;

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for its socket.
    Waiting,
    /// There is more to do at once.
    More,
    /// It is to be dropped, which closes it.
    Over,
}

/// A stream that doesn't block, and what is under way on it.
pub(super) struct Connection<S = mio::net::TcpStream> {
    stream: S,
    service: Service,
    buffer: Vec<u8>,
    /// The part of the buffer that is still to be written.
    start: usize,
    end: usize,
    peer_closed: bool,
    messages: Messages,
}

impl<S: Read + Write> Connection<S> {
    pub(super) fn new(stream: S, service: Service) -> Self {
        let (buffer, end) = match service {
            Service::Chargen => {
                let text = chargen_text();
                let end = text.len();
                (text, end)
            }
            Service::Echo | Service::Discard | Service::Sockperf => (vec![0; BUFFER_BYTES], 0),
        };
        Self { stream, service, buffer, start: 0, end, peer_closed: false, messages: Messages::default() }
    }

    /// Epoll said that the peer closed: from now on reading goes on to the end of the stream, since no other event will
    /// tell.
    pub(super) fn peer_closed(&mut self) {
        self.peer_closed = true;
    }

    /// Does what can be done without blocking, within bounds.
    pub(super) fn advance(&mut self) -> State {
        for _ in 0..TURNS {
            let result = match self.service {
                Service::Echo | Service::Sockperf => self.echo(),
                Service::Discard => self.read().map(|read| read.unwrap_or(State::More)),
                Service::Chargen => self.chargen(),
            };
            match result {
                Ok(State::More) => {}
                Ok(state) => return state,
                Err(error) => {
                    tracing::debug!(%error, "connection failed");
                    return State::Over;
                }
            }
        }
        State::More
    }

    /// Reads only what was written before: a peer that doesn't read is made to wait by TCP's own flow control, and what
    /// came before the peer's end of stream is echoed before the connection is closed.
    fn echo(&mut self) -> io::Result<State> {
        if self.start == self.end
            && let Some(state) = self.read()?
        {
            return Ok(state);
        }
        while self.start < self.end {
            match attempt(|| self.stream.write(&self.buffer[self.start..self.end]))? {
                Some(bytes) => self.start += bytes,
                None => return Ok(State::Waiting),
            }
        }
        // A read that left room in the buffer emptied the socket: another one would find nothing, and cost a call.
        let emptied = self.end < self.buffer.len() && !self.peer_closed;
        Ok(if emptied { State::Waiting } else { State::More })
    }

    /// Fills the buffer; none if there is something in it now.
    fn read(&mut self) -> io::Result<Option<State>> {
        Ok(match attempt(|| self.stream.read(&mut self.buffer))? {
            Some(0) => Some(State::Over),
            Some(bytes) => {
                if self.service == Service::Sockperf {
                    self.messages.answer(&mut self.buffer[..bytes]);
                }
                (self.start, self.end) = (0, bytes);
                None
            }
            None => Some(State::Waiting),
        })
    }

    /// What comes is thrown away; characters go out until the peer closes or resets.
    fn chargen(&mut self) -> io::Result<State> {
        let mut thrown_away = [0; 4096];
        if attempt(|| self.stream.read(&mut thrown_away))? == Some(0) {
            return Ok(State::Over);
        }
        Ok(match attempt(|| self.stream.write(&self.buffer[self.start..self.end]))? {
            Some(bytes) => {
                self.start = (self.start + bytes) % self.end;
                State::More
            }
            None => State::Waiting,
        })
    }
}

/// None if it would have blocked.
fn attempt(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        return match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            other => other.map(Some),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A peer that sends these pieces (none: nothing yet) and takes so many bytes at a time.
    #[derive(Default)]
    struct Peer {
        sends: VecDeque<Option<Vec<u8>>>,
        takes: VecDeque<usize>,
        got: Vec<u8>,
    }

    impl Read for &mut Peer {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.sends.pop_front() {
                Some(Some(piece)) => {
                    buffer[..piece.len()].copy_from_slice(&piece);
                    Ok(piece.len())
                }
                _ => Err(ErrorKind::WouldBlock.into()),
            }
        }
    }

    impl Write for &mut Peer {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let bytes = self.takes.pop_front().unwrap_or(data.len()).min(data.len());
            self.got.extend(&data[..bytes]);
            if bytes == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_is_echoed_before_the_close() {
        let mut peer = Peer {
            sends: [Some(b"four".to_vec()), None, Some(b"wave".to_vec()), Some(vec![])].into(),
            takes: [2, 0, 2, 1, 0].into(),
            ..Peer::default()
        };
        let mut connection = Connection::new(&mut peer, Service::Echo);
        assert_eq!(connection.advance(), State::Waiting, "the peer takes no more");
        assert_eq!(connection.advance(), State::Waiting, "all was written");
        connection.peer_closed();
        assert_eq!(connection.advance(), State::Waiting, "nothing came");
        assert_eq!(connection.advance(), State::Waiting, "the peer takes no more");
        assert_eq!(connection.advance(), State::Over);
        assert_eq!(peer.got, b"fourwave");
    }

    #[test]
    fn a_fast_peer_has_to_take_turns() {
        let mut peer = Peer::default();
        assert_eq!(Connection::new(&mut peer, Service::Chargen).advance(), State::More);
        assert_eq!(peer.got.len(), TURNS * 95 * 74);
    }
}
