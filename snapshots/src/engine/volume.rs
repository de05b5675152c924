//! A dataset's block data as a place: which branch and view it is now, and which ranges fit it.
//!
//! A handle holds no state: every call looks the branch up anew, so it follows a rollback.
//!
//! Read next: `read`, `write` (how a command is prepared and committed), `zero`.

use super::Engine;
use crate::catalogue::{DatasetId, SnapshotId};
use crate::error::Error;
use crate::ids::{BranchId, ObjectId};
use crate::machine::{no_snapshot, not_found};
use crate::pages::View;
use crate::session::Session;
use block_layer::{BLOCK, SECTOR};
use std::sync::Arc;

/// Largest range of one call, in bytes.
pub const IO_MAX: u64 = 16 << 20;

/// A dataset's block data, or a snapshot's.
#[derive(Clone)]
pub struct Volume {
    pub(super) engine: Arc<Engine>,
    pub(super) dataset: DatasetId,
    pub(super) object: ObjectId,
    pub(super) snapshot: Option<SnapshotId>,
}

/// How a command is done.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Whose it is, if it may have to be fenced.
    pub session: Option<Session>,
    /// Whether it is durable when it is answered.
    pub durable: bool,
}

/// A range of bytes, and the blocks that it touches.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Span {
    pub(super) fn end(self) -> u64 {
        self.offset + self.len
    }
    /// The first block it touches.
    pub(super) fn first(self) -> u64 {
        self.offset / BLOCK as u64
    }
    /// Blocks that it touches.
    pub(super) fn blocks(self) -> u64 {
        self.end().div_ceil(BLOCK as u64) - self.first()
    }
    /// Bytes between the start of the first block and the start of the range.
    pub(super) fn lead(self) -> usize {
        (self.offset % BLOCK as u64) as usize
    }
    pub(super) fn is_aligned(self) -> bool {
        self.lead() == 0 && self.len.is_multiple_of(BLOCK as u64)
    }
    /// The part of block `nth` of the span that it covers, as a range in the block.
    pub(super) fn within(self, nth: u64) -> std::ops::Range<usize> {
        let start = (self.first() + nth) * BLOCK as u64;
        let from = self.offset.max(start) - start;
        let to = self.end().min(start + BLOCK as u64) - start;
        from as usize..to as usize
    }
}

impl Engine {
    /// The block data of a dataset.
    #[must_use]
    pub fn volume(self: &Arc<Self>, dataset: DatasetId) -> Volume {
        self.object(dataset, ObjectId(0))
    }

    /// The block data of one object of a dataset: a file of a share, say.
    #[must_use]
    pub fn object(self: &Arc<Self>, dataset: DatasetId, object: ObjectId) -> Volume {
        Volume { engine: self.clone(), dataset, object, snapshot: None }
    }
}

impl Volume {
    /// The dataset.
    #[must_use]
    pub fn dataset(&self) -> DatasetId {
        self.dataset
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The object.
    #[must_use]
    pub fn object_id(&self) -> ObjectId {
        self.object
    }

    /// The snapshot that it looks at, if it is not the live side.
    #[must_use]
    pub fn snapshot_id(&self) -> Option<SnapshotId> {
        self.snapshot
    }

    pub(crate) fn is_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// The same object as a snapshot of the dataset sees it, to be read.
    #[must_use]
    pub fn at(&self, snapshot: SnapshotId) -> Volume {
        Volume { snapshot: Some(snapshot), ..self.clone() }
    }

    /// The branch and view that it looks at now, and its size in bytes.
    pub(crate) fn view(&self) -> Result<(BranchId, View, u64), Error> {
        let state = self.engine.space.lock();
        match self.snapshot {
            Some(id) => {
                let snapshot = state.catalogue.snapshots.get(&id).filter(|s| s.name.is_some());
                let snapshot = snapshot.ok_or_else(|| no_snapshot(id))?;
                Ok((id.branch, View::At(id.epoch), snapshot.size))
            }
            None => {
                let dataset = state.catalogue.datasets.get(&self.dataset);
                let dataset = dataset.ok_or_else(|| not_found(self.dataset))?;
                Ok((dataset.branch, View::Live, dataset.size))
            }
        }
    }

    pub(super) fn span(&self, offset: u64, len: u64, size: u64) -> Result<Span, Error> {
        let whole = |n: u64| self.object != ObjectId(0) || n.is_multiple_of(SECTOR as u64);
        if !whole(offset) || !whole(len) || len == 0 || len > IO_MAX {
            let what = "a range is at most 16 MiB long and, of object 0, aligned to 512 bytes";
            return Err(Error::Invalid(what));
        }
        let end = offset.checked_add(len).ok_or(Error::OutOfRange { size })?;
        if self.object == ObjectId(0) && end > size {
            return Err(Error::OutOfRange { size });
        }
        Ok(Span { offset, len })
    }

    /// Whether an error only says that the live side is another branch now, after a rollback.
    pub(crate) fn has_moved(&self, error: &Error, from: (BranchId, View)) -> bool {
        let now = self.view().map(|(branch, view, _)| (branch, view));
        matches!(error, Error::NotFound(_)) && now.is_ok_and(|now| now != from)
    }
}
