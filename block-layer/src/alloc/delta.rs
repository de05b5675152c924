//! What a generation changed in one segment: sorted runs of blocks set or cleared, the later change winning.
//!
//! Invariants: changes are sorted, disjoint, inside the segment, and neighbours of the same value are joined.
//! Four bytes a change, so that frees scattered over a large pool stay cheap until the next checkpoint.

use super::bitmap::Bitmap;
use crate::units::BLOCKS_PER_SEGMENT;

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

/// The changes of one segment in one generation.
#[derive(Debug)]
pub(super) struct Delta {
    changes: Vec<Change>,
    /// The segment was wholly free when the generation first touched it: the changes are all there is.
    pub(super) from_empty: bool,
}

impl Delta {
    pub(super) fn new(from_empty: bool) -> Delta {
        Delta { changes: Vec::new(), from_empty }
    }

    pub(super) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The pieces of changes that lie in `first..first + slots`: (first, slots, value).
    pub(super) fn pieces(&self, first: u32, slots: u32) -> impl Iterator<Item = (u32, u32, bool)> + '_ {
        let end = first + slots;
        let from = self.changes.partition_point(|c| c.end() <= first);
        self.changes[from..].iter().take_while(move |c| c.first() < end).map(move |c| {
            let at = c.first().max(first);
            (at, c.end().min(end) - at, c.value())
        })
    }

    /// Records that `slots` blocks from `first` on became `value`.
    pub(super) fn apply(&mut self, first: u32, slots: u32, value: bool) {
        let (mut start, mut end) = (first, first + slots);
        // Touching changes are replaced together with overlapping ones, so that equal neighbours join.
        let from = self.changes.partition_point(|c| c.end() < first);
        let to = from + self.changes[from..].partition_point(|c| c.first() <= end);
        let (mut before, mut after) = (None, None);
        if let Some(left) = self.changes[from..to].first().filter(|c| c.first() < first) {
            if left.value() == value {
                start = left.first();
            } else {
                before = Some(Change::new(left.first(), first - left.first(), left.value()));
            }
        }
        if let Some(right) = self.changes[from..to].last().filter(|c| c.end() > first + slots) {
            if right.value() == value {
                end = right.end();
            } else {
                after = Some(Change::new(first + slots, right.end() - first - slots, right.value()));
            }
        }
        let middle = Some(Change::new(start, end - start, value));
        self.changes.splice(from..to, [before, middle, after].into_iter().flatten());
    }

    /// Lays the changes over a bitmap.
    pub(super) fn lay_over(&self, bitmap: &mut Bitmap) {
        for change in &self.changes {
            bitmap.set(change.first(), change.slots(), change.value());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::tests::Dice;

    #[test]
    fn a_later_change_wins_and_equal_neighbours_join() {
        let mut dice = Dice(11);
        for round in 0..20 {
            let mut delta = Delta::new(false);
            let width = [100, BLOCKS_PER_SEGMENT][round % 2];
            let mut model = vec![None; BLOCKS_PER_SEGMENT as usize];
            for _ in 0..300 {
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
            for pair in delta.changes().windows(2) {
                assert!(pair[0].end() <= pair[1].first(), "{pair:?}");
                assert!(pair[0].end() < pair[1].first() || pair[0].value() != pair[1].value(), "{pair:?}");
            }
        }
    }
}
