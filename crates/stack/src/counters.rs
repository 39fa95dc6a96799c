//! What a shard counts. Plain numbers: one thread writes them, readers get a copy.

use crate::causes::{ResetCause, failed_name};
use crate::sockets::SocketCounters;
use tcp::{DropReason, Error, LossCounters, PoolCounters, State};
use wire::Malformed;

/// Why the shard, not a connection, dropped or refused something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// Sent to another station's MAC address.
    NotOurMac,
    /// An Ethernet type that is none of ours.
    EtherType,
    /// An IP address that is none of ours.
    NotOurAddress,
    /// A source address nobody can have (multicast, broadcast, unspecified, our own).
    BadSource,
    /// A TCP segment to a multicast or broadcast address (RFC 9293 MUST-57).
    NotUnicast,
    /// An IP fragment: reassembly is not offered.
    Fragment,
    /// An upper protocol we don't speak.
    Protocol,
    /// A malformed TCP option; the segment is processed with what was read before it.
    TcpOption,
    /// No connection and no listener: answered by a reset, unless it was one.
    NoEndpoint,
    /// A listener ignored it (RST, or neither SYN nor ACK).
    ListenIgnored,
    /// An acknowledgment at a listener: answered by a reset.
    ListenReset,
    /// The listener's backlog is full.
    BacklogFull,
    /// The shard's connection limit is reached.
    ConnectionsFull,
    /// The shard's limit of TIME-WAIT records is reached: the records there are stay, a new one is not made.
    TimeWaitFull,
    /// TIME-WAIT dropped it (an old segment, a SYN that may be old, a reset).
    TimeWaitIgnored,
    /// The pool has no memory for what an answer must repeat.
    PoolFull,
    /// Too many stateless replies (RST, ARP, ICMP) wait to be sent.
    RepliesFull,
    /// Too many neighbours are being resolved.
    NeighboursFull,
    /// There is no route to the peer.
    NoRoute,
    /// An ICMP message that is not for us to answer.
    Icmp,
    /// The frame is too small for what must be sent.
    FrameTooSmall,
    /// An ICMP error that quotes no segment of a connection of ours.
    IcmpQuote,
    /// An ICMP error that quotes a segment that is not in flight, or says that one is too big which can't be: old, or made
    /// up.
    IcmpStale,
    /// An ICMP source quench: silently discarded (RFC 9293 MUST-55).
    SourceQuench,
    /// The listener's accept queue is full: a SYN, or the last ACK of a handshake, is dropped, and comes again.
    AcceptQueueFull,
    /// At a listener that has sent SYN cookies: an acknowledgment that returns none of them. Answered by a reset.
    CookieInvalid,
    /// To an owned address of which it is not known yet that nobody else has it (RFC 4862 section 5.4).
    Tentative,
    /// Another station claims an owned address (RFC 5227 section 2.4).
    AddressConflict,
}

