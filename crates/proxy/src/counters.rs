//! What is counted: process-wide, once or twice per connection.

use fourwave::metrics::{Family, Kind};
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($(#[doc = $help:literal] $name:ident $metric:literal,)*) => {
        /// Counters of a proxy since its start.
        #[derive(Debug, Default)]
        pub struct Counters { $(#[doc = $help] pub(crate) $name: Counter,)* }

        impl Counters {
            /// Every counter and its name.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }

            /// Every counter as a metric.
            pub(crate) fn metrics(&self) -> impl Iterator<Item = (&'static Family, u64)> {
                COUNTERS.iter().zip(self.list()).map(|(family, (_, value))| (family, value))
            }
        }

        /// The counters as metrics, in their order.
        pub(crate) const COUNTERS: &[Family] = &[$(Family {
            name: concat!("fourwave_proxy_", $metric, "_total"),
            kind: Kind::Counter,
            labels: "",
            help: $help.trim_ascii().split_at($help.trim_ascii().len() - 1).0,
        },)*];
    };
}

counters! {
    /// Connections of clients.
    accepted "connections_accepted",
    /// Connections of clients that are over.
    finished "connections_finished",
    /// Bytes of clients, taken for backends.
    bytes_to_backends "to_backends_bytes",
    /// Bytes of backends, taken for clients.
    bytes_to_clients "to_clients_bytes",
    /// Attempts to connect to a backend.
    connects "connects",
    /// Attempts to connect to a backend that failed.
    connects_failed "connects_failed",
    /// Attempts to connect to a backend that took longer than the connect timeout.
    connects_timed_out "connects_timed_out",
    /// Attempts beyond a connection's first.
    retries "retries",
    /// Connections for which no backend could be had: reset.
    no_backend "no_backend",
    /// Connections of a listener that the configuration has not any more: reset.
    no_listener "no_listener",
    /// Connections that had to wait for a place at their listener or at a backend.
    queued "queued",
    /// Connections for which the queue had no room: reset.
    queue_full "queue_full",
    /// Connections that had waited too long: reset.
    queue_timed_out "queue_timed_out",
    /// PROXY protocol headers that were none: reset.
    header_malformed "header_malformed",
    /// PROXY protocol headers that were not complete in time: reset.
    header_timed_out "header_timed_out",
    /// Connections ended by the client's reset, which was passed on.
    client_resets "client_resets",
    /// Connections ended by the backend's reset, which was passed on.
    backend_resets "backend_resets",
    /// Connections ended because one of the two did not answer any more.
    peers_lost "peers_lost",
    /// Connections that were silent for too long: reset.
    idle_timed_out "idle_timed_out",
    /// Connections that were silent for too long after one direction had ended: reset.
    half_closed_timed_out "half_closed_timed_out",
    /// Connections that were left when the time to drain was over.
    not_drained "not_drained",
    /// Lines of the access log that were not written: its queue was full, or the file could not be written.
    log_lines_dropped "log_lines_dropped",
    /// Health checks.
    checks "checks",
    /// Health checks that failed.
    checks_failed "checks_failed",
    /// Reloads of the configuration.
    reloads "reloads",
    /// Reloads that were refused.
    reloads_refused "reloads_refused",
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
