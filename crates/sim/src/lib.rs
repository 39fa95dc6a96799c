//! A seeded world in virtual time: hosts made of real shards, links that delay, queue, lose, reorder, repeat and corrupt,
//! and a clock that jumps from event to event.
//!
//! ```text
//! World::new(a, b, delay)                       two hosts on a perfect cable
//! World::of(seed, Pair { a, b }, Topology::cable(there, back))
//! World::of(seed, hosts, Topology::dumbbell(n, left, &Dumbbell { right: LinkConfig::rated(…), …Default::default() }))
//! ```
//!
//! A node is anything that implements [`Node`]: a [`Host`] does, for any [`stack::App`], and a host of [`Several`] shards.
#![forbid(unsafe_code)]

mod capture;
mod check;
pub mod forge;
mod frame;
mod link;
mod mark;
mod network;
mod node;
mod report;
mod rng;
mod rules;
mod several;
mod topology;
mod world;

pub use check::Streams;
pub use link::{LinkConfig, LinkCounters, Loss};
pub use node::{Batch, Host, Node, Nodes, Pair};
pub use rng::Rng;
pub use rules::{Action, Change, Rules, Select};
pub use several::{Arrival, Several};
pub use topology::{Dumbbell, LinkId, Place, Topology};
pub use world::{Duo, Fate, Tamper, Witness, World};

pub use stack;
