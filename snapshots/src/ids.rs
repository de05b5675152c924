//! Identifiers as types: epochs, branches, objects and map pages.

use std::fmt;

/// Blocks that one map page maps: 256 blocks of 4 KiB, 1 MiB.
pub const PAGE_BLOCKS: usize = 256;
/// Pages of a group, the unit in which touched pages are recorded: 4 GiB of an object.
pub const GROUP_PAGES: usize = 4096;

/// A point in the pool's time: one counter for all datasets, never reused. 0 = before everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// Before everything: no pointer is born in it, no snapshot is named by it.
    pub const ZERO: Epoch = Epoch(0);
    /// Stands for the end of an interval that no snapshot has ended yet.
    pub const OPEN: Epoch = Epoch(u32::MAX - 1);
    /// Stands for the death of a block that is alive.
    pub const LIVE: Epoch = Epoch(u32::MAX);

    /// Whether it may name a snapshot: neither [`Epoch::ZERO`] nor one of the two markers.
    #[must_use]
    pub fn is_name(self) -> bool {
        Epoch::ZERO < self && self < Epoch::OPEN
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Epoch::OPEN => f.write_str("open"),
            Epoch::LIVE => f.write_str("live"),
            Epoch(n) => write!(f, "{n}"),
        }
    }
}

/// A branch: one line of history of a dataset. A clone, and the live side after a rollback, is a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchId(pub u32);

/// An object of a dataset: 0 = the volume's own data; shares use inode numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

/// A map page of an object, counted in pages of [`PAGE_BLOCKS`] blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageNo(pub u64);

impl PageNo {
    /// The page and the slot in it that map block `block` of the object.
    #[must_use]
    pub fn of_block(block: u64) -> (PageNo, u8) {
        (PageNo(block / PAGE_BLOCKS as u64), (block % PAGE_BLOCKS as u64) as u8)
    }

    /// The first block that the page maps; `None` when it lies beyond 64 bits.
    #[must_use]
    pub fn first_block(self) -> Option<u64> {
        self.0.checked_mul(PAGE_BLOCKS as u64)
    }

    /// The group of [`GROUP_PAGES`] pages it belongs to, and its place there.
    #[must_use]
    pub fn group(self) -> (u64, u16) {
        (self.0 / GROUP_PAGES as u64, (self.0 % GROUP_PAGES as u64) as u16)
    }

    /// The page at `place` of group `group`: the inverse of [`PageNo::group`].
    #[must_use]
    pub fn in_group(group: u64, place: u16) -> Option<PageNo> {
        group.checked_mul(GROUP_PAGES as u64)?.checked_add(u64::from(place)).map(PageNo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_one_page_and_a_page_one_group() {
        assert_eq!(PageNo::of_block(255), (PageNo(0), 255));
        assert_eq!(PageNo::of_block(256), (PageNo(1), 0));
        assert_eq!(PageNo(1).first_block(), Some(256));
        assert_eq!(PageNo(u64::MAX).first_block(), None);
        for page in [0, 4095, 4096, u64::MAX] {
            let (group, place) = PageNo(page).group();
            assert_eq!(PageNo::in_group(group, place), Some(PageNo(page)));
        }
        assert_eq!(PageNo::in_group(u64::MAX, 0), None);
    }

    #[test]
    fn the_markers_sort_after_every_name_and_name_no_snapshot() {
        assert!(
            Epoch(u32::MAX - 2).is_name() && Epoch(u32::MAX - 2) < Epoch::OPEN && Epoch::OPEN < Epoch::LIVE
        );
        assert!(!Epoch::ZERO.is_name() && !Epoch::OPEN.is_name() && !Epoch::LIVE.is_name());
    }
}
