//! A TCP/IP stack in user space, on AF_XDP.
//!
//! An [`App`] runs on the stack's own threads, one for each receive queue of the interface: it is called when something
//! happens, and acts through an [`Io`]. An interface and a port are enough to start:
//!
//! ```no_run
//! use fourwave::{App, ConnId, Io, Stack};
//!
//! #[derive(Clone)]
//! struct Echo;
//!
//! impl App for Echo {
//!     fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
//!         io.send(conn, data).unwrap_or(data.len())
//!     }
//! }
//!
//! let running = Stack::on("eth0").listen("10.0.0.1:7".parse()?).start(Echo)?;
//! println!("{}", running.report().expect("it has an interface"));
//! running.join()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Programs that have a loop of their own use sockets instead ([`net`]): mio's types, or with the feature `tokio` tokio's, over
//! a stack. All of it runs over the kernel's sockets as well, without an interface and without privileges: [`Stack::kernel`], [`net::Net::kernel`].
#![forbid(unsafe_code)]

mod builder;
pub mod device;
mod limits;
pub mod net;

pub use builder::Stack;
pub use runtime::stack::recorder;
pub use runtime::stack::{
    App, Bytes, ConfigError, Congestion, ConnId, ConnMap, ConnectError, Counters, DEFAULT_PORTS, Dad, Detail, Duration,
    Ecn, Error as ConnectionError, Half, IcmpError, Info, Instant, Io, Keepalive, ListenError, ListenOptions,
    ListenerId, MacAddr, Message, Place, PoolCounters, Profile, Recovery, Refusal, Settings, SocketCounters, SoftError,
    State, SynCookies, TimerId, TooManyTimers, Via,
};
pub use runtime::xdp::{
    Allocator, AttachMode, CopyMode, PortStats, Report, SynLimit, TxChecksum, XdpMode, map_large_areas,
};
pub use runtime::{
    Address, Endpoints, Error, Finished, HandoffCounters, Holder, Idle, Poster, Pulse, Running, capture,
    connect_error_kind, control, drop_privileges, interface_for, io_error_kind, listen_error_kind, metrics, raw,
    totals, trace,
};
