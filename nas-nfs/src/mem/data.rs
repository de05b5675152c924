//! The content of a file in memory: sparse, in blocks that exist only where something was written.
//!
//! Invariant: bytes of a block beyond the end of the file are zero, so that a file that grows again shows
//! nothing of what was cut off.

use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;

/// Bytes of a block.
pub(super) const BLOCK: u64 = 4096;

#[derive(Clone, Debug, Default)]
pub(super) struct Sparse {
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Sparse {
    /// Blocks held.
    pub(super) fn held(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Blocks that a write would add.
    pub(super) fn needed(&self, offset: u64, len: u64) -> u64 {
        let blocks = offset / BLOCK..(offset + len).div_ceil(BLOCK);
        let held = self.blocks.range(blocks.clone()).count() as u64;
        (blocks.end - blocks.start) - held
    }

    /// The bytes of a range; holes are zeroes.
    pub(super) fn read(&self, offset: u64, len: u64) -> Bytes {
        let mut bytes = BytesMut::zeroed(len as usize);
        for (block, data) in self.blocks.range(offset / BLOCK..(offset + len).div_ceil(BLOCK)) {
            let (from, into) = overlap(*block, offset, len);
            bytes[into].copy_from_slice(&data[from]);
        }
        bytes.freeze()
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let len = data.len() as u64;
        for block in offset / BLOCK..(offset + len).div_ceil(BLOCK) {
            let held = self.blocks.entry(block).or_insert_with(|| vec![0; BLOCK as usize].into());
            let (into, from) = overlap(block, offset, len);
            held[into].copy_from_slice(&data[from]);
        }
    }

    /// Forgets what is beyond `size`.
    pub(super) fn cut(&mut self, size: u64) {
        self.blocks.split_off(&size.div_ceil(BLOCK));
        if let Some(last) = self.blocks.get_mut(&(size / BLOCK)) {
            last[(size % BLOCK) as usize..].fill(0);
        }
    }
}

/// What a block and a range have in common: where it is in the block, and where in the range.
fn overlap(block: u64, offset: u64, len: u64) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let base = block * BLOCK;
    let (start, end) = (base.max(offset), (base + BLOCK).min(offset + len));
    let place = |of: u64| (start - of) as usize..(end - of) as usize;
    (place(base), place(offset))
}
