//! The send sequence variables, for tests (RFC 9293 section 3.3.1).

use super::Sender;
use wire::SeqNum;

impl Sender {
    /// SND.UNA, SND.NXT, one above the highest number ever sent, SND.WND and the largest it ever was.
    pub(crate) const fn numbers(&self) -> ([SeqNum; 3], [u32; 2]) {
        ([self.snd_una, self.snd_nxt, self.snd_max], [self.snd_wnd, self.max_window])
    }
}
