//! A TCP proxy, as an [`App`](fourwave::App) that runs on the shards of a stack.
//!
//! [`Config::parse`] reads and checks a TOML file, [`Control`] makes the application for each shard, and tells them of new
//! configurations:
//!
//! ```no_run
//! use fourwave::Stack;
//! use proxy::{Config, Connections, Control};
//!
//! let config = Config::parse(&std::fs::read_to_string("proxy.toml")?)?;
//! let stack = config.listeners.iter().fold(Stack::on("eth0"), |stack, listener| stack.listen(listener.address));
//! let stack = stack.ports(config.source_ports.clone());
//! let control = Control::new(config, Connections::default())?;
//! stack.start_each(|place| control.app(place))?.join()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod app;
mod balance;
pub mod config;
mod control;
mod counters;
mod health;
mod live;
mod log;
pub mod metrics;
pub mod proxy_protocol;
mod session;

pub use app::Proxy;
pub use balance::Maglev;
pub use config::{Config, ConfigError};
pub use control::{BackendStatus, Connections, Control, ListenerStatus, PoolStatus, ReloadError, Status};
pub use counters::Counters;
pub use log::End;
