//! The index: an ordered key-value store that is written at checkpoints only, behind a seam of our own.
//!
//! Two implementations: RocksDB ([`RocksIndex`]) and an in-memory twin ([`TwinIndex`]) whose "power cut" may
//! keep any batch boundary at or after the last explicit flush, as RocksDB without its log may.
//!
//! Key space: ONE column family; the first byte of a key is its kind, and a kind may have a
//! merge function. `DELETE` and `PUT` replace; `MERGE` adds an operand that the kind's merge function
//! folds into the value, now or at a compaction.

mod rocks;
mod twin;

pub use rocks::{IndexOptions, RocksIndex};
pub use twin::TwinIndex;

use crate::error::IndexError;
use std::ops::{ControlFlow, Range};

/// How the values of one kind of key are merged.
#[derive(Clone, Copy)]
pub struct MergeRule {
    /// The first byte of the keys it is for.
    pub kind: u8,
    /// `older` with `newer` laid over it, appended to `out`. Associative; `older` may be an earlier operand
    /// or the stored value. Damaged input must give damaged output (never a panic): the reader reports it.
    pub merge: fn(older: &[u8], newer: &[u8], out: &mut Vec<u8>),
}

impl MergeRule {
    /// The rule for `key`, if its kind has one.
    fn of(rules: &'static [MergeRule], key: &[u8]) -> Option<&'static MergeRule> {
        rules.iter().find(|rule| key.first() == Some(&rule.kind))
    }
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets the value.
    Put(Vec<u8>, Vec<u8>),
    /// Removes the key.
    Delete(Vec<u8>),
    /// Removes every key in `from..to`.
    DeleteRange(Vec<u8>, Vec<u8>),
    /// Adds a merge operand.
    Merge(Vec<u8>, Vec<u8>),
}

/// An ordered set of changes that becomes visible, and durable, as one.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The changes, in order.
    pub changes: Vec<Change>,
}

impl Batch {
    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.changes.push(Change::Put(key.into(), value.into()));
    }
    /// Removes `key`.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.changes.push(Change::Delete(key.into()));
    }
    /// Removes every key in `from..to`.
    pub fn delete_range(&mut self, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        self.changes.push(Change::DeleteRange(from.into(), to.into()));
    }
    /// Merges `operand` into the value of `key`.
    pub fn merge(&mut self, key: impl Into<Vec<u8>>, operand: impl Into<Vec<u8>>) {
        self.changes.push(Change::Merge(key.into(), operand.into()));
    }
}

/// Figures of an index.
#[derive(Clone, Copy, Debug, Default)]
pub struct IndexStats {
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes resident: block cache, write buffers, table readers.
    pub memory_bytes: u64,
    /// Bytes written to disk since it was opened: flushes and compactions.
    pub written_bytes: u64,
    /// Bytes free on the file system that holds it; `u64::MAX` when it has no limit.
    pub free_bytes: u64,
}

/// The index. Calls block: on the data path they run on [`crate::Runtime::blocking`].
pub trait Index: Send + Sync + 'static {
    /// The value of `key`, every operand merged.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;
    /// Calls `visit` with every entry in `from..to`, in key order, of one consistent view, until it breaks.
    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), IndexError>;
    /// Looks up short ranges, of one consistent view: calls `visit` with the place of a range in `ranges` and
    /// every entry of it, in key order, until it breaks, which ends that range. Cheapest when they follow one
    /// another. What is read stays in the cache of the index, if it has one.
    fn lookup(&self, ranges: &[Range<Vec<u8>>], visit: Lookup<'_>) -> Result<(), IndexError>;
    /// Applies a batch: visible as one when this returns, durable only after [`Index::flush`].
    fn write(&self, batch: Batch) -> Result<(), IndexError>;
    /// Makes every batch written before this call survive the loss of power.
    fn flush(&self) -> Result<(), IndexError>;
    /// Figures.
    fn stats(&self) -> IndexStats;
    /// The one of them that is asked for all the time.
    fn free_bytes(&self) -> u64 {
        self.stats().free_bytes
    }
}

/// A scan's callback: key and value.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;
/// A lookup's callback: the range's place, key and value.
pub type Lookup<'a> = &'a mut dyn FnMut(usize, &[u8], &[u8]) -> ControlFlow<()>;
