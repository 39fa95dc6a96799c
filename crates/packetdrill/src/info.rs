//! `TCP_INFO` and `SO_MEMINFO`, as far as the stack knows what Linux shows there.

use crate::{
    errno::Result,
    socket::{Key, Role},
    world::World,
};
use stack::{Detail, Duration, Info, Recovery, State};
use tcp_info::Layout;

/// `struct tcp_info` of <linux/tcp.h>: single bytes first, words from 8 on, longs from 104 on.
mod tcp_info {
    pub(super) struct Layout(pub(super) [u8; Self::LEN]);

    /// Where a field lies.
    #[derive(Clone, Copy)]
    pub(super) enum Field {
        State = 0,
        CaState = 1,
        Retransmits = 2,
        Probes = 3,
        Backoff = 4,
        Options = 5,
        Scales = 6,
        Rto = 8,
        SndMss = 16,
        Unacked = 24,
        Sacked = 28,
        Lost = 32,
        Retrans = 36,
        Rtt = 68,
        RttVar = 72,
        SndSsthresh = 76,
        SndCwnd = 80,
        Reordering = 88,
        TotalRetrans = 100,
        NotSent = 144,
        MinRtt = 148,
        ReordSeen = 220,
        SndWnd = 228,
    }

    impl Layout {
        /// What packetdrill asks for is at most this long.
        pub(super) const LEN: usize = 280;

        pub(super) fn byte(&mut self, at: Field, value: u8) {
            self.0[at as usize] = value;
        }

        pub(super) fn word(&mut self, at: Field, value: u32) {
            let at = at as usize;
            self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
    }
}
use tcp_info::Field;

/// Linux's `tcp_reordering` while no reordering was seen.
const REORDERING: u32 = 3;
/// `TCP_INFINITE_SSTHRESH`.
const NO_SSTHRESH: u32 = i32::MAX.unsigned_abs();

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// The numbers of <net/tcp_states.h>.
const fn state_number(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
    }
}

/// `enum tcp_ca_state`.
const fn recovery_number(recovery: Recovery) -> u8 {
    match recovery {
        Recovery::Open => 0,
        Recovery::Disorder => 1,
        Recovery::Reducing => 2,
        Recovery::Recovery => 3,
        Recovery::Loss => 4,
    }
}

/// Linux's windows are segments where ours are bytes.
fn fill(out: &mut Layout, info: &Info, detail: &Detail) {
    let mss = u32::from(info.send_mss).max(1);
    out.byte(Field::State, state_number(info.state));
    out.byte(Field::CaState, recovery_number(detail.recovery));
    out.byte(Field::Retransmits, detail.timeouts);
    out.byte(Field::Probes, detail.window_probes);
    out.byte(Field::Backoff, detail.backoff);
    let (theirs, ours) = detail.window_scale.unwrap_or_default();
    // TCPI_OPT_TIMESTAMPS, TCPI_OPT_SACK, TCPI_OPT_WSCALE, TCPI_OPT_ECN.
    let options = [detail.timestamps, detail.sack, detail.window_scale.is_some(), detail.ecn];
    out.byte(Field::Options, options.iter().rev().fold(0, |bits, on| bits << 1 | u8::from(*on)));
    out.byte(Field::Scales, ours << 4 | theirs);
    out.word(Field::Rto, micros(detail.rto));
    out.word(Field::SndMss, mss);
    out.word(Field::Unacked, detail.outstanding);
    out.word(Field::Sacked, detail.sacked);
    out.word(Field::Lost, detail.lost);
    out.word(Field::Retrans, detail.resent);
    out.word(Field::Rtt, micros(info.srtt.unwrap_or_default()));
    out.word(Field::RttVar, micros(detail.rttvar));
    out.word(Field::SndSsthresh, info.ssthresh_bytes.map_or(NO_SSTHRESH, |bytes| bytes / mss));
    out.word(Field::SndCwnd, info.cwnd_bytes / mss);
    out.word(Field::Reordering, u32::from(detail.reordering).max(REORDERING));
    out.word(Field::TotalRetrans, info.retransmits);
    out.word(Field::NotSent, detail.unsent_bytes);
    out.word(Field::MinRtt, micros(detail.min_rtt));
    out.word(Field::ReordSeen, detail.reordered.into());
    out.word(Field::SndWnd, detail.peer_window_bytes);
}

impl World {
    pub(crate) fn tcp_info(&mut self, key: Key) -> Result<Vec<u8>> {
        let mut out = Layout([0; Layout::LEN]);
        let state = match self.socket(key)?.role {
            Role::Listening { .. } => State::Listen,
            _ => State::Closed,
        };
        out.byte(Field::State, state_number(state));
        if let Some(conn) = self.socket(key)?.conn() {
            let (info, detail) = self.on_conn(|io| Ok((io.info(conn)?, io.detail(conn)?)))?;
            fill(&mut out, &info, &detail);
        }
        Ok(out.0.to_vec())
    }

    /// Nine words; of Linux's memory accounting only the queues mean anything here.
    pub(crate) fn memory_info(&mut self, key: Key) -> Result<Vec<u8>> {
        let mut words = [0u32; 9];
        if let Some(conn) = self.socket(key)?.conn() {
            let info = self.on_conn(|io| io.info(conn))?;
            (words[0], words[2]) = (info.receive_queue_bytes, info.send_queue_bytes);
        }
        Ok(words.iter().flat_map(|word| word.to_ne_bytes()).collect())
    }
}
