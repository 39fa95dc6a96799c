//! What went wrong with an echo server, and what to do about it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::anyhow;
use fourwave::ConnectError;

use crate::args::Stack;

/// In the name that `std` has for it.
pub(crate) fn sentence(target: SocketAddr, error: &io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            anyhow!("{target} refused the connection: start `fourwave serve echo --listen {target}` there")
        }
        ErrorKind::HostUnreachable => {
            anyhow!("{target} can't be reached from here: check the address, `ip route` and the namespace")
        }
        ErrorKind::NetworkUnreachable => {
            anyhow!("there is no route to {target} from here: check the address, `ip route` and the namespace")
        }
        ErrorKind::TimedOut => {
            anyhow!("{target} did not answer in time: check that it is up")
        }
        ErrorKind::UnexpectedEof => {
            anyhow!("{target} closed the connection: check that an echo server listens there")
        }
        ErrorKind::InvalidData => {
            anyhow!("{target} does not send back what it was sent: is it an echo server?")
        }
        ErrorKind::ConnectionReset => {
            anyhow!("{target} reset the connection: see what its server says")
        }
        _ => anyhow!("cannot exchange data with {target}: {error}"),
    }
}

/// Why a connection could not even begin.
pub(super) fn to_connect(target: SocketAddr, stack: Stack, error: ConnectError) -> anyhow::Error {
    match error {
        ConnectError::NoRoute => sentence(target, &ErrorKind::NetworkUnreachable.into()),
        ConnectError::TooMany if stack == Stack::Kernel => {
            anyhow!("no descriptor is left for another connection to {target}: allow more of them (`ulimit -n`)")
        }
        error => anyhow!("cannot connect to {target}: {error}"),
    }
}

/// Nothing came within the time that was given.
pub(super) fn silence(target: SocketAddr, timeout: Duration) -> anyhow::Error {
    let seconds = timeout.as_secs_f64();
    anyhow!("no answer from {target} within {seconds} s: check that it is up, or give it more with --timeout-s")
}
