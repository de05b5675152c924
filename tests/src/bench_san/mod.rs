//! The target's benchmark: Ashlar, Debian's `tgt` and our own target without storage under one client.
//!
//! Rules that make it honest: the shipped binary and configuration; a fully written volume, random data,
//! uniform access, in cached rows over a warmed part of it; servers take turns, medians of the rounds; loads
//! that write end with a flush inside the timed window; CPU is that of all threads of the server's process,
//! and its durability is said beside each figure. The client is the same for all: libiscsi, many commands in
//! flight, nothing verified.
//!
//! Read next: `generator` (the load), `servers` (on what), `rows` (the table), `many` (1,000 LUNs).

pub mod generator;
pub mod histogram;
pub mod many;
pub mod rows;
pub mod servers;

use std::path::PathBuf;
use std::time::Duration;

/// How much is measured, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where data files go.
    pub dir: PathBuf,
    /// Whether they stay, for the next run to use as they are.
    pub keep: bool,
    /// Rounds of each row.
    pub rounds: usize,
    /// Time of one round.
    pub round: Duration,
    /// Bytes of the volume, and of the files of the others.
    pub volume: u64,
    /// Bytes of it that cached rows go to.
    pub cached: u64,
    /// How many LUNs and snapshots "many" are.
    pub luns: usize,
    /// The same of snapshots.
    pub snapshots: usize,
    /// Only rows whose name contains this.
    pub only: Option<String>,
}

impl Settings {
    /// Whether a row is wanted.
    #[must_use]
    pub fn wants(&self, row: &str) -> bool {
        self.only.as_ref().is_none_or(|only| row.contains(only.as_str()))
    }
}
