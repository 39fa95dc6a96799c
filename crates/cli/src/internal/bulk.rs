//! Sends pseudo-random bytes to an echo server and compares every byte that comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::{PROGRESS, Random};
use crate::ping::sentence;
use crate::say;

const CHUNK_BYTES: usize = 64 * 1024;
const CHUNKS_PER_MIB: u64 = 16;
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// Silence that counts as a stall.
const STALL: Duration = Duration::from_secs(30);
const SEED: u64 = 0x4077_a7e0;

/// What was transferred, each way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BulkReport {
    pub(crate) bytes: u64,
    pub(crate) duration_s: f64,
    /// One way.
    pub(crate) gbit_per_s: f64,
}

/// Sends on one thread, compares on another, then closes in order: our FIN, the rest of the echo, the server's FIN.
pub(super) fn run(target: SocketAddr, mib: u64) -> anyhow::Result<BulkReport> {
    let stream = TcpStream::connect_timeout(&target, CONNECT_LIMIT).map_err(|error| sentence(target, &error))?;
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    let writing = stream.try_clone()?;
    let started = Instant::now();
    let writer = thread::spawn(move || send(writing, mib));
    let compared = compare(stream, mib).map_err(|error| {
        // The writer may know better why: its error came first.
        tracing::debug!("reader: {error:#}");
        error
    });
    let sent = writer.join().map_err(|_| anyhow!("the sending thread failed"))?;
    compared?;
    sent.with_context(|| format!("cannot send to {target}"))?;
    let (bytes, duration_s) = (mib << 20, started.elapsed().as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    let gbit_per_s = bytes as f64 * 8.0 / duration_s / 1e9;
    Ok(BulkReport { bytes, duration_s, gbit_per_s })
}

fn send(mut stream: TcpStream, mib: u64) -> anyhow::Result<()> {
    let mut random = Random::new(SEED);
    let mut chunk = vec![0; CHUNK_BYTES];
    for _ in 0..mib * CHUNKS_PER_MIB {
        random.fill(&mut chunk);
        stream.write_all(&chunk)?;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(())
}

fn compare(stream: TcpStream, mib: u64) -> anyhow::Result<()> {
    let result = compare_stream(&stream, mib);
    if result.is_err() {
        // The writer must not wait for room that never comes.
        let _ = stream.shutdown(Shutdown::Both);
    }
    result
}

fn compare_stream(mut stream: &TcpStream, mib: u64) -> anyhow::Result<()> {
    let mut random = Random::new(SEED);
    let (mut expected, mut got) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let mut next_progress = Instant::now();
    for chunk in 0..mib * CHUNKS_PER_MIB {
        random.fill(&mut expected);
        let read = stream.read_exact(&mut got);
        read.map_err(|error| stalled(&error, chunk))?;
        if got != expected {
            let differing = got.iter().zip(&expected).position(|(got, expected)| got != expected);
            let offset = chunk * CHUNK_BYTES as u64 + differing.unwrap_or_default() as u64;
            bail!("byte {offset} came back changed: this is a bug, please report it");
        }
        if Instant::now() >= next_progress {
            next_progress = Instant::now() + Duration::from_millis(200);
            say!("{PROGRESS}{} of {mib} MiB", chunk / CHUNKS_PER_MIB);
        }
    }
    let rest = stream.read(&mut got).map_err(|error| stalled(&error, mib * CHUNKS_PER_MIB))?;
    if rest != 0 {
        bail!("{rest} bytes more came back than were sent: this is a bug, please report it");
    }
    Ok(())
}

fn stalled(error: &std::io::Error, chunk: u64) -> anyhow::Error {
    let mib = chunk / CHUNKS_PER_MIB;
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            anyhow!("nothing came back for {} s after {mib} MiB: see what the server says", STALL.as_secs())
        }
        ErrorKind::UnexpectedEof => {
            anyhow!("the server closed the connection after {mib} MiB: see what it says")
        }
        _ => anyhow!("the connection failed after {mib} MiB ({error}): see what the server says"),
    }
}
