//! Our SYN, and its repetitions.

use super::Sender;
use crate::{env::Env, half_open::Tries};
use wheel::Instant;

impl Sender {
    /// The SYN has not been sent, or must be sent again.
    pub(crate) fn syn_due(&self) -> bool {
        !self.syn_acked && self.snd_nxt == self.iss
    }

    /// The SYN has been sent.
    pub(crate) fn syn_sent(&mut self, env: &mut Env<'_>) {
        let again = self.snd_max != self.iss;
        if again {
            env.pool.count_loss(|c| c.retransmitted += 1);
            self.note_syn_again(env);
        } else {
            self.deadline = None;
        }
        self.snd_nxt = self.iss + 1;
        self.snd_max = self.snd_nxt;
        self.last_sent = env.now;
        self.note_sent(env, again);
    }

    /// Our SYN was sent by a record that was kept in this one's stead: at `began`, and `timeouts` times more because nobody
    /// answered.
    pub(crate) fn syn_was_sent(&mut self, env: &Env<'_>, began: Instant, timeouts: u8, tries: Tries) {
        self.snd_nxt = self.iss + 1;
        self.snd_max = self.snd_nxt;
        // The acknowledgment that follows is a sample of the round trip unless the SYN was repeated (Karn's algorithm), or it is
        // not known when it was sent.
        self.last_sent = began;
        for _ in 0..timeouts {
            self.rto.back_off();
        }
        self.retransmits = u32::from(timeouts).max((tries == Tries::Several).into());
        if tries == Tries::Cookie {
            self.sampled = self.snd_nxt;
        }
        self.deadline = Some(env.now + self.rto.timeout(env.config));
    }

    /// The SYN is to be sent again though its timer has not expired: the peer has not seen our answer.
    pub(crate) fn syn_again(&mut self) {
        self.snd_nxt = self.iss;
    }
}
