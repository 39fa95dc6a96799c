//! What all shards of a proxy share, and how it is steered from outside.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use fourwave::{ConnId, ConnectError, Duration, Io, Keepalive, ListenOptions, Message, Place, Profile, Via};
use serde::Serialize;

use crate::app::{Proxy, Told};
use crate::config::{AccessLog, Config, Upstream};
use crate::counters::Counters;
use crate::live::Live;
use crate::log::{End, Log, Record, Writer};

/// How connections are, on both sides.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    /// Listeners that a later configuration adds are opened with these.
    pub listen: ListenOptions,
    /// Keep-alives; `None`: none.
    pub keepalive: Option<Keepalive>,
    /// How long a peer may acknowledge nothing; `None`: as the stack has it.
    pub user_timeout: Option<Duration>,
    /// What they are for; `None`: what is to go leaves at once, and acknowledgments wait for it.
    pub profile: Option<Profile>,
}

impl Connections {
    /// Sets a connection up.
    pub(crate) fn set(&self, io: &mut Io<'_>, conn: ConnId) {
        if let Some(profile) = self.profile {
            let _ = io.set_profile(conn, profile);
        } else {
            Self::pass_on(io, conn);
        }
        if self.keepalive.is_some() {
            let _ = io.set_keepalive(conn, self.keepalive);
        }
        if self.user_timeout.is_some() {
            let _ = io.set_user_timeout(conn, self.user_timeout);
        }
    }

    /// What is right for most: all that comes is passed on at once.
    fn pass_on(io: &mut Io<'_>, conn: ConnId) {
        let _ = io.set_nodelay(conn, true);
        // The other side's answer is often less than a round trip away: it can carry the acknowledgment. (The kernel would wait
        // for it for 40 ms.)
        if conn.via() == Via::Stack {
            let _ = io.set_quick_ack(conn, false);
        }
    }
}

/// What the shards share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) counters: Arc<Counters>,
    pub(crate) connections: Connections,
    live: Mutex<Arc<Live>>,
    next_id: AtomicU32,
    log: Arc<Log>,
}

impl Shared {
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn next_id(&self) -> u32 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Begins a connection to a backend.
    pub(crate) fn connect(&self, io: &mut Io<'_>, via: Upstream, to: SocketAddr) -> Result<ConnId, ConnectError> {
        match via {
            Upstream::Stack => io.connect(to),
            Upstream::Kernel => io.connect_via(Via::Kernel, None, to),
        }
    }

    pub(crate) fn log(&self, record: impl FnOnce() -> Record) {
        if self.log.is_on() {
            self.log.push(record(), &self.counters);
        }
    }

    /// A connection to a listener that is gone.
    pub(crate) fn log_unknown(&self, client: SocketAddr) {
        self.log(|| Record {
            ended_at: SystemTime::now(),
            client,
            proxied: None,
            front: None,
            target: None,
            attempts: 0,
            bytes: [0; 2],
            waited_us: None,
            connect_us: None,
            total_us: 0,
            end: End::NoListener,
        });
    }
}

/// A proxy seen from outside its shards: it makes them, tells them of new configurations, and knows how things are.
#[derive(Debug)]
pub struct Control {
    shared: Arc<Shared>,
    _writer: Writer,
}

/// What a reload would change that can't be changed while the proxy runs, or why the access log can't be opened.
#[derive(Debug)]
pub struct ReloadError(String);

impl std::fmt::Display for ReloadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReloadError {}

impl Control {
    /// A proxy with this configuration. Opens the access log, and starts the thread that writes it.
    ///
    /// # Errors
    /// The access log can't be opened.
    pub fn new(config: Config, connections: Connections) -> std::io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let (log, writer) = Log::start(&config.access_log, Arc::clone(&counters))?;
        let next_id = AtomicU32::new(0);
        let live = Live::new(config, None, || next_id.fetch_add(1, Ordering::Relaxed));
        let live = Mutex::new(Arc::new(live));
        let shared = Arc::new(Shared { counters, connections, live, next_id, log });
        Ok(Self { shared, _writer: writer })
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The application for a shard, whose stack listens on every listener's address.
    #[must_use]
    pub fn app(&self, place: Place) -> Proxy {
        Proxy::new(Arc::clone(&self.shared), place)
    }

    /// The configuration of now.
    #[must_use]
    pub fn config(&self) -> Config {
        self.shared.live().config.clone()
    }

