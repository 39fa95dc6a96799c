//! A hierarchical timing wheel, and the time types of the core.
