//! What a connection tells the [recorder](crate::recorder): out of line, as none of it is what most segments do.

use super::{Connection, Cut, DropReason, Env, Error, Half, Segment, State};
use crate::{icmp::IcmpError, recorder::What};
use wire::SeqNum;

impl Connection {
    /// The ISS, by which records name it.
    #[must_use]
    pub const fn iss(&self) -> SeqNum {
        self.snd.iss()
    }

    /// It has ended in order, and nothing was sent twice.
    #[must_use]
    pub fn was_usual(&self) -> bool {
        self.snd.retransmits() == 0 && self.snd.fin_acknowledged()
    }

    #[cold]
    fn note(&self, env: &mut Env<'_>, what: What, detail: u8, numbers: [u32; 4]) {
        env.pool.note(env.now, self.iss(), what, detail, numbers);
    }

    /// It came into its state, and there is more to it than its end.
    #[cold]
    pub(super) fn note_state(&self, env: &mut Env<'_>) {
        if self.state != State::Closed {
            self.note(env, What::State, self.state as u8, [0; 4]);
        }
    }

    #[cold]
    #[allow(clippy::cast_possible_truncation)] // there are few errors
    pub(super) fn note_end(&self, env: &mut Env<'_>, error: Option<Error>) {
        self.note(env, What::Ended, error.map_or(0, |error| error.index() as u8 + 1), [0; 4]);
    }

    #[cold]
    pub(super) fn note_close(&self, env: &mut Env<'_>) {
        self.note(env, What::Called, 0, [0; 4]);
    }

    #[cold]
    pub(super) fn note_shutdown(&self, env: &mut Env<'_>, half: Half) {
        let detail = match half {
            Half::Read => 1,
            Half::Write => 2,
            Half::Both => 3,
        };
        self.note(env, What::Called, detail, [0; 4]);
    }

    #[cold]
    pub(super) fn note_abort(&self, env: &mut Env<'_>) {
        self.note(env, What::Called, 4, [0; 4]);
    }

    #[cold]
    pub(super) fn note_fin_sent(&self, env: &mut Env<'_>, cut: Cut) {
        if self.snd.is_new(cut.seq) {
            self.note(env, What::FinSent, 0, [self.snd.place(cut.seq + cut.len), 0, 0, 0]);
        }
    }

    /// The peer's has come, and is counted.
    #[cold]
    pub(super) fn note_fin_received(&self, env: &mut Env<'_>) {
        let seq = (self.rcv.rcv_nxt() - 1).since(self.rcv.irs);
        self.note(env, What::FinReceived, 0, [seq, 0, 0, 0]);
    }

    /// A segment was not processed; but for want of memory, which the short way meets as well.
    #[cold]
    pub(super) fn note_dropped(&self, env: &mut Env<'_>, segment: &Segment<'_>, reason: DropReason) {
        if reason != DropReason::NoMemory {
            let (seq, len) = (segment.header.seq.since(self.rcv.irs), segment.payload.len());
            self.note_drop(env, seq, len, reason, self.rcv.ack_wanted());
        }
    }

    /// So much data at `seq` was dropped for want of memory.
    #[cold]
    pub fn note_no_memory(&self, env: &mut Env<'_>, seq: SeqNum, len: usize) {
        self.note_drop(env, seq.since(self.rcv.irs), len, DropReason::NoMemory, false);
    }

    #[allow(clippy::cast_possible_truncation)] // there are few reasons
    fn note_drop(&self, env: &mut Env<'_>, seq: u32, len: usize, reason: DropReason, answered: bool) {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.note(env, What::Dropped, reason.index() as u8, [seq, len, answered.into(), 0]);
    }

    #[cold]
    pub(super) fn note_icmp(&self, env: &mut Env<'_>, seq: SeqNum, error: IcmpError) {
        self.note(env, What::Icmp, error as u8, [self.snd.place(seq), 0, 0, 0]);
    }

    /// A router says that segments may have `mss` at most. Its word is believed, or is remembered.
    #[cold]
    pub(super) fn note_too_big(&self, env: &mut Env<'_>, mss: u16, believed: bool) {
        self.note(env, What::TooBig, 0, [mss.into(), believed.into(), 0, 0]);
    }

    /// Segments were of `was`.
    #[cold]
    pub(super) fn note_path_mss(&self, env: &mut Env<'_>, was: u16) {
        let mss = self.snd.mss();
        if mss != was {
            self.note(env, What::PathMss, 0, [mss.into(), was.into(), 0, 0]);
        }
    }

    #[cold]
    pub(super) fn note_path_probe(&self, env: &mut Env<'_>, size: u16) {
        self.note(env, What::PathProbe, 0, [size.into(), 0, 0, 0]);
    }

    #[cold]
    pub(super) fn note_keepalive(&self, env: &mut Env<'_>) {
        self.note(env, What::Keepalive, 0, [0; 4]);
    }

    /// What the application leaves has closed our window, or the peer asks for room in one that is.
    #[cold]
    pub(super) fn note_window_closed(&self, env: &mut Env<'_>) {
        self.note(env, What::WindowClosed, 0, [self.rcv.unread(), 0, 0, 0]);
    }

    #[cold]
    pub(super) fn note_window_opened(&self, env: &mut Env<'_>) {
        self.note(env, What::WindowOpened, 0, [self.rcv.unread(), 0, 0, 0]);
    }
}
