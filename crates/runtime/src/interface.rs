//! What changes of the interface, or of what the kernel knows around it, while the loops run.

use crate::error::Error;
use crate::worker::Command;
use stack::{Instant as Time, MacAddr, Route, Shard};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use xdp::facts::{InterfaceFacts, Validity};
use xdp::links::InterfaceMirror;

/// Between two readings of everything: many changes may come at once, a routing daemon's for example.
const PAUSE: Duration = Duration::from_millis(100);

/// A change that a shard follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The kernel's routes out of the interface.
    Routes(Vec<Route>),
    /// Bytes of IP packet.
    Mtu(u16),
    /// The interface's MAC address.
    Mac(MacAddr),
    /// The interface's addresses, and which of them are to be avoided.
    Addresses {
        /// All of them.
        present: Vec<IpAddr>,
        /// Those that nothing should leave from: deprecated, or somebody else's perhaps.
        avoided: Vec<IpAddr>,
    },
    /// The link has a carrier again.
    LinkBack,
    /// The kernel is not sure of a neighbour any more.
    Stale(IpAddr),
    /// The kernel has forgotten a neighbour.
    Forgotten(IpAddr),
}

impl Change {
    pub(crate) fn apply(self, now: Time, shard: &mut Shard) {
        match self {
            Self::Routes(routes) => shard.set_routes(routes),
            Self::Mtu(mtu) => shard.set_mtu(now, mtu),
            Self::Mac(mac) => shard.set_mac(now, mac),
            Self::Addresses { present, avoided } => {
                shard.set_present(&present);
                shard.set_avoided(avoided);
            }
            Self::LinkBack => shard.announce_owned(now),
            Self::Stale(ip) => shard.on_stale_neighbour(now, ip),
            Self::Forgotten(ip) => shard.on_forgotten_neighbour(ip),
        }
    }
}

/// What a stack started with, and the mirror compares with.
#[derive(Debug)]
pub(crate) struct Start {
    /// The interface as it was.
    pub(crate) facts: InterfaceFacts,
    /// The addresses shared with the kernel; none if the stack has its own: then routes and neighbours are its own as well.
    pub(crate) shared: Vec<IpAddr>,
    /// The largest MTU that frames can hold.
    pub(crate) most: u32,
}

/// Follows an interface: what is different from what was told last becomes commands.
#[derive(Debug)]
pub(crate) struct Follower {
    mirror: InterfaceMirror,
    start: Start,
    /// Routes as last told; `None`: not yet.
    routes: Option<Vec<Route>>,
    changed: bool,
    /// Nothing is read before.
    rest_until: Instant,
    gone: bool,
}

impl Follower {
    pub(crate) fn open(start: Start) -> Result<Self, Error> {
        let mirror = InterfaceMirror::open(start.facts.ifindex)?;
        // The start has read before anybody subscribed.
        Ok(Self { mirror, start, routes: None, changed: true, rest_until: Instant::now(), gone: false })
    }

    pub(crate) const fn start(&self) -> &Start {
        &self.start
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.mirror.fd()
    }

