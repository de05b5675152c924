//! The allocator: which blocks are free, which may be handed out, and how both reach the index.
//!
//! A value without I/O, clock or lock; the committer drives it under one lock. A block is always in one
//! state:
//!
//! ```text
//!  free --alloc--> in flight --commit_alloc--> allocated --commit_free--> quarantine --release--> free
//!    ^----undo--------'
//! ```
//!
//! Invariants:
//! - only `free` blocks of ready segments are handed out, so never one in quarantine (design rule 2);
//! - applied effects are in commit order, and replay applies the same ones through the same calls;
//! - the index + frozen + active deltas = the logical state, at every moment;
//! - every count is exact; a bitmap that disagrees with its count is damage, and its segment is left alone.
//!
//! Read next: `supply` (handing out), `segment` (the resident table), `checkpoint` (generations), `codec`
//! (bytes), `refs` (range clones).

mod bitmap;
mod blocks;
mod checkpoint;
mod codec;
mod delta;
#[cfg(test)]
mod golden;
mod open;
mod patch;
mod pins;
mod quarantine;
mod refs;
mod segment;
mod supply;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::Dice;

pub use bitmap::Bitmap;
pub use checkpoint::{Cut, Frozen, Record};
pub use codec::{decode_bitmap, decode_count, decode_summary, encode_bitmap, merge_bitmap, Malformed};
pub use pins::{Pin, Pins};
pub use segment::{SegmentState, Summary, GROUP};

use crate::units::{Pba, Seq, BLOCKS_PER_SEGMENT, SECTORS_PER_BLOCK};
use blocks::Blocks;
use checkpoint::Generation;
use open::Open;
use quarantine::Quarantine;
use refs::Tables;
use segment::{Resident, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Contiguous blocks of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The first block.
    pub at: Pba,
    /// Blocks, at least 1.
    pub blocks: u32,
}

impl Run {
    /// Whether `next` begins where this one ends, in the same segment.
    pub(crate) fn is_followed_by(self, next: Run) -> bool {
        self.at.plus_blocks(u64::from(self.blocks)) == next.at && self.at.segment() == next.at.segment()
    }

    /// Keeps the first `blocks` of them; what is cut off, if anything.
    pub(crate) fn split_off(&mut self, blocks: u32) -> Option<Run> {
        let rest = self.blocks.checked_sub(blocks).filter(|rest| *rest > 0)?;
        self.blocks = blocks;
        Some(Run { at: self.at.plus_blocks(u64::from(blocks)), blocks: rest })
    }
}

/// What an allocation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Data of a write: must leave the reserve alone.
    Write,
    /// What must succeed for space to be freed: may use the reserve.
    Reserved,
}

/// Why no blocks are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocError {
    /// Install what [`Allocator::wants`] names, then retry; when it names nothing, wait for the zeroer.
    #[error("no segment with enough free blocks is open yet")]
    NotReady,
    /// The pool is full, at least until the quarantine is released: a flush may help.
    #[error("out of space: {allocatable} blocks can be allocated, {quarantined} are in quarantine")]
    NoSpace {
        /// Blocks that this purpose may still have.
        allocatable: u64,
        /// Blocks that wait for a flush, or for a reader.
        quarantined: u64,
    },
}

/// The free-space state contradicts itself: the index or the journal is damaged, or the caller has a bug.
/// The call that found it changed nothing, except that [`Allocator::install`] retires the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("free space is damaged: {blocks} blocks at {at}: {what}")]
pub struct Damaged {
    /// The first block concerned.
    pub at: Pba,
    /// Blocks concerned.
    pub blocks: u32,
    /// What is wrong.
    pub what: &'static str,
}

/// Figures, in blocks. `free` = `quarantined` + `in_flight` + `unready` + `allocatable` over present
/// segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Blocks of all present segments.
    pub capacity: u64,
    /// Blocks allocated by the commits applied.
    pub allocated: u64,
    /// Blocks not allocated.
    pub free: u64,
    /// Freed, not yet allocatable.
    pub quarantined: u64,
    /// Handed out, not yet committed.
    pub in_flight: u64,
    /// Free, but in segments that are not zeroed or not usable.
    pub unready: u64,
    /// Can be handed out, the reserve included.
    pub allocatable: u64,
}

/// Limits of an allocator.
#[derive(Clone, Copy, Debug)]
pub struct AllocConfig {
    /// Blocks that only [`Purpose::Reserved`] may take.
    pub reserve_blocks: u64,
    /// Most reference counts kept in clean tables.
    pub ref_entries: usize,
}

