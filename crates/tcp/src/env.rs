//! What a connection is given with every call.

use crate::{config::Config, pool::Pool};
use wheel::Instant;

/// The time, and what the connections of a shard share. A connection holds none of it.
#[derive(Debug)]
pub struct Env<'a> {
    /// The time of this call; the clock is read once per turn of the loop.
    pub now: Instant,
    /// The checked configuration.
    pub config: &'a Config,
    /// Memory for what must be kept.
    pub pool: &'a mut Pool,
}
