//! Resolved pages: what a reader sees of 1 MiB of an object, 256 pointers or holes in 4 KiB.

use super::partial::{Partial, SlotSet};
use super::pointer::Pointer;
use crate::ids::PAGE_BLOCKS;

/// A page with every slot resolved: a pointer, or `None` for a hole. Keep it boxed: it is 4 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    slots: [Option<Pointer>; PAGE_BLOCKS],
}

const _: () = assert!(size_of::<Page>() == 4096);

impl Page {
    /// A page of holes.
    pub const EMPTY: Page = Page { slots: [None; PAGE_BLOCKS] };

    /// The page that these versions make, given from the newest to the oldest. Once every slot
    /// is known no older version is asked for; what no version says is a hole.
    pub fn resolve_from<'a>(versions: impl IntoIterator<Item = &'a Partial>) -> Box<Page> {
        let mut known = SlotSet::NONE;
        let mut needed = Vec::new();
        for version in versions {
            needed.push(version);
            known = known.union(version.known());
            if version.is_sealed() || known == SlotSet::ALL {
                break;
            }
        }
        let mut page = Box::new(Page::EMPTY);
        needed.into_iter().rev().for_each(|version| page.apply(version));
        page
    }

    /// Takes over a newer version.
    pub fn apply(&mut self, newer: &Partial) {
        if newer.is_sealed() {
            *self = Page::EMPTY;
        }
        self.take(newer);
    }

    /// The pointer of `slot`; `None` is a hole.
    #[must_use]
    pub fn get(&self, slot: u8) -> Option<Pointer> {
        self.slots[usize::from(slot)]
    }

    /// All 256 slots.
    #[must_use]
    pub fn slots(&self) -> &[Option<Pointer>; PAGE_BLOCKS] {
        &self.slots
    }

    /// The slots that hold data, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, Pointer)> + use<'_> {
        self.slots.iter().enumerate().filter_map(|(slot, pointer)| Some((slot as u8, (*pointer)?)))
    }

    /// How many slots hold data.
    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn take(&mut self, version: &Partial) {
        if version.count() == PAGE_BLOCKS {
            self.slots.copy_from_slice(version.values());
        } else {
            version.entries().for_each(|(slot, value)| self.slots[usize::from(slot)] = value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::partial::tests::{partial, pointer};
    use super::*;
    use crate::map::Slot;
    use crate::testing::Rng;

    #[test]
    fn resolving_equals_applying_from_the_oldest() {
        let mut rng = Rng::new(5);
        for _ in 0..300 {
            let versions: Vec<Partial> = (0..rng.below(9)).map(|_| partial(&mut rng)).collect();
            let mut applied = Page::EMPTY;
            let mut folded = Partial::default();
            for version in versions.iter().rev() {
                applied.apply(version);
                folded.lay_over(version);
            }
            assert_eq!(*Page::resolve_from(&versions), applied);
            assert_eq!(*Page::resolve_from([&folded]), applied);
        }
    }

    #[test]
    fn nothing_older_than_a_complete_version_is_asked_for() {
        let (mut sealed, mut full) = (Partial::default(), Partial::default());
        sealed.seal();
        full.set_holes(0, 256);
        for complete in [sealed, full] {
            let versions = [Some(&complete), None].into_iter().map(|version| version.expect("not needed"));
            assert_eq!(*Page::resolve_from(versions), Page::EMPTY);
        }
    }

    #[test]
    fn a_completed_page_names_only_its_data_and_hides_what_is_older() {
        let mut rng = Rng::new(6);
        let mut page = Page::EMPTY;
        let mut change = Partial::default();
        change.set(9, Slot::Data(pointer(&mut rng)));
        change.set(200, Slot::Data(pointer(&mut rng)));
        page.apply(&change);
        let completed = Partial::from(&page);
        assert_eq!((completed.count(), completed.is_complete()), (2, true));
        let mut older = Partial::default();
        older.set(10, Slot::Data(pointer(&mut rng)));
        assert_eq!(*Page::resolve_from([&completed, &older]), page);
        assert_eq!(page.iter().map(|(slot, _)| slot).collect::<Vec<_>>(), [9, 200]);
    }
}
