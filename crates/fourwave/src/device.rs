//! What an interface, its driver and the kernel offer, and the proof that frames leave and arrive: what `fourwave doctor` shows.
//!
//! ```no_run
//! use fourwave::device::{RssFacts, XskConfig, likely_peer, prove, InterfaceFacts};
//!
//! let facts = InterfaceFacts::read("eth0")?;
//! println!("{:?}", RssFacts::read(&facts.name)?);
//! let config = XskConfig { interface: facts.name.clone(), ..XskConfig::default() };
//! let (report, exchange) = prove(&config, &[0], likely_peer(&facts)?, &|| false)?;
//! println!("{report}\n{exchange:?}");
//! # Ok::<(), fourwave::device::Error>(())
//! ```

pub use runtime::xdp::facts::{InterfaceFacts, MacAddr, Offloads};
pub use runtime::xdp::features::{DeviceFeatures, DriverFacts, XdpFeatures};
pub use runtime::xdp::probe::{Exchange, likely_peer, prove};
pub use runtime::xdp::rss::{HashFunction, HashInput, Rss, RssFacts, RssWatch, Symmetry};
pub use runtime::xdp::{AttachMode, Error, Fault, XskConfig, program_name};
