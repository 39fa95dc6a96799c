//! What must be true of a receiving half at any time between two calls.

use super::Receiver;
use crate::pool::{Cursor, Pool};
use alloc::{vec, vec::Vec};

impl Receiver {
    /// The first thing that is not as it must be.
    pub(crate) fn invariants(&self) -> Result<(), &'static str> {
        let holds = |so: bool, what| if so { Ok(()) } else { Err(what) };
        // RFC 7323 section 2.3: a window is less than 2^30 octets.
        holds(self.edge.since(self.rcv_nxt) <= 1 << 30, "RCV.NXT =< the edge of the window")?;
        let Some(runs) = &self.reassembly else { return Ok(()) };
        holds(!runs.is_empty(), "what is out of order is something")?;
        runs.invariants(self.rcv_nxt)
    }

    /// A copy of the first `most` octets queued, or of all.
    pub(crate) fn queued(&self, pool: &Pool, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most.min(self.queue.len() as usize)];
        self.queue.copy_at(pool, &mut Cursor::default(), 0, &mut bytes);
        bytes
    }
}
