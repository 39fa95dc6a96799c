//! What is counted: process-wide, once or twice per connection.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of a proxy since its start.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub(crate) $name: Counter,)* }

        impl Counters {
            /// Every counter and its name.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// Connections of clients.
    accepted,
    /// Of those, that are over.
    finished,
    /// Bytes of clients, taken for backends.
    bytes_to_backends,
    /// Bytes of backends, taken for clients.
    bytes_to_clients,
    /// Attempts to connect to a backend.
    connects,
    /// Of those, that failed.
    connects_failed,
    /// Of those, that took longer than the connect timeout.
    connects_timed_out,
    /// Attempts beyond a connection's first.
    retries,
    /// Connections for which no backend could be had: reset.
    no_backend,
    /// Connections of a listener that the configuration has not any more: reset.
    no_listener,
    /// Connections that had to wait for a place at their listener or at a backend.
    queued,
    /// Connections for which the queue had no room: reset.
    queue_full,
    /// Connections that had waited too long: reset.
    queue_timed_out,
    /// PROXY protocol headers that were none: reset.
    header_malformed,
    /// PROXY protocol headers that were not complete in time: reset.
    header_timed_out,
    /// Connections ended by the client's reset, which was passed on.
    client_resets,
    /// Connections ended by the backend's reset, which was passed on.
    backend_resets,
    /// Connections ended because one of the two did not answer any more.
    peers_lost,
    /// Connections that were silent for too long: reset.
    idle_timed_out,
    /// Connections that were silent for too long after one direction had ended: reset.
    half_closed_timed_out,
    /// Connections that were left when the time to drain was over.
    not_drained,
    /// Lines of the access log that were not written: its queue was full, or the file could not be written.
    log_lines_dropped,
    /// Health checks.
    checks,
    /// Of those, that failed.
    checks_failed,
    /// Reloads of the configuration.
    reloads,
    /// Reloads that were refused.
    reloads_refused,
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, n: u64) {
        if n > 0 {
            self.0.fetch_add(n, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
