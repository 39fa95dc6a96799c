//! `fourwave serve`: small servers, over this stack or over the kernel's sockets.

mod apps;
mod exchange;
mod http;
mod sockperf;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::anyhow;
use clap::ValueEnum;
use fourwave::{Error, ListenError};

use crate::args::{KernelWait, Stack, StackConfig};
use crate::stop::Stop;
use crate::{say, stack};

pub(crate) use exchange::ExchangeConfig;
pub(crate) use http::HttpConfig;

/// The line on stderr that says a server is ready begins with this.
pub(crate) const READY: &str = "listening on ";

/// What a server does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    /// Sends back what comes (RFC 862)
    Echo,
    /// Throws away what comes (RFC 863)
    Discard,
    /// Sends characters without end (RFC 864)
    Chargen,
    /// Answers every request of HTTP/1.1
    Http,
    /// Answers sockperf's client as its own server does
    Sockperf,
    /// Answers so many bytes by so many
    Exchange,
}

/// What to serve, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) service: Service,
    pub(crate) listen: SocketAddr,
    pub(crate) kernel_wait: KernelWait,
    pub(crate) drain_time: Duration,
    pub(crate) http: HttpConfig,
    pub(crate) exchange: ExchangeConfig,
    pub(crate) at: StackConfig,
}

/// Serves until the end is asked for.
pub(crate) fn run(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    match config.at.stack {
        Stack::Kernel => apps::run(config, stop).map_err(|error| over_kernel(config.listen, error)),
        Stack::Fourwave => apps::run(config, stop),
        Stack::Raw => raw(config, stop),
    }
}

/// What the kernel means by its refusal to listen.
fn over_kernel(address: SocketAddr, error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(Error::Listen { reason: ListenError::NotOurs, .. }) => {
            anyhow!("{address} is no address of this machine or namespace: see `ip address`")
        }
        Some(Error::Listen { reason: ListenError::Forbidden, .. }) => {
            anyhow!("ports below 1024 need root: run it with sudo or choose another port than {}", address.port())
        }
        _ => error,
    }
}

/// Says that the server is ready; `fourwave demo`, scripts and people wait for it.
fn ready(address: SocketAddr, how: &str) {
    say!("{READY}{address} ({how})");
}

/// Bare frames over AF_XDP, no TCP: sends back each frame with its addresses swapped, spinning.
fn raw(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    let mut port = stack::builder(&config.at, config.listen.ip())?.raw_server()?;
    if !config.at.keep_privileges {
        fourwave::drop_privileges()?;
    }
    let report = port.report();
    ready(config.listen, &format!("raw frames on {}, XDP {}", report.interface, report.xdp_mode));
    let frames = port.echo(&stop.flag())?;
    tracing::info!(frames, "echoed");
    Ok(())
}

/// The endless text of RFC 864: rows of 72 of the 95 printable characters, each row starting one character later.
pub(crate) fn chargen_text() -> Vec<u8> {
    let rows = (0..95u8).flat_map(|first| {
        let row = (0..72).map(move |column| b' ' + (first + column) % 95);
        row.chain(*b"\r\n")
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::chargen_text;

    #[test]
    fn chargen_rows_are_those_of_rfc_864() {
        let text = chargen_text();
        assert_eq!(text.len(), 95 * 74);
        assert!(text.starts_with(b" !\"#$%&'()*+,-./0123456789:;<=>?@ABC"));
        assert!(text[74..].starts_with(b"!\"#$%&'"));
        assert!(text[24 * 74..].starts_with(b"89:;<=>"));
    }
}
