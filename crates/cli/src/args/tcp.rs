//! Flags of the connections: what TCP does where there is a choice.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::SynLimitArgs;
use super::limits::within;
use super::parse::{parse_min_rto, parse_patience, parse_time_wait};

/// Half-open connections of a listener.
pub(super) const HALF_OPEN: RangeInclusive<u64> = 0..=1 << 24;
/// Bytes that a connection may hold.
pub(super) const BUFFERS: RangeInclusive<u64> = 4096..=1 << 30;

/// Explicit congestion notification (RFC 3168).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ecn {
    /// Never
    Off,
    /// If the peer asks
    Answer,
    /// What it opens asks as well
    Ask,
}

/// Who steers the congestion window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Congestion {
    /// RFC 9438
    Cubic,
    /// RFC 5681 and 6582
    Newreno,
}

/// When a SYN is answered by a cookie (RFC 4987).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SynCookies {
    Never,
    WhenFull,
    Always,
    /// While so many are half open.
    From(u32),
}

/// What connections are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Profile {
    /// Nothing waits: no Nagle, each batch acknowledged at once, small bursts
    Latency,
    /// Few frames: Nagle, ACKs that wait and are gathered, more queued
    Throughput,
}

/// Of every connection, as far as it was typed.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct TcpArgs {
    /// TIME-WAIT lasts so long, 1 to 240 [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = parse_time_wait)]
    pub(super) time_wait: Option<Duration>,

    /// Explicit congestion notification [default: answer]
    #[arg(long, value_enum)]
    pub(super) ecn: Option<Ecn>,

    /// Congestion control [default: cubic]
    #[arg(long, value_enum)]
    pub(super) congestion: Option<Congestion>,

    /// The least retransmission timeout, 0.001 to 1 [default: 0.2]
    #[arg(long, value_name = "SECONDS", value_parser = parse_min_rto)]
    pub(super) min_rto: Option<Duration>,

    /// Bytes a connection may hold unread or out of order, 4096 to 2^30; it gets there as the path can use them
    /// [default: 33554432]
    #[arg(long, value_name = "BYTES", value_parser = within::<u32>(BUFFERS))]
    pub(super) receive_buffer: Option<u32>,

    /// Bytes a connection may hold unsent or unacknowledged, 4096 to 2^30; it gets there with the congestion window
    /// [default: 33554432]
    #[arg(long, value_name = "BYTES", value_parser = within::<u32>(BUFFERS))]
    pub(super) send_buffer: Option<u32>,

    /// What connections are for; without it they are balanced, and what a command sends at once is not held back
    #[arg(long, value_enum)]
    pub(super) profile: Option<Profile>,
}

/// Of a listener and what it accepts, as far as it was typed.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(
    next_help_heading = "Its connections (with --stack kernel only --backlog, --keepalive and --user-timeout have an effect)"
)]
pub(crate) struct ListenArgs {
    /// Connections that may be half open at once, 0 to 2^24 [default: 4096]
    #[arg(long, value_name = "N", value_parser = within::<u32>(HALF_OPEN))]
    pub(super) backlog: Option<u32>,

    /// SYNs answered by a cookie: never, when-full (the backlog), always, or while N are half open [default: when-full]
    #[arg(long, value_name = "WHEN", value_parser = parse_syn_cookies)]
    pub(super) syn_cookies: Option<SynCookies>,

    /// Ask a silent peer whether it is there after so long, 1 to 86400, and then as often, but each 75 s at least; nine
    /// questions without an answer end it [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = parse_patience)]
    pub(super) keepalive: Option<Duration>,

    /// Give up a peer that acknowledges nothing, or reads nothing, for so long, 1 to 86400 [default: 15 minutes]
    #[arg(long, value_name = "SECONDS", value_parser = parse_patience)]
    pub(super) user_timeout: Option<Duration>,

    #[command(flatten)]
    pub(super) syn_limit: SynLimitArgs,
}

/// What TCP does where there is a choice, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpConfig {
    /// `None`: the stack's default, here and below.
    pub(crate) time_wait: Option<Duration>,
    pub(crate) ecn: Ecn,
    pub(crate) congestion: Congestion,
    pub(crate) min_rto: Option<Duration>,
    pub(crate) receive_buffer: Option<u32>,
    pub(crate) send_buffer: Option<u32>,
    pub(crate) profile: Option<Profile>,
    pub(crate) backlog: Option<u32>,
    pub(crate) syn_cookies: SynCookies,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) user_timeout: Option<Duration>,
}

impl TcpArgs {
    /// What `self` has, else what `other` has.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            time_wait: self.time_wait.or(other.time_wait),
            ecn: self.ecn.or(other.ecn),
            congestion: self.congestion.or(other.congestion),
            min_rto: self.min_rto.or(other.min_rto),
            receive_buffer: self.receive_buffer.or(other.receive_buffer),
            send_buffer: self.send_buffer.or(other.send_buffer),
            profile: self.profile.or(other.profile),
        }
    }
}

impl ListenArgs {
    /// What `self` has, else what `other` has.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            backlog: self.backlog.or(other.backlog),
            syn_cookies: self.syn_cookies.or(other.syn_cookies),
            keepalive: self.keepalive.or(other.keepalive),
            user_timeout: self.user_timeout.or(other.user_timeout),
            syn_limit: self.syn_limit.or(other.syn_limit),
        }
    }
}

impl TcpConfig {
    pub(super) fn resolve(tcp: TcpArgs, listen: ListenArgs) -> Self {
        Self {
            time_wait: tcp.time_wait,
            ecn: tcp.ecn.unwrap_or(Ecn::Answer),
            congestion: tcp.congestion.unwrap_or(Congestion::Cubic),
            min_rto: tcp.min_rto,
            receive_buffer: tcp.receive_buffer,
            send_buffer: tcp.send_buffer,
            profile: tcp.profile,
            backlog: listen.backlog,
            syn_cookies: listen.syn_cookies.unwrap_or(SynCookies::WhenFull),
            keepalive: listen.keepalive,
            user_timeout: listen.user_timeout,
        }
    }
}

pub(super) fn parse_syn_cookies(text: &str) -> Result<SynCookies, String> {
    match text {
        "never" => return Ok(SynCookies::Never),
        "when-full" => return Ok(SynCookies::WhenFull),
        "always" => return Ok(SynCookies::Always),
        _ => {}
    }
    let number = within(HALF_OPEN)(text).map(SynCookies::From);
    number.map_err(|_| {
        format!("`{text}` is neither never, when-full nor always, nor a number from 0 to {}", HALF_OPEN.end())
    })
}
