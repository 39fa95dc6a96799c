//! What simulators and fuzzers ask: whether a connection is as RFC 9293 says it must be.

use super::{Connection, Env, State};
use alloc::vec::Vec;
use wire::SeqNum;

/// A connection's sequence variables (RFC 9293 section 3.3.1).
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

    /// ISS and IRS; IRS is 0 before the peer's SYN.
    #[must_use]
    pub const fn initial_numbers(&self) -> (SeqNum, SeqNum) {
        (self.snd.iss(), self.rcv.irs)
    }

    /// Whether the application has shut down reading: what is queued was thrown away.
    #[must_use]
    pub const fn is_read_shut(&self) -> bool {
        self.read_shut
    }

    /// A copy of the first `most` bytes received in order and not yet read, or of all.
    #[must_use]
    pub fn queued(&self, env: &Env<'_>, most: usize) -> Vec<u8> {
        self.rcv.queued(env.pool, most)
    }

    /// What must be true whenever nothing is left to transmit, whatever has happened before.
    ///
    /// # Errors
    /// Says what should hold and does not.
    pub fn invariants(&self) -> Result<(), &'static str> {
        use State::{CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, SynSent, TimeWait};
        let holds = |so: bool, what| if so { Ok(()) } else { Err(what) };
        let live = !matches!(self.state, Closed | TimeWait);
        self.snd.invariants(live)?;
        self.rcv.invariants()?;
        if !live {
            return Ok(());
        }
        let (closed, acked) = (self.snd.is_closed(), self.snd.fin_acknowledged());
        match self.state {
            Established | CloseWait => holds(!closed, "a FIN is queued in ESTABLISHED or CLOSE-WAIT")?,
            FinWait1 | Closing | LastAck => holds(closed && !acked, "our FIN is acknowledged, or there is none")?,
            FinWait2 => holds(acked, "FIN-WAIT-2 without the acknowledgment of our FIN")?,
            _ => {}
        }
        if self.state == SynSent {
            holds(self.rcv.unread() == 0, "nothing was received before the peer's SYN")?;
        }
        // Who waits for the peer asks again.
        holds(!self.snd.needs_timer() || self.timer().is_some(), "something is outstanding, and no timer runs")
    }
}
