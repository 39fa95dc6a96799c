//! A connection as an application has it that is called.

use crate::party::{LOST, Party, Said};
use fourwave::{
    App, ConnId, ConnectError, ConnectionError, Duration, Half, Io, Keepalive, Message, Poster, Running, Stack,
    connect_error_kind, io_error_kind,
};
use std::net::{Shutdown, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What the application was told.
#[derive(Debug, Clone, Copy)]
enum Told {
    Connected,
    Data,
    PeerClosed,
    /// Over, with so many bytes that nobody had read.
    Closed(usize, Option<ConnectionError>),
}

type Call = Box<dyn FnOnce(&mut Io<'_>) + Send>;

/// Does what comes by message, and says what it is told.
#[derive(Clone, Debug)]
struct Probe(Sender<(ConnId, Told)>);

impl App for Probe {
    fn on_connected(&mut self, _: &mut Io<'_>, conn: ConnId) {
        self.0.send((conn, Told::Connected)).unwrap();
    }

    fn on_data(&mut self, _: &mut Io<'_>, conn: ConnId, _: &[u8]) -> usize {
        self.0.send((conn, Told::Data)).unwrap();
        0
    }

    fn on_peer_closed(&mut self, _: &mut Io<'_>, conn: ConnId) {
        self.0.send((conn, Told::PeerClosed)).unwrap();
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        let rest = io.read(conn, &mut [0; 1000]).unwrap_or(0);
        self.0.send((conn, Told::Closed(rest, error))).unwrap();
    }

    fn on_message(&mut self, io: &mut Io<'_>, message: Message) {
        message.downcast::<Call>().unwrap()(io);
    }
}

pub(crate) struct Level1 {
    running: Option<Running<Probe>>,
    poster: Poster,
    told: Receiver<(ConnId, Told)>,
    conn: Result<ConnId, ConnectError>,
    peer_closed: bool,
    /// Over, with what nobody had read.
    ended: Option<(usize, Option<ConnectionError>)>,
}

impl Level1 {
    pub(crate) fn over(stack: Stack) -> Self {
        let (tell, told) = channel();
        let running = stack.active_opens().start(Probe(tell)).unwrap();
        let (poster, conn) = (running.poster(), Err(ConnectError::NoPort));
        Self { running: Some(running), poster, told, conn, peer_closed: false, ended: None }
    }

    fn call<R: Send + 'static>(&self, f: impl FnOnce(&mut Io<'_>, ConnId) -> R + Send + 'static) -> R {
        let conn = self.conn.unwrap();
        self.call_without(move |io| f(io, conn))
    }

    fn call_without<R: Send + 'static>(&self, f: impl FnOnce(&mut Io<'_>) -> R + Send + 'static) -> R {
        let (answer, result) = channel();
        let call: Call = Box::new(move |io| answer.send(f(io)).unwrap());
        self.poster.post(0, Box::new(call)).unwrap();
        result.recv_timeout(LOST).unwrap()
    }

    /// The next that is told of the connection.
    fn next(&mut self) -> Told {
        loop {
            let (conn, told) = self.told.recv_timeout(LOST).expect("nothing is told");
            if Ok(conn) == self.conn {
                match told {
                    Told::PeerClosed => self.peer_closed = true,
                    Told::Closed(rest, error) => self.ended = Some((rest, error)),
                    Told::Connected | Told::Data => {}
                }
                return told;
            }
        }
    }

    fn end(error: Option<ConnectionError>) -> Said {
        error.map_or(Said::End, |error| Said::Failed(io_error_kind(error)))
    }
}

fn said<T>(result: Result<T, ConnectionError>, what: impl Fn(T) -> Said) -> Said {
    result.map_or_else(|error| Said::Failed(io_error_kind(error)), what)
}

impl Party for Level1 {
    fn connect(&mut self, to: SocketAddr, give_up: Option<std::time::Duration>) -> Said {
        (self.peer_closed, self.ended) = (false, None);
        self.conn = self.call_without(move |io| {
            let conn = io.connect(to)?;
            if let Some(time) = give_up {
                io.set_user_timeout(conn, Some(time.into())).unwrap();
            }
            Ok(conn)
        });
        match self.conn {
            Err(error) => Said::Failed(connect_error_kind(error)),
            Ok(_) => match self.next() {
                Told::Closed(_, error) => {
                    self.ended = None;
                    Self::end(error)
                }
                Told::Connected => Said::Done,
                told => panic!("{told:?}"),
            },
        }
    }

    fn read(&mut self) -> Said {
        loop {
            match self.ended.take() {
                None => {}
                Some((0, error)) => return Self::end(error),
                Some((rest, error)) => {
                    self.ended = Some((0, error));
                    return Said::Bytes(rest);
                }
            }
            match self.call(|io, conn| io.read(conn, &mut [0; 1000])) {
                Ok(0) => {}
                result => return said(result, Said::Bytes),
            }
            if std::mem::take(&mut self.peer_closed) {
                return Said::End;
            }
            self.next();
        }
    }

    fn write(&mut self) -> Said {
        said(self.call(|io, conn| io.send(conn, b"x")), Said::Bytes)
    }

    fn shutdown(&mut self, how: Shutdown) -> Said {
        let half = match how {
            Shutdown::Read => Half::Read,
            Shutdown::Write => Half::Write,
            Shutdown::Both => Half::Both,
        };
        said(self.call(move |io, conn| io.shutdown(conn, half)), |()| Said::Done)
    }

    fn peer_addr(&mut self) -> Said {
        said(self.call(|io, conn| io.addresses(conn)), |_| Said::Done)
    }

    fn await_data(&mut self) {
        assert!(matches!(self.next(), Told::Data));
    }

    fn hear_of_the_end(&mut self) {
        while self.ended.is_none() {
            self.next();
        }
    }

    fn set_keepalive(&mut self, settings: Keepalive) {
        self.call(move |io, conn| io.set_keepalive(conn, Some(settings))).unwrap();
    }

    fn set_user_timeout(&mut self, time: std::time::Duration) {
        self.call(move |io, conn| io.set_user_timeout(conn, Some(Duration::from(time)))).unwrap();
    }

    fn close(&mut self) -> Said {
        said(self.call(|io, conn| io.close(conn)), |()| Said::Done)
    }

    fn abort(&mut self) -> Said {
        said(self.call(|io, conn| io.abort(conn)), |()| Said::Done)
    }
}

impl Drop for Level1 {
    fn drop(&mut self) {
        if let Some(running) = self.running.take()
            && !std::thread::panicking()
        {
            running.stop();
            running.join().unwrap();
        }
    }
}
