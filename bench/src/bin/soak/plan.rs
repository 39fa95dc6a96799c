//! The worlds of a run, and who drives each of them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::Context;
use impairment::{Lab, within};
use sim::Rng;

use crate::answers::{self, BODY_BYTES, REQUEST_BYTES, RESPONSE_BYTES, SILENCE_S};
use crate::echo::{self, Lane};
use crate::load;
use crate::peers::{Does, Peer};
use crate::world::{Break, METRICS, Run, World};

/// What is done at the kernel's end of a world.
enum Drive {
    Lanes(&'static [Lane]),
    /// `fourwave load` at the other end, towards these: two that echo, one that discards.
    Load(Arc<[Peer; 3]>),
}

/// A world with what drives it, and a proxy's backend.
pub(crate) struct Driven {
    pub(crate) world: Arc<World>,
    drive: Drive,
    _backend: Option<Peer>,
}

/// How short TIME-WAIT is here, so that its end is seen.
const TIME_WAIT_S: &str = "3";
/// Of a client's last reset, which the path may lose, nobody tells a server that has nothing to send: it has to ask.
const KEEPALIVE_S: &str = "5";

/// All of them, each with its process, in the order of the report. Files go to `folder`.
pub(crate) fn build(run: &Arc<Run>, name: &str, folder: &Path, seed: u64) -> anyhow::Result<Vec<Driven>> {
    let body = BODY_BYTES.to_string();
    let (request, response) = (REQUEST_BYTES.to_string(), RESPONSE_BYTES.to_string());
    let http = ["http", "--body-bytes", &body, "--idle-time", SILENCE_S];
    let exchange = ["exchange", "--request-bytes", &request, "--response-bytes", &response];
    let servers: [(&'static str, &str, &[&str], &'static [Lane]); 4] = [
        ("echo", "10.79.0.1:7", &["echo"], &echo::LANES),
        ("echo, IPv6", "[fd79::1]:7", &["echo", "--idle", "sleep"], &echo::LANES),
        ("http", "10.79.0.1:80", &http, &answers::HTTP),
        ("exchange, IPv6", "[fd79::1]:5000", &exchange, &answers::EXCHANGE),
    ];
    let mut all = Vec::new();
    for (number, (world, at, service, lanes)) in servers.into_iter().enumerate() {
        let lab = lab(name, number)?;
        let interface = lab.a().interface.clone();
        let args = [&["serve"], service, &["--listen", at, "--interface", &interface]].concat();
        let args =
            [&args[..], &["--time-wait", TIME_WAIT_S, "--keepalive", KEEPALIVE_S, "--metrics", METRICS]].concat();
        let args = args.iter().map(ToString::to_string).collect();
        let world = World::new(run, world, lab, seed + number as u64, at.parse()?, Some(args))?;
        all.push(Driven { world, drive: Drive::Lanes(lanes), _backend: None });
    }
    all.push(proxy(run, lab(name, 4)?, folder, seed + 4)?);
    all.push(clients(run, lab(name, 5)?, seed + 5)?);
    Ok(all)
}

/// Its own namespaces, where neighbours are found as anywhere else.
fn lab(name: &str, number: usize) -> anyhow::Result<Lab> {
    let lab = Lab::build(&format!("{name}{number}"))?;
    for end in [lab.a(), lab.b()] {
        let namespace = &end.namespace;
        // A link that goes down keeps its IPv6 addresses, and has them at once when it is up: nobody else wants them.
        let interface = &end.interface;
        let script = format!(
            "echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad && echo 0 > /proc/sys/net/ipv6/conf/{interface}/accept_dad && \
             echo 1 > /proc/sys/net/ipv6/conf/{interface}/keep_addr_on_down && \
             ip neigh flush dev {interface} nud permanent && \
             ip -6 neigh flush dev {interface} nud permanent"
        );
        crate::faults::ip(&["netns", "exec", namespace, "sh", "-c", &script])?;
    }
    Ok(lab)
}

/// Kernel clients, the proxy, and a kernel server behind it.
fn proxy(run: &Arc<Run>, lab: Lab, folder: &Path, seed: u64) -> anyhow::Result<Driven> {
    let does = if run.breaks == Some(Break::Corrupt) { Does::EchoWrongly } else { Does::Echo };
    let backend = Peer::start(&lab.b().namespace, load::ECHO.parse()?, does)?;
    let text = format!(
        "access-log = \"off\"\n\
         [stack]\ninterface = \"{}\"\ntime-wait = {TIME_WAIT_S}\nkeepalive = {KEEPALIVE_S}\n\
         [[listener]]\nname = \"soak\"\naddress = \"10.79.0.1:7\"\npool = \"soak\"\n\
         [[pool]]\nname = \"soak\"\nretries = 5\nconnect-timeout = \"20s\"\n\
         [[pool.backend]]\naddress = \"{}\"\n",
        lab.a().interface,
        load::ECHO
    );
    let file = folder.join("proxy.toml");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let args = ["proxy", "-c", &file.display().to_string(), "--metrics", METRICS].map(str::to_owned).to_vec();
    let world = World::new(run, "proxy", lab, seed, "10.79.0.1:7".parse()?, Some(args))?;
    // A connection that an operator ends is one of two.
    let lanes = &echo::LANES[..echo::LANES.len() - 1];
    Ok(Driven { world, drive: Drive::Lanes(lanes), _backend: Some(backend) })
}

/// Servers of the kernel's, and clients that come and go.
fn clients(run: &Arc<Run>, lab: Lab, seed: u64) -> anyhow::Result<Driven> {
    let peers = [(load::ECHO, Does::Echo), (load::ECHO_V6, Does::Echo), (load::DISCARD, Does::Discard)];
    let start = |(at, does): (&str, Does)| Peer::start(&lab.b().namespace, at.parse::<SocketAddr>()?, does);
    let [first, second, third] = peers.map(start);
    let peers = Arc::new([first?, second?, third?]);
    let world = World::new(run, "client", lab, seed, load::ECHO.parse()?, None)?;
    Ok(Driven { world, drive: Drive::Load(peers), _backend: None })
}

impl Driven {
    /// Starts what drives it, until the end of the run.
    pub(crate) fn drive(&self, seed: u64) -> JoinHandle<()> {
        let world = Arc::clone(&self.world);
        match &self.drive {
            Drive::Lanes(lanes) => {
                let lanes: &'static [Lane] = lanes;
                thread::spawn(move || {
                    let all = || {
                        thread::scope(|scope| {
                            for (number, lane) in lanes.iter().enumerate() {
                                let (world, seed) = (&world, Rng::part(seed, number as u64).bits64());
                                scope.spawn(move || lane.run(world, seed));
                            }
                        });
                    };
                    if let Err(error) = within(&world.lab.b().namespace, all) {
                        world.book.deviation(format!("no traffic: {error:#}"));
                    }
                })
            }
            Drive::Load(peers) => {
                let peers = Arc::clone(peers);
                thread::spawn(move || load::run(&world, [&peers[0], &peers[1]], &peers[2], seed))
            }
        }
    }
}
