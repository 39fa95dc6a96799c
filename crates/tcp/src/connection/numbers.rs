//! A connection's sequence variables (RFC 9293 section 3.3.1), for tests that hold them against the RFC.

use super::{Connection, SeqNum};

/// The variables of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// SND.UNA.
    pub snd_una: SeqNum,
    /// SND.NXT.
    pub snd_nxt: SeqNum,
    /// One above the highest number ever sent: a window probe's octet lies between SND.NXT and this.
    pub snd_max: SeqNum,
    /// SND.WND, bytes.
    pub snd_wnd: u32,
    /// MAX.SND.WND (RFC 5961 section 5.2), bytes.
    pub max_snd_wnd: u32,
    /// RCV.NXT.
    pub rcv_nxt: SeqNum,
    /// RCV.WND: as far as it was ever promised, bytes.
    pub rcv_wnd: u32,
    /// TS.Recent, if timestamps are in use (RFC 7323 section 4.3).
    pub ts_recent: Option<u32>,
}

impl Connection {
    /// The sequence variables.
    #[doc(hidden)]
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let ([snd_una, snd_nxt, snd_max], [snd_wnd, max_snd_wnd]) = self.snd.numbers();
        let window = self.rcv.window();
        let (rcv_nxt, rcv_wnd) = (window.rcv_nxt, window.rcv_wnd);
        Numbers { snd_una, snd_nxt, snd_max, snd_wnd, max_snd_wnd, rcv_nxt, rcv_wnd, ts_recent: self.clock.recent() }
    }
}
