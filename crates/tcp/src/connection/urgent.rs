//! Urgent data, both ways: RFC 9293 section 3.8.5. It is a mark in the stream, nothing is taken out of it.

use super::{Connection, Env, Error, Flags, Header, Segment};
use wire::SeqNum;

impl Connection {
    /// As [`send`](Self::send), and what is taken is urgent: until it is acknowledged segments carry the pointer behind it.
    /// (RFC 6093 advises new applications against it.)
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn send_urgent(&mut self, env: &mut Env<'_>, bytes: &[u8]) -> Result<usize, Error> {
        let taken = self.send(env, bytes)?;
        if taken > 0 {
            let end = self.snd.data_end();
            self.extras().urgent_out.mark(end);
        }
        Ok(taken)
    }

    /// Octets of the stream from the next one to read up to the end of what the peer marked as urgent; `None` when nothing
    /// ahead is (RFC 9293 MUST-33).
    #[must_use]
    pub fn urgent_unread(&self) -> Option<u32> {
        self.extras.as_ref().and_then(|x| x.urgent_in.ahead(self.read_to()))
    }

    /// False when [`take_urgent`](Self::take_urgent) would return `None`; true says nothing.
    #[inline]
    #[must_use]
    pub const fn may_have_urgent(&self) -> bool {
        self.extras.is_some()
    }

    /// Takes [`Event::Urgent`](super::Event::Urgent) before its turn: it must be told before data that came with it.
    pub fn take_urgent(&mut self) -> Option<u32> {
        self.extras.as_mut().and_then(|x| x.urgent.take())
    }

    /// The next octet for the application.
    fn read_to(&self) -> SeqNum {
        self.rcv.rcv_nxt() - self.rcv.unread()
    }

    /// RFC 9293 section 3.10.7.4, sixth: in a state in which data may come, and before that is taken.
    pub(super) fn on_urgent(&mut self, segment: &Segment<'_>) {
        let header = &segment.header;
        if !header.flags.contains(Flags::URG) || !self.state.may_receive() || self.orphan || self.read_shut {
            return;
        }
        let (read, up) = (self.read_to(), header.seq + u32::from(header.urgent));
        // No box for a pointer that says nothing.
        if up.after(read) || self.extras.is_some() {
            let extras = self.extras();
            if extras.urgent_in.on_segment(up, read) {
                extras.urgent = extras.urgent_in.ahead(read);
            }
        }
    }

    /// The urgent pointer of an outgoing segment.
    pub(super) fn point(&self, header: &mut Header) {
        if let Some(pointer) = self.extras.as_ref().and_then(|x| x.urgent_out.pointer(header.seq)) {
            header.flags |= Flags::URG;
            header.urgent = pointer;
        }
    }
}
