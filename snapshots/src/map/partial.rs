//! Partial pages: the slots of a page that one epoch changed, any subset of the 256.
//!
//! One shape for few and many: a bitmap of the known slots and a packed vector of what they hold, so one
//! changed slot costs 64 bytes of heap and all 256 cost 4 KiB. A slot's place in the vector is its rank.
//!
//! Invariant: the vector is as long as the bitmap has bits.

use super::page::Page;
use super::pointer::{Pointer, Slot};
use crate::bits::Bits;
use crate::ids::PAGE_BLOCKS;

/// Which slots of a page.
pub(crate) type SlotSet = Bits<{ PAGE_BLOCKS / 64 }>;

/// From this many slots on, two partials are merged in one pass instead of slot by slot.
const MERGE_IN_ONE_PASS: usize = 8;

/// What one or several consecutive epochs changed in a page. The default changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    known: SlotSet,
    values: Vec<Option<Pointer>>,
    sealed: bool,
}

impl Default for Partial {
    fn default() -> Partial {
        Partial { known: SlotSet::NONE, values: Vec::new(), sealed: false }
    }
}

impl Partial {
    /// What is said about `slot`. A sealed partial leaves nothing unset: what it does not name is a hole.
    #[must_use]
    pub fn get(&self, slot: u8) -> Slot {
        let slot = usize::from(slot);
        if self.known.contains(slot) {
            self.values[self.known.rank(slot)].into()
        } else if self.sealed {
            Slot::Hole
        } else {
            Slot::Unset
        }
    }

    /// Changes `slot`. [`Slot::Unset`] takes back what was said about it; in a sealed partial that leaves a
    /// hole.
    pub fn set(&mut self, slot: u8, to: Slot) {
        let slot = usize::from(slot);
        let rank = self.known.rank(slot);
        let value = match to {
            Slot::Data(pointer) => Some(pointer),
            Slot::Hole => None,
            Slot::Unset => {
                if self.known.contains(slot) {
                    self.known.remove(slot);
                    self.values.remove(rank);
                }
                return;
            }
        };
        if self.known.contains(slot) {
            self.values[rank] = value;
        } else {
            self.known.insert(slot);
            self.values.insert(rank, value);
        }
    }

    /// Changes consecutive slots from `first` on; `None` makes a hole.
    ///
    /// # Panics
    /// When the run does not end within the page.
    pub fn set_run(&mut self, first: u8, run: impl ExactSizeIterator<Item = Option<Pointer>>) {
        let first = usize::from(first);
        let end = first + run.len();
        assert!(end <= PAGE_BLOCKS, "slots {first}..{end} do not fit in a page");
        let replaced = self.known.rank(first)..self.known.rank(end);
        self.known.insert_range(first, end);
        self.values.splice(replaced, run);
    }

    /// As [`Partial::set_run`], behind every slot that is named already: nothing has to move.
    ///
    /// # Panics
    /// When the run does not end within the page. That nothing is named behind `first` is the caller's word.
    pub(super) fn push_run(&mut self, first: u8, run: impl ExactSizeIterator<Item = Option<Pointer>>) {
        let first = usize::from(first);
        let end = first + run.len();
        assert!(end <= PAGE_BLOCKS, "slots {first}..{end} do not fit in a page");
        debug_assert_eq!(self.known.rank(first), self.values.len());
        self.known.insert_range(first, end);
        self.values.extend(run);
    }

    /// As [`Partial::push_run`] for one slot.
    pub(super) fn push(&mut self, slot: u8, value: Option<Pointer>) {
        debug_assert_eq!(self.known.rank(usize::from(slot)), self.values.len());
        self.known.insert(usize::from(slot));
        self.values.push(value);
    }

    /// Makes holes of all slots in `first..first + count`.
    ///
    /// # Panics
    /// When they are not all within the page.
    pub fn set_holes(&mut self, first: u8, count: usize) {
        self.set_run(first, std::iter::repeat_n(None, count));
    }

