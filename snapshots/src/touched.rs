//! Touched sets: which pages of a group of 4096 one epoch changed. Diff and reclaim visit these only.
//!
//! A set is a sorted list while that is smaller than the bitmap (below 256 pages), then a bitmap; in memory
//! and in the index alike. Index value, version 1, little-endian:
//!
//! | bytes   | field  | meaning                                                                |
//! |---------|--------|------------------------------------------------------------------------|
//! | 0       | head   | bits 0..4 version (1), bits 4..7 reserved (0), bit 7: a bitmap follows |
//! | 2 each  | page   | list: fewer than 256 pages, each 0..4096, strictly rising              |
//! | or 512  | bitmap | 64 words of 64 pages, 256 pages or more                                |
//!
//! A value that does not decode is rot to report, never the mark of a crash.

use crate::bits::Bits;
use crate::decode::{check, Damaged, Reader};
use crate::ids::GROUP_PAGES;
use crate::key::Kind;
use block_layer::index::MergeRule;

const WORDS: usize = GROUP_PAGES / 64;
const BITMAP_LEN: usize = WORDS * 8;
/// Pages from which on the bitmap is not larger than the list.
const BITMAP_FROM: usize = BITMAP_LEN / size_of::<u16>();

const VERSION: u8 = 1;
const VERSION_BITS: u8 = 0x0f;
const IS_BITMAP: u8 = 0x80;

/// How the index merges touched sets of one key.
pub const MERGE: MergeRule = MergeRule { kind: Kind::Touched as u8, merge };

/// A set of pages of one group, by their place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched(Repr);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Repr {
    /// Sorted, fewer than [`BITMAP_FROM`].
    List(Vec<u16>),
    /// [`BITMAP_FROM`] or more.
    Bitmap(Box<Bits<WORDS>>),
}

impl Default for Touched {
    fn default() -> Touched {
        Touched(Repr::List(Vec::new()))
    }
}

impl Touched {
    /// Adds the page at `place`; whether it is new.
    ///
    /// # Panics
    /// When `place` is not below [`GROUP_PAGES`].
    pub fn insert(&mut self, place: u16) -> bool {
        assert!(usize::from(place) < GROUP_PAGES, "page {place} is not in the group");
        let new = !self.contains(place);
        match &mut self.0 {
            Repr::Bitmap(bits) => bits.insert(usize::from(place)),
            Repr::List(list) => {
                if let Err(at) = list.binary_search(&place) {
                    list.insert(at, place);
                }
                if list.len() >= BITMAP_FROM {
                    self.0 = Repr::Bitmap(Box::new(bitmap_of(list)));
                }
            }
        }
        new
    }

    /// Whether the page at `place` is in it.
    #[must_use]
    pub fn contains(&self, place: u16) -> bool {
        match &self.0 {
            Repr::List(list) => list.binary_search(&place).is_ok(),
            Repr::Bitmap(bits) => usize::from(place) < GROUP_PAGES && bits.contains(usize::from(place)),
        }
    }

    /// How many pages are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::List(list) => list.len(),
            Repr::Bitmap(bits) => bits.count(),
        }
    }

    /// Whether no page is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pages in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + use<'_> {
        let (list, bits) = match &self.0 {
            Repr::List(list) => (Some(list.iter().copied()), None),
            Repr::Bitmap(bits) => (None, Some(bits.iter().map(|place| place as u16))),
        };
        list.into_iter().flatten().chain(bits.into_iter().flatten())
    }

    /// Adds every page of `other`.
    pub fn union(&mut self, other: &Touched) {
        match (&mut self.0, &other.0) {
            (Repr::Bitmap(bits), Repr::Bitmap(others)) => **bits = bits.union(others),
            (Repr::List(list), Repr::Bitmap(others)) => {
                self.0 = Repr::Bitmap(Box::new(bitmap_of(list).union(others)));
            }
            (_, Repr::List(others)) => others.iter().for_each(|place| {
                self.insert(*place);
            }),
        }
    }

    /// Heap it holds, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::List(list) => list.capacity() * size_of::<u16>(),
            Repr::Bitmap(_) => BITMAP_LEN,
        }
    }

    /// Appends its index value to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Repr::List(list) => {
                out.push(VERSION);
                out.extend(list.iter().flat_map(|place| place.to_le_bytes()));
            }
            Repr::Bitmap(bits) => {
                out.push(VERSION | IS_BITMAP);
                out.extend(bits.words().iter().flat_map(|word| word.to_le_bytes()));
            }
        }
    }

    /// The set that `value` encodes.
    ///
    /// # Errors
    /// [`Damaged`] when it is not what [`Touched::encode`] could have written.
    pub fn decode(value: &[u8]) -> Result<Touched, Damaged> {
        let mut reader = Reader::new(value);
        let head = reader.u8()?;
        check(head & VERSION_BITS == VERSION, "a touched set has an unknown format version")?;
        check(head & !(VERSION_BITS | IS_BITMAP) == 0, "a touched set has reserved bits set")?;
        let body = reader.remaining();
        if head & IS_BITMAP == 0 {
            decode_list(body)
        } else {
            decode_bitmap(body)
        }
    }
}

