//! Rot: bits flip in the data areas, under a running pool and between its lives, and what may follow.
//!
//! Invariants checked with it: a block reads as what it should hold or as damage, never as anything else;
//! only blocks that hold what stood where a bit flipped are damaged; a scrub reports exactly those.

use super::content::{stamps_of, Block, SECTORS};
use super::model::{Content, Model, Target};
use super::options::DATA_AT;
use crate::sim::{Rng, SimDisk};
use snapshots::{DatasetId, SnapshotId};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a block.
const BLOCK_BYTES: u64 = block_layer::BLOCK as u64;

/// What has rotted; outside the process, so that it survives it.
#[derive(Clone, Default)]
pub(super) struct Rot(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What stood in each block when its first bit flipped.
    contents: BTreeSet<Block>,
    /// The last device write before this life of the process.
    life_began: u64,
    /// Whether a bit flipped in what was written in this life.
    fresh: bool,
}

/// A block of a dataset or of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The dataset.
    pub(super) dataset: DatasetId,
    /// The snapshot; `None` = the live side.
    pub(super) snapshot: Option<SnapshotId>,
    /// The object.
    pub(super) object: u64,
    /// The block.
    pub(super) block: u64,
}

impl Place {
    /// What a state has there, if it has anything.
    #[must_use]
    pub(super) fn content(self, model: &Model) -> Option<Block> {
        model.content(self.target())?.data(self.object).block(self.block).copied()
    }

    /// Whether it may be damaged in a state.
    #[must_use]
    pub(super) fn may_be_damaged(self, model: &Model, rot: &Rot) -> bool {
        model.content(self.target()).is_some_and(|content| rot.explains(content, self.object, self.block))
    }

    /// What it is a block of.
    #[must_use]
    pub(super) fn target(self) -> Target {
        Target { dataset: self.dataset, object: self.object, snapshot: self.snapshot }
    }
}

impl Rot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Flips a bit in a block of the data area that was written some time.
    pub(super) fn strike(&self, disks: &[Arc<SimDisk>], rng: &mut Rng) {
        let disk = rng.pick(disks);
        let Some((at, before)) = disk.rot(DATA_AT) else { return };
        let mut state = self.lock();
        state.fresh |= disk.was_written(at, state.life_began);
        let stamps: Option<Vec<u64>> = stamps_of(&before).into_iter().collect();
        // Without stamps it was rotten before, or it is the torn rest of a write that never counted.
        if let Some(block) = stamps.and_then(|stamps| Block::try_from(stamps).ok()) {
            state.contents.insert(block);
        }
    }

    /// A life of the process begins after device write number `written`: all before is flushed.
    pub(super) fn begin_life(&self, written: u64) {
        let mut state = self.lock();
        (state.life_began, state.fresh) = (written, false);
    }

    /// What was written in this life is flushed, and something durable says so: rot in it, up to device write
    /// number `written`, is seen as rot and not as the journal's end.
    pub(super) fn settle(&self, written: u64) {
        let mut state = self.lock();
        if !state.fresh {
            state.life_began = written;
        }
    }

    /// Whether rot may look like the end of the journal to a recovery: any prefix may be what is left.
    #[must_use]
    pub(super) fn is_fresh(&self) -> bool {
        self.lock().fresh
    }

    /// Whether any bit flipped.
    #[must_use]
    pub(super) fn has_struck(&self) -> bool {
        !self.lock().contents.is_empty()
    }

    /// Whether a block of a state may be damaged. What a shrink left on the device behind the end of a
    /// dataset counts as zeroes: all of the block, if only zeroes stood before that end.
    #[must_use]
    pub(super) fn explains(&self, content: &Content, object: u64, block: u64) -> bool {
        let Some(now) = content.data(object).block(block) else { return false };
        let state = self.lock();
        let visible = |was: &Block| was.iter().zip(now).all(|(was, now)| was == now || *now == 0);
        let is_cut =
            object == 0 && !content.size.is_multiple_of(BLOCK_BYTES) && block == content.size / BLOCK_BYTES;
        let may_be_less = is_cut || *now != Block::default();
        state.contents.contains(now) || (may_be_less && state.contents.iter().any(visible))
    }

    /// Whether something in these sectors may be damaged in some state.
    #[must_use]
    pub(super) fn explains_range(&self, window: &[Arc<Model>], at: Target, sector: u64, count: u64) -> bool {
        let blocks = sector / SECTORS..(sector + count).div_ceil(SECTORS);
        window
            .iter()
            .filter_map(|model| model.content(at))
            .any(|content| blocks.clone().any(|block| self.explains(content, at.object, block)))
    }
}
