//! What had to be sent again, counted for all connections of a shard together.

/// What the connections of a shard took for lost, since its start. They share the [`Pool`](crate::Pool) that keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LossCounters {
    /// Segments sent again, for whatever reason: SYNs, data and FINs.
    pub retransmitted: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// Tail loss probes; one that sent old data is a retransmission as well.
    pub probes: u64,
}

impl LossCounters {
    /// Every counter by its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [("retransmitted", self.retransmitted), ("retransmit_timeouts", self.timeouts), ("loss_probes", self.probes)]
            .into_iter()
    }
}
