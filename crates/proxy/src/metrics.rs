//! What a proxy adds to the metrics of its stack.

use crate::control::Control;
use crate::counters::COUNTERS;
use fourwave::metrics::{Family, Kind, Text};
use std::sync::Arc;

macro_rules! families {
    ($($id:ident = $name:literal, $kind:ident, $labels:literal, $help:literal;)*) => {
        $(const $id: Family = Family { name: $name, kind: Kind::$kind, labels: $labels, help: $help };)*

        /// Those of listeners, pools and backends.
        const OF_PARTS: &[Family] = &[$($id,)*];
    };
}

families! {
    LISTENER_ACCEPTED = "fourwave_proxy_listener_accepted_total", Counter, "listener", "Connections of clients, by listener";
    LISTENER_ACTIVE = "fourwave_proxy_listener_connections", Gauge, "listener", "Connections now, without those that wait for a place";
    LISTENER_WAITING = "fourwave_proxy_listener_waiting", Gauge, "listener", "Connections that wait for a place at their listener";
    POOL_WAITING = "fourwave_proxy_pool_waiting", Gauge, "pool", "Connections that wait for a backend of the pool";
    BACKEND_UP = "fourwave_proxy_backend_up", Gauge, "pool, backend, address", "1 if the health checks say that it is well";
    BACKEND_ACTIVE = "fourwave_proxy_backend_connections", Gauge, "pool, backend, address", "Connections to the backend now, and attempts";
    BACKEND_CONNECTS = "fourwave_proxy_backend_connects_total", Counter, "pool, backend, address", "Attempts to connect to the backend";
    BACKEND_FAILED = "fourwave_proxy_backend_connects_failed_total", Counter, "pool, backend, address", "Attempts to connect to the backend that failed";
}

/// Every metric of a proxy, in the order of docs/METRICS.md.
pub fn families() -> impl Iterator<Item = &'static Family> {
    COUNTERS.iter().chain(OF_PARTS)
}

impl Control {
    /// What writes the proxy's metrics, for [`Endpoint::with`](fourwave::metrics::Endpoint::with).
    pub fn metrics(&self) -> impl Fn(&mut Text) + Send + Sync + 'static {
        let shared = Arc::clone(self.shared());
        move |text| {
            for (family, value) in shared.counters.metrics() {
                text.sample(family, &[], value);
            }
            let live = shared.live();
            for front in &live.fronts {
                let labels = [("listener", &*front.config.name)];
                text.sample(&LISTENER_ACCEPTED, &labels, front.accepted.get());
                text.sample(&LISTENER_ACTIVE, &labels, front.gauge.active());
                text.sample(&LISTENER_WAITING, &labels, front.gauge.waiting());
            }
            for pool in &live.pools {
                text.sample(&POOL_WAITING, &[("pool", &pool.config.name)], pool.gauge.waiting());
                for target in &pool.targets {
                    let address = target.config.address.to_string();
                    let labels =
                        [("pool", &*pool.config.name), ("backend", &*target.config.name), ("address", &address)];
                    text.sample(&BACKEND_UP, &labels, u8::from(target.state.is_up()));
                    text.sample(&BACKEND_ACTIVE, &labels, target.state.gauge.active());
                    text.sample(&BACKEND_CONNECTS, &labels, target.state.connects.get());
                    text.sample(&BACKEND_FAILED, &labels, target.state.failed.get());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_every_metric_and_names_are_as_prometheus_asks() {
        let manual = include_str!("../../../docs/METRICS.md");
        let row = |family: &Family| {
            let Family { name, kind, labels, help } = family;
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(!help.is_empty() && !help.ends_with('.'), "{name}: {help}");
            format!("| `{name}` | {} | {labels} | {help} |", kind.name())
        };
        let expected: Vec<_> = families().map(row).collect();
        let written: Vec<_> = manual.lines().filter(|line| line.starts_with("| `fourwave_proxy_")).collect();
        assert!(written == expected, "docs/METRICS.md should have these rows:\n{}", expected.join("\n"));
    }
}
