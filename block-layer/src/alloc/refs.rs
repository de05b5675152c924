//! Extra references of blocks, for range clones: a block named by n pointers has a count of n - 1.
//!
//! Blocks with a count of 0 have no entry; most segments have none, which their summary tells without a
//! lookup. A segment's counts are loaded as a whole when first needed. Tables are a cache: what the index may
//! lack is also in the generations, so a table can be dropped at any time and is laid over again when loaded.

use super::checkpoint::Cut;
use super::{number, segment_slot, Allocator, Damaged, Run};
use crate::units::{Pba, BLOCKS_PER_SEGMENT};
use std::collections::BTreeMap;

/// The tables in memory, at most so many counts in all; the longest unused go first.
#[derive(Debug, Default)]
pub(super) struct Tables {
    tables: BTreeMap<u32, RefTable>,
    /// Segments by time of last use.
    order: BTreeMap<u64, u32>,
    clock: u64,
    entries: usize,
}

/// All counts of one segment, by slot.
#[derive(Debug, Default)]
struct RefTable {
    counts: BTreeMap<u16, u32>,
    used: u64,
}

impl Tables {
    fn insert(&mut self, segment: u32, counts: BTreeMap<u16, u32>) {
        self.remove(segment);
        self.entries += counts.len() + 1;
        self.tables.insert(segment, RefTable { counts, used: 0 });
        self.touch(segment);
    }

    fn remove(&mut self, segment: u32) {
        if let Some(table) = self.tables.remove(&segment) {
            self.order.remove(&table.used);
            self.entries -= table.counts.len() + 1;
        }
    }

    fn touch(&mut self, segment: u32) {
        let table = self.tables.get_mut(&segment).expect("the caller has just found it");
        self.order.remove(&table.used);
        self.clock += 1;
        table.used = self.clock;
        self.order.insert(self.clock, segment);
    }

    fn set(&mut self, segment: u32, slot: u16, count: u32) {
        if let Some(table) = self.tables.get_mut(&segment) {
            let before = table.counts.len();
            match count {
                0 => table.counts.remove(&slot),
                _ => table.counts.insert(slot, count),
            };
            self.entries = self.entries + table.counts.len() - before;
        }
    }

    /// Drops tables, but not the last one used, until at most `limit` entries are left.
    fn trim(&mut self, limit: usize) {
        while self.entries > limit && self.tables.len() > 1 {
            let (_, &segment) = self.order.first_key_value().expect("one entry for each table");
            self.remove(segment);
        }
    }
}

impl Allocator {
    /// Whether the counts of the block's segment must be [`ref_install`](Self::ref_install)ed before the
    /// others of these calls can tell about it.
    #[must_use]
    pub fn ref_needs(&self, pba: Pba) -> bool {
        self.count_of(pba.segment(), pba.slot()).is_none()
    }

    /// Loads the counts of a segment: (slot, count) as the index has them. `cut` is what [`cut`](Self::cut)
    /// said before the index was read: when a checkpoint ended since, `false` is returned and the caller
    /// reads again.
    ///
    /// # Errors
    /// [`Damaged`] when they contradict the segment's summary.
    pub fn ref_install(
        &mut self,
        segment: u32,
        counts: impl IntoIterator<Item = (u32, u32)>,
        cut: Cut,
    ) -> Result<bool, Damaged> {
        if cut != self.cut {
            return Ok(false);
        }
        let damaged = |what| Damaged { at: Pba::of_block(segment, 0), blocks: BLOCKS_PER_SEGMENT, what };
        let mut all = BTreeMap::new();
        for (slot, count) in counts {
            if slot >= BLOCKS_PER_SEGMENT || count == 0 {
                return Err(damaged("a reference count that cannot be"));
            }
            all.insert(slot as u16, count);
        }
        let range = number(segment, 0)..number(segment, 0) + u64::from(BLOCKS_PER_SEGMENT);
        let frozen = self.frozen.iter().flat_map(|frozen| frozen.refs().range(range.clone()));
        for (&block, &count) in frozen.chain(self.active.refs.range(range.clone())) {
            let slot = segment_slot(block).1 as u16;
            match count {
                0 => all.remove(&slot),
                _ => all.insert(slot, count),
            };
        }
        if self.state(segment).is_none() || all.len() != usize::from(self.table.get(segment).refs) {
            return Err(damaged("the reference counts disagree with their number"));
        }
        self.tables.insert(segment, all);
        self.tables.trim(self.config.ref_entries);
        Ok(true)
    }

    /// The extra references of a block; `None` when its segment's counts must be loaded first.
    pub fn ref_count(&mut self, pba: Pba) -> Option<u32> {
        let segment = pba.segment();
        if self.tables.tables.contains_key(&segment) {
            self.tables.touch(segment);
        }
        self.count_of(segment, pba.slot())
    }

    /// A commit changed the extra references of a block from `before` to `after`. Needs no table: the record
    /// says both.
    ///
    /// # Errors
    /// [`Damaged`] when it contradicts what is known of the block; nothing has changed.
    pub fn ref_change(&mut self, pba: Pba, before: u32, after: u32) -> Result<(), Damaged> {
        let (segment, slot) = self.locate(Run { at: pba, blocks: 1 })?;
        let damaged = |what| Damaged { at: pba, blocks: 1, what };
        if self.count_of(segment, slot).is_some_and(|known| known != before) || before.abs_diff(after) != 1 {
            return Err(damaged("a reference count that does not follow the one before"));
        }
        if self.is_any(segment, slot, 1, false) {
            return Err(damaged("a reference to a free block"));
        }
        let resident = self.table.get(segment);
        if resident.refs == 0 && !self.tables.tables.contains_key(&segment) {
            self.tables.insert(segment, BTreeMap::new());
        }
        if before == 0 && u32::from(resident.refs) + u32::from(resident.free) >= BLOCKS_PER_SEGMENT {
            return Err(damaged("more blocks with references than are allocated"));
        }
        self.table.update(segment, |resident| {
            resident.refs = resident.refs + u16::from(after > 0) - u16::from(before > 0);
        });
        self.active.refs.insert(number(segment, slot), after);
        self.tables.set(segment, slot as u16, after);
        self.tables.trim(self.config.ref_entries);
        Ok(())
    }

    /// Whether some block of the range is known to have extra references.
    pub(super) fn any_shared(&self, segment: u32, slot: u32, blocks: u32) -> bool {
        self.table.get(segment).refs > 0
            && (slot..slot + blocks).any(|slot| self.count_of(segment, slot).is_some_and(|count| count > 0))
    }

    fn count_of(&self, segment: u32, slot: u32) -> Option<u32> {
        if self.state(segment).is_none() || self.table.get(segment).refs == 0 {
            return Some(0);
        }
        if let Some(table) = self.tables.tables.get(&segment) {
            return Some(table.counts.get(&(slot as u16)).copied().unwrap_or(0));
        }
        let block = number(segment, slot);
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.refs().get(&block));
        self.active.refs.get(&block).or(frozen).copied()
    }
}
