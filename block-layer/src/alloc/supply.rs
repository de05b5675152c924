//! Handing out: which segments to open ahead of need, and which of their blocks a caller gets.
//!
//! A segment's bitmap is in memory only while it is open. The owner asks [`Allocator::wants`] after each
//! batch, reads the bitmaps off the data path, and installs them; a segment with nothing left to give closes
//! by itself.

use super::checkpoint::Cut;
use super::open::Open;
use super::segment::{Life, SegmentState, Totals};
use super::{number, AllocError, Allocator, Bitmap, Damaged, Purpose, Run};
use crate::units::{Pba, BLOCKS_PER_SEGMENT};
use std::cmp::Reverse;

/// Segments that are open, or being opened, ahead of need.
const OPEN_AHEAD: usize = 3;
/// Blocks that are open, or being opened, ahead of need, however many segments that takes.
const BLOCKS_AHEAD: u32 = 2048;
/// Most segments that one [`Allocator::wants`] names.
const WANTS_MAX: usize = 64;

impl Allocator {
    /// Names the segments to load now, emptiest first: for each, read its bitmap from the index and
    /// [`install`](Self::install) it, or [`abandon`](Self::abandon) it. None is named twice before that.
    /// Empty and cheap when enough is open.
    pub fn wants(&mut self) -> Vec<u32> {
        let mut named = Vec::new();
        let mut ready: u32 = self.open.keys().chain(&self.loading).map(|&s| self.room(s)).sum();
        let mut count = self.open.len() + self.loading.len();
        let enough = self.need.saturating_add(BLOCKS_AHEAD);
        while named.len() < WANTS_MAX && (count < OPEN_AHEAD || ready < enough) {
            let Some(segment) = self.table.emptiest_closed() else { break };
            self.table.update(segment, |resident| resident.life = Life::Loading);
            self.loading.insert(segment);
            ready += self.room(segment);
            count += 1;
            named.push(segment);
        }
        named
    }

    /// Opens a segment that [`wants`](Self::wants) named, with its bitmap as the index has it. `cut` is what
    /// [`cut`](Self::cut) said before the index was read: when a checkpoint ended since, the bitmap is stale,
    /// `false` is returned, and the segment will be named again.
    ///
    /// # Errors
    /// [`Damaged`] when the bitmap contradicts the segment's count: it is no longer usable.
    pub fn install(&mut self, segment: u32, mut bitmap: Bitmap, cut: Cut) -> Result<bool, Damaged> {
        self.abandon(segment);
        if cut != self.cut {
            return Ok(false);
        }
        for delta in self.deltas(segment) {
            delta.lay_over(&mut bitmap);
        }
        let &resident = self.table.get(segment);
        if bitmap.count_all() + u32::from(resident.free) != BLOCKS_PER_SEGMENT {
            self.set_state(segment, SegmentState { usable: false, ..resident.state });
            let what = "the bitmap disagrees with the count of free blocks";
            return Err(Damaged { at: Pba::of_block(segment, 0), blocks: BLOCKS_PER_SEGMENT, what });
        }
        if resident.allocatable() == 0 {
            return Ok(false);
        }
        let mut open = Open::new(bitmap);
        let base = number(segment, 0);
        let in_flight = self.in_flight.pieces(base, BLOCKS_PER_SEGMENT);
        for (at, len) in in_flight.chain(self.quarantine.pieces(base, BLOCKS_PER_SEGMENT)) {
            open.taken.set((at - base) as u32, len, true);
        }
        self.open.insert(segment, open);
        self.table.update(segment, |resident| resident.life = Life::Open);
        Ok(true)
    }

    /// Takes back the wish for a segment whose bitmap cannot be had; unless its state is changed, it will be
    /// named again.
    ///
    /// # Panics
    /// When the segment was not named by [`wants`](Self::wants).
    pub fn abandon(&mut self, segment: u32) {
        assert!(self.loading.remove(&segment), "segment {segment} was not asked for");
        self.table.update(segment, |resident| resident.life = Life::Closed);
    }

    /// Takes back the wish for a segment whose bitmap is damaged: nothing is allocated from it any more,
    /// until the next open looks again. What it holds is read and freed as ever.
    ///
    /// # Panics
    /// As [`abandon`](Self::abandon).
    pub fn retire(&mut self, segment: u32) {
        self.abandon(segment);
        let state = self.table.get(segment).state;
        self.set_state(segment, SegmentState { usable: false, ..state });
    }

    /// Hands out `blocks` blocks as few runs, which are added to `runs`, or nothing. The caller evicts them
    /// from the block cache.
    ///
    /// # Errors
    /// See [`AllocError`].
    pub fn alloc(&mut self, blocks: u32, purpose: Purpose, runs: &mut Vec<Run>) -> Result<(), AllocError> {
        self.check_room(blocks, purpose)?;
        self.need = 0;
        let mut left = blocks;
        while left > 0 {
            let segment = self.current();
            let open = self.open.get_mut(&segment).expect("the current segment is open");
            let (slot, slots) = open.take(left);
            self.in_flight.insert(number(segment, slot), slots);
            self.table.update(segment, |resident| resident.held += slots as u16);
            runs.push(Run { at: Pba::of_block(segment, slot), blocks: slots });
            left -= slots;
            if self.room(segment) == 0 {
                self.close(segment);
            }
        }
        Ok(())
    }

    /// Whether `blocks` may be had for `purpose` right now, all together. Changes nothing but what
    /// [`wants`](Self::wants) will name.
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc).
    pub fn check_room(&mut self, blocks: u32, purpose: Purpose) -> Result<(), AllocError> {
        let reserve = match purpose {
            Purpose::Write => self.config.reserve_blocks,
            Purpose::Reserved => 0,
        };
        let Totals { allocatable, unzeroed, .. } = self.table.totals();
        let wanted = u64::from(blocks) + reserve;
        if allocatable + unzeroed < wanted {
            let allocatable = allocatable.saturating_sub(reserve);
            return Err(AllocError::NoSpace { allocatable, quarantined: self.quarantine.blocks() });
        }
        if allocatable < wanted {
            return Err(AllocError::NotReady);
        }
        let opened: u64 = self.open.keys().map(|&segment| u64::from(self.room(segment))).sum();
        if opened < u64::from(blocks) {
            self.need = self.need.max(blocks);
            return Err(AllocError::NotReady);
        }
        Ok(())
    }

    /// The open segment to fill: the one begun, else the emptiest. Called when some open segment has room.
    fn current(&mut self) -> u32 {
        let current = self.current.filter(|&current| self.room(current) > 0).or_else(|| {
            self.open.keys().copied().max_by_key(|&segment| (self.room(segment), Reverse(segment)))
        });
        self.current = current;
        current.expect("some segment is open: its room was counted")
    }

    pub(super) fn close(&mut self, segment: u32) {
        self.open.remove(&segment);
        self.current = self.current.filter(|&current| current != segment);
        self.table.update(segment, |resident| resident.life = Life::Closed);
    }

    /// Blocks that a segment can hand out.
    pub(super) fn room(&self, segment: u32) -> u32 {
        self.table.get(segment).allocatable()
    }
}
