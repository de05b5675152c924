//! Whole-system tests: the crash simulation, real processes under `kill -9`, benchmarks.

pub mod bench;
#[cfg(feature = "libiscsi")]
pub mod bench_san;
pub mod daemon;
pub mod decoders;
mod elastic;
pub mod example;
pub mod faults;
pub mod files;
mod growth;
pub mod initiator;
pub mod kill;
pub mod lab;
pub mod memory_server;
pub mod memory_target;
pub mod packed;
pub mod scsi_fuzz;
pub mod sim;
pub mod skip;
pub mod small;
pub mod source;
pub mod stage;
pub mod store_model;
pub mod world;
