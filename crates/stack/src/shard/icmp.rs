//! ICMP errors about what we have sent: RFC 9293 section 3.9.2.2 (MUST-54), RFC 5927.

use super::{App, Env, FlowKey, Instant, Refusal, Shard, input::Rejected};
use crate::{path_mtu::guess, placement::Way, table::Owner};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use tcp::IcmpError;
use wire::{icmpv4, icmpv6, quoted::Quoted};

/// What an ICMP error says.
#[derive(Debug, Clone, Copy)]
enum Report {
    Error(IcmpError),
    /// A router forwards at most so many bytes behind IP and TCP headers without options.
    TooBig(u16),
}

impl Shard {
    /// An ICMP message that may be an error about a segment of ours. It may come from any router.
    pub(super) fn icmpv4_error(
        &mut self,
        now: Instant,
        way: Way,
        dst: IpAddr,
        message: &icmpv4::Message<'_>,
        app: &mut impl App,
    ) -> Result<(), Rejected> {
        if message.kind == icmpv4::SOURCE_QUENCH {
            // RFC 9293 MUST-55, RFC 6633 section 3.
            return Err(Refusal::SourceQuench.into());
        }
        let too_big = message.kind == icmpv4::DEST_UNREACHABLE && message.code == icmpv4::CODE_FRAGMENTATION_NEEDED;
        let error = IcmpError::v4(message.kind, message.code).map(Report::Error);
        if error.is_none() && !too_big {
            return Err(Refusal::Icmp.into());
        }
        let quoted = Quoted::parse_v4(message.body).filter(|q| q.src == dst).ok_or(Refusal::IcmpQuote)?;
        let report = error.unwrap_or_else(|| {
            // RFC 1191 section 5: an old router does not say.
            let mtu = Some(message.next_hop_mtu()).filter(|mtu| *mtu != 0).unwrap_or_else(|| guess(quoted.packet_len));
            Report::TooBig(mtu.saturating_sub(40))
        });
        self.icmp_error(now, way, &quoted, report, app)
    }

    /// An `ICMPv6` message that may be an error about a segment of ours.
    pub(super) fn icmpv6_error(
        &mut self,
        now: Instant,
        way: Way,
        dst: Ipv6Addr,
        message: &icmpv6::Message<'_>,
        app: &mut impl App,
    ) -> Result<(), Rejected> {
        // RFC 8201 section 4: less than any link must carry is discarded.
        let mtu = Some(message.mtu()).filter(|mtu| message.kind == icmpv6::PACKET_TOO_BIG && *mtu >= 1280);
        let too_big = mtu.map(|mtu| Report::TooBig(u16::try_from(mtu - 60).unwrap_or(u16::MAX)));
        let report = IcmpError::v6(message.kind, message.code).map(Report::Error).or(too_big).ok_or(Refusal::Icmp)?;
        let quoted = Quoted::parse_v6(message.body).filter(|q| q.src == dst).ok_or(Refusal::IcmpQuote)?;
        self.icmp_error(now, way, &quoted, report, app)
    }

    /// Gives it to the connection whose segment is quoted, if that is in flight. It may have arrived anywhere: an interface
    /// that spreads flows doesn't look at what is quoted.
    fn icmp_error(
        &mut self,
        now: Instant,
        way: Way,
        quoted: &Quoted,
        report: Report,
        app: &mut impl App,
    ) -> Result<(), Rejected> {
        let key =
            FlowKey::new(SocketAddr::new(quoted.src, quoted.src_port), SocketAddr::new(quoted.dst, quoted.dst_port));
        let same = |owner| match owner {
            Owner::Connection(slot) => self.conns.is(slot, &key),
            Owner::HalfOpen(slot) => self.half_opens.get(slot).is_some_and(|r| r.key == key),
            Owner::TimeWait(_) => false,
        };
        let hash = self.table.hash(&key);
        let slot = match (self.table.find(hash, same), &report) {
            (Some(Owner::Connection(slot)), _) => slot,
            (Some(Owner::HalfOpen(slot)), Report::Error(error)) => {
                return Ok(self.icmp_in_syn_received(now, slot, hash, quoted.seq, *error)?);
            }
            (None, _) if self.may_be_elsewhere(way) => return Err(Rejected::Elsewhere),
            // A SYN-ACK is never too big.
            _ => return Err(Refusal::IcmpQuote.into()),
        };
        let Some(entry) = self.conns.get_mut(slot) else { return Err(Refusal::IcmpQuote.into()) };
        let mut env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        let taken = match report {
            Report::Error(error) => entry.conn.on_icmp(&mut env, quoted.seq, error),
            Report::TooBig(mss) => entry.conn.on_too_big(&mut env, quoted.seq, mss),
        };
        if !taken {
            return Err(Refusal::IcmpStale.into());
        }
        self.counters.icmp_in += 1;
        self.mark(slot);
        self.dispatch(now, slot, app);
        Ok(())
    }

    /// A connection believes what a router says of its path: later ones begin with it.
    pub(super) fn learn_path(&mut self, now: Instant, slot: u32, mss: u16) {
        if let Some(peer) = self.entry(slot).map(|e| e.key.remote().ip()) {
            self.path_mtus.learn(now, peer, mss);
        }
    }

    /// A new connection begins with what is known of its path.
    pub(super) fn begin_with_path(&mut self, now: Instant, slot: u32) {
        let Some(entry) = self.conns.get_mut(slot) else { return };
        if let Some((mss, until)) = self.path_mtus.get(now, entry.key.remote().ip()) {
            entry.conn.set_path_mss(mss, until);
        }
    }
}