    /// Declares that nothing older is needed: slots that are not set are holes.
    pub fn seal(&mut self) {
        self.sealed = true;
    }

    /// Whether it was sealed.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Whether no slot is [`Slot::Unset`]: sealed, or all 256 set.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.sealed || self.known == SlotSet::ALL
    }

    /// How many slots it names, of 256.
    #[must_use]
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && !self.sealed
    }

    /// The slots that it names, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, Slot)> + use<'_> {
        self.entries().map(|(slot, value)| (slot, value.into()))
    }

    /// Heap it holds, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.values.capacity() * size_of::<Option<Pointer>>()
    }

    /// Takes over what `newer` says.
    pub fn lay_over(&mut self, newer: &Partial) {
        if newer.sealed {
            self.clone_from(newer);
        } else if newer.count() < MERGE_IN_ONE_PASS || newer.known.difference(&self.known) == SlotSet::NONE {
            newer.iter().for_each(|(slot, to)| self.set(slot, to));
        } else {
            self.values = union(self, newer);
            self.known = self.known.union(&newer.known);
        }
    }

    /// Takes from `older` what it does not say itself.
    pub fn lay_under(&mut self, older: Partial) {
        if !self.sealed {
            let newer = std::mem::replace(self, older);
            self.lay_over(&newer);
        }
    }

    /// The slots it names and what they hold: `None` is a hole.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u8, Option<Pointer>)> + use<'_> {
        self.known.iter().map(|slot| slot as u8).zip(self.values.iter().copied())
    }

    /// The slots it names.
    pub(crate) fn known(&self) -> &SlotSet {
        &self.known
    }

    /// What the slots that it names hold, in order.
    pub(crate) fn values(&self) -> &[Option<Pointer>] {
        &self.values
    }

    /// Room for `count` slots, when that many are expected.
    pub(crate) fn with_capacity(count: usize) -> Partial {
        Partial { values: Vec::with_capacity(count), ..Partial::default() }
    }
}

/// The values of both, in order, `newer`'s where both have one.
fn union(older: &Partial, newer: &Partial) -> Vec<Option<Pointer>> {
    let both = older.known.union(&newer.known);
    let mut merged = Vec::with_capacity(both.count());
    let (mut from_older, mut from_newer) = (older.values.iter(), newer.values.iter());
    for slot in both.iter() {
        let old = if older.known.contains(slot) { from_older.next() } else { None };
        let new = if newer.known.contains(slot) { from_newer.next() } else { None };
        merged.extend(new.or(old).copied());
    }
    merged
}