fn bitmap_of(list: &[u16]) -> Bits<WORDS> {
    let mut bits = Bits::NONE;
    list.iter().for_each(|place| bits.insert(usize::from(*place)));
    bits
}

fn decode_list(body: &[u8]) -> Result<Touched, Damaged> {
    check(body.len().is_multiple_of(2), "a touched list ends too early")?;
    check(body.len() / 2 < BITMAP_FROM, "a touched list is longer than its bitmap")?;
    let list: Vec<u16> = body
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes(pair.try_into().expect("chunks of two")))
        .collect();
    check(list.is_sorted_by(|a, b| a < b), "a touched list is out of order")?;
    check(
        list.last().is_none_or(|last| usize::from(*last) < GROUP_PAGES),
        "a touched page is not in its group",
    )?;
    Ok(Touched(Repr::List(list)))
}

fn decode_bitmap(body: &[u8]) -> Result<Touched, Damaged> {
    check(body.len() == BITMAP_LEN, "a touched bitmap has a wrong length")?;
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(body.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
    }
    let bits = Bits::from_words(words);
    check(bits.count() >= BITMAP_FROM, "a touched bitmap is larger than its list")?;
    Ok(Touched(Repr::Bitmap(Box::new(bits))))
}

/// Appends to `out` the union of both values. Damaged input gives an output that is damaged.
pub fn merge(older: &[u8], newer: &[u8], out: &mut Vec<u8>) {
    match (Touched::decode(older), Touched::decode(newer)) {
        (Ok(mut both), Ok(newer)) => {
            both.union(&newer);
            both.encode(out);
        }
        // No version is 0, so this never decodes, nor does anything that is merged with it later.
        _ => out.push(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{golden, Rng};
    use std::collections::BTreeSet;

    fn random(rng: &mut Rng) -> (Touched, BTreeSet<u16>) {
        let count = [3, 250, 300, 4000][rng.below(4) as usize];
        let model: BTreeSet<u16> = (0..rng.below(count)).map(|_| rng.below(4096) as u16).collect();
        let mut touched = Touched::default();
        model.iter().rev().for_each(|place| assert!(touched.insert(*place) && !touched.insert(*place)));
        (touched, model)
    }

    fn encoded(touched: &Touched) -> Vec<u8> {
        let mut value = Vec::new();
        touched.encode(&mut value);
        value
    }

    #[test]
    fn it_agrees_with_a_plain_set_and_survives_encoding() {
        let mut rng = Rng::new(11);
        for _ in 0..200 {
            let ((mut a, model_a), (b, model_b)) = (random(&mut rng), random(&mut rng));
            assert!(a.iter().eq(model_a.iter().copied()));
            assert_eq!((a.len(), a.is_empty()), (model_a.len(), model_a.is_empty()));
            let value = encoded(&a);
            assert_eq!(value.len(), 1 + (2 * a.len()).min(BITMAP_LEN));
            assert_eq!(Touched::decode(&value).as_ref(), Ok(&a));
            let mut merged = Vec::new();
            merge(&value, &encoded(&b), &mut merged);
            a.union(&b);
            assert!(a.iter().eq(model_a.union(&model_b).copied()));
            assert_eq!(merged, encoded(&a));
        }
    }

    #[test]
    fn damaged_values_are_refused_or_are_what_they_decode_to() {
        let mut rng = Rng::new(12);
        for round in 0..5000 {
            let value = match round % 3 {
                0 => rng.bytes(700),
                1 => [&[VERSION][..], &rng.bytes(20)].concat(),
                _ => {
                    let value = encoded(&random(&mut rng).0);
                    rng.mutate(&value)
                }
            };
            if let Ok(touched) = Touched::decode(&value) {
                assert_eq!(encoded(&touched), value);
            }
        }
        for bad in [&[][..], &[0], &[0x11], &[1, 0], &[1, 0, 16], &[1, 2, 0, 2, 0], &[0x81, 1]] {
            assert!(Touched::decode(bad).is_err(), "{bad:?}");
            let mut merged = Vec::new();
            merge(&[1], bad, &mut merged);
            assert!(Touched::decode(&merged).is_err());
        }
    }

    #[test]
    fn the_format_has_not_changed() {
        let (mut list, mut bitmap) = (Touched::default(), Touched::default());
        [4095, 0, 258].into_iter().for_each(|place| assert!(list.insert(place)));
        (0..300).for_each(|i| assert!(bitmap.insert(i * 13)));
        golden("touched-list-v1.bin", &encoded(&list));
        golden("touched-bitmap-v1.bin", &encoded(&bitmap));
    }
}
