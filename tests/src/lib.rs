//! Whole-system tests: the crash simulation, real processes under `kill -9`, benchmarks.

pub mod sim;
