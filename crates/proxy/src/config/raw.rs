//! The file as it is written.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Config {
    #[serde(default)]
    pub(super) listener: Vec<Listener>,
    #[serde(default)]
    pub(super) pool: Vec<Pool>,
    pub(super) buffer: Option<i64>,
    pub(super) drain_time: Option<Time>,
    pub(super) source_ports: Option<String>,
    pub(super) access_log: Option<String>,
    #[serde(default)]
    pub(super) stack: toml::Table,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) pool: String,
    pub(super) proxy_protocol: Option<String>,
    pub(super) header_timeout: Option<Time>,
    pub(super) max_connections: Option<i64>,
    pub(super) queue: Option<i64>,
    pub(super) queue_timeout: Option<Time>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) balance: Option<String>,
    pub(super) retries: Option<i64>,
    pub(super) replay: Option<i64>,
    pub(super) connect_timeout: Option<Time>,
    pub(super) idle_timeout: Option<Time>,
    pub(super) half_closed_timeout: Option<Time>,
    pub(super) send_proxy: Option<String>,
    pub(super) queue: Option<i64>,
    pub(super) queue_timeout: Option<Time>,
    pub(super) health: Option<Health>,
    #[serde(default)]
    pub(super) backend: Vec<Backend>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Backend {
    pub(super) name: Option<String>,
    pub(super) address: String,
    pub(super) via: Option<String>,
    pub(super) max_connections: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Health {
    pub(super) check: String,
    pub(super) path: Option<String>,
    pub(super) host: Option<String>,
    pub(super) expect: Option<String>,
    pub(super) interval: Option<Time>,
    pub(super) timeout: Option<Time>,
    pub(super) rise: Option<i64>,
    pub(super) fall: Option<i64>,
}

/// A number of seconds, or a number and its unit.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a time is a number of seconds, or a text such as \"250ms\", \"3s\", \"10m\", \"1h\"")]
pub(super) enum Time {
    Whole(i64),
    Decimal(f64),
    Text(String),
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(n) => n.fmt(f),
            Self::Decimal(n) => n.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}
