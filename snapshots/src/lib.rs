//! The versioned key space: datasets, epochs, map pages, clones, diff and reclaim.

pub mod bits;
pub mod decode;
pub mod held;
pub mod ids;
pub mod key;
pub mod map;
pub mod touched;

#[cfg(test)]
mod testing;

pub use decode::Damaged;
pub use ids::{BranchId, Epoch, ObjectId, PageNo};
