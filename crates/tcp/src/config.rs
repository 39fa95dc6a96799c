//! What a shard's connections have in common: parsed once, checked once.

use crate::ecn::Ecn;
use core::ops::Deref;
use wheel::Duration;

/// Who steers the congestion window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Congestion {
    /// CUBIC, RFC 9438.
    #[default]
    Cubic,
    /// RFC 5681's congestion avoidance.
    NewReno,
}

/// The settings of a shard's connections, not yet checked. [`Config`] is the checked value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes a connection may hold unread or out of order at most: the largest receive window, and what the window scale is
    /// chosen for. 4 KiB to 1 GiB. Twice the bandwidth-delay product is what a path can use; 32 MiB, the default, carry
    /// 10 Gbit/s over 20 ms. Memory is taken only for what the application leaves unread, and for what is out of order.
    pub receive_buffer_bytes: u32,
    /// The receive buffer a connection begins with; it grows with what the application takes in a round trip, and never
    /// shrinks. 4 KiB to 1 GiB; from `receive_buffer_bytes` on there is nothing to grow to.
    pub receive_buffer_start_bytes: u32,
    /// Bytes a connection may hold unsent or unacknowledged at most. 4 KiB to 1 GiB.
    pub send_buffer_bytes: u32,
    /// As much of that a connection may hold from the start; beyond it two congestion windows. 4 KiB to 1 GiB; from
    /// `send_buffer_bytes` on the congestion window does not count.
    pub send_buffer_start_bytes: u32,
    /// RTO before the first RTT sample (RFC 6298 section 2.1: 1 s). At least `min_rto`.
    pub initial_rto: Duration,
    /// The least RTO, and the least by which it exceeds SRTT, as Linux. RFC 6298 section 2.4 says 1 s; Linux and this stack take
    /// 200 ms, 1 ms suits a data centre.
    pub min_rto: Duration,
    /// The largest RTO (RFC 6298 section 2.5: at least 60 s).
    pub max_rto: Duration,
    /// R2 of RFC 9293 section 3.8.3: data unacknowledged for so long closes the connection. At least 100 s (SHLD-11).
    pub r2: Duration,
    /// SYNs of an active open that are sent again before the RTO begins to double, 0 to 20. RFC 6298 (5.5) doubles from the first
    /// on, as this stack does by default; Linux since 6.5 and FreeBSD send four a second apart.
    pub syn_linear_timeouts: u8,
    /// R2 for a SYN: at least 3 minutes (MUST-23).
    pub syn_r2: Duration,
    /// How long SYN-RECEIVED lasts: by default five SYN-ACKs again, as Linux. At least 3 s.
    pub syn_received: Duration,
    /// R2 for a connection the application has closed: nobody waits for the outcome. At least 1 s.
    pub orphan_r2: Duration,
    /// 2MSL: how long TIME-WAIT lasts. 1 s to 4 minutes; RFC 9293 asks for 4 minutes, the field takes 60 s.
    pub time_wait: Duration,
    /// How long FIN-WAIT-2 lasts once the application has closed (local policy: no RFC has a rule).
    pub fin_wait2_orphan: Duration,
    /// How long an ACK may wait for company: below 500 ms (RFC 9293 section 3.8.6.3).
    pub delayed_ack: Duration,
    /// How long the ACK of two full-sized segments may wait for more of them, so that one does for up to eight, where a round
    /// trip brings 16 times as many; 0 to 1 ms, never longer than `delayed_ack`. 0: every second one is acknowledged at once,
    /// as it is in any case where the loop that drives the stack sleeps (`fourwave`'s `Idle::Sleep`).
    pub ack_gather: Duration,
    /// Challenge ACKs, and ACKs of segments without data that are out of the window, which a connection sends per interval
    /// (RFC 5961 section 7). At least 1.
    pub challenge_acks: u16,
    /// That interval: 1 ms to a minute.
    pub challenge_interval: Duration,
    /// Find the path MTU by trying where nobody says that a packet is too big (RFC 4821): a black hole heals.
    pub mtu_probing: bool,
    /// Offer and use window scaling (RFC 7323 section 2).
    pub window_scaling: bool,
    /// Offer and use timestamps, and with them PAWS (RFC 7323 sections 3 to 5).
    pub timestamps: bool,
    /// Offer and use selective acknowledgments (RFC 2018).
    pub sack: bool,
    /// Explicit congestion notification (RFC 3168).
    pub ecn: Ecn,
    /// The congestion control of new connections.
    pub congestion: Congestion,
    /// The first slow start ends when the round-trip time rises (HyStart++, RFC 9406).
    pub hystart: bool,
    /// What the congestion window lets out is spread over the round trip, on paths where that is longer than 100 µs.
    pub pacing: bool,
    /// Segments that leave together, at least, however slow the path is: 1 to 40 (Linux's `tcp_min_tso_segs`).
    pub min_burst: u8,
    /// After a rest longer than the RTO the window is halved for each RTO of it, down to the initial window (Linux's
    /// `tcp_slow_start_after_idle`; RFC 5681 section 4.1 goes there at once).
    pub slow_start_after_idle: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            receive_buffer_bytes: 32 << 20,
            receive_buffer_start_bytes: 64 << 10,
            send_buffer_bytes: 32 << 20,
            send_buffer_start_bytes: 64 << 10,
            initial_rto: Duration::from_secs(1),
            min_rto: Duration::from_millis(200),
            max_rto: Duration::from_secs(120),
            r2: Duration::from_secs(15 * 60),
            syn_linear_timeouts: 0,
            syn_r2: Duration::from_secs(3 * 60),
            syn_received: Duration::from_secs(63),
            orphan_r2: Duration::from_secs(100),
            time_wait: Duration::from_secs(60),
            fin_wait2_orphan: Duration::from_secs(60),
            delayed_ack: Duration::from_millis(40),
            ack_gather: Duration::from_micros(20),
            challenge_acks: 10,
            challenge_interval: Duration::from_secs(1),
            mtu_probing: true,
            window_scaling: true,
            timestamps: true,
            sack: true,
            ecn: Ecn::Answer,
            congestion: Congestion::default(),
            hystart: true,
            pacing: true,
            min_burst: 2,
            slow_start_after_idle: true,
        }
    }
}

