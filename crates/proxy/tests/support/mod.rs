//! A proxy, and a host with its clients and servers, in virtual time.
#![allow(unreachable_pub, dead_code)]

use proxy::{Config, Connections, Control, Proxy};
use sim::stack::{
    App, ConnId, Duration, Error, Half, Instant, Io, ListenerId, LocalAddress, MacAddr, Place, Settings, Shard,
    ShardConfig, TcpConfig,
};
use sim::{Duo, Fate, Host, World};
use std::collections::HashMap;
use std::net::IpAddr;

/// The proxy is 10.0.0.1, its clients and servers are 10.0.0.2.
pub const PROXY: &str = "10.0.0.1:80";

/// What a connection of the far host has seen.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub got: Vec<u8>,
    pub ended: bool,
    pub closed: Option<Option<Error>>,
    /// To be sent, as there is room.
    pub to_send: Vec<u8>,
    pub open: bool,
    /// Behind that, a FIN.
    pub then_end: bool,
}

/// Clients and servers at once: what is to be done is done by the test, and by what a server is set to.
#[derive(Debug, Default)]
pub struct Peers {
    pub seen: HashMap<u64, Seen>,
    /// Accepted, with the port, in order.
    pub accepted: Vec<(u16, ConnId)>,
    /// Whose bytes are left unread.
    pub deaf: bool,
    /// Ports that answer everything with this.
    pub answers: HashMap<u16, &'static [u8]>,
    /// Ports that reset whoever connects.
    pub resets: Vec<u16>,
}

impl Peers {
    pub fn seen(&self, conn: ConnId) -> &Seen {
        &self.seen[&conn.to_bits()]
    }

    pub fn at(&self, port: u16) -> Vec<ConnId> {
        self.accepted.iter().filter(|(p, _)| *p == port).map(|(_, conn)| *conn).collect()
    }

    fn of(&mut self, conn: ConnId) -> &mut Seen {
        self.seen.entry(conn.to_bits()).or_default()
    }

    fn push(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let seen = self.of(conn);
        if !seen.open {
            return;
        }
        while !seen.to_send.is_empty() {
            match io.send(conn, &seen.to_send) {
                Ok(0) | Err(_) => return,
                Ok(n) => drop(seen.to_send.drain(..n)),
            }
        }
        if std::mem::take(&mut seen.then_end) {
            let _ = io.shutdown(conn, Half::Write);
        }
    }
}

impl App for Peers {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        let port = io.addresses(conn).unwrap().0.port();
        self.of(conn).open = true;
        if self.resets.contains(&port) {
            let _ = io.abort(conn);
            return;
        }
        self.accepted.push((port, conn));
    }

    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.of(conn).open = true;
        let _ = io.set_nodelay(conn, true);
        self.push(io, conn);
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        if self.deaf {
            return 0;
        }
        self.of(conn).got.extend(data);
        let port = io.addresses(conn).unwrap().0.port();
        if let Some(answer) = self.answers.get(&port) {
            let _ = io.send(conn, answer);
        }
        data.len()
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.push(io, conn);
    }

    fn on_peer_closed(&mut self, _: &mut Io<'_>, conn: ConnId) {
        self.of(conn).ended = true;
    }

    fn on_closed(&mut self, _: &mut Io<'_>, conn: ConnId, error: Option<Error>) {
        self.of(conn).closed = Some(error);
    }
}

/// Both hosts, and the proxy's control.
pub struct Lab {
    pub world: Duo<Proxy, Peers>,
    pub control: Control,
}

fn shard(n: u8, change: impl FnOnce(&mut ShardConfig)) -> Shard {
    let address = LocalAddress { ip: IpAddr::from([10, 0, 0, n]), prefix_len: 24, owned: true };
    let mut config = ShardConfig::new(MacAddr([2, 0, 0, 0, 0, n]), 1500, vec![address], [[n; 16]; 4]);
    change(&mut config);
    Shard::new(config, Instant::ZERO).expect("a valid configuration")
}

/// A file with a listener on [`PROXY`] and a pool with backends on these ports of 10.0.0.2; `listener` and `pool` are more
/// lines of theirs.
pub fn file(listener: &str, pool: &str, ports: &[u16]) -> String {
    let backend = |port: &u16| format!("[[pool.backend]]\naddress = \"10.0.0.2:{port}\"\n");
    let backends: String = ports.iter().map(backend).collect();
    format!(
        "[[listener]]\nname = \"web\"\naddress = \"{PROXY}\"\npool = \"web\"\n{listener}\n\n\
         [[pool]]\nname = \"web\"\n{pool}\n{backends}"
    )
}

