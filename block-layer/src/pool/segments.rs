//! The segment table: from a pool-logical address to bytes of a device.
//!
//! Invariant: a table is made from ranges that [`crate::format::PoolState::check`] has passed; it never
//! changes, and is shared by cloning. A change of membership makes a new one.

use crate::format::{Ordinal, PoolState, SegmentRange};
use crate::units::{Pba, BLOCK, BLOCKS_PER_SEGMENT, SECTORS_PER_BLOCK};
use std::sync::Arc;

/// Where a pool's segments lie. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SegmentTable {
    ranges: Arc<[SegmentRange]>,
}

/// A segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number.
    pub number: u32,
    /// The device that holds it.
    pub device: Ordinal,
    /// Its usable blocks, from its first one on: `1..=BLOCKS_PER_SEGMENT`.
    pub blocks: u32,
}

/// A run of blocks that lie one after the other on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The device.
    pub device: Ordinal,
    /// Byte offset of the run on the device.
    pub offset: u64,
    /// Blocks of the run.
    pub blocks: u64,
}

/// An address that no device holds: its pointer is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{blocks} blocks at {pba} are not all in the pool's segments")]
pub struct Unmapped {
    /// The first block's address.
    pub pba: Pba,
    /// How many blocks were asked for.
    pub blocks: u64,
}

impl SegmentTable {
    /// The table of a checked state.
    pub(super) fn of(state: &PoolState) -> SegmentTable {
        SegmentTable { ranges: state.segments.clone().into() }
    }

    /// Usable blocks of all segments.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.ranges.iter().map(|r| r.blocks).sum()
    }

    /// All segments by ascending number; numbers may be missing between them.
    pub fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        let full = u64::from(BLOCKS_PER_SEGMENT);
        self.ranges.iter().flat_map(move |range| {
            (u64::from(range.first)..range.end()).zip(0..).map(move |(number, nth)| Segment {
                number: number as u32,
                device: range.device,
                blocks: full.min(range.blocks - nth * full) as u32,
            })
        })
    }

    /// The extents of `blocks` blocks from `pba` on, in order; none crosses a device or the end of a range.
    ///
    /// # Errors
    /// When `pba` is not the address of a whole block, or not all of the blocks are in usable space: the
    /// numbers may come from a damaged pointer.
    pub fn locate(&self, pba: Pba, blocks: u64) -> Result<Extents<'_>, Unmapped> {
        let aligned = pba.sectors().is_multiple_of(SECTORS_PER_BLOCK);
        let extents = Extents { ranges: &self.ranges, next: pba.sectors() / SECTORS_PER_BLOCK, left: blocks };
        let mapped: u64 = extents.clone().map(|e| e.blocks).sum();
        if !aligned || mapped != blocks {
            return Err(Unmapped { pba, blocks });
        }
        Ok(extents)
    }

    /// The range that holds the block with this pool-wide number, and the block's place in it.
    fn find(ranges: &[SegmentRange], block: u64) -> Option<(&SegmentRange, u64)> {
        let segment = block / u64::from(BLOCKS_PER_SEGMENT);
        let after = ranges.partition_point(|r| u64::from(r.first) <= segment);
        let range = &ranges[after.checked_sub(1)?];
        let nth = block - u64::from(range.first) * u64::from(BLOCKS_PER_SEGMENT);
        (nth < range.blocks).then_some((range, nth))
    }
}

/// The extents of a run of addresses, from [`SegmentTable::locate`].
#[derive(Clone, Debug)]
pub struct Extents<'a> {
    ranges: &'a [SegmentRange],
    /// Pool-wide number of the next block: its address in blocks.
    next: u64,
    left: u64,
}

impl Iterator for Extents<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        if self.left == 0 {
            return None;
        }
        let (range, nth) = SegmentTable::find(self.ranges, self.next)?;
        let blocks = self.left.min(range.blocks - nth);
        self.next += blocks;
        self.left -= blocks;
        Some(Extent { device: range.device, offset: range.offset + nth * BLOCK as u64, blocks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: u64 = BLOCKS_PER_SEGMENT as u64;

    /// Two full segments on device 0, one and a half on device 1, two (after a gap) on device 0.
    fn table() -> SegmentTable {
        let range = |first, device, offset: u64, blocks| SegmentRange {
            first,
            device: Ordinal(device),
            offset: offset << 20,
            blocks,
        };
        let ranges = [range(0, 0, 2, 2 * FULL), range(2, 1, 3, FULL + FULL / 2), range(9, 0, 130, 2 * FULL)];
        SegmentTable { ranges: ranges.into() }
    }

    fn located(pba: Pba, blocks: u64) -> Vec<(u8, u64, u64)> {
        let table = table();
        let extents = table.locate(pba, blocks).unwrap();
        extents.map(|e| (e.device.0, e.offset, e.blocks)).collect()
    }

    #[test]
    fn a_run_is_split_where_the_device_changes() {
        assert_eq!(located(Pba::of_block(0, 1), 2), [(0, (2 << 20) + 4096, 2)]);
        assert_eq!(located(Pba::of_block(0, 16_000), 1000), [(0, (2 << 20) + 16_000 * 4096, 1000)]);
        assert_eq!(
            located(Pba::of_block(1, 16_383), 3),
            [(0, (2 << 20) + (2 * FULL - 1) * 4096, 1), (1, 3 << 20, 2)]
        );
        assert_eq!(located(Pba::of_block(10, 5), 1), [(0, (130 << 20) + (FULL + 5) * 4096, 1)]);
    }

    #[test]
    fn an_address_outside_usable_space_is_refused() {
        let table = table();
        let refused = |pba, blocks| table.locate(pba, blocks).is_err();
        assert!(!refused(Pba::of_block(3, 8191), 1));
        assert!(refused(Pba::of_block(3, 8191), 2));
        assert!(refused(Pba::of_block(3, 8192), 1));
        assert!(refused(Pba::of_block(4, 0), 1));
        assert!(refused(Pba::of_block(11, 0), 1));
        assert!(refused(Pba::new(Pba::LIMIT - 8), u64::MAX));
        assert!(refused(Pba::new(0), u64::MAX));
        assert!(refused(Pba::new(3), 1), "not at a block");
    }

    #[test]
    fn every_segment_is_listed_with_its_usable_blocks() {
        let segments: Vec<_> = table().segments().map(|s| (s.number, s.device.0, s.blocks)).collect();
        assert_eq!(
            segments,
            [(0, 0, 16384), (1, 0, 16384), (2, 1, 16384), (3, 1, 8192), (9, 0, 16384), (10, 0, 16384)]
        );
        assert_eq!(table().blocks(), segments.iter().map(|s| u64::from(s.2)).sum());
    }
}