/// A setting out of its range: names the field, its value and what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigError {
    /// The field of [`Settings`].
    pub field: &'static str,
    /// Its value, in milliseconds or bytes.
    pub value: u64,
    /// What is allowed.
    pub allowed: &'static str,
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} is {}, allowed is {}", self.field, self.value, self.allowed)
    }
}

impl core::error::Error for ConfigError {}

/// Checked [`Settings`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    settings: Settings,
    window_scale: u8,
}

impl Config {
    /// Checks every field.
    ///
    /// # Errors
    /// Names the first field out of its range.
    pub fn new(settings: Settings) -> Result<Self, ConfigError> {
        let s = &settings;
        let bytes = |field, value: u32| {
            let ok = (4 << 10..=1 << 30).contains(&value);
            ok.then_some(()).ok_or(ConfigError { field, value: value.into(), allowed: "4 KiB to 1 GiB" })
        };
        let time = |field, value: Duration, least: Duration, most: Duration, allowed| {
            let ok = value >= least && value <= most;
            ok.then_some(()).ok_or(ConfigError { field, value: value.as_millis(), allowed })
        };
        let (ms, s1, day) = (Duration::from_millis(1), Duration::from_secs(1), Duration::from_secs(86_400));
        bytes("receive_buffer_bytes", s.receive_buffer_bytes)?;
        bytes("receive_buffer_start_bytes", s.receive_buffer_start_bytes)?;
        bytes("send_buffer_bytes", s.send_buffer_bytes)?;
        bytes("send_buffer_start_bytes", s.send_buffer_start_bytes)?;
        time("min_rto", s.min_rto, ms, Duration::from_secs(60), "1 to 60000 ms")?;
        time("initial_rto", s.initial_rto, s.min_rto, Duration::from_secs(60), "min_rto to 60000 ms")?;
        time("max_rto", s.max_rto, Duration::from_secs(60), day, "60000 to 86400000 ms (a day)")?;
        time("r2", s.r2, Duration::from_secs(100), Duration::MAX, "100000 ms or more")?;
        time("syn_r2", s.syn_r2, Duration::from_secs(180), Duration::MAX, "180000 ms or more")?;
        time("syn_received", s.syn_received, Duration::from_secs(3), Duration::MAX, "3000 ms or more")?;
        time("orphan_r2", s.orphan_r2, s1, Duration::MAX, "1000 ms or more")?;
        time("time_wait", s.time_wait, s1, Duration::from_secs(240), "1000 to 240000 ms")?;
        time("fin_wait2_orphan", s.fin_wait2_orphan, s1, Duration::MAX, "1000 ms or more")?;
        time("delayed_ack", s.delayed_ack, Duration::ZERO, Duration::from_millis(499), "0 to 499 ms")?;
        time("ack_gather", s.ack_gather, Duration::ZERO, ms, "0 to 1 ms")?;
        time("challenge_interval", s.challenge_interval, ms, Duration::from_secs(60), "1 to 60000 ms")?;
        if s.challenge_acks == 0 {
            return Err(ConfigError { field: "challenge_acks", value: 0, allowed: "1 or more" });
        }
        if s.syn_linear_timeouts > 20 {
            let value = s.syn_linear_timeouts.into();
            return Err(ConfigError { field: "syn_linear_timeouts", value, allowed: "0 to 20" });
        }
        if !(1..=40).contains(&s.min_burst) {
            return Err(ConfigError { field: "min_burst", value: s.min_burst.into(), allowed: "1 to 40" });
        }
        let window_scale = (0..=14).find(|shift| s.receive_buffer_bytes >> shift <= 0xffff).unwrap_or(14);
        // Of less the window field, which counts in these units, would be zero for ever.
        let (value, least) = (s.receive_buffer_start_bytes.min(s.receive_buffer_bytes), 2 << window_scale);
        if value < least {
            let allowed = "a 16384th of receive_buffer_bytes or more";
            return Err(ConfigError { field: "receive_buffer_start_bytes", value: value.into(), allowed });
        }
        Ok(Self { settings, window_scale })
    }

