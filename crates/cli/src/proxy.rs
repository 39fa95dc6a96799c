//! `fourwave proxy`: the TCP proxy, its signals, and its end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::proxy::{Connections, Control, Proxy};
use anyhow::{Context, bail};
use fourwave::Running;
use fourwave::metrics::Endpoint;
use signal_hook::consts::SIGUSR1;

use crate::args::{Stack, StackConfig, read_proxy};
use crate::notify::Supervisor;
use crate::serve::READY;
use crate::stop::Stop;
use crate::{out, say, stack};

/// How often signals and the end of the stack are looked for.
const LOOK: Duration = Duration::from_millis(20);

/// What to run, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) proxy: ::proxy::Config,
    pub(crate) at: StackConfig,
    pub(crate) file: PathBuf,
    pub(crate) check: bool,
    pub(crate) json: bool,
}

/// Runs the proxy until the end is asked for, and its connections are over.
pub(crate) fn run(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    if config.check {
        out::result(&format!("{} is good: {}", config.file.display(), summary(&config.proxy)));
        return Ok(());
    }
    let status = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGUSR1, Arc::clone(&status)).context("cannot catch SIGUSR1")?;
    let reload = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&reload);
    stop.on_hangup(move || asked.store(true, Ordering::Relaxed));

    let control = Control::new(config.proxy.clone(), connections(&config.at))?;
    let mut builder = builder(config)?;
    if let Some(address) = config.at.metrics {
        builder = builder.metrics(Endpoint::new(address).with(control.metrics()));
    }
    let running = stack::started(builder, |place| control.app(place), stop)?;
    if !config.at.keep_privileges {
        fourwave::drop_privileges()?;
    }
    for warning in running.report().into_iter().flat_map(|report| &report.warnings) {
        tracing::warn!("{warning}");
    }
    let listeners: Vec<_> = config.proxy.listeners.iter().map(|listener| listener.address.to_string()).collect();
    say!("{READY}{} ({}, {})", listeners.join(", "), stack::place(&running), summary(&config.proxy));
    stack::say_metrics(&running);
    stack::trace_on_signal(&running, stop);

    let mut supervisor = Supervisor::ready(&running);
    while !stop.requested() && !running.is_finished() {
        if status.swap(false, Ordering::Relaxed) {
            say_status(&control)?;
        }
        if reload.swap(false, Ordering::Relaxed) {
            supervisor.reloading();
            let said = reload_and_tell(config, &control, &running);
            supervisor.reloaded(&said);
            say!("{said}");
        }
        supervisor.look();
        stop.sleep(LOOK);
    }
    let asked = stop.requested();
    let mut again = stop.again();
    running.stop();
    supervisor.stopping();
    while !running.is_finished() {
        if status.swap(false, Ordering::Relaxed) {
            say_status(&control)?;
        }
        if again.asked() {
            running.stop();
        }
        supervisor.look();
        std::thread::sleep(LOOK);
    }
    // The applications tell of the connections that were cut off when they are dropped.
    drop(running.join()?);
    if config.json {
        out::json(&control.status())?;
    }
    if !asked {
        bail!("the stack ended by itself: is the interface gone?");
    }
    Ok(())
}

/// Reads the file again; what came of it, as a sentence.
fn reload_and_tell(config: &Config, control: &Control, running: &Running<Proxy>) -> String {
    match reloaded(config, control, running) {
        Ok(Reloaded { what, missed: 0 }) => format!("reloaded {}: {what}", config.file.display()),
        Ok(Reloaded { what, missed }) => format!(
            "reloaded {}: {what}; but {missed} of {} shards could not be told and go on as before: reload it again",
            config.file.display(),
            running.shards()
        ),
        Err(error) => format!("not reloaded, all goes on as before: {}", out::sentence(&error)),
    }
}

fn builder(config: &Config) -> anyhow::Result<fourwave::Stack> {
    let first = config.proxy.listeners.first().context("there is no listener")?;
    let builder = match config.at.stack {
        Stack::Kernel => stack::over_kernel(&config.at),
        _ => stack::builder(&config.at, first.address.ip())?.ports(config.proxy.source_ports.clone()),
    };
    // A backend over the kernel may come with a reload.
    let builder = builder.with_kernel_sockets().drain_time(config.proxy.drain_time);
    Ok(config.proxy.listeners.iter().fold(builder, |builder, listener| builder.listen(listener.address)))
}

fn connections(at: &StackConfig) -> Connections {
    let (keepalive, user_timeout) = stack::Accepted::of(&at.tcp).settings();
    Connections { listen: stack::listen_options(&at.tcp), keepalive, user_timeout, profile: stack::profile(&at.tcp) }
}

/// A new configuration that is in place.
struct Reloaded {
    what: String,
    /// Shards that have not heard of it.
    missed: u16,
}

/// Reads the file again, and does what it says from now on; nothing has changed after an error.
fn reloaded(config: &Config, control: &Control, running: &Running<Proxy>) -> anyhow::Result<Reloaded> {
    let mut taken = Taken { running, ports: Vec::new() };
    let new = prepared(config, control, &mut taken).inspect_err(|_| control.refuse_reload())?;
    let what = summary(&new);
    let poster = running.poster();
    let missed = control.reload(new, |shard, message| poster.post(shard, message).is_ok(), poster.shards())?;
    taken.ports.clear();
    Ok(Reloaded { what, missed })
}

/// What is in the file now, with the ports that it takes.
fn prepared(config: &Config, control: &Control, taken: &mut Taken<'_>) -> anyhow::Result<::proxy::Config> {
    let new = read_proxy(&config.file)?;
    control.check_reload(&new)?;
    let (added, _) = control.changes(&new);
    for address in added {
        if taken.running.claim(address)? {
            taken.ports.push(address);
        }
    }
    Ok(new)
}

/// Ports that a reload has taken: the kernel gets them back if nothing comes of it.
struct Taken<'a> {
    running: &'a Running<Proxy>,
    ports: Vec<SocketAddr>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for port in &self.ports {
            if let Err(error) = self.running.give_back(*port) {
                tracing::warn!("{port} is refused to everybody until the proxy ends: {error}");
            }
        }
    }
}

fn say_status(control: &Control) -> anyhow::Result<()> {
    say!("{}", serde_json::to_string(&control.status())?);
    Ok(())
}

fn summary(config: &::proxy::Config) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let backends = config.pools.iter().map(|pool| pool.backends.len()).sum();
    let (listeners, pools) = (config.listeners.len(), config.pools.len());
    [count(listeners, "listener"), count(pools, "pool"), count(backends, "backend")].join(", ")
}