impl Refusal {
    /// How many reasons there are.
    pub const COUNT: usize = 28;
    /// Every reason, in the order of its index, with its counter's name.
    pub const ALL: [(Self, &'static str); Self::COUNT] = [
        (Self::NotOurMac, "not_our_mac"),
        (Self::EtherType, "ether_type"),
        (Self::NotOurAddress, "not_our_address"),
        (Self::BadSource, "bad_source"),
        (Self::NotUnicast, "not_unicast"),
        (Self::Fragment, "fragment"),
        (Self::Protocol, "protocol"),
        (Self::TcpOption, "tcp_option"),
        (Self::NoEndpoint, "no_endpoint"),
        (Self::ListenIgnored, "listen_ignored"),
        (Self::ListenReset, "listen_reset"),
        (Self::BacklogFull, "backlog_full"),
        (Self::ConnectionsFull, "connections_full"),
        (Self::TimeWaitFull, "time_wait_full"),
        (Self::TimeWaitIgnored, "time_wait_ignored"),
        (Self::PoolFull, "pool_full"),
        (Self::RepliesFull, "replies_full"),
        (Self::NeighboursFull, "neighbours_full"),
        (Self::NoRoute, "no_route"),
        (Self::Icmp, "icmp"),
        (Self::FrameTooSmall, "frame_too_small"),
        (Self::IcmpQuote, "icmp_quote"),
        (Self::IcmpStale, "icmp_stale"),
        (Self::SourceQuench, "source_quench"),
        (Self::AcceptQueueFull, "accept_queue_full"),
        (Self::CookieInvalid, "cookie_invalid"),
        (Self::Tentative, "tentative"),
        (Self::AddressConflict, "address_conflict"),
    ];

    /// Whether it is the end of a frame that arrived. The others are counted beside what became of a frame.
    #[must_use]
    pub const fn ends_frame(self) -> bool {
        !matches!(
            self,
            Self::TcpOption
                | Self::TimeWaitFull
                | Self::RepliesFull
                | Self::NeighboursFull
                | Self::FrameTooSmall
                | Self::AddressConflict
        )
    }
}

/// Counters of one shard since its start; those named `state_` are gauges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    /// Frames given to the shard, by the interface or by another shard, less those that were another's.
    pub frames_in: u64,
    /// Frames taken from the shard.
    pub frames_out: u64,
    /// TCP segments given to a connection.
    pub segments_in: u64,
    /// SYNs that were answered and are remembered (SYN-RECEIVED).
    pub opened: u64,
    /// SYNs that were answered by a cookie.
    pub cookies_sent: u64,
    /// Connections that a returned cookie opened.
    pub cookies_accepted: u64,
    /// SYN-ACKs that were sent again by their timer.
    pub syn_acks_again: u64,
    /// Handshakes whose last ACK never came.
    pub half_open_expired: u64,
    /// Segments that TIME-WAIT answered by an ACK.
    pub time_wait_in: u64,
    /// Records of TIME-WAIT whose place an active open took.
    pub time_wait_reused: u64,
    /// ARP packets.
    pub arp_in: u64,
    /// Neighbour solicitations and advertisements.
    pub ndp_in: u64,
    /// Announcements of other stations that were overheard; each is counted as what it is as well.
    pub overheard: u64,
    /// ICMP echo requests, of both families.
    pub echo_in: u64,
    /// ICMP errors given to a connection.
    pub icmp_in: u64,
    /// TCP segments a connection sent.
    pub segments_out: u64,
    /// Resets sent.
    pub resets_out: u64,
    /// Connections opened by peers.
    pub accepted: u64,
    /// Connections opened by us.
    pub connected: u64,
    /// Connections that ended, however.
    pub closed: u64,
    /// Connections that ended by an error.
    pub failed: u64,
    /// Frames that arrived and may be another shard's: handed over.
    pub strays_out: u64,
    /// Frames from other shards whose flow is here.
    pub strays_in: u64,
    /// Frames that arrived here, and that no other shard wanted either.
    pub strays_unclaimed: u64,
    /// Copies from other shards of what is for all (ARP, NDP).
    pub copies_in: u64,
    /// Active opens whose first reply arrived at this shard.
    pub landed_home: u64,
    /// Active opens whose first reply arrived at another shard, and was handed over.
    pub landed_elsewhere: u64,
    /// Timers of the application that were told.
    pub timers_fired: u64,
    /// Timers that were refused: there are as many as there may be.
    pub timers_full: u64,
    /// Messages the application has posted, to its own shard too.
    pub messages_out: u64,
    /// Messages it was given.
    pub messages_in: u64,
    /// Messages that were refused, to the application here or to a thread that posted one to it: too many wait for that shard.
    pub messages_full: u64,
    /// What it has cost that the shard's memory for data is limited; as of the last [`advance`](crate::Shard::advance).
    pub memory: PoolCounters,
    /// What was sent again; as of [`all_counters`](crate::Shard::all_counters).
    pub losses: LossCounters,
    /// Connections over the kernel's sockets; as of the last [`advance`](crate::Shard::advance).
    pub sockets: SocketCounters,
    /// Connections there are, by state: a gauge. TIME-WAIT has records instead.
    states: [u64; State::ALL.len()],
    malformed: [u64; Malformed::COUNT],
    refused: [u64; Refusal::COUNT],
    dropped: [u64; DropReason::COUNT],
    resets: [u64; ResetCause::COUNT],
    ended: [u64; Error::COUNT],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            frames_in: 0,
            frames_out: 0,
            segments_in: 0,
            opened: 0,
            cookies_sent: 0,
            cookies_accepted: 0,
            syn_acks_again: 0,
            half_open_expired: 0,
            time_wait_in: 0,
            time_wait_reused: 0,
            arp_in: 0,
            ndp_in: 0,
            overheard: 0,
            echo_in: 0,
            icmp_in: 0,
            segments_out: 0,
            resets_out: 0,
            accepted: 0,
            connected: 0,
            closed: 0,
            failed: 0,
            strays_out: 0,
            strays_in: 0,
            strays_unclaimed: 0,
            copies_in: 0,
            landed_home: 0,
            landed_elsewhere: 0,
            timers_fired: 0,
            timers_full: 0,
            messages_out: 0,
            messages_in: 0,
            messages_full: 0,
            memory: PoolCounters::default(),
            losses: LossCounters::default(),
            sockets: SocketCounters::default(),
            states: [0; State::ALL.len()],
            malformed: [0; Malformed::COUNT],
            refused: [0; Refusal::COUNT],
            dropped: [0; DropReason::COUNT],
            resets: [0; ResetCause::COUNT],
            ended: [0; Error::COUNT],
        }
    }
}

impl Counters {
    pub(crate) fn malformed(&mut self, reason: Malformed) {
        self.malformed[reason.index()] += 1;
    }

    pub(crate) fn refused(&mut self, reason: Refusal) {
        self.refused[reason as usize] += 1;
    }

    pub(crate) fn dropped(&mut self, reason: DropReason) {
        self.dropped[reason.index()] += 1;
    }

    pub(crate) fn reset_sent(&mut self, cause: ResetCause) {
        self.resets_out += 1;
        self.resets[cause as usize] += 1;
    }

    /// A connection has ended, in order or by an error.
    pub(crate) fn ended(&mut self, error: Option<Error>) {
        if let Some(error) = error {
            self.failed += 1;
            self.ended[error.index()] += 1;
        }
    }