impl From<&Page> for Partial {
    /// The page as a sealed version that names only its data.
    fn from(page: &Page) -> Partial {
        let mut sealed = Partial::with_capacity(page.count());
        for (slot, pointer) in page.iter() {
            sealed.known.insert(usize::from(slot));
            sealed.values.push(Some(pointer));
        }
        sealed.seal();
        sealed
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::map::Sectors;
    use crate::testing::Rng;
    use block_layer::Pba;

    /// Any pointer.
    pub(in crate::map) fn pointer(rng: &mut Rng) -> Pointer {
        let sectors = Sectors::new(rng.below(8) as u8 + 1).unwrap();
        let pba = Pba::new(rng.below(Pba::LIMIT - 8));
        Pointer::stored(pba, rng.next() as u32, Epoch(rng.next() as u32), sectors, rng.below(3) as u8)
    }

    /// A partial of random runs, holes and single slots; sometimes sealed.
    pub(in crate::map) fn partial(rng: &mut Rng) -> Partial {
        let mut partial = Partial::default();
        for _ in 0..rng.below(12) {
            let first = rng.below(256) as u8;
            let count = rng.below(257 - u64::from(first)) as usize;
            let (start, birth) = (rng.below(1 << 30), Epoch(rng.below(4) as u32));
            let crc = rng.next() as u32;
            match rng.below(4) {
                0 => partial.set_holes(first, count),
                1 => partial.set_run(
                    first,
                    (0..count).map(|i| Some(Pointer::new(Pba::new(start + 8 * i as u64), crc, birth))),
                ),
                _ => partial.set(first, Slot::Data(pointer(rng))),
            }
        }
        if rng.below(8) == 0 {
            partial.seal();
        }
        partial
    }

    fn slots(partial: &Partial) -> [Slot; 256] {
        std::array::from_fn(|slot| partial.get(slot as u8))
    }

    #[test]
    fn sets_and_runs_agree_with_an_array_of_slots() {
        let mut rng = Rng::new(2);
        for _ in 0..100 {
            let (mut partial, mut model) = (Partial::default(), [Slot::Unset; 256]);
            for _ in 0..rng.below(200) {
                let slot = rng.below(256) as u8;
                let count = rng.below(5).min(256 - u64::from(slot)) as usize;
                let to = [Slot::Unset, Slot::Hole, Slot::Data(pointer(&mut rng))][rng.below(3) as usize];
                match to {
                    Slot::Hole => {
                        partial.set_holes(slot, count);
                        model[usize::from(slot)..][..count].fill(to);
                    }
                    _ => {
                        partial.set(slot, to);
                        model[usize::from(slot)] = to;
                    }
                }
            }
            assert_eq!(slots(&partial), model);
            assert_eq!(partial.count(), model.iter().filter(|s| **s != Slot::Unset).count());
            assert!(partial.iter().all(|(slot, to)| model[usize::from(slot)] == to));
            assert!(partial.iter().map(|(slot, _)| slot).is_sorted());
        }
    }

    #[test]
    fn laying_over_and_under_is_choosing_the_newer_slot() {
        let mut rng = Rng::new(3);
        for _ in 0..500 {
            let (older, newer) = (partial(&mut rng), partial(&mut rng));
            let (mut over, mut under) = (older.clone(), newer.clone());
            over.lay_over(&newer);
            under.lay_under(older.clone());
            assert_eq!(over, under);
            let expected: [Slot; 256] = std::array::from_fn(|slot| match newer.get(slot as u8) {
                Slot::Unset => older.get(slot as u8),
                known => known,
            });
            assert_eq!(slots(&over), expected);
        }
    }

    #[test]
    fn laying_over_is_associative() {
        let mut rng = Rng::new(4);
        for _ in 0..500 {
            let (a, b, c) = (partial(&mut rng), partial(&mut rng), partial(&mut rng));
            let (mut left, mut right) = (a.clone(), b.clone());
            left.lay_over(&b);
            left.lay_over(&c);
            right.lay_over(&c);
            right.lay_under(a.clone());
            assert_eq!(left, right);
        }
    }

    #[test]
    fn it_is_complete_when_all_slots_are_set_or_when_sealed() {
        let mut partial = Partial::default();
        assert!(partial.is_empty() && !partial.is_complete());
        partial.set_holes(1, 255);
        assert!(!partial.is_complete());
        partial.set_holes(0, 1);
        assert!(partial.is_complete() && !partial.is_sealed());
        let mut sealed = Partial::default();
        sealed.seal();
        assert!(sealed.is_complete() && !sealed.is_empty() && sealed.get(9) == Slot::Hole);
    }

    #[test]
    fn one_changed_slot_is_small() {
        let mut partial = Partial::default();
        assert_eq!(partial.heap_bytes(), 0);
        partial.set(200, Slot::Hole);
        assert!(partial.heap_bytes() <= 64);
        partial.set_holes(0, 256);
        assert!(partial.heap_bytes() <= 4096);
    }

    #[test]
    #[should_panic(expected = "do not fit in a page")]
    fn a_run_past_the_end_is_our_own_bug() {
        Partial::default().set_holes(255, 2);
    }
}
