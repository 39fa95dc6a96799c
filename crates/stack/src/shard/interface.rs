//! What changes about the interface while the shard runs: routes, MTU, addresses, and what the kernel thinks of neighbours.

use super::{ConnId, Env, FlowKey, Instant, IpAddr, MacAddr, Route, Routes, Shard};
use crate::route::LEAST_MTU;
use alloc::vec::Vec;

impl Shard {
    /// The routes have changed: these take the place of all there were, but for the prefixes of owned addresses, which stay
    /// on the link. Of two with the same prefix the first counts.
    ///
    /// Connections look their next hop up again when they have something to send; a route's MTU is for those that are opened
    /// from here on. One without a route keeps trying, as on Linux: its timers run, and its application hears of
    /// [`IcmpError::NetUnreachable`](tcp::IcmpError::NetUnreachable).
    pub fn set_routes(&mut self, routes: Vec<Route>) {
        let owned = self.config.addresses.iter().filter(|a| a.owned);
        let on_link = owned.map(|a| Route::new(a.ip, a.prefix_len, None));
        self.routes = Routes::new(on_link.chain(routes).collect());
        self.look_again();
    }

    /// The interface has these addresses now. A shared one that is not among them is nobody's until it comes back: nothing is
    /// sent from it, and nothing new is taken for it. Owned ones are not the interface's to lose.
    pub fn set_present(&mut self, present: &[IpAddr]) {
        let shared = self.config.addresses.iter().filter(|a| !a.owned).map(|a| a.ip);
        let absent: Vec<IpAddr> = shared.filter(|ip| !present.contains(ip)).collect();
        if absent != self.absent {
            self.absent = absent;
            self.look_again();
        }
    }

    /// Opens leave from these only where there is no other address (RFC 6724 section 5, rule 3: deprecated ones), unless they
    /// are told to.
    pub fn set_avoided(&mut self, avoided: Vec<IpAddr>) {
        self.avoided = avoided;
    }

    /// The interface has another MTU, bytes of IP packet; less than 576 is taken for that. New connections announce and send
    /// what it carries. The others send no more than that, beginning with what is in flight; if it carries more again they
    /// try, within what was agreed when they were opened.
    pub fn set_mtu(&mut self, now: Instant, mtu: u16) {
        self.config.mtu = mtu.max(LEAST_MTU);
        let mtu = self.config.mtu;
        for echo in self.replies.take_longer(mtu) {
            self.drop_reply(echo);
        }
        for slot in 0..self.conns.slots() {
            let mss = |key: &FlowKey| {
                let remote = key.remote().ip();
                self.routes.mtu(remote, mtu) - if remote.is_ipv4() { 40 } else { 60 }
            };
            let Some((mss, entry)) = self.conns.with_link_mss(slot, mss) else { continue };
            let mut env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
            entry.conn.set_link_mss(&mut env, mss);
            self.mark(slot);
        }
    }

    /// The interface has another MAC address. Owned addresses are announced with it (RFC 4861 section 7.2.6; RFC 5227 section
    /// 3): nobody else would tell.
    pub fn set_mac(&mut self, now: Instant, mac: MacAddr) {
        self.config.mac = mac;
        self.forget_form();
        self.announce_owned(now);
    }

    /// Owned addresses are announced as at the start, to stations and switches that may know no longer where they are: the
    /// link was down.
    pub fn announce_owned(&mut self, now: Instant) {
        self.claims.again(now);
    }

    /// The kernel is not sure of a neighbour any more: one that is used is asked for ([`poll_resolve`](Self::poll_resolve)),
    /// and believed meanwhile.
    pub fn on_stale_neighbour(&mut self, now: Instant, ip: IpAddr) {
        self.neighbours.stale(now, ip);
    }

    /// The kernel has forgotten a neighbour, which says nothing of where it is. One that is used is asked for at once; until
    /// the kernel knows better ([`on_neighbour`](Self::on_neighbour)) segments go where they went.
    pub fn on_forgotten_neighbour(&mut self, ip: IpAddr) {
        self.neighbours.forgotten(ip);
    }

    /// All connections look for their way again; those that wait for a neighbour, or a route, do it now.
    fn look_again(&mut self) {
        self.neighbours.new_epoch();
        let mut waiting: Vec<ConnId> = self.neighbours.take_waiting();
        waiting.append(&mut self.unrouted);
        for conn in waiting {
            self.wake(conn);
        }
    }

    /// The next hop of a connection's segments now. Without one it is put on the list of those that wait for a route.
    pub(super) fn way(&mut self, slot: u32, local: IpAddr, remote: IpAddr) -> Option<IpAddr> {
        let next_hop = self.routes.next_hop(remote).filter(|_| !self.absent.contains(&local));
        let id = self.id(slot);
        let entry = self.entry(slot)?;
        if next_hop.is_none() {
            entry.conn.on_no_route();
            if !core::mem::replace(&mut entry.waits, true) {
                self.unrouted.push(id);
            }
        }
        next_hop
    }
}
