//! The `fourwave` command.

fn main() {}
