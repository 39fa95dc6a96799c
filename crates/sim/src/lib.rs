//! A seeded world in virtual time, made of real shards.