/// The allocator of a pool.
#[derive(Debug)]
pub struct Allocator {
    config: AllocConfig,
    table: Table,
    open: BTreeMap<u32, Open>,
    /// The open segment that is being filled.
    current: Option<u32>,
    /// Segments named by `wants` and not yet installed.
    loading: BTreeSet<u32>,
    /// The largest allocation that was refused as `NotReady` since the last success, in blocks.
    need: u32,
    in_flight: Blocks,
    quarantine: Quarantine,
    active: Generation,
    frozen: Option<Arc<Frozen>>,
    tables: Tables,
    cut: Cut,
}

impl Allocator {
    /// An allocator over the segments 0, 1, … as the index knows them.
    ///
    /// # Errors
    /// [`Damaged`] when a summary counts more blocks than a segment has.
    pub fn new(
        config: AllocConfig,
        segments: impl IntoIterator<Item = Summary>,
    ) -> Result<Allocator, Damaged> {
        let mut allocator = Allocator {
            config,
            table: Table::default(),
            open: BTreeMap::new(),
            current: None,
            loading: BTreeSet::new(),
            need: 0,
            in_flight: Blocks::default(),
            quarantine: Quarantine::default(),
            active: Generation::default(),
            frozen: None,
            tables: Tables::default(),
            cut: Cut::default(),
        };
        allocator.add_segments(segments)?;
        Ok(allocator)
    }

    /// Adds segments after the last one.
    ///
    /// # Errors
    /// [`Damaged`] when a summary counts more blocks than a segment has; those before it are added.
    pub fn add_segments(&mut self, segments: impl IntoIterator<Item = Summary>) -> Result<(), Damaged> {
        for summary in segments {
            let at = Pba::of_block(self.table.len(), 0);
            if u32::from(summary.free) + u32::from(summary.refs) > BLOCKS_PER_SEGMENT {
                let what = "the summary counts more blocks than a segment has";
                return Err(Damaged { at, blocks: BLOCKS_PER_SEGMENT, what });
            }
            self.table.push(summary);
        }
        Ok(())
    }

    /// Segments known, present or not.
    #[must_use]
    pub fn segments(&self) -> u32 {
        self.table.len()
    }

    /// A partial segment got `blocks` more usable blocks at its end.
    pub fn extend(&mut self, segment: u32, blocks: u32) {
        if self.open.contains_key(&segment) {
            self.close(segment);
        }
        self.table.update(segment, |resident| {
            resident.free += blocks as u16;
            resident.state = SegmentState::READY;
        });
        self.active.extended.insert(segment);
    }

    /// Whether nothing is allocated or handed out in a segment of `blocks` usable blocks, as far as
    /// counts tell.
    #[must_use]
    pub fn is_untouched(&self, segment: u32, blocks: u32) -> bool {
        let resident = self.table.get(segment);
        u32::from(resident.free) == blocks && resident.held == 0 && self.deltas(segment).next().is_none()
    }

    /// Changes what may be done with a segment; one that is no longer ready is closed.
    pub fn set_state(&mut self, segment: u32, state: SegmentState) {
        self.table.update(segment, |resident| resident.state = state);
        if state != SegmentState::READY && self.open.contains_key(&segment) {
            self.close(segment);
        }
    }

    /// What may be done with a segment, as last set (or found damaged); `None` when there is no such segment.
    #[must_use]
    pub fn state(&self, segment: u32) -> Option<SegmentState> {
        (segment < self.table.len()).then(|| self.table.get(segment).state)
    }

    /// Exact figures.
    #[must_use]
    pub fn space(&self) -> Space {
        let totals = self.table.totals();
        Space {
            capacity: totals.capacity,
            allocated: totals.capacity - totals.free,
            free: totals.free,
            quarantined: self.quarantine.blocks(),
            in_flight: self.in_flight.count(),
            unready: totals.unready,
            allocatable: totals.allocatable,
        }
    }

    /// Takes back blocks that were handed out and will not be committed.
    ///
    /// # Panics
    /// When one of them is not in flight.
    pub fn undo(&mut self, runs: &[Run]) {
        for run in runs {
            let (segment, slot) = self.locate(*run).expect("it was handed out");
            let removed = self.in_flight.remove(number(segment, slot), run.blocks);
            assert_eq!(removed, run.blocks, "undo of blocks at {} that are not in flight", run.at);
            self.hand_back(segment, slot, run.blocks);
        }
    }

    /// A commit allocated `run`: handed out before, or replayed.
    ///
    /// # Errors
    /// [`Damaged`] when some of it is known to be allocated; nothing has changed.
    pub fn commit_alloc(&mut self, run: Run) -> Result<(), Damaged> {
        let (segment, slot) = self.locate(run)?;
        let damaged = |what| Err(Damaged { at: run.at, blocks: run.blocks, what });
        let start = number(segment, slot);
        if u32::from(self.table.get(segment).free) < run.blocks
            || self.is_any(segment, slot, run.blocks, true)
        {
            return damaged("allocated twice");
        }
        if self.quarantine.holds(start, run.blocks) && self.open.contains_key(&segment) {
            return damaged("allocated while in quarantine");
        }
        // Replay may allocate what it holds in quarantine: the first run had released it.
        let held = self.in_flight.remove(start, run.blocks) + self.quarantine.remove(start, run.blocks);
        self.record(segment, slot, run.blocks, true);
        self.table.update(segment, |resident| {
            resident.free -= run.blocks as u16;
            resident.held -= held as u16;
        });
        if let Some(open) = self.open.get_mut(&segment) {
            open.logical.set(slot, run.blocks, true);
            open.taken.set(slot, run.blocks, true);
        }
        Ok(())
    }

