//! What a generation changed in one segment: sorted runs of blocks set or cleared, the later change winning.
//!
//! Invariants: changes are sorted, disjoint, inside the segment, and neighbours of the same value are joined.
//! Four bytes a change, so that frees scattered over a large pool stay cheap until the next checkpoint; 4 KiB
//! at most, since many changes of one segment are kept as a patch.

use super::bitmap::Bitmap;
use super::patch::Patch;
use crate::units::BLOCKS_PER_SEGMENT;
use std::borrow::Cow;

/// A run of blocks set or cleared: first slot (14 bits), slots - 1 (14 bits), value (1 bit).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Change(u32);

const LEN_BITS: u32 = BLOCKS_PER_SEGMENT.ilog2();
const _: () = assert!(BLOCKS_PER_SEGMENT.is_power_of_two() && 2 * LEN_BITS < 32);

impl Change {
    pub(super) fn new(first: u32, slots: u32, value: bool) -> Change {
        debug_assert!(slots > 0 && first + slots <= BLOCKS_PER_SEGMENT);
        Change(first << (LEN_BITS + 1) | (slots - 1) << 1 | u32::from(value))
    }

    pub(super) fn first(self) -> u32 {
        self.0 >> (LEN_BITS + 1)
    }

    pub(super) fn slots(self) -> u32 {
        (self.0 >> 1) % BLOCKS_PER_SEGMENT + 1
    }

    pub(super) fn end(self) -> u32 {
        self.first() + self.slots()
    }

    /// Whether the blocks are allocated by it.
    pub(super) fn value(self) -> bool {
        self.0 & 1 == 1
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}+{}", if self.value() { '+' } else { '-' }, self.first(), self.slots())
    }
}

/// Changes beyond which a list takes more memory than a patch.
const FEW: usize = Patch::BYTES / size_of::<Change>();

/// The changes of one segment in one generation.
#[derive(Debug)]
pub(super) struct Delta {
    changes: Changes,
    /// The segment was wholly free when the generation first touched it: the changes are all there is.
    pub(super) from_empty: bool,
}

#[derive(Debug)]
enum Changes {
    Few(Vec<Change>),
    Many(Patch),
}

impl Delta {
    pub(super) fn new(from_empty: bool) -> Delta {
        Delta { changes: Changes::Few(Vec::new()), from_empty }
    }

    pub(super) fn changes(&self) -> Cow<'_, [Change]> {
        match &self.changes {
            Changes::Few(changes) => Cow::Borrowed(changes),
            Changes::Many(patch) => Cow::Owned(patch.changes()),
        }
    }

    /// Memory that the changes take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match &self.changes {
            Changes::Few(changes) => changes.len() * size_of::<Change>(),
            Changes::Many(_) => Patch::BYTES,
        }
    }

    /// Whether it says `value` of some block of the range.
    pub(super) fn says(&self, first: u32, slots: u32, value: bool) -> bool {
        match &self.changes {
            Changes::Few(_) => self.pieces(first, slots).any(|(_, _, is)| is == value),
            Changes::Many(patch) => patch.says(first, slots, value),
        }
    }

    /// The pieces of changes that lie in `first..first + slots`: (first, slots, value).
    pub(super) fn pieces(&self, first: u32, slots: u32) -> impl Iterator<Item = (u32, u32, bool)> + '_ {
        let end = first + slots;
        let mut at = first;
        std::iter::from_fn(move || {
            let change = self.next(at).filter(|change| at < end && change.first() < end)?;
            let from = change.first().max(at);
            at = change.end().min(end);
            Some((from, at - from, change.value()))
        })
    }

    /// The first change that ends behind `slot`.
    fn next(&self, slot: u32) -> Option<Change> {
        match &self.changes {
            Changes::Few(changes) => changes.get(changes.partition_point(|c| c.end() <= slot)).copied(),
            Changes::Many(patch) => patch.next(slot),
        }
    }

    /// Records that `slots` blocks from `first` on became `value`.
    pub(super) fn apply(&mut self, first: u32, slots: u32, value: bool) {
        match &mut self.changes {
            Changes::Many(patch) => patch.set(first, slots, value),
            Changes::Few(changes) => {
                splice(changes, first, slots, value);
                if changes.len() > FEW {
                    self.changes = Changes::Many(Patch::of(changes));
                }
            }
        }
    }

    /// Lays the changes over a bitmap.
    pub(super) fn lay_over(&self, bitmap: &mut Bitmap) {
        for change in self.changes().iter() {
            bitmap.set(change.first(), change.slots(), change.value());
        }
    }
}

/// Lays one change over a sorted list.
fn splice(changes: &mut Vec<Change>, first: u32, slots: u32, value: bool) {
    let (mut start, mut end) = (first, first + slots);
    // Touching changes are replaced together with overlapping ones, so that equal neighbours join.
    let from = changes.partition_point(|c| c.end() < first);
    let to = from + changes[from..].partition_point(|c| c.first() <= end);
    let (mut before, mut after) = (None, None);
    if let Some(left) = changes[from..to].first().filter(|c| c.first() < first) {
        if left.value() == value {
            start = left.first();
        } else {
            before = Some(Change::new(left.first(), first - left.first(), left.value()));
        }
    }
    if let Some(right) = changes[from..to].last().filter(|c| c.end() > first + slots) {
        if right.value() == value {
            end = right.end();
        } else {
            after = Some(Change::new(first + slots, right.end() - first - slots, right.value()));
        }
    }
    let middle = Some(Change::new(start, end - start, value));
    changes.splice(from..to, [before, middle, after].into_iter().flatten());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::tests::Dice;

    #[test]
    fn a_later_change_wins_and_equal_neighbours_join_few_or_many() {
        let mut dice = Dice(11);
        for round in 0..20 {
            let mut delta = Delta::new(false);
            let width = [100, BLOCKS_PER_SEGMENT][round % 2];
            let mut model = vec![None; BLOCKS_PER_SEGMENT as usize];
            for _ in 0..[300, 6000][round / 2 % 2] {
                let first = dice.below(width);
                let slots = (1 + dice.below(12)).min(BLOCKS_PER_SEGMENT - first);
                let value = dice.below(2) == 1;
                delta.apply(first, slots, value);
                model[first as usize..(first + slots) as usize].fill(Some(value));
            }
            let mut seen = vec![None; BLOCKS_PER_SEGMENT as usize];
            for (first, slots, value) in delta.pieces(0, BLOCKS_PER_SEGMENT) {
                seen[first as usize..(first + slots) as usize].fill(Some(value));
            }
            assert_eq!(seen, model);
            assert!(delta.bytes() <= Patch::BYTES);
            for _ in 0..100 {
                let first = dice.below(BLOCKS_PER_SEGMENT);
                let slots = (1 + dice.below(4)).min(BLOCKS_PER_SEGMENT - first);
                let said = &model[first as usize..(first + slots) as usize];
                for value in [true, false] {
                    assert_eq!(delta.says(first, slots, value), said.contains(&Some(value)));
                }
            }
            for pair in delta.changes().windows(2) {
                assert!(pair[0].end() <= pair[1].first(), "{pair:?}");
                assert!(pair[0].end() < pair[1].first() || pair[0].value() != pair[1].value(), "{pair:?}");
            }
        }
    }
}
