//! AF_XDP behind a safe batch [`Port`], the loader of the steering program, interfaces and their changes, and the
//! kernel's neighbours and routes.
//!
//! All the `unsafe` of fourwave is in this crate; nothing public is `unsafe`.
//!
//! ```no_run
//! use xdp::{LocalAddress, Port, XskConfig};
//! let config = XskConfig { interface: "eth0".into(), ..XskConfig::default() };
//! let address = LocalAddress::owned("10.0.0.9".parse().unwrap());
//! let (mut steering, mut ports, report) = xdp::open(&config, &[0], &[address])?;
//! println!("{report}");
//! let mut frames = Vec::with_capacity(64);
//! ports[0].receive(&mut frames, 64);
//! # Ok::<(), xdp::Error>(())
//! ```

mod abi;
mod af_xdp;
mod allocator;
mod config;
mod depth;
mod error;
pub mod facts;
pub mod features;
mod generic;
mod jumbo;
pub mod links;
mod memory;
pub mod neighbours;
mod netlink;
mod offloading;
mod open;
mod overhear;
mod port;
pub mod privileges;
pub mod probe;
pub mod raw;
mod report;
mod rings;
pub mod rss;
pub mod sockets;
mod steering;
mod syn_limit;
mod sys;
mod tx_checksum;
mod xsk;

pub use allocator::{Allocator, map_large_areas};
pub use config::{CopyMode, HugePages, TxChecksum, XdpMode, XskConfig};
pub use error::{Error, Fault};
pub use memory::{MemoryConfig, MemoryPort};
pub use open::{LocalAddress, open};
pub use overhear::Announcements;
pub use port::{Fill, Frame, Port, PortStats, RingUse};
pub use privileges::Capability;
pub use report::{AttachMode, Report};
pub use steering::{Steering, TestVerdict, program_name};
pub use syn_limit::SynLimit;
pub use tx_checksum::XskPort;
