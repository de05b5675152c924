//! The bitmap of a segment: one bit a block, set = allocated.
//!
//! Invariant: exactly [`BLOCKS_PER_SEGMENT`] bits. Ranges are given as (first slot, slots) and must lie
//! inside; a range that does not is a bug of the caller and panics.

use crate::units::BLOCKS_PER_SEGMENT;

/// 64-bit words of a bitmap.
pub(super) const WORDS: usize = BLOCKS_PER_SEGMENT as usize / 64;
/// Bytes of a bitmap.
pub(super) const BITMAP_BYTES: usize = WORDS * 8;

/// Which blocks of one segment are allocated: 2 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitmap {
    words: Box<[u64; WORDS]>,
}

impl Bitmap {
    /// A segment whose every block is free.
    #[must_use]
    pub fn new() -> Bitmap {
        Bitmap { words: Box::new([0; WORDS]) }
    }

    /// Whether block `slot` is allocated.
    #[must_use]
    pub fn get(&self, slot: u32) -> bool {
        self.words[slot as usize / 64] >> (slot % 64) & 1 == 1
    }

    /// Sets `slots` bits from `first` on to `value`.
    pub fn set(&mut self, first: u32, slots: u32, value: bool) {
        for (word, mask) in masks(first, slots) {
            if value {
                self.words[word] |= mask;
            } else {
                self.words[word] &= !mask;
            }
        }
    }

    /// Allocated blocks among `slots` blocks from `first` on.
    #[must_use]
    pub fn count(&self, first: u32, slots: u32) -> u32 {
        masks(first, slots).map(|(word, mask)| (self.words[word] & mask).count_ones()).sum()
    }

    /// Allocated blocks of the segment.
    #[must_use]
    pub fn count_all(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// The first slot at or after `from` whose bit is `value`; [`BLOCKS_PER_SEGMENT`] when there is none.
    #[must_use]
    pub fn next(&self, from: u32, value: bool) -> u32 {
        let flip = if value { 0 } else { u64::MAX };
        let mut word = from as usize / 64;
        let mut mask = u64::MAX << (from % 64);
        while word < WORDS {
            let hits = (self.words[word] ^ flip) & mask;
            if hits != 0 {
                return word as u32 * 64 + hits.trailing_zeros();
            }
            word += 1;
            mask = u64::MAX;
        }
        BLOCKS_PER_SEGMENT
    }

    pub(super) fn words(&self) -> &[u64; WORDS] {
        &self.words
    }

    pub(super) fn words_mut(&mut self) -> &mut [u64; WORDS] {
        &mut self.words
    }
}

impl Default for Bitmap {
    fn default() -> Self {
        Bitmap::new()
    }
}

impl std::fmt::Debug for Bitmap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bitmap({} of {BLOCKS_PER_SEGMENT} allocated)", self.count_all())
    }
}

/// The words that a range touches, with the bits of it that each holds.
fn masks(first: u32, slots: u32) -> impl Iterator<Item = (usize, u64)> {
    let end = first + slots;
    assert!(end <= BLOCKS_PER_SEGMENT, "range {first}+{slots} leaves the segment");
    (first / 64..end.div_ceil(64)).map(move |word| {
        let base = word * 64;
        let low = u64::MAX << first.saturating_sub(base);
        let high = u64::MAX >> 64u32.saturating_sub(end - base);
        (word as usize, low & high)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::tests::Dice;

    #[test]
    fn ranges_agree_with_a_plain_vector() {
        let mut dice = Dice(7);
        let mut bitmap = Bitmap::new();
        let mut model = vec![false; BLOCKS_PER_SEGMENT as usize];
        for _ in 0..500 {
            let first = dice.below(BLOCKS_PER_SEGMENT);
            let slots = dice.below(200).min(BLOCKS_PER_SEGMENT - first);
            let value = dice.below(2) == 1;
            bitmap.set(first, slots, value);
            model[first as usize..(first + slots) as usize].fill(value);
            let from = dice.below(BLOCKS_PER_SEGMENT);
            let next = (from..BLOCKS_PER_SEGMENT).find(|&s| model[s as usize] == value);
            assert_eq!(bitmap.next(from, value), next.unwrap_or(BLOCKS_PER_SEGMENT));
            let held = model[first as usize..(first + slots) as usize].iter().filter(|&&b| b).count();
            assert_eq!(bitmap.count(first, slots), held as u32);
            assert_eq!(bitmap.get(from), model[from as usize]);
        }
        assert_eq!(bitmap.count_all() as usize, model.iter().filter(|&&b| b).count());
        bitmap.set(0, BLOCKS_PER_SEGMENT, true);
        assert_eq!(bitmap.count_all(), BLOCKS_PER_SEGMENT);
        assert_eq!(bitmap.next(BLOCKS_PER_SEGMENT, false), BLOCKS_PER_SEGMENT);
    }
}
