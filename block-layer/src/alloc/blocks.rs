//! A set of blocks: what is in flight, what is in quarantine.
//!
//! A block's number here is `segment * BLOCKS_PER_SEGMENT + slot`. Scattered blocks come and go by the
//! hundred thousand, so they are bits of words found by hash, not nodes of a tree.
//!
//! Invariants: no word is 0; `blocks` is the number of bits.

use rustc_hash::FxHashMap;

/// Blocks of a word.
const WORD: u64 = u64::BITS as u64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    words: FxHashMap<u64, u64>,
    blocks: u64,
}

impl Blocks {
    /// Blocks in the set.
    pub(super) fn count(&self) -> u64 {
        self.blocks
    }

    /// Adds `start..start + blocks`, of which none is in it.
    pub(super) fn insert(&mut self, start: u64, blocks: u32) {
        debug_assert_eq!(self.covered(start, blocks), 0, "blocks are there already");
        for (word, mask) in words(start, blocks) {
            *self.words.entry(word).or_default() |= mask;
        }
        self.blocks += u64::from(blocks);
    }

    /// How many of `start..start + blocks` are in it.
    pub(super) fn covered(&self, start: u64, blocks: u32) -> u32 {
        let held =
            |(word, mask): (u64, u64)| self.words.get(&word).map_or(0, |bits| (bits & mask).count_ones());
        words(start, blocks).map(held).sum()
    }

    /// The runs of `start..start + blocks` that are in it, in order; none reaches over the end of a word.
    pub(super) fn pieces(&self, start: u64, blocks: u32) -> impl Iterator<Item = (u64, u32)> + '_ {
        words(start, blocks).flat_map(|(word, mask)| {
            let mut bits = self.words.get(&word).map_or(0, |bits| bits & mask);
            std::iter::from_fn(move || {
                let first = (bits != 0).then(|| bits.trailing_zeros())?;
                let len = (bits >> first).trailing_ones();
                bits &= !span(first, len);
                Some((word * WORD + u64::from(first), len))
            })
        })
    }

    /// Takes `start..start + blocks` out of it; returns how many were in it.
    pub(super) fn remove(&mut self, start: u64, blocks: u32) -> u32 {
        let mut removed = 0;
        for (word, mask) in words(start, blocks) {
            let Some(bits) = self.words.get_mut(&word) else { continue };
            removed += (*bits & mask).count_ones();
            *bits &= !mask;
            if *bits == 0 {
                self.words.remove(&word);
            }
        }
        self.blocks -= u64::from(removed);
        removed
    }
}

/// The words of `start..start + blocks`, each with the bits that lie in it.
fn words(start: u64, blocks: u32) -> impl Iterator<Item = (u64, u64)> {
    let end = start + u64::from(blocks);
    let mut at = start;
    std::iter::from_fn(move || {
        let (word, first) = (at / WORD, (at % WORD) as u32);
        let len = (end - at).min(WORD - u64::from(first)) as u32;
        at += u64::from(len);
        (len > 0).then(|| (word, span(first, len)))
    })
}

/// `len` bits from `first` on; `len` is 1 to 64.
fn span(first: u32, len: u32) -> u64 {
    (u64::MAX >> (u64::BITS - len)) << first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::tests::Dice;

    #[test]
    fn insertions_and_removals_agree_with_a_plain_vector() {
        let mut dice = Dice(3);
        let mut blocks = Blocks::default();
        let mut model = [false; 600];
        for _ in 0..3000 {
            let start = dice.below(400);
            let most = [20, 200][dice.below(2) as usize];
            let len = 1 + dice.below(most);
            let range = start as usize..(start + len) as usize;
            let held = model[range.clone()].iter().filter(|held| **held).count() as u32;
            assert_eq!(blocks.covered(u64::from(start), len), held);
            if held == 0 {
                blocks.insert(u64::from(start), len);
                model[range].fill(true);
            } else if dice.below(2) == 0 {
                assert_eq!(blocks.remove(u64::from(start), len), held);
                model[range].fill(false);
            }
            assert_eq!(blocks.count(), model.iter().filter(|held| **held).count() as u64);
            let mut seen = [false; 600];
            for (at, len) in blocks.pieces(0, 600) {
                seen[at as usize..at as usize + len as usize].fill(true);
            }
            assert_eq!(seen, model);
        }
        assert!(blocks.words.values().all(|bits| *bits != 0));
    }
}
