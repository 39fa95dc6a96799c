//! The command end to end, in the lab, against programs that nobody here wrote. Needs root.

#[path = "../common/mod.rs"]
mod common;
mod support;

mod attack;
mod bench;
mod beside;
mod capture;
mod checksums;
mod churn;
mod clients;
mod configuration;
mod connections;
mod demo;
mod doctor;
mod failures;
mod faults;
mod forged;
mod http;
mod idle;
mod impaired;
mod jumbo;
mod load;
mod load_open;
mod load_tcp;
mod measured;
mod metrics;
mod mirror;
mod neighbours;
mod open_loop;
mod owned;
mod pcap;
mod ping;
mod ports;
mod privileges;
mod proxy;
mod refusals;
mod report;
mod robustness;
mod shards;
mod ss;
mod ss_filter;
mod supervised;
mod trace;
mod tune;
