//! The catalogue: pools, volumes, snapshots, hosts and which volumes they were given.
//!
//! A [`Manager`] is a running server's knowledge and its hands: every change an administrator makes goes
//! through it, is durable when the call returns, and is made wholly or not at all.
//!
//! | module | what |
//! |---|---|
//! | [`state`] | the state directory: what survives a restart outside of pools |
//! | [`pool`] | open pools, and the I/O of their volumes |
//! | [`share`] | trees of files on a pool |
//! | [`manager`] | the changes, one file a subject |
//! | [`view`] | what listings show, as it goes over the API |
//! | [`border`] | what the manager needs from the servers that export volumes |
//!
//! It knows no protocol's commands, and nothing of how the engine keeps data.

pub mod border;
pub mod error;
pub mod identity;
pub mod initiator;
pub mod manager;
pub mod name;
pub mod pool;
pub mod secret;
pub mod share;
pub mod size;
pub mod state;
pub mod view;

#[cfg(feature = "fault-injection")]
pub use block_layer::device::faults;
pub use border::{Border, Exports};
pub use error::Error;
pub use identity::{Naa, WriteCache};
pub use initiator::InitiatorName;
pub use manager::Manager;
pub use name::{FilePath, Name, SnapshotPath, VolumePath};
pub use pool::{IoError, IoSource, PoolSettings, Share, VolumeIo};
pub use secret::Secret;
pub use size::Size;
