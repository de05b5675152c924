//! Pools: which devices belong together, what lies where on them, and the superblocks that say so.
//!
//! On a device: 64 KiB left to partition tables, the two superblock slots, room for a journal ring from
//! 1 MiB on (one ring is active in a pool), then the data area in segments of 64 MiB, the last of which may
//! be partial.
//!
//! Invariants: of a device's two slots, only the one that does not hold its newest durable superblock is
//! written, and the next writing begins after a flush; so an interrupted writing leaves a whole copy on
//! every device, also when the one before was interrupted too. Membership changes by a committed record
//! ([`MembershipChange`]), which may be applied again; a device that joins carries a durable superblock
//! before that record is written.
//!
//! Read next: [`create()`] and [`assemble`] (how a [`Membership`] comes to be), [`Membership`] (how it
//! changes), [`SegmentTable`] (from an address to a device), and [`crate::format::superblock`] (the bytes).

mod create;
mod error;
mod join;
mod layout;
mod members;
mod open;
mod probe;
mod segments;
mod slots;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use crate::format::membership::MembershipChange;
pub use create::{create, CreateOptions};
pub use error::{CopyFault, PoolError, Warning};
pub use join::{Joined, Joining};
pub use layout::{Layout, RING_DEFAULT, RING_MIN};
pub use members::Membership;
pub use open::{assemble, Assembled};
pub use probe::Found;
pub use segments::{Extent, Extents, Segment, SegmentTable, Unmapped};
pub use slots::{SuperblockWrite, Written};
