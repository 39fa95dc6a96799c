//! The ends over the kernel's sockets.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::net::sockopt::set_tcp_congestion;

use crate::end::{BLOCK, READY, Received, Sent};

/// To the first that connects, until it has gone.
pub(crate) fn send(at: SocketAddr) -> anyhow::Result<Sent> {
    let listener = TcpListener::bind(at).with_context(|| format!("cannot listen on {at}"))?;
    // By the socket: the sysctl of a namespace takes only what the host's allows to everybody.
    set_tcp_congestion(&listener, "cubic").context("the kernel has no CUBIC")?;
    println!("{READY}");
    let before = retransmits()?;
    let (mut stream, _) = listener.accept()?;
    while stream.write_all(&BLOCK).is_ok() {}
    Ok(Sent { retransmits: retransmits()? - before })
}

pub(crate) fn receive(at: SocketAddr, time: Duration) -> anyhow::Result<Received> {
    let mut stream = TcpStream::connect(at).with_context(|| format!("cannot connect to {at}"))?;
    let (begin, mut bytes, mut piece) = (Instant::now(), 0, vec![0; 1 << 18]);
    loop {
        let elapsed = begin.elapsed();
        let Some(left) = time.checked_sub(elapsed).filter(|left| !left.is_zero()) else {
            return Ok(Received { bytes, seconds: elapsed.as_secs_f64() });
        };
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => anyhow::bail!("the sender closed"),
            Ok(count) => bytes += count as u64,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Segments the kernel has sent again in this namespace.
fn retransmits() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = rows.next().zip(rows.next()).context("no TCP in /proc/net/snmp")?;
    let found = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "RetransSegs");
    Ok(found.context("no RetransSegs in /proc/net/snmp")?.1.parse()?)
}