impl Lab {
    /// A proxy with this file; servers listen on `serving` of 10.0.0.2.
    pub fn new(text: &str, serving: &[u16]) -> Self {
        Self::with_tamper(text, serving, |_, _| Fate::Pass)
    }

    pub fn with_tamper(text: &str, serving: &[u16], tamper: impl FnMut(usize, &mut Vec<u8>) -> Fate + 'static) -> Self {
        let config = Config::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let settings = Settings {
            receive_buffer_bytes: config.buffer_bytes,
            send_buffer_bytes: config.buffer_bytes,
            ..Settings::default()
        };
        let mut near = shard(1, |shard| {
            shard.ports = config.source_ports.clone();
            shard.tcp = TcpConfig::new(settings).unwrap();
        });
        for listener in &config.listeners {
            near.listen(listener.address, 128).unwrap();
        }
        let control = Control::new(config, Connections::default()).unwrap();
        let near = Host { shard: near, app: control.app(Place::ALONE) };
        let mut far = Host { shard: shard(2, |_| {}), app: Peers::default() };
        for port in serving {
            far.shard.listen(format!("10.0.0.2:{port}").parse().unwrap(), 128).unwrap();
        }
        let world = World::new(near, far, Duration::from_micros(50)).with_tamper(tamper);
        Self { world, control }
    }

    /// Lets time pass.
    pub fn run(&mut self, ms: u64) {
        self.world.run(Duration::from_millis(ms));
    }

    /// Does something on the far host.
    pub fn far<R>(&mut self, f: impl FnOnce(&mut Io<'_>, &mut Peers) -> R) -> R {
        let now = self.world.now();
        let far = &mut self.world.b;
        far.shard.call(now, |io| f(io, &mut far.app))
    }

    /// A client that sends this as soon as it is connected.
    pub fn client(&mut self, bytes: &[u8]) -> ConnId {
        self.client_of(PROXY, bytes)
    }

    pub fn client_of(&mut self, address: &str, bytes: &[u8]) -> ConnId {
        self.far(|io, peers| {
            let conn = io.connect(address.parse().unwrap()).unwrap();
            peers.of(conn).to_send = bytes.to_vec();
            conn
        })
    }

    /// Sends more.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.far(|io, peers| {
            peers.of(conn).to_send.extend(bytes);
            peers.push(io, conn);
        });
    }

    /// A FIN behind what there is to send.
    pub fn end(&mut self, conn: ConnId) {
        self.far(|io, peers| {
            peers.of(conn).then_end = true;
            peers.push(io, conn);
        });
    }

    pub fn seen(&self, conn: ConnId) -> &Seen {
        self.world.b.app.seen(conn)
    }

    /// The only connection that the server on this port has accepted.
    pub fn at(&self, port: u16) -> ConnId {
        let all = self.world.b.app.at(port);
        assert_eq!(all.len(), 1, "connections at {port}");
        all[0]
    }

    pub fn accepted(&self, port: u16) -> usize {
        self.world.b.app.at(port).len()
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.control.status().counters[name]
    }

    /// The counters of how connections end that are not zero.
    pub fn ends(&self) -> Vec<(String, u64)> {
        const ENDS: [&str; 15] = [
            "no_backend",
            "no_listener",
            "queue_full",
            "queue_timed_out",
            "header_malformed",
            "header_timed_out",
            "client_resets",
            "backend_resets",
            "peers_lost",
            "idle_timed_out",
            "half_closed_timed_out",
            "not_drained",
            "log_lines_dropped",
            "reloads_refused",
            "connects_timed_out",
        ];
        let counters = self.control.status().counters;
        counters.into_iter().filter(|(name, value)| ENDS.contains(&name.as_str()) && *value > 0).collect()
    }

    /// Nothing is left of any connection, anywhere.
    pub fn assert_over(&mut self) {
        self.run(400_000);
        self.world.assert_nothing_left();
        assert_eq!(self.world.a.app.sessions(), 0);
        let status = self.control.status();
        for listener in &status.listeners {
            assert_eq!((listener.active, listener.waiting), (0, 0), "{listener:?}");
        }
        for pool in &status.pools {
            assert_eq!(pool.waiting, 0);
            assert!(pool.backends.iter().all(|backend| backend.active == 0), "{pool:?}");
        }
        assert_eq!(status.counters["accepted"], status.counters["finished"]);
    }
}

/// Bytes that are unlike those at any other place of the stream.
pub fn stream(len: usize) -> Vec<u8> {
    (0..len).map(|i| i.wrapping_mul(0x9E37_79B9).to_le_bytes()[2]).collect()
}
