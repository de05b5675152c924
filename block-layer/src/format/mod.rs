//! The layouts of everything this crate keeps on a device: one record a file, little-endian, fixed widths,
//! every byte named in a table, reserved bytes zero on write and checked on read.
//!
//! Invariants: `encode` and `decode` are exact inverses; `decode` never panics and never allocates by a
//! number that it has not checked; a change of layout is a new version with a golden file of its own.
//! Read next: [`superblock`], the record from which everything else is found.

pub mod cut;
mod ids;
pub mod membership;
pub mod record;
pub mod space_key;
mod state;
pub mod superblock;

pub use ids::{BadName, DeviceId, Ordinal, PoolId, PoolName};
pub use state::{Features, JournalMark, Member, PoolState, Ring, SegmentRange, Tail};

use std::ops::Range;

/// The number in `range`, which is eight bytes long.
fn u64_at(bytes: &[u8], range: Range<usize>) -> u64 {
    u64::from_le_bytes(bytes[range].try_into().expect("the field is eight bytes"))
}

/// The number in `range`, which is four bytes long.
fn u32_at(bytes: &[u8], range: Range<usize>) -> u32 {
    u32::from_le_bytes(bytes[range].try_into().expect("the field is four bytes"))
}

/// The number in `range`, which is two bytes long.
fn u16_at(bytes: &[u8], range: Range<usize>) -> u16 {
    u16::from_le_bytes(bytes[range].try_into().expect("the field is two bytes"))
}

/// The UUID in `range`, which is sixteen bytes long.
fn uuid_at(bytes: &[u8], range: Range<usize>) -> [u8; 16] {
    bytes[range].try_into().expect("the field is sixteen bytes")
}

/// Whether every byte is zero: reserved, or an unused entry.
fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == 0)
}
