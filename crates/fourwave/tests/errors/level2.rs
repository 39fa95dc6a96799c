//! A connection as a program on mio has it.

use crate::party::{LOST, Party, Said, said};
use fourwave::Keepalive;
use fourwave::net::{Net, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

pub(crate) struct Level2 {
    net: Net,
    poll: Poll,
    events: Events,
    stream: Option<TcpStream>,
}

impl Level2 {
    pub(crate) fn over(net: Net) -> Self {
        Self { net, poll: Poll::new().unwrap(), events: Events::with_capacity(8), stream: None }
    }

    /// Tries until it is no longer `WouldBlock`; between two tries there is an event.
    fn until<T>(&mut self, mut attempt: impl FnMut(&TcpStream) -> io::Result<T>) -> io::Result<T> {
        loop {
            match attempt(self.stream.as_ref().unwrap()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.poll.poll(&mut self.events, Some(LOST)).unwrap();
                    assert!(!self.events.is_empty(), "no event came");
                }
                result => return result,
            }
        }
    }

    fn stream(&self) -> &TcpStream {
        self.stream.as_ref().unwrap()
    }
}

fn connected(stream: &TcpStream, error: Option<io::Error>) -> io::Result<()> {
    match error {
        Some(error) => Err(error),
        None if stream.peer_addr().is_err() => Err(ErrorKind::WouldBlock.into()),
        None => Ok(()),
    }
}

impl Party for Level2 {
    fn connect(&mut self, to: SocketAddr, give_up: Option<Duration>) -> Said {
        self.stream = None;
        let mut stream = match self.net.connect(to) {
            Ok(stream) => stream,
            // Linux says at once what it knows at once.
            Err(error) => return Said::Failed(error.kind()),
        };
        if let Some(time) = give_up {
            stream.set_user_timeout(Some(time)).unwrap();
        }
        self.poll.registry().register(&mut stream, Token(0), Interest::READABLE | Interest::WRITABLE).unwrap();
        self.stream = Some(stream);
        // mio's way: an event first. Linux forgets a soft error that is asked for before.
        let mut asked = false;
        let opened = self.until(|stream| match std::mem::replace(&mut asked, true).then(|| stream.take_error()) {
            None => Err(ErrorKind::WouldBlock.into()),
            Some(error) => connected(stream, error?),
        });
        said(opened, |()| Said::Done)
    }

    fn read(&mut self) -> Said {
        said(self.until(|mut stream| stream.read(&mut [0; 1000])), |n| if n > 0 { Said::Bytes(n) } else { Said::End })
    }

    fn write(&mut self) -> Said {
        said(self.until(|mut stream| stream.write(b"x")), Said::Bytes)
    }

    fn shutdown(&mut self, how: Shutdown) -> Said {
        said(self.stream().shutdown(how), |()| Said::Done)
    }

    fn peer_addr(&mut self) -> Said {
        said(self.stream().peer_addr(), |_| Said::Done)
    }

    fn await_data(&mut self) {
        assert!(self.until(|stream| stream.peek(&mut [0; 1])).unwrap() > 0);
    }

    fn hear_of_the_end(&mut self) {
        let told = |stream: &TcpStream| {
            if stream.peer_addr().is_err() { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
        };
        self.until(told).unwrap();
    }

    fn set_keepalive(&mut self, settings: Keepalive) {
        self.stream().set_keepalive(Some(settings)).unwrap();
    }

    fn set_user_timeout(&mut self, time: Duration) {
        self.stream().set_user_timeout(Some(time)).unwrap();
    }

    fn close(&mut self) -> Said {
        drop(self.stream.take());
        Said::Done
    }

    fn abort(&mut self) -> Said {
        self.stream().set_linger(Some(Duration::ZERO)).unwrap();
        self.close()
    }
}
