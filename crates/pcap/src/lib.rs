//! What captures are made of: programs of classic BPF that choose frames ([`bpf`]), and files that keep them ([`pcapng`]).
#![forbid(unsafe_code)]

pub mod bpf;
pub mod pcapng;
