//! Disjoint ranges of blocks, each with a mark: what is in flight, what is in quarantine.
//!
//! A block's number here is `segment * BLOCKS_PER_SEGMENT + slot`.

use std::collections::BTreeMap;

/// Disjoint ranges with marks, ordered by address.
#[derive(Debug)]
pub(super) struct Spans<V> {
    map: BTreeMap<u64, (u32, V)>,
    blocks: u64,
}

impl<V: Copy> Spans<V> {
    pub(super) fn new() -> Spans<V> {
        Spans { map: BTreeMap::new(), blocks: 0 }
    }

    /// Blocks in all ranges.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Adds a range that overlaps none.
    pub(super) fn insert(&mut self, start: u64, blocks: u32, mark: V) {
        debug_assert_eq!(self.covered(start, blocks), 0, "ranges overlap");
        self.map.insert(start, (blocks, mark));
        self.blocks += u64::from(blocks);
    }

    /// The pieces of ranges that lie in `start..start + blocks`, last first.
    pub(super) fn pieces(&self, start: u64, blocks: u32) -> impl Iterator<Item = (u64, u32, V)> + '_ {
        let end = start + u64::from(blocks);
        self.map.range(..end).rev().take_while(move |(&at, &(len, _))| at + u64::from(len) > start).map(
            move |(&at, &(len, mark))| {
                let from = at.max(start);
                (from, ((at + u64::from(len)).min(end) - from) as u32, mark)
            },
        )
    }

    /// Blocks of `start..start + blocks` that lie in some range.
    pub(super) fn covered(&self, start: u64, blocks: u32) -> u32 {
        self.pieces(start, blocks).map(|(_, len, _)| len).sum()
    }

    /// Takes `start..start + blocks` out of all ranges; returns how many blocks it took.
    pub(super) fn remove(&mut self, start: u64, blocks: u32) -> u32 {
        let end = start + u64::from(blocks);
        let mut removed = 0;
        while let Some((&at, &(len, mark))) = self.map.range(..end).next_back() {
            let stop = at + u64::from(len);
            if stop <= start {
                break;
            }
            self.map.remove(&at);
            if at < start {
                self.map.insert(at, ((start - at) as u32, mark));
            }
            if stop > end {
                self.map.insert(end, ((stop - end) as u32, mark));
            }
            removed += (stop.min(end) - at.max(start)) as u32;
        }
        self.blocks -= u64::from(removed);
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::tests::Dice;

    #[test]
    fn insertions_and_removals_agree_with_a_plain_vector() {
        let mut dice = Dice(3);
        let mut spans = Spans::new();
        let mut model = [None; 300];
        for step in 0..3000u32 {
            let start = dice.below(280);
            let len = 1 + dice.below(20);
            let range = start as usize..(start + len) as usize;
            let held = model[range.clone()].iter().flatten().count() as u32;
            assert_eq!(spans.covered(u64::from(start), len), held);
            if held == 0 {
                spans.insert(u64::from(start), len, step);
                model[range].fill(Some(step));
            } else if dice.below(2) == 0 {
                assert_eq!(spans.remove(u64::from(start), len), held);
                model[range].fill(None);
            }
            assert_eq!(spans.blocks(), model.iter().flatten().count() as u64);
            for (at, len, mark) in spans.pieces(0, 300) {
                assert!(model[at as usize..(at as usize + len as usize)].iter().all(|&m| m == Some(mark)));
            }
        }
    }
}
