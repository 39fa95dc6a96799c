//! The sending half of a connection at rest: all that was sent is acknowledged, and no timer runs.

use super::{
    Fin, Sender,
    cork::Cork,
    pacing::{Pacer, SHORT_PATH},
    persist::{Persist, WindowProbe},
    rack::Path,
    rto::Rto,
    tlp,
};
use crate::{
    cc::{self, Congestion, Usage},
    config::Config,
    pool::{ByteQueue, Cursor},
    profile::Profile,
    stamp::Stamp,
};
use wheel::{Duration, Instant};
use wire::SeqNum;

/// What is kept of it.
#[derive(Debug)]
pub(crate) struct Resting {
    congestion: cc::Resting,
    last_sent: Stamp,
    min_rtt_at: Stamp,
    iss: SeqNum,
    snd_una: SeqNum,
    snd_wnd: u32,
    max_window: u32,
    wl1: SeqNum,
    wl2: SeqNum,
    retransmits: u32,
    /// Nanoseconds.
    srtt: u32,
    rttvar: u32,
    min_rtt: u32,
    mss: u16,
    shift: u8,
    cork: Cork,
    burst: u8,
    burst_limit: u8,
    flags: u8,
}

const MEASURED: u8 = 1;
const NODELAY: u8 = 2;
const SACK: u8 = 4;
const ECN: u8 = 8;
const CWR: u8 = 16;
const BEHIND: u8 = 32;
const PROBED: u8 = 64;

/// What a look at a sender at rest says of time.
pub(crate) struct Times {
    pub(crate) rto: Duration,
    pub(crate) rttvar: Duration,
    pub(crate) min_rtt: Duration,
    pub(crate) pacing_rate: Option<u64>,
}

/// What few connections have, in full: behind a loss, at the end of slow start, on a path of seconds.
#[derive(Debug)]
pub(crate) struct Unusual {
    rto: Rto,
    congestion: Congestion,
    path: Path,
    tail: tlp::Probe,
}

impl Sender {
    /// Bytes of what every segment needs.
    #[cfg(test)]
    pub(crate) const HOT: usize = core::mem::offset_of!(Self, iss);

    /// Nothing is queued, in flight or waited for, and all that was sent is acknowledged.
    pub(crate) fn is_at_rest(&self, now: Instant) -> bool {
        self.syn_acked
            && self.snd_una == self.snd_max
            && self.snd_nxt == self.snd_max
            && self.fin == Fin::No
            && self.queue.is_vacant()
            && self.flight.is_none()
            && self.deadline.is_none()
            && self.persist.deadline().is_none()
            && !self.probes_window()
            && self.pacer.is_at_rest(now)
            && (!self.unbroken || self.behind == self.snd_una)
    }

    /// Reads a little of each cache line; what it read means nothing.
    #[inline]
    pub(crate) fn touch(&self) -> u32 {
        self.queue.len() ^ self.snd_una.value() ^ u32::from(self.unbroken)
    }

    /// The same of what data in flight needs besides, if there is any.
    #[inline]
    pub(crate) fn touch_flight(&self) -> u32 {
        if self.flight.is_none() {
            return 0;
        }
        let times = self.last_sent == Instant::ZERO;
        self.congestion.window() ^ self.retransmits ^ u32::from(self.rto.backoff()) ^ u32::from(times)
    }

    /// Forgets what means nothing while the sender [is at rest](Self::is_at_rest), nor later: places in what was sent.
    pub(crate) fn calm(&mut self) {
        self.queue = ByteQueue::default();
        self.cursor = Cursor::default();
        self.pacer = Pacer::default();
        self.persist = Persist::default();
        self.probes = 0;
        self.usage = Usage::default();
        (self.recover, self.small, self.sampled) = (self.snd_una - 1, self.snd_una, self.snd_una);
        // Or nothing is unbroken, and it says nothing.
        self.behind = self.snd_una;
        self.silent_since = self.last_sent;
    }

    /// What is kept of a sender that [is at rest](Self::is_at_rest) and was [calmed](Self::calm).
    pub(crate) fn rest(&self, config: &Config) -> (Resting, Option<Unusual>) {
        let short = self.rto.resting(config).zip(self.path.resting()).zip(self.congestion.resting(config));
        let usual = short.filter(|_| !self.tail.is_out());
        let unusual = usual.is_none().then(|| Unusual {
            rto: self.rto.clone(),
            congestion: self.congestion.clone(),
            path: self.path.clone(),
            tail: self.tail,
        });
        let (((srtt, rttvar), (min_rtt, min_rtt_at)), congestion) =
            usual.unwrap_or_else(|| (((0, 0), (0, Instant::ZERO)), cc::Resting::none()));
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let flags = flag(self.rto.srtt().is_some(), MEASURED)
            | flag(self.nodelay, NODELAY)
            | flag(self.sack, SACK)
            | flag(self.ecn, ECN)
            | flag(self.cwr, CWR)
            | flag(self.unbroken, BEHIND)
            | flag(self.probed, PROBED);
        let resting = Resting {
            congestion,
            last_sent: Stamp::of(self.last_sent),
            min_rtt_at: Stamp::of(min_rtt_at),
            iss: self.iss,
            snd_una: self.snd_una,
            snd_wnd: self.snd_wnd,
            max_window: self.max_window,
            wl1: self.wl1,
            wl2: self.wl2,
            retransmits: self.retransmits,
            srtt,
            rttvar,
            min_rtt,
            mss: self.mss,
            shift: self.shift,
            cork: self.cork,
            burst: self.burst,
            burst_limit: self.burst_limit,
            flags,
        };
        (resting, unusual)
    }
}

