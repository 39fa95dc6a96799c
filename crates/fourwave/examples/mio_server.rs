//! mio's own `tcp_server` example (MIT licence), with the imports changed, and going on behind a client's error: greets, and
//! prints what it receives.
//!
//! `mio_server kernel 127.0.0.1:9000`, `mio_server eth0 10.0.0.1:9000`: on the kernel's sockets, or on fourwave's.
use fourwave::Stack;
use fourwave::net::{Net, TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, event::Event};
use std::collections::HashMap;
use std::io::{self, Read, Write};

const SERVER: Token = Token(0);
const DATA: &[u8] = b"Hello world!\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(on), Some(addr)) = (args.next(), args.next()) else { return Err("usage: mio_server ON ADDRESS".into()) };
    // The only other lines that are not mio's: what the sockets of this process are of.
    let net = if on == "kernel" { Net::kernel() } else { Stack::on(on).sockets()? };
    net.install();

    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(128);
    let mut server = TcpListener::bind(addr.parse()?)?;
    poll.registry().register(&mut server, SERVER, Interest::READABLE)?;
    let mut connections = HashMap::new();
    let mut unique_token = SERVER.0;
    println!("listening on {}", server.local_addr()?);
    loop {
        poll.poll(&mut events, None)?;
        for event in events.iter() {
            if event.token() == SERVER {
                while let Some((mut connection, address)) = ready(server.accept())? {
                    println!("Accepted connection from: {address}");
                    unique_token += 1;
                    let token = Token(unique_token);
                    poll.registry().register(&mut connection, token, Interest::READABLE | Interest::WRITABLE)?;
                    connections.insert(token, connection);
                }
            } else if let Some(connection) = connections.get_mut(&event.token()) {
                // An error of one connection ends that one.
                let done = handle_connection_event(poll.registry(), connection, event).unwrap_or_else(|error| {
                    println!("Connection failed: {error}");
                    true
                });
                if done && let Some(mut connection) = connections.remove(&event.token()) {
                    poll.registry().deregister(&mut connection)?;
                }
            }
        }
    }
}

/// Returns `true` if the connection is done.
fn handle_connection_event(registry: &Registry, connection: &mut TcpStream, event: &Event) -> io::Result<bool> {
    if event.is_writable()
        && let Some(n) = ready(connection.write(DATA))?
    {
        if n < DATA.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        registry.reregister(connection, event.token(), Interest::READABLE)?;
    }
    if event.is_readable() {
        let mut received = [0; 4096];
        while let Some(n) = ready(connection.read(&mut received))? {
            if n == 0 {
                println!("Connection closed");
                return Ok(true);
            }
            println!("Received data: {}", String::from_utf8_lossy(&received[..n]).trim_end());
        }
    }
    Ok(false)
}

/// `None`: not ready.
fn ready<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}
