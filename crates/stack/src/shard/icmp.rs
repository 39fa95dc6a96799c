//! ICMP errors about what we have sent: RFC 9293 section 3.9.2.2 (MUST-54), RFC 5927.

use super::{App, Env, FlowKey, Instant, Refusal, Shard, input::Rejected};
use crate::table::Owner;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use tcp::IcmpError;
use wire::{icmpv4, icmpv6, quoted::Quoted};

/// What an ICMP error says.
#[derive(Debug, Clone, Copy)]
enum Report {
    Error(IcmpError),
}

impl Shard {
    /// An ICMP message that may be an error about a segment of ours. It may come from any router.
    pub(super) fn icmpv4_error(
        &mut self,
        now: Instant,
        dst: IpAddr,
        message: &icmpv4::Message<'_>,
        app: &mut impl App,
    ) -> Result<(), Rejected> {
        if message.kind == icmpv4::SOURCE_QUENCH {
            // RFC 9293 MUST-55, RFC 6633 section 3.
            return Err(Refusal::SourceQuench.into());
        }
        let report = IcmpError::v4(message.kind, message.code).map(Report::Error);
        let report = report.ok_or(Refusal::Icmp)?;
        let quoted = Quoted::parse_v4(message.body).filter(|q| q.src == dst).ok_or(Refusal::IcmpQuote)?;
        self.icmp_error(now, &quoted, report, app)
    }

    /// An `ICMPv6` message that may be an error about a segment of ours.
    pub(super) fn icmpv6_error(
        &mut self,
        now: Instant,
        dst: Ipv6Addr,
        message: &icmpv6::Message<'_>,
        app: &mut impl App,
    ) -> Result<(), Rejected> {
        let report = IcmpError::v6(message.kind, message.code).map(Report::Error);
        let report = report.ok_or(Refusal::Icmp)?;
        let quoted = Quoted::parse_v6(message.body).filter(|q| q.src == dst).ok_or(Refusal::IcmpQuote)?;
        self.icmp_error(now, &quoted, report, app)
    }

    /// Gives it to the connection whose segment is quoted, if that is in flight.
    fn icmp_error(
        &mut self,
        now: Instant,
        quoted: &Quoted,
        report: Report,
        app: &mut impl App,
    ) -> Result<(), Rejected> {
        let key =
            FlowKey::new(SocketAddr::new(quoted.src, quoted.src_port), SocketAddr::new(quoted.dst, quoted.dst_port));
        let same = |owner| match owner {
            Owner::Connection(slot) => self.slots[slot as usize].entry.as_ref().is_some_and(|e| e.key == key),
            // A record of SYN-RECEIVED lasts a minute at most: it needs no help to end.
            Owner::TimeWait(_) | Owner::HalfOpen(_) => false,
        };
        let Some(Owner::Connection(slot)) = self.table.find(self.table.hash(&key), same) else {
            return Err(Refusal::IcmpQuote.into());
        };
        let Some(entry) = self.slots[slot as usize].entry.as_mut() else { return Err(Refusal::IcmpQuote.into()) };
        let mut env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        let taken = match report {
            Report::Error(error) => entry.conn.on_icmp(&mut env, quoted.seq, error),
        };
        if !taken {
            return Err(Refusal::IcmpStale.into());
        }
        self.counters.icmp_in += 1;
        self.mark(slot);
        self.dispatch(now, slot, app);
        Ok(())
    }
}
