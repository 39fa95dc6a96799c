//! `TCP_INFO` and `SO_MEMINFO`, as far as the stack knows what Linux shows there.

use crate::{
    errno::Result,
    socket::{Key, Role},
    world::World,
};
use stack::State;
use tcp_info::Layout;

mod tcp_info {
    /// `struct tcp_info` of <linux/tcp.h>: single bytes first, words from 8 on, longs from 104 on.
    pub(super) struct Layout(pub(super) [u8; Self::LEN]);

    impl Layout {
        /// What packetdrill asks for is at most this long.
        pub(super) const LEN: usize = 280;

        pub(super) fn byte(&mut self, at: usize, value: u8) {
            self.0[at] = value;
        }

        /// The `n`th 32-bit word behind the leading bytes.
        pub(super) fn word(&mut self, n: usize, value: u32) {
            self.0[8 + 4 * n..12 + 4 * n].copy_from_slice(&value.to_ne_bytes());
        }
    }
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

impl World {
    pub(crate) fn tcp_info(&mut self, key: Key) -> Result<Vec<u8>> {
        let mut out = Layout([0; Layout::LEN]);
        let state = match self.socket(key)?.role {
            Role::Listening { .. } => State::Listen,
            _ => State::Closed,
        };
        out.byte(0, state_number(state));
        if let Some(conn) = self.socket(key)?.conn() {
            let info = self.on_conn(|io| io.info(conn))?;
            let mss = u32::from(info.send_mss).max(1);
            out.byte(0, state_number(info.state));
            // tcpi_rto, tcpi_ato, tcpi_snd_mss, tcpi_rcv_mss, tcpi_unacked, ...
            out.word(2, mss);
            // Linux counts segments where the stack counts bytes: tcpi_unacked, tcpi_sacked, tcpi_lost.
            let outstanding = info.in_flight_bytes + info.sacked_bytes + info.lost_bytes;
            out.word(4, outstanding.div_ceil(mss));
            out.word(5, info.sacked_bytes.div_ceil(mss));
            out.word(6, info.lost_bytes.div_ceil(mss));
            let srtt = info.srtt.map_or(0, |rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX));
            out.word(15, srtt);
            // TCP_INFINITE_SSTHRESH.
            out.word(17, info.ssthresh_bytes.map_or(i32::MAX.unsigned_abs(), |bytes| bytes / mss));
            out.word(18, info.cwnd_bytes / mss);
            out.word(23, info.retransmits);
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
