//! Where points are measured: a server in fw-a on one core, a client in fw-b on another.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::task::Point;
use super::{Config, strings};
use crate::job::Job;
use crate::lab::{self, End};
use crate::stop::Stop;

/// Port of the first server. Each point has its own: a client of the next one begins with other sequence numbers, and a server
/// would refuse its connections while it remembers those of the one before (TIME-WAIT).
const FIRST_PORT: u16 = 7100;
/// Points until they are used again; the last ones are below the kernel's own ephemeral ports.
const POINTS: u16 = 12_000;
pub(super) const READY_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(90);
/// Seconds of load before measuring.
pub(super) const WARMUP_S: &str = "0.3";

pub(super) struct Place<'a> {
    pub(super) config: &'a Config,
    pub(super) stop: &'a Stop,
    mtu: lab::Mtu,
    pub(super) server_core: usize,
    pub(super) client_core: usize,
    /// Of the next point.
    point: u16,
}

impl<'a> Place<'a> {
    pub(super) fn new(
        config: &'a Config,
        stop: &'a Stop,
        mtu: lab::Mtu,
        server_core: usize,
        client_core: usize,
    ) -> anyhow::Result<Self> {
        Ok(Self { config, stop, mtu, server_core, client_core, point: POINTS - 1 })
    }

    /// Another point, with a port of its own.
    pub(super) fn next(&mut self, mtu: u32) -> anyhow::Result<()> {
        self.point = (self.point + 1) % POINTS;
        self.mtu.set(mtu)
    }

    pub(super) fn port(&self) -> u16 {
        FIRST_PORT + 2 * self.point
    }

    /// Where this point's server is.
    pub(super) fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::new(lab::A.ipv4.parse()?, self.port()))
    }

    /// Starts one of our servers, which the words name, and waits until it listens at [`Place::address`].
    pub(super) fn serve(&self, words: &[&str], point: Point) -> anyhow::Result<Job> {
        let mut args = strings(words);
        args.extend(["--listen".to_owned(), self.address()?.to_string()]);
        args.extend(point.flags(lab::A.interface, self.server_core));
        let mut server = Job::start(lab::A.namespace, &args)?;
        server.wait_ready(self.stop, READY_LIMIT)?;
        Ok(server)
    }

    /// Runs one of our clients to its end, and its server with it; the document.
    pub(super) fn ask<T: for<'d> Deserialize<'d>>(
        &self,
        mut server: Job,
        words: &[&str],
        point: Point,
    ) -> anyhow::Result<T> {
        let mut args = strings(words);
        args.extend(["--seconds".to_owned(), self.config.seconds.as_secs_f64().to_string()]);
        args.extend(point.flags(lab::B.interface, self.client_core));
        let client = Job::start(lab::B.namespace, &args)?;
        let document = self.end(client)?;
        server.check_running()?;
        server.end();
        crate::internal::parse(&document)
    }

    /// Waits for a client's end; what it wrote.
    pub(super) fn end(&self, client: Job) -> anyhow::Result<String> {
        client.output(self.stop, self.config.seconds + END_LIMIT, |_| {})
    }
}

/// The flags of a stack that spins on an end of the lab.
pub(super) fn on(end: End, core: usize) -> Vec<String> {
    strings(&["--interface", end.interface, "--idle", "busy", "--cores", &core.to_string()])
}
