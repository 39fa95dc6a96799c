//! Under attack, in memory and in virtual time: what floods, guesses and hostile peers cost a shard, and the client beside them.
//! [ATTACKS.md](../../../../docs/ATTACKS.md) has the table of attacks, limits and counters.
#![allow(clippy::cast_possible_truncation)]

#[path = "../support/mod.rs"]
mod support;

mod blind;
mod clock;
mod field;
mod floods;
mod garbage;
mod holders;
mod peers;
