//! A real process under load, killed with SIGKILL: what `tests/kill.rs` and `make soak-kill` are made of.
//!
//! Two processes. The child (`executor`, in the program `kill_load`) has the pool open and does what it is
//! told, one line a command, one line an answer, and knows of nothing else. The parent chooses the commands
//! (`plan`), writes down each before it sends it and each answer as it comes (`model`), kills the child,
//! starts the next one at once, and has it read everything back: what was answered must be there, what was
//! not answered must be there wholly or not at all.
//!
//! Invariants: the parent never looks into the pool, the child never sees the model; every sector says which
//! command wrote it and where (`pattern`), so a sector that is torn, misplaced or stale is told from a good
//! one.

mod child;
mod command;
pub mod executor;
mod image;
mod model;
pub mod pattern;
mod plan;
mod rounds;

pub use command::{Command, Listing, Setup};
pub use rounds::{run, Summary};

/// Sectors of every volume: 4 MiB, so that a round can read all of them and all snapshots back.
pub const VOLUME_SECTORS: u64 = 8192;
