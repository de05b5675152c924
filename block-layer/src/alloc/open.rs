//! An open segment: its bitmap is in memory and blocks are allocated from it, next-fit.

use super::bitmap::Bitmap;
use crate::units::BLOCKS_PER_SEGMENT;

/// Invariant: `taken` contains `logical`; the difference is what is in flight or in quarantine.
#[derive(Debug)]
pub(super) struct Open {
    /// Allocated by the commits applied so far.
    pub(super) logical: Bitmap,
    /// Not to be handed out.
    pub(super) taken: Bitmap,
    /// Where the next search begins, so that runs follow each other on the device.
    cursor: u32,
}

impl Open {
    pub(super) fn new(logical: Bitmap) -> Open {
        Open { taken: logical.clone(), logical, cursor: 0 }
    }

    /// Takes the next free run, of at most `limit` blocks: (first slot, slots).
    ///
    /// # Panics
    /// When nothing is free: the caller counts.
    pub(super) fn take(&mut self, limit: u32) -> (u32, u32) {
        let mut first = self.taken.next(self.cursor, false);
        if first == BLOCKS_PER_SEGMENT {
            first = self.taken.next(0, false);
        }
        assert!(first < BLOCKS_PER_SEGMENT, "the counts say that a block is free, the bitmap denies it");
        let slots = limit.min(self.taken.next(first, true) - first);
        self.taken.set(first, slots, true);
        self.cursor = first + slots;
        (first, slots)
    }
}