impl Resting {
    pub(crate) fn last_sent(&self) -> Instant {
        self.last_sent.instant()
    }

    /// Reads a little of each cache line; what it read means nothing.
    #[inline]
    pub(crate) fn touch(&self) -> u32 {
        self.iss.value() ^ self.rttvar ^ u32::from(self.flags) ^ self.congestion.window().0
    }

    pub(crate) const fn iss(&self) -> SeqNum {
        self.iss
    }

    pub(crate) const fn mss(&self) -> u16 {
        self.mss
    }

    pub(crate) const fn retransmits(&self) -> u32 {
        self.retransmits
    }

    /// Smoothed round-trip time if measured, window and ssthresh.
    pub(crate) fn path(&self, unusual: Option<&Unusual>) -> (Option<Duration>, u32, u32) {
        let measured = self.flags & MEASURED != 0;
        let srtt = measured.then_some(Duration::from_nanos(self.srtt.into()));
        let (cwnd, ssthresh) = self.congestion.window();
        unusual.map_or((srtt, cwnd, ssthresh), |u| (u.rto.srtt(), u.congestion.window(), u.congestion.ssthresh()))
    }

    pub(crate) const fn peer_window(&self) -> u32 {
        self.snd_wnd
    }

    /// As [`Sender::bytes`]: all is acknowledged.
    pub(crate) fn bytes(&self, unusual: Option<&Unusual>) -> u64 {
        unusual
            .map(|unusual| unusual.path.turns)
            .unwrap_or_default()
            .total(self.snd_una.since(self.iss))
            .saturating_sub(1)
    }

    /// The times of the path, as they will be when it is woken.
    pub(crate) fn times(&self, unusual: Option<&Unusual>, config: &Config) -> Times {
        let (rto, min_rtt) = match unusual {
            Some(unusual) => (unusual.rto.clone(), unusual.path.min_rtt()),
            None => (self.woken_rto(config), Duration::from_nanos(self.min_rtt.into())),
        };
        let srtt = rto.srtt().filter(|_| config.pacing && min_rtt >= SHORT_PATH);
        let rate = |srtt| match unusual {
            Some(unusual) => unusual.congestion.pacing_rate(srtt),
            None => self.congestion.pacing_rate(srtt),
        };
        Times { rto: rto.timeout(config), rttvar: rto.rttvar(), min_rtt, pacing_rate: srtt.map(rate) }
    }

    fn woken_rto(&self, config: &Config) -> Rto {
        Rto::woken((self.flags & MEASURED != 0).then_some((self.srtt, self.rttvar)), config)
    }

    pub(crate) fn wake(self, unusual: Option<Unusual>, config: &Config, profile: Profile) -> Sender {
        let flags = self.flags;
        let is = |flag: u8| flags & flag != 0;
        let (una, last_sent) = (self.snd_una, self.last_sent());
        let Unusual { rto, congestion, path, tail } = match unusual {
            Some(unusual) => unusual,
            None => Unusual {
                rto: self.woken_rto(config),
                path: Path::woken(self.min_rtt, self.min_rtt_at.instant()),
                tail: tlp::Probe::default(),
                congestion: self.congestion.wake(config),
            },
        };
        Sender {
            iss: self.iss,
            syn_acked: true,
            snd_una: una,
            snd_nxt: una,
            snd_max: una,
            snd_wnd: self.snd_wnd,
            max_window: self.max_window,
            wl1: self.wl1,
            wl2: self.wl2,
            mss: self.mss,
            shift: self.shift,
            fin: Fin::No,
            nodelay: is(NODELAY),
            profile,
            cork: self.cork,
            sack: is(SACK),
            ecn: is(ECN),
            cwr: is(CWR),
            burst: self.burst,
            burst_limit: self.burst_limit,
            unbroken: is(BEHIND),
            behind: una,
            probed: is(PROBED),
            window_probe: WindowProbe::None,
            queue: ByteQueue::default(),
            cursor: Cursor::default(),
            rto,
            persist: Persist::default(),
            probes: 0,
            congestion,
            usage: Usage::default(),
            pacer: Pacer::default(),
            path,
            tail,
            flight: None,
            recover: una - 1,
            small: una,
            sampled: una,
            deadline: None,
            silent_since: last_sent,
            last_sent,
            retransmits: self.retransmits,
        }
    }
}

/// A duration that fits: 4.3 s.
pub(super) fn short(time: Duration) -> Option<u32> {
    u32::try_from(time.as_nanos()).ok()
}
