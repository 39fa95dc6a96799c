//! The same application over both ways.