    /// How long there is nothing to do, if nobody says anything.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.changed.then(|| self.rest_until.saturating_duration_since(Instant::now()))
    }

    /// Appends what is to be told. True if everything was read that the kernel has said.
    pub(crate) fn poll(&mut self, out: &mut Vec<Command>) -> Result<bool, Error> {
        let drained = self.mirror.poll_changes(&mut self.changed)?;
        if self.changed && !self.gone && Instant::now() >= self.rest_until {
            self.changed = false;
            let before = self.start.facts.xdp_program;
            self.compare(out)?;
            // At the first reading it is new, and ours.
            if before.is_some() && self.start.facts.xdp_program != before {
                let name = &self.start.facts.name;
                tracing::error!("the XDP program was taken off {name}: the stack gets nothing any more, start it anew");
            }
            self.rest_until = Instant::now() + PAUSE;
        }
        Ok(drained)
    }

    fn compare(&mut self, out: &mut Vec<Command>) -> Result<(), Error> {
        let Some(now) = self.mirror.facts()? else {
            self.gone = true;
            out.push(Command::Gone);
            return Ok(());
        };
        let before = std::mem::replace(&mut self.start.facts, now);
        let now = &self.start.facts;
        if now.name != before.name {
            tracing::warn!("{} is called {} now; the stack goes on there", before.name, now.name);
        }
        out.extend(carrier(&before, now));
        if now.mac != before.mac {
            tracing::warn!("the MAC address of {} is {} now", now.name, now.mac);
            out.push(Command::Changed(Change::Mac(MacAddr(now.mac.0))));
        }
        if now.mtu != before.mtu {
            out.push(Command::Changed(Change::Mtu(self.mtu())));
        }
        if self.start.shared.is_empty() {
            return Ok(());
        }
        // A start tells which there are, not which of them are to be avoided.
        if now.addresses != before.addresses || self.routes.is_none() {
            out.push(self.compare_addresses(&before));
        }
        let routes: Vec<Route> = self.mirror.routes()?.iter().map(route).collect();
        if self.routes.as_ref() != Some(&routes) {
            out.push(Command::Changed(Change::Routes(routes.clone())));
            self.routes = Some(routes);
        }
        Ok(())
    }

    /// The MTU as far as frames can hold it.
    fn mtu(&self) -> u16 {
        let (facts, most) = (&self.start.facts, self.start.most);
        if facts.mtu > most {
            tracing::warn!(
                "the MTU of {} is {} now, a frame of AF_XDP holds {most}: nothing larger is sent, and nothing larger that \
                 comes is seen",
                facts.name,
                facts.mtu
            );
        } else {
            tracing::info!("the MTU of {} is {} now", facts.name, facts.mtu);
        }
        u16::try_from(facts.mtu.min(most)).unwrap_or(u16::MAX)
    }

    fn compare_addresses(&self, before: &InterfaceFacts) -> Command {
        let now = &self.start.facts;
        let has = |facts: &InterfaceFacts, ip: &IpAddr| facts.addresses.iter().any(|a| a.address == *ip);
        for ip in &self.start.shared {
            match (has(before, ip), has(now, ip)) {
                (true, false) => tracing::warn!(
                    "{ip} is no longer an address of {}: its connections are kept, and go on when it is back",
                    now.name
                ),
                (false, true) => tracing::warn!("{ip} is an address of {} again", now.name),
                _ => {}
            }
        }
        for new in now.addresses.iter().map(|a| a.address).filter(|ip| !has(before, ip)) {
            if !self.start.shared.contains(&new) {
                tracing::info!("{new} is a new address of {}: it is the kernel's alone until a restart", now.name);
            }
        }
        let present: Vec<IpAddr> = now.addresses.iter().map(|a| a.address).collect();
        let avoided = now.addresses.iter().filter(|a| a.validity != Validity::Preferred).map(|a| a.address).collect();
        Command::Changed(Change::Addresses { present, avoided })
    }
}

/// A cable that is pulled out, or a switch that restarts: nobody but the link itself says so. When it is back it may lead to
/// other stations, which are told what is ours (RFC 5227 section 2.3). They are not asked whether it is theirs, as at the start
/// (section 2.1): the address is in use, and is defended against who claims it (section 2.4).
fn carrier(before: &InterfaceFacts, now: &InterfaceFacts) -> Option<Command> {
    if !(before.up && now.up) || before.running == now.running {
        return None;
    }
    if now.running {
        tracing::info!("{} has a carrier again", now.name);
        return Some(Command::Changed(Change::LinkBack));
    }
    tracing::warn!("{} has no carrier: connections are kept until it is back", now.name);
    None
}

/// A route of the kernel's, as shards know it.
pub(crate) fn route(route: &xdp::neighbours::Route) -> Route {
    let mtu = route.mtu.map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
    Route { source: route.source, mtu, ..Route::new(route.prefix, route.prefix_len, route.gateway) }
}