    /// The receive buffer of a new connection, bytes.
    pub(crate) fn receive_buffer_start(&self) -> u32 {
        self.receive_buffer_start_bytes.min(self.receive_buffer_bytes)
    }

    /// The shift we announce: the least that lets the whole receive buffer be advertised (RFC 7323 section 2.2).
    #[must_use]
    pub const fn window_scale(&self) -> u8 {
        self.window_scale
    }
}

impl Default for Config {
    fn default() -> Self {
        match Self::new(Settings::default()) {
            Ok(config) => config,
            // A test builds the default, so this arm is proved dead.
            Err(_) => Self { settings: Settings::default(), window_scale: 10 },
        }
    }
}

impl Deref for Config {
    type Target = Settings;
    fn deref(&self) -> &Settings {
        &self.settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_default_is_valid_and_carries_ten_gigabits_over_20_ms() {
        let config = Config::new(Settings::default()).expect("the default");
        // 2^25 >> 9 = 65,536 does not fit in 16 bits, >> 10 does.
        assert_eq!(config.window_scale(), 10);
        let product = 10_000_000_000u64 / 8 / 50;
        assert!(u64::from(config.receive_buffer_bytes) > product && u64::from(config.send_buffer_bytes) > product);
        assert_eq!(config, Config::default());
    }

    /// MUST-23.
    #[test]
    fn a_field_out_of_range_is_named() {
        let error = Config::new(Settings { time_wait: Duration::from_secs(241), ..Settings::default() }).unwrap_err();
        assert_eq!(error.to_string(), "time_wait is 241000, allowed is 1000 to 240000 ms");
        let error = Config::new(Settings { syn_r2: Duration::from_secs(179), ..Settings::default() }).unwrap_err();
        assert_eq!(error.field, "syn_r2");
        let gather =
            |micros| Config::new(Settings { ack_gather: Duration::from_micros(micros), ..Settings::default() });
        assert!(gather(0).is_ok() && gather(1000).is_ok());
        assert_eq!(gather(1001).unwrap_err().field, "ack_gather");
    }

    /// The scale is for what the window may grow to (RFC 7323 section 2.2: it can't be changed later).
    #[test]
    fn the_scale_is_for_the_most_and_the_start_lies_within() {
        let with = |most, start| {
            let settings =
                Settings { receive_buffer_bytes: most, receive_buffer_start_bytes: start, ..Settings::default() };
            Config::new(settings).map(|config| (config.window_scale(), config.receive_buffer_start()))
        };
        assert_eq!(with(1 << 20, 4096), Ok((5, 4096)));
        assert_eq!(with(4096, 1 << 20), Ok((0, 4096)));
        assert_eq!(with(4096, 4095).unwrap_err().field, "receive_buffer_start_bytes");
        // Windows are told in units of 16 KiB.
        assert_eq!(with(1 << 30, 16 << 10).unwrap_err().field, "receive_buffer_start_bytes");
        assert_eq!(with(1 << 30, 32 << 10), Ok((14, 32 << 10)));
    }

    #[test]
    fn a_small_buffer_needs_no_scale() {
        let config = Config::new(Settings { receive_buffer_bytes: 0xffff, ..Settings::default() }).expect("valid");
        assert_eq!(config.window_scale(), 0);
    }
}