    /// Listeners of `config` that there are not now, and those of now that `config` has not.
    #[must_use]
    pub fn changes(&self, config: &Config) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let addresses = |config: &Config| config.listeners.iter().map(|l| l.address).collect::<Vec<_>>();
        let (now, then) = (addresses(&self.shared.live().config), addresses(config));
        let without = |all: &[SocketAddr], others: &[SocketAddr]| {
            all.iter().filter(|address| !others.contains(address)).copied().collect()
        };
        (without(&then, &now), without(&now, &then))
    }

    /// From now on new connections are treated as `config` says; those there are go on as they began. `post` gives a
    /// message to one of `shards`, and says whether it could. The access log is opened again. Returns how many shards could not
    /// be told, and go on as before until they are: the same again tells them.
    ///
    /// # Errors
    /// A change that takes a restart, or the access log can't be opened. Nothing has changed then.
    pub fn reload(
        &self,
        config: Config,
        mut post: impl FnMut(u16, Message) -> bool,
        shards: u16,
    ) -> Result<u16, ReloadError> {
        let reloaded = self.check_reload(&config).and_then(|()| self.reopen(&config.access_log));
        if let Err(error) = reloaded {
            self.refuse_reload();
            return Err(error);
        }
        let live = {
            let mut live = self.shared.live.lock().unwrap_or_else(PoisonError::into_inner);
            *live = Arc::new(Live::new(config, Some(&live), || self.shared.next_id()));
            Arc::clone(&live)
        };
        self.shared.counters.reloads.one();
        let missed = (0..shards).filter(|shard| !post(*shard, Box::new(Told::Reload(Arc::clone(&live)))));
        Ok(missed.fold(0, |missed, _| missed + 1))
    }

    /// Counts a reload that came to its end before [`reload`](Self::reload): the file is wrong, or a new listener's port is taken.
    pub fn refuse_reload(&self) {
        self.shared.counters.reloads_refused.one();
    }

    /// Whether a configuration can take the place of this one while the proxy runs.
    ///
    /// # Errors
    /// What takes a restart.
    pub fn check_reload(&self, config: &Config) -> Result<(), ReloadError> {
        let now = &self.shared.live().config;
        let fixed = [
            ("buffer", now.buffer_bytes != config.buffer_bytes),
            ("source-ports", now.source_ports != config.source_ports),
            ("drain-time", now.drain_time != config.drain_time),
            ("[stack]", now.stack != config.stack),
        ];
        match fixed.iter().find(|(_, changed)| *changed) {
            Some((field, _)) => {
                Err(ReloadError(format!("`{field}` can't be changed while the proxy runs: restart it")))
            }
            None => Ok(()),
        }
    }

    fn reopen(&self, log: &AccessLog) -> Result<(), ReloadError> {
        self.shared.log.reopen(log).map_err(|error| ReloadError(error.to_string()))
    }

    /// How things are.
    #[must_use]
    pub fn status(&self) -> Status {
        let live = self.shared.live();
        let listeners = live.fronts.iter().map(|front| ListenerStatus {
            name: front.config.name.clone(),
            address: front.config.address.to_string(),
            accepted: front.accepted.get(),
            active: front.gauge.active(),
            waiting: front.gauge.waiting(),
        });
        let pools = live.pools.iter().map(|pool| PoolStatus {
            name: pool.config.name.clone(),
            waiting: pool.gauge.waiting(),
            backends: pool
                .targets
                .iter()
                .map(|target| BackendStatus {
                    name: target.config.name.clone(),
                    address: target.config.address.to_string(),
                    up: target.state.is_up(),
                    active: target.state.gauge.active(),
                    connects: target.state.connects.get(),
                    failed: target.state.failed.get(),
                })
                .collect(),
        });
        Status {
            listeners: listeners.collect(),
            pools: pools.collect(),
            counters: self.shared.counters.list().into_iter().map(|(name, value)| (name.into(), value)).collect(),
        }
    }
}

/// How a proxy is: what `--json` and SIGUSR1 show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The listeners, in their order.
    pub listeners: Vec<ListenerStatus>,
    /// The pools, in their order.
    pub pools: Vec<PoolStatus>,
    /// Every counter by its name.
    pub counters: std::collections::BTreeMap<String, u64>,
}

/// How a listener is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Its address and port.
    pub address: String,
    /// Connections since it is there.
    pub accepted: u64,
    /// Connections now, without those that wait for a place.
    pub active: u32,
    /// Connections that wait for a place.
    pub waiting: u32,
}

/// How a pool is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// Connections that wait for a backend.
    pub waiting: u32,
    /// The backends, in their order.
    pub backends: Vec<BackendStatus>,
}

/// How a backend is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackendStatus {
    /// Its name.
    pub name: String,
    /// Its address and port.
    pub address: String,
    /// Whether the health checks say that it is well.
    pub up: bool,
    /// Connections to it, and attempts.
    pub active: u32,
    /// Attempts to connect to it.
    pub connects: u64,
    /// Of those, that failed.
    pub failed: u64,
}
