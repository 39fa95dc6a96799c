//! How far a shard's load is: what was to be opened is, what was to come and go has.

use std::sync::atomic::Ordering;

use fourwave::Instant;

use super::{Load, Memory};
use crate::load::tcp::timeline::Part;

impl Load {
    /// Since when all connections of all shards are there, or won't be.
    pub(super) fn holds(&mut self, now: Instant) -> Option<Instant> {
        if self.times.holds.is_none() && self.shared.settled.load(Ordering::Relaxed) >= self.config.connections {
            self.times.holds = Some(now);
        }
        self.times.holds
    }

    /// Since when nothing but holding them is left to do: what was to come and go has.
    pub(super) fn quiet(&mut self, now: Instant) -> Option<Instant> {
        let holds = self.holds(now)?;
        if self.quiet.is_none() {
            let Some(churn) = self.idle.churn else {
                self.quiet = Some(holds);
                return self.quiet;
            };
            // Each shard has begun its part.
            let over = self.shared.churned.load(Ordering::Relaxed) >= churn.connections;
            if over && self.churning.is_some() {
                self.quiet = Some(now);
                let memory = self.resident.as_mut().map_or([0; 2], Memory::now);
                (self.times.churned.resident[1], self.times.churned.server_resident[1]) = memory.into();
            }
        }
        self.quiet
    }

    pub(super) fn part(&self) -> Part {
        match (self.ending.is_some(), self.quiet, self.times.holds) {
            (true, ..) => Part::RampDown,
            (_, Some(_), _) => Part::Hold,
            (_, None, Some(_)) => Part::Churn,
            (_, None, None) => Part::RampUp,
        }
    }
}
