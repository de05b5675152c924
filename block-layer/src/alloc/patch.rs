//! A patch: which blocks of a segment are named, and which of those are allocated. Two bitmaps, 4 KiB.
//!
//! Invariant: `value` is a subset of `named`.

use super::bitmap::Bitmap;
use super::delta::Change;
use crate::units::BLOCKS_PER_SEGMENT;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Patch {
    pub(super) named: Bitmap,
    pub(super) value: Bitmap,
}

impl Patch {
    /// Bytes that it takes.
    pub(super) const BYTES: usize = 2 * super::bitmap::BITMAP_BYTES;

    /// The patch that `changes` make.
    pub(super) fn of(changes: &[Change]) -> Patch {
        let mut patch = Patch::default();
        changes.iter().for_each(|change| patch.set(change.first(), change.slots(), change.value()));
        patch
    }

    /// Names `slots` blocks from `first` on.
    pub(super) fn set(&mut self, first: u32, slots: u32, value: bool) {
        self.named.set(first, slots, true);
        self.value.set(first, slots, value);
    }

    /// Lays `newer` over it.
    pub(super) fn lay(&mut self, newer: &Patch) {
        let newer = newer.named.words().iter().zip(newer.value.words());
        let mine = self.named.words_mut().iter_mut().zip(self.value.words_mut().iter_mut());
        for ((named, value), (newer_named, newer_value)) in mine.zip(newer) {
            *named |= newer_named;
            *value = *value & !newer_named | newer_value;
        }
    }

    /// Whether it names all blocks.
    pub(super) fn is_total(&self) -> bool {
        self.named.next(0, false) == BLOCKS_PER_SEGMENT
    }

    /// Whether it says `value` of some block of the range.
    pub(super) fn says(&self, first: u32, slots: u32, value: bool) -> bool {
        let allocated = self.value.count(first, slots);
        if value {
            allocated > 0
        } else {
            self.named.count(first, slots) > allocated
        }
    }

    /// The first run of equally named blocks at or behind `slot`.
    pub(super) fn next(&self, slot: u32) -> Option<Change> {
        let first = self.named.next(slot, true);
        if first == BLOCKS_PER_SEGMENT {
            return None;
        }
        let value = self.value.get(first);
        let end = self.named.next(first, false).min(self.value.next(first, !value));
        Some(Change::new(first, end - first, value))
    }

    /// All that it says, in order.
    pub(super) fn changes(&self) -> Vec<Change> {
        std::iter::successors(self.next(0), |last| self.next(last.end())).collect()
    }
}
