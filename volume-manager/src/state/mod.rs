//! The state directory: what the server must know again after a restart and what does not belong to a pool.
//!
//! Invariants: one server at a time holds the directory's lock. Each file is replaced whole: written beside,
//! made durable, renamed, the directory made durable. Secrets live in one file of their own and in nothing
//! else.

mod dir;
mod document;
mod export;
mod secrets;

pub use dir::StateDir;
pub use document::{
    Document, HostId, HostRecord, Initiators, Intent, LunRecord, OsKind, PoolRecord, PortalRecord, VolumeKey,
};
pub use export::{BadClients, Clients, ExportRecord, Squash};
pub use secrets::{HostSecrets, Secrets};
