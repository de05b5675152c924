//! The resident table of segments: ten bytes each, and the pool's totals.
//!
//! Invariants: the totals equal the sums over the table; `bounds[g]` is at least the allocatable blocks of
//! every closed segment of group `g`, so that the emptiest segment is found without reading the whole table.

use crate::units::BLOCKS_PER_SEGMENT;
use std::cmp::Reverse;

/// Segments of a group: the unit in which summaries are stored.
pub const GROUP: u32 = 1024;

/// What may be done with a segment. It is allocated from when all three hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentState {
    /// It lies on a device of the pool and counts as capacity.
    pub present: bool,
    /// Its device space was written once, so that a flush costs no file-system metadata.
    pub zeroed: bool,
    /// Nothing forbids allocation: it is not damaged, and not being evacuated.
    pub usable: bool,
}

impl SegmentState {
    /// Present, zeroed and usable.
    pub const READY: SegmentState = SegmentState { present: true, zeroed: true, usable: true };

    fn ready(self) -> bool {
        self == Self::READY
    }
}

/// What is known of a segment at start: counts as of the index, state as of the pool's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Free blocks.
    pub free: u16,
    /// Blocks with extra references.
    pub refs: u16,
    /// What may be done with it.
    pub state: SegmentState,
}

impl Summary {
    /// A segment that nothing was ever allocated from.
    #[must_use]
    pub fn empty(state: SegmentState) -> Summary {
        Summary { free: BLOCKS_PER_SEGMENT as u16, refs: 0, state }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Closed,
    /// Named by `wants`, not yet installed.
    Loading,
    Open,
}

/// A segment's resident state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resident {
    /// Free blocks after all commits applied.
    pub(super) free: u16,
    pub(super) refs: u16,
    /// Free blocks that are not allocatable: in quarantine or in flight.
    pub(super) held: u16,
    pub(super) state: SegmentState,
    pub(super) life: Life,
}

const _: () = assert!(size_of::<Resident>() == 10);

impl Resident {
    pub(super) fn allocatable(&self) -> u32 {
        if self.state.ready() {
            u32::from(self.free - self.held)
        } else {
            0
        }
    }
}

/// Sums over the table, in blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) capacity: u64,
    pub(super) free: u64,
    pub(super) allocatable: u64,
    /// Neither allocatable nor held: free blocks of present segments that are not ready.
    pub(super) unready: u64,
    /// The part of `unready` that will become allocatable when its segments are zeroed.
    pub(super) unzeroed: u64,
}

/// All segments of the pool.
#[derive(Debug, Default)]
pub(super) struct Table {
    residents: Vec<Resident>,
    bounds: Vec<u16>,
    totals: Totals,
}

impl Table {
    pub(super) fn len(&self) -> u32 {
        self.residents.len() as u32
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    pub(super) fn get(&self, segment: u32) -> &Resident {
        &self.residents[segment as usize]
    }

    /// The (free, references) counts of a group's segments.
    pub(super) fn counts(&self, group: u32) -> Vec<(u16, u16)> {
        let first = (group * GROUP) as usize;
        let group = self.residents[first..].iter().take(GROUP as usize);
        group.map(|resident| (resident.free, resident.refs)).collect()
    }

    pub(super) fn push(&mut self, summary: Summary) {
        let segment = self.len();
        if segment.is_multiple_of(GROUP) {
            self.bounds.push(0);
        }
        let Summary { free, refs, .. } = summary;
        let state = SegmentState::default();
        self.residents.push(Resident { free, refs, held: 0, state, life: Life::Closed });
        self.update(segment, |resident| resident.state = summary.state);
    }

    /// Changes a segment, and the totals with it.
    pub(super) fn update(&mut self, segment: u32, change: impl FnOnce(&mut Resident)) {
        let resident = &mut self.residents[segment as usize];
        let before = share(resident);
        change(resident);
        assert!(resident.held <= resident.free, "segment {segment}: {resident:?}");
        let after = share(resident);
        let totals = &mut self.totals;
        totals.capacity = totals.capacity - before.capacity + after.capacity;
        totals.free = totals.free - before.free + after.free;
        totals.allocatable = totals.allocatable - before.allocatable + after.allocatable;
        totals.unready = totals.unready - before.unready + after.unready;
        totals.unzeroed = totals.unzeroed - before.unzeroed + after.unzeroed;
        if resident.life == Life::Closed {
            let bound = &mut self.bounds[(segment / GROUP) as usize];
            *bound = (*bound).max(after.allocatable as u16);
        }
    }

    /// The closed segment with the most allocatable blocks, at least one; of equal ones the lowest.
    pub(super) fn emptiest_closed(&mut self) -> Option<u32> {
        loop {
            let groups = self.bounds.iter().enumerate();
            let (group, bound) = groups.max_by_key(|&(group, bound)| (bound, Reverse(group)))?;
            if *bound == 0 {
                return None;
            }
            let first = group * GROUP as usize;
            let best = (self.residents[first..].iter().take(GROUP as usize).zip(first as u32..))
                .filter(|(resident, _)| resident.life == Life::Closed)
                .map(|(resident, segment)| (resident.allocatable(), segment))
                .max_by_key(|&(blocks, segment)| (blocks, Reverse(segment)));
            let actual = best.map_or(0, |(blocks, _)| blocks as u16);
            if actual == *bound {
                return best.map(|(_, segment)| segment);
            }
            self.bounds[group] = actual;
        }
    }
}

/// What a segment adds to the totals.
fn share(resident: &Resident) -> Totals {
    if !resident.state.present {
        return Totals::default();
    }
    let allocatable = u64::from(resident.allocatable());
    let idle = u64::from(resident.free - resident.held);
    let (capacity, free) = (u64::from(BLOCKS_PER_SEGMENT), u64::from(resident.free));
    let unready = idle - allocatable;
    let unzeroed = if resident.state.usable { unready } else { 0 };
    Totals { capacity, free, allocatable, unready, unzeroed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::tests::Dice;

    #[test]
    fn the_emptiest_segment_and_the_totals_agree_with_a_full_scan() {
        let mut dice = Dice(4);
        let mut table = Table::default();
        for _ in 0..3000 {
            table.push(Summary { free: dice.below(50) as u16, ..Summary::empty(SegmentState::READY) });
        }
        for _ in 0..2000 {
            let segment = [dice.below(3000), dice.below(10)][dice.below(2) as usize];
            let (free, life) = (dice.below(60) as u16, [Life::Closed, Life::Open][dice.below(2) as usize]);
            let held = dice.below(u32::from(free) + 1) as u16;
            let usable = dice.below(4) > 0;
            table.update(segment, |r| {
                (r.free, r.held, r.life, r.state.usable) = (free, held, life, usable);
            });
            let scan = || table.residents.iter();
            let best = scan()
                .enumerate()
                .filter(|(_, r)| r.life == Life::Closed && r.allocatable() > 0)
                .max_by_key(|(segment, r)| (r.allocatable(), Reverse(*segment)))
                .map(|(segment, _)| segment as u32);
            let allocatable: u64 = scan().map(|r| u64::from(r.allocatable())).sum();
            assert_eq!(table.totals.allocatable, allocatable);
            assert_eq!(table.totals.free, scan().map(|r| u64::from(r.free)).sum::<u64>());
            assert_eq!(table.emptiest_closed(), best);
        }
    }
}