    /// A connection that was `counted` under one state is in another now. CLOSED and TIME-WAIT are none of a connection.
    pub(crate) const fn count_state(&mut self, counted: &mut State, state: State) {
        if *counted as usize == state as usize {
            return;
        }
        if !matches!(*counted, State::Closed | State::TimeWait) {
            self.states[*counted as usize] -= 1;
        }
        if !matches!(state, State::Closed | State::TimeWait) {
            self.states[state as usize] += 1;
        }
        *counted = state;
    }

    /// How many connections are in `state`; 0 for LISTEN, CLOSED and TIME-WAIT, which none is in.
    #[must_use]
    pub const fn in_state(&self, state: State) -> u64 {
        self.states[state as usize]
    }

    /// Resets sent for `cause`.
    #[must_use]
    pub const fn resets(&self, cause: ResetCause) -> u64 {
        self.resets[cause as usize]
    }

    /// Connections that ended by `error`.
    #[must_use]
    pub const fn failures(&self, error: Error) -> u64 {
        self.ended[error.index()]
    }

    /// How often a shard refused for `reason`.
    #[must_use]
    pub const fn refusals(&self, reason: Refusal) -> u64 {
        self.refused[reason as usize]
    }

    /// Every counter by its name, those of drops and refusals included.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let plain = [
            ("frames_in", self.frames_in),
            ("frames_out", self.frames_out),
            ("segments_in", self.segments_in),
            ("opened", self.opened),
            ("cookies_sent", self.cookies_sent),
            ("cookies_accepted", self.cookies_accepted),
            ("syn_acks_again", self.syn_acks_again),
            ("half_open_expired", self.half_open_expired),
            ("time_wait_in", self.time_wait_in),
            ("time_wait_reused", self.time_wait_reused),
            ("arp_in", self.arp_in),
            ("ndp_in", self.ndp_in),
            ("overheard", self.overheard),
            ("echo_in", self.echo_in),
            ("icmp_in", self.icmp_in),
            ("segments_out", self.segments_out),
            ("resets_out", self.resets_out),
            ("accepted", self.accepted),
            ("connected", self.connected),
            ("closed", self.closed),
            ("failed", self.failed),
            ("strays_out", self.strays_out),
            ("strays_in", self.strays_in),
            ("strays_unclaimed", self.strays_unclaimed),
            ("copies_in", self.copies_in),
            ("landed_home", self.landed_home),
            ("landed_elsewhere", self.landed_elsewhere),
            ("timers_fired", self.timers_fired),
            ("timers_full", self.timers_full),
            ("messages_out", self.messages_out),
            ("messages_in", self.messages_in),
            ("messages_full", self.messages_full),
            ("state_syn_sent", self.in_state(State::SynSent)),
            ("state_syn_received", self.in_state(State::SynReceived)),
            ("state_established", self.in_state(State::Established)),
            ("state_fin_wait_1", self.in_state(State::FinWait1)),
            ("state_fin_wait_2", self.in_state(State::FinWait2)),
            ("state_close_wait", self.in_state(State::CloseWait)),
            ("state_closing", self.in_state(State::Closing)),
            ("state_last_ack", self.in_state(State::LastAck)),
        ];
        let malformed = Malformed::ALL.iter().map(|m| (m.name(), self.malformed[m.index()]));
        let refused = Refusal::ALL.iter().map(|(r, name)| (*name, self.refused[*r as usize]));
        let dropped = DropReason::ALL.iter().map(|d| (d.name(), self.dropped[d.index()]));
        let resets = ResetCause::ALL.iter().map(|(cause, name)| (*name, self.resets[*cause as usize]));
        let ended = Error::ALL.iter().map(|error| (failed_name(*error), self.ended[error.index()]));
        plain
            .into_iter()
            .chain(self.sockets.iter())
            .chain(self.memory.iter())
            .chain(self.losses.iter())
            .chain(malformed)
            .chain(refused)
            .chain(dropped)
            .chain(resets)
            .chain(ended)
    }

    /// What became of the frames that arrived, summed up: equals [`frames_in`](Self::frames_in).
    #[must_use]
    pub fn frames_accounted(&self) -> u64 {
        let refused = Refusal::ALL.iter().filter(|(r, _)| r.ends_frame()).map(|(r, _)| self.refusals(*r));
        let answered = self.opened + self.cookies_sent + self.time_wait_in;
        let others = self.arp_in + self.ndp_in + self.echo_in + self.icmp_in;
        let taken = self.segments_in + answered + others;
        taken + self.malformed_total() + refused.sum::<u64>()
    }

    /// Whether every reset and every connection that failed is counted under one cause.
    #[must_use]
    pub fn causes_add_up(&self) -> bool {
        self.resets.iter().sum::<u64>() == self.resets_out && self.ended.iter().sum::<u64>() == self.failed
    }

    /// Frames that were dropped for being malformed, for any reason.
    #[must_use]
    pub fn malformed_total(&self) -> u64 {
        self.malformed.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_index() {
        for (i, (reason, _)) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
        }
    }
}
