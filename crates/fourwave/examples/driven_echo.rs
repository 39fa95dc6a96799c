//! An echo server in one thread: the stack runs inside the program's own mio loop.
//!
//! `driven_echo eth0 10.0.0.1:7`
use fourwave::Stack;
use fourwave::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{self, Read, Write};

const DRIVER: Token = Token(0);
const SERVER: Token = Token(1);

/// A connection, and what is read from it and not written yet.
struct Echo {
    stream: TcpStream,
    pending: Vec<u8>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(on), Some(addr)) = (args.next(), args.next()) else { return Err("usage: driven_echo ON ADDRESS".into()) };
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(128);
    let mut driver = Stack::on(on).drive()?;
    poll.registry().register(&mut driver, DRIVER, Interest::READABLE)?;
    let mut server = driver.net().bind(addr.parse()?)?;
    poll.registry().register(&mut server, SERVER, Interest::READABLE)?;
    let (mut echoes, mut next) = (HashMap::new(), SERVER.0);
    println!("listening on {}", server.local_addr()?);
    loop {
        driver.poll(&mut poll, &mut events, None)?;
        for event in events.iter() {
            if event.token() == SERVER {
                while let Ok((mut stream, _)) = server.accept() {
                    next += 1;
                    poll.registry().register(&mut stream, Token(next), Interest::READABLE | Interest::WRITABLE)?;
                    echoes.insert(Token(next), Echo { stream, pending: Vec::new() });
                }
            } else if let Some(echo) = echoes.get_mut(&event.token())
                && echo.run().is_ok_and(|over| !over)
            {
                continue;
            }
            echoes.remove(&event.token());
        }
    }
}

impl Echo {
    /// Goes on until it would block; true when the client has closed and has everything back.
    fn run(&mut self) -> io::Result<bool> {
        let mut buf = [0; 16 << 10];
        loop {
            while !self.pending.is_empty() {
                match self.stream.write(&self.pending) {
                    Ok(n) => drop(self.pending.drain(..n)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            match self.stream.read(&mut buf) {
                Ok(0) => return Ok(true),
                Ok(n) => self.pending.extend(&buf[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}
