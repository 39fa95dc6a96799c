//! A sending half's sequence variables, and what must be true of it at any time between two calls.

use super::{Fin, Sender};
use wire::SeqNum;

impl Sender {
    /// SND.UNA, SND.NXT, one above the highest number ever sent, SND.WND and the largest it ever was.
    pub(crate) const fn numbers(&self) -> ([SeqNum; 3], [u32; 2]) {
        ([self.snd_una, self.snd_nxt, self.snd_max], [self.snd_wnd, self.max_window])
    }

    /// The first thing that is not as it must be. `live`: the connection is not over.
    pub(crate) fn invariants(&self, live: bool) -> Result<(), &'static str> {
        let holds = |so: bool, what| if so { Ok(()) } else { Err(what) };
        // RFC 9293 section 3.3.1: SND.UNA =< SND.NXT.
        holds(self.in_order(), "SND.UNA =< SND.NXT =< what was sent")?;
        if !live {
            return Ok(());
        }
        let last = self.data_end() + u32::from(self.fin == Fin::Queued);
        holds(self.snd_max.before_eq(last), "nothing was sent that is not queued")?;
        let outstanding = self.snd_max.since(self.snd_una);
        if let Some(flight) = &self.flight {
            let (in_flight, sacked, lost) = self.flight_bytes();
            holds(in_flight <= 2 * outstanding, "in flight is what is outstanding, and once more what was sent again")?;
            holds(u64::from(sacked) + u64::from(lost) <= outstanding.into(), "SACKed and lost is what is outstanding")?;
            holds(flight.board.outstanding() <= outstanding, "the scoreboard holds what is outstanding")?;
        }
        // It begins with the handshake's end.
        holds(
            !self.syn_acked || self.congestion.window() >= self.mss.into(),
            "the congestion window is one segment at least",
        )
    }

    /// Something is to be sent, or to be acknowledged, that needs a timer.
    pub(crate) fn needs_timer(&self) -> bool {
        !self.is_idle()
    }
}
