//! The block layer: devices, direct I/O, the journal, the allocator, checksums, the block cache and
//! the index. It stores immutable blocks and ordered, atomic commits; what the commits *mean* is
//! the business of the crate above (`snapshots`), which plugs in as a [`store::Machine`].
//!
//! Absent on purpose: datasets, epochs, snapshots, and every word of a storage protocol.
//!
//! Read next: `docs/architecture.md`, then [`store`] (the life of a commit), [`pool`] (devices and
//! membership) and [`device`] (the I/O border).

pub mod alloc;
pub mod cache;
mod crc;
pub mod device;
pub mod error;
pub mod format;
pub mod index;
pub mod journal;
pub mod pool;
pub mod runtime;
pub mod store;
pub mod units;

pub use bytes::Bytes;
pub use crc::crc32c;
pub use device::{Buf, Disk, Geometry, Io};
pub use error::{DiskError, IndexError};
pub use runtime::Runtime;
pub use store::{Config, Machine, Store};
pub use units::{Pba, Seq, BLOCK, SECTOR};
