//! The bytes of all connections as their applications see them, for who checks that both ends see the same.

use crate::{flow::FlowKey, handle::ConnId, shard::Shard};
use alloc::boxed::Box;
use bytes::Bytes;
use core::fmt::Debug;
use tcp::Error;
use wire::SeqNum;

/// Hears what applications write and read. For simulators and tests: a shard has none unless it is given one.
pub trait Tap: Debug + Send {
    /// The application of `flow` wrote these bytes, which were taken. The stream's initial sequence number is `iss`.
    fn wrote(&mut self, flow: &FlowKey, iss: SeqNum, bytes: &[u8]);

    /// The application of `flow` was given these bytes, and took them. The peer's initial sequence number is `irs`.
    fn read(&mut self, flow: &FlowKey, irs: SeqNum, bytes: &[u8]);

    /// The connection is over, and its application was told so without an error: it has read everything the peer sent.
    fn read_all(&mut self, flow: &FlowKey, irs: SeqNum);

    /// Nothing is left of a connection.
    fn gone(&mut self, flow: &FlowKey, iss: SeqNum, irs: SeqNum);
}

impl Shard {
    /// Puts a tap on the shard's connections, or takes it away.
    pub fn set_tap(&mut self, tap: Option<Box<dyn Tap>>) {
        self.tap = tap;
    }

    /// What was written was taken.
    #[inline]
    pub(crate) fn tap_wrote(&mut self, conn: ConnId, bytes: &[u8]) {
        if self.tap.is_some() && !bytes.is_empty() {
            self.tap_conn(conn.slot, |tap, flow, iss, _| tap.wrote(flow, iss, bytes));
        }
    }

    /// What is about to be given away, to be shown if it was taken: nothing without a tap.
    pub(crate) fn tap_copy(&self, bytes: &Bytes) -> Bytes {
        if self.tap.is_some() { bytes.clone() } else { Bytes::new() }
    }

    /// The application takes bytes that it was given in place.
    #[inline]
    pub(crate) fn tap_read(&mut self, slot: u32, bytes: &[u8]) {
        if self.tap.is_some() && !bytes.is_empty() {
            self.tap_conn(slot, |tap, flow, _, irs| tap.read(flow, irs, bytes));
        }
    }

    /// The application takes the first `n` bytes of the queue.
    pub(crate) fn tap_skip(&mut self, conn: ConnId, n: usize) {
        if self.tap.is_none() || n == 0 {
            return;
        }
        let Some(bytes) = self.queued(conn, n) else { return };
        self.tap_read(conn.slot, &bytes);
    }

    /// A connection ends, and its application is told.
    pub(crate) fn tap_ended(&mut self, slot: u32, error: Option<Error>) {
        if self.tap.is_some() && error.is_none() && self.reads(slot) {
            self.tap_conn(slot, |tap, flow, _, irs| tap.read_all(flow, irs));
        }
    }

    #[inline(never)] // hardly anybody has a tap
    pub(crate) fn tap_conn(&mut self, slot: u32, hear: impl FnOnce(&mut dyn Tap, &FlowKey, SeqNum, SeqNum)) {
        if let Some(mut tap) = self.tap.take() {
            if let Some((flow, (iss, irs))) = self.identity(slot) {
                hear(&mut *tap, &flow, iss, irs);
            }
            self.tap = Some(tap);
        }
    }
}
