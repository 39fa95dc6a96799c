//! What routers say of our segments: RFC 9293 section 3.9.2.2, RFC 5927.

use super::{Connection, Env, SoftError, State};
use crate::icmp::IcmpError;
use wire::SeqNum;

impl Connection {
    /// An ICMP error arrived that quotes a segment of this connection with SEG.SEQ `seq`. False if it is ignored: nothing of
    /// what is in flight begins there, so anybody may have made it up (RFC 5927 section 4.1).
    ///
    /// Only a connection that is not open yet is ended by it, and only by a hard error; any other is remembered
    /// ([`soft_error`](Self::soft_error)) and told.
    pub fn on_icmp(&mut self, env: &mut Env<'_>, seq: SeqNum, error: IcmpError) -> bool {
        if !self.is_in_flight(seq) {
            return false;
        }
        if matches!(self.state, State::SynSent | State::SynReceived) && error.is_hard() {
            self.finish(env, Some(error.as_end()));
        } else {
            self.extras().soft.note(SoftError::Icmp(error));
        }
        true
    }

    /// SND.UNA =< SEG.SEQ < SND.NXT.
    fn is_in_flight(&self, seq: SeqNum) -> bool {
        !matches!(self.state, State::Closed | State::TimeWait) && self.snd.is_outstanding(seq)
    }
}
