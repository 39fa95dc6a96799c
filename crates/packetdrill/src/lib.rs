//! The shared object by which packetdrill drives the stack: `packetdrill --so_filename=libfourwave_packetdrill.so …`.
//!
//! packetdrill calls what a script calls (`socket`, `read`, …), hands over the datagrams a script injects, asks for those that
//! are sent, and asks for the time. All of that works on one [`stack::Shard`] in virtual time. The README has the flags and
//! how to run a folder of scripts.
//!
//! | file | what it does |
//! |---|---|
//! | `abi`, `calls`, `user`, `sockaddr`, `errno` | C's side: the table of functions, the caller's memory; with the file descriptors of `open` and `qdisc` all the unsafe |
//! | `adapter`, `waits`, `clock` | the lock, calls that block, time |
//! | `world`, `heard`, `frames`, `qdisc`, `profile` | the shard, its events, its frames, its device, its settings |
//! | `socket`, `open`, `data`, `epoll`, `options`, `info` | sockets as Linux has them |

mod abi;
mod adapter;
mod calls;
mod clock;
mod data;
mod epoll;
mod errno;
mod frames;
mod heard;
mod info;
mod open;
mod options;
mod profile;
mod qdisc;
mod sockaddr;
mod socket;
#[cfg(test)]
mod tests;
mod user;
mod waits;
mod world;

pub use abi::PacketdrillInterface;
pub use calls::{getsockopt, packetdrill_interface_init};
