//! What the goodput tables are made with: shared by the test that recomputes some and the example that recomputes all.
#![allow(dead_code, unreachable_pub)]

pub mod cell;
pub mod files;
pub mod fourwave;
pub mod page;
pub mod plot;
pub mod row;
pub mod run;
pub mod smoltcp;
pub mod theory;
