//! The versioned key space: datasets, epochs, map pages, clones, diff and reclaim.
//!
//! An [`Engine`] is an open pool. It holds datasets: sorted key spaces of small entries, and block data
//! mapped by pages; with snapshots, clones and rollbacks in constant time.
//!
//! Absent on purpose: what a dataset is used for, and every word of a storage protocol.
//!
//! Read next: `docs/architecture.md`, [`catalogue`] (what there is), [`machine`] (what happens to it, in
//! commit order), [`engine`] (how callers reach it), [`map`] (which block lies where).

pub mod bits;
pub mod catalogue;
pub mod decode;
pub mod engine;
mod entry_cache;
pub mod error;
#[doc(hidden)]
pub mod fuzz;
mod generation;
pub mod held;
pub mod ids;
pub mod key;
pub mod machine;
pub mod map;
pub mod pages;
pub mod session;
pub mod touched;

#[cfg(test)]
mod testing;

pub use catalogue::{DatasetId, SnapshotId};
pub use decode::Damaged;
pub use engine::{Engine, EngineConfig, EngineParts, Volume};
pub use error::Error;
pub use generation::PageKey;
pub use ids::{BranchId, Epoch, ObjectId, PageNo};
pub use pages::View;
pub use session::Session;