    /// Record `seq` freed `run`. It is not handed out before [`release`](Self::release) says so.
    ///
    /// # Errors
    /// [`Damaged`] when some of it is known to be free or to have extra references; nothing has changed.
    ///
    /// # Panics
    /// When `seq` is older than the one of an earlier call.
    pub fn commit_free(&mut self, seq: Seq, run: Run) -> Result<(), Damaged> {
        let (segment, slot) = self.locate(run)?;
        let damaged = |what| Err(Damaged { at: run.at, blocks: run.blocks, what });
        let start = number(segment, slot);
        if self.is_any(segment, slot, run.blocks, false)
            || self.in_flight.covered(start, run.blocks) > 0
            || self.quarantine.holds(start, run.blocks)
        {
            return damaged("freed twice");
        }
        let Resident { free, refs, .. } = *self.table.get(segment);
        if u32::from(free) + u32::from(refs) + run.blocks > BLOCKS_PER_SEGMENT
            || self.any_shared(segment, slot, run.blocks)
        {
            return damaged("freed in spite of extra references");
        }
        self.record(segment, slot, run.blocks, false);
        self.quarantine.push(seq, start, run.blocks);
        self.table.update(segment, |resident| {
            resident.free += run.blocks as u16;
            resident.held += run.blocks as u16;
        });
        if let Some(open) = self.open.get_mut(&segment) {
            open.logical.set(slot, run.blocks, false);
        }
        Ok(())
    }

    /// What records up to `upto` freed may be handed out again: they are stated durable, and no reader that
    /// pinned an earlier sequence still runs ([`Pins::limit`]). Returns the blocks released.
    pub fn release(&mut self, upto: Seq) -> u64 {
        let mut freed = Vec::new();
        self.quarantine.release(upto, |at, len| freed.push((at, len)));
        for &(at, len) in &freed {
            let (segment, slot) = segment_slot(at);
            self.hand_back(segment, slot, len);
        }
        freed.iter().map(|&(_, len)| u64::from(len)).sum()
    }

    /// Free blocks that were held become allocatable.
    fn hand_back(&mut self, segment: u32, slot: u32, blocks: u32) {
        self.table.update(segment, |resident| resident.held -= blocks as u16);
        if let Some(open) = self.open.get_mut(&segment) {
            open.taken.set(slot, blocks, false);
        }
    }

    /// Checks a run: whole blocks, inside one segment of the pool that is present.
    fn locate(&self, run: Run) -> Result<(u32, u32), Damaged> {
        let (segment, slot) = (run.at.segment(), run.at.slot());
        let aligned = run.at.sectors().is_multiple_of(SECTORS_PER_BLOCK);
        let inside = run.blocks > 0 && run.blocks <= BLOCKS_PER_SEGMENT - slot;
        if !aligned || !inside || !self.state(segment).is_some_and(|state| state.present) {
            return Err(Damaged { at: run.at, blocks: run.blocks, what: "not blocks of the pool" });
        }
        Ok((segment, slot))
    }

    /// Whether some block of the range is known to be allocated (`value`) or free (`!value`).
    fn is_any(&self, segment: u32, slot: u32, blocks: u32, value: bool) -> bool {
        if let Some(open) = self.open.get(&segment) {
            let allocated = open.logical.count(slot, blocks);
            return if value { allocated > 0 } else { allocated < blocks };
        }
        let active = self.active.delta(segment);
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.delta(segment));
        let hit = |(at, len, is): (u32, u32, bool)| {
            is == value && {
                let later = active.map_or(0, |d| d.pieces(at, len).map(|(_, len, _)| len).sum());
                later < len
            }
        };
        active.is_some_and(|delta| delta.says(slot, blocks, value))
            || frozen.is_some_and(|delta| delta.pieces(slot, blocks).any(hit))
    }
}

/// The number of a block: see `blocks`.
fn number(segment: u32, slot: u32) -> u64 {
    u64::from(segment) * u64::from(BLOCKS_PER_SEGMENT) + u64::from(slot)
}

/// The inverse of [`number`].
fn segment_slot(number: u64) -> (u32, u32) {
    let per_segment = u64::from(BLOCKS_PER_SEGMENT);
    ((number / per_segment) as u32, (number % per_segment) as u32)
}
