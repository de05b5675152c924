//! The engine's benchmark: its loads, what they are measured with, and the rows of its table.
//!
//! Rules that make it honest: the shipped configuration but where a row says otherwise, checksums on, a fully
//! written volume, random data, uniform access; engine and raw device take turns; medians of the rounds; rows
//! that write end with a flush inside the timed window; CPU is the whole process's, kernel workers and the
//! index's threads included, with a checkpoint at the end of each round inside it.
//!
//! Read next: `load` (what is done), `rig` (to what), `steady`, `history`, `stalls`, `recovery` (the rows).

pub mod history;
pub mod load;
pub mod process;
pub mod recovery;
pub mod report;
pub mod rig;
pub mod stalls;
pub mod steady;

use std::path::PathBuf;
use std::time::Duration;

/// What stops a benchmark.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How much is measured, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where data files go; removed afterwards.
    pub dir: PathBuf,
    /// Rounds of each row.
    pub rounds: usize,
    /// Time of one round.
    pub round: Duration,
    /// Bytes of the volume and of the raw file.
    pub volume: u64,
    /// Bytes of the volume with many snapshots.
    pub small_volume: u64,
    /// Bytes of the range that cached reads go to.
    pub cached: u64,
    /// How many snapshots "many" are.
    pub snapshots: usize,
    /// Only stages whose name contains this.
    pub only: Option<String>,
    /// Only rows of the steady state whose name contains this.
    pub row: Option<String>,
}

impl Settings {
    /// Whether a stage is wanted.
    #[must_use]
    pub fn wants(&self, stage: &str) -> bool {
        self.only.as_ref().is_none_or(|only| stage.contains(only.as_str()))
    }

    /// Whether a row of the steady state is wanted.
    #[must_use]
    pub fn wants_row(&self, name: &str) -> bool {
        self.row.as_ref().is_none_or(|row| name.contains(row.as_str()))
    }
}
