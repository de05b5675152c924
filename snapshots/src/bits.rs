//! A fixed set of small numbers as a bitmap, with ranks: the shape of partial pages and touched groups.

/// A set of numbers below `64 × WORDS`.
///
/// # Panics
/// Methods panic when a number is out of range: our own bug, decoders check first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Bits<WORDS> {
    /// No number.
    pub const NONE: Self = Bits([0; WORDS]);
    /// Every number.
    pub const ALL: Self = Bits([u64::MAX; WORDS]);

    /// The set with these words; bit `i` of word `w` is the number `64 w + i`.
    #[must_use]
    pub fn from_words(words: [u64; WORDS]) -> Self {
        Bits(words)
    }

    /// The words, as [`Bits::from_words`] takes them.
    #[must_use]
    pub fn words(&self) -> &[u64; WORDS] {
        &self.0
    }

    /// Whether `n` is in the set.
    #[must_use]
    pub fn contains(&self, n: usize) -> bool {
        self.0[n / 64] >> (n % 64) & 1 != 0
    }

    /// Adds `n`.
    pub fn insert(&mut self, n: usize) {
        self.0[n / 64] |= 1 << (n % 64);
    }

    /// Takes `n` out.
    pub fn remove(&mut self, n: usize) {
        self.0[n / 64] &= !(1 << (n % 64));
    }

    /// Adds every number in `from..to`.
    pub fn insert_range(&mut self, from: usize, to: usize) {
        for (w, word) in self.0.iter_mut().enumerate() {
            *word |= below(to, w) & !below(from, w);
        }
    }

    /// How many numbers are in the set.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many numbers below `n` are in the set; `n` may be one past the largest.
    #[must_use]
    pub fn rank(&self, n: usize) -> usize {
        self.0.iter().enumerate().map(|(w, word)| (word & below(n, w)).count_ones() as usize).sum()
    }

    /// The numbers in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Bits(std::array::from_fn(|w| self.0[w] | other.0[w]))
    }

    /// The numbers in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Bits(std::array::from_fn(|w| self.0[w] & other.0[w]))
    }

    /// The numbers in this set but not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Bits(std::array::from_fn(|w| self.0[w] & !other.0[w]))
    }

    /// The numbers in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: 0, base: 0, words: self.0.iter() }
    }
}

/// The numbers of a [`Bits`] in order.
pub struct Iter<'a> {
    /// What is left of the word that begins with `base - 64`.
    rest: u64,
    base: usize,
    words: std::slice::Iter<'a, u64>,
}

impl Iterator for Iter<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.rest == 0 {
            self.rest = *self.words.next()?;
            self.base += 64;
        }
        let bit = self.rest.trailing_zeros() as usize;
        self.rest &= self.rest - 1;
        Some(self.base - 64 + bit)
    }
}

/// The bits of word `w` that stand for numbers below `n`.
fn below(n: usize, w: usize) -> u64 {
    match n.saturating_sub(w * 64) {
        bits @ 0..64 => (1 << bits) - 1,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn it_agrees_with_a_plain_set() {
        let mut rng = Rng::new(1);
        let (mut bits, mut model) = (Bits::<4>::NONE, BTreeSet::new());
        for _ in 0..2000 {
            let (n, to) = (rng.below(256) as usize, rng.below(257) as usize);
            match rng.below(20) {
                0 => {
                    bits.insert_range(n.min(to), to);
                    model.extend(n..to);
                }
                1..9 => {
                    bits.insert(n);
                    model.insert(n);
                }
                _ => {
                    bits.remove(n);
                    model.remove(&n);
                }
            }
            assert_eq!(bits.contains(n), model.contains(&n));
            assert_eq!(bits.rank(to), model.range(..to).count());
            assert_eq!(bits.count(), model.len());
        }
        assert!(bits.iter().eq(model.iter().copied()));
        assert_eq!(Bits::<4>::ALL.iter().count(), 256);
        assert_eq!(Bits::<4>::NONE.iter().next(), None);
    }
}
