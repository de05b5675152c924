//! The locks on one file: POSIX byte ranges, each of one owner (XSH fcntl).
//!
//! Invariants: an owner's own ranges never overlap, and touching ones of a kind are one; ranges of two owners
//! overlap only if both are shared. Bounds are inclusive, so that a range may end at the last byte there is.

/// The last byte that a lock can cover: offsets are signed on clients.
pub const LAST: u64 = i64::MAX as u64;

/// Bytes of a file, both ends included; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub first: u64,
    /// The last byte.
    pub last: u64,
}

impl Range {
    /// The range of so many bytes; 0 = to the end of any file. None if it goes beyond [`LAST`].
    #[must_use]
    pub fn new(offset: u64, len: u64) -> Option<Range> {
        let last = match len {
            0 => LAST,
            len => offset.checked_add(len - 1)?,
        };
        (offset <= last && last <= LAST).then_some(Range { first: offset, last })
    }

    /// Its length as the protocol says it: 0 = to the end.
    #[must_use]
    pub fn span(&self) -> u64 {
        if self.last == LAST {
            0
        } else {
            self.last - self.first + 1
        }
    }

    fn overlaps(&self, other: &Range) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    fn touches(&self, other: &Range) -> bool {
        self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1)
    }
}

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held<O> {
    /// By whom.
    pub owner: O,
    /// What it covers.
    pub range: Range,
    /// Whether nobody else may hold any of it.
    pub exclusive: bool,
    /// In which life of its host the owner took it: the host's NSM state number then, or 0.
    pub life: u32,
}

/// The locks on a file.
#[derive(Clone, Debug)]
pub struct Ranges<O>(Vec<Held<O>>);

impl<O> Default for Ranges<O> {
    fn default() -> Ranges<O> {
        Ranges(Vec::new())
    }
}

impl<O: Clone + PartialEq> Ranges<O> {
    /// What is held.
    #[must_use]
    pub fn held(&self) -> &[Held<O>] {
        &self.0
    }

    /// The locks of others that stand against one.
    pub fn conflicts<'a>(&'a self, wanted: &'a Held<O>) -> impl Iterator<Item = &'a Held<O>> {
        self.0.iter().filter(|held| {
            held.owner != wanted.owner
                && held.range.overlaps(&wanted.range)
                && (held.exclusive || wanted.exclusive)
        })
    }

    /// Whether an owner holds all of a lock, of this kind.
    #[must_use]
    pub fn covers(&self, wanted: &Held<O>) -> bool {
        let same = |held: &&Held<O>| held.owner == wanted.owner && held.exclusive == wanted.exclusive;
        let mut covering = self.0.iter().filter(same).map(|held| held.range);
        covering.any(|range| range.first <= wanted.range.first && wanted.range.last <= range.last)
    }

    /// What an owner holds of a range.
    #[must_use]
    pub fn of(&self, owner: &O, range: Range) -> Vec<Held<O>> {
        let its = self.0.iter().filter(|held| held.owner == *owner && held.range.overlaps(&range));
        let within = |held: &Held<O>| {
            let (first, last) = (held.range.first.max(range.first), held.range.last.min(range.last));
            Held { range: Range { first, last }, ..held.clone() }
        };
        its.map(within).collect()
    }

    /// Holds a lock, which stands against no other: it replaces what its owner holds of the range.
    pub fn set(&mut self, wanted: Held<O>) {
        self.clear(&wanted.owner, wanted.range);
        let mut merged = wanted;
        self.0.retain(|held| {
            let joins = held.owner == merged.owner
                && held.exclusive == merged.exclusive
                && held.range.touches(&merged.range);
            if joins {
                merged.range.first = merged.range.first.min(held.range.first);
                merged.range.last = merged.range.last.max(held.range.last);
            }
            !joins
        });
        self.0.push(merged);
    }

    /// Releases what an owner holds of a range, of either kind. Whether it held anything there.
    pub fn clear(&mut self, owner: &O, range: Range) -> bool {
        let mut rest = Vec::new();
        let before = self.0.len();
        self.0.retain(|held| {
            let hit = held.owner == *owner && held.range.overlaps(&range);
            if hit && held.range.first < range.first {
                let left = Range { first: held.range.first, last: range.first - 1 };
                rest.push(Held { range: left, ..held.clone() });
            }
            if hit && held.range.last > range.last {
                let right = Range { first: range.last + 1, last: held.range.last };
                rest.push(Held { range: right, ..held.clone() });
            }
            !hit
        });
        let released = self.0.len() < before;
        self.0.append(&mut rest);
        released
    }

    /// Releases all locks for which this says so. Whether there was any.
    pub fn clear_all(&mut self, which: impl Fn(&Held<O>) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(|held| !which(held));
        self.0.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(owner: u8, first: u64, last: u64, exclusive: bool) -> Held<u8> {
        Held { owner, range: Range { first, last }, exclusive, life: 0 }
    }

    fn sorted(ranges: &Ranges<u8>) -> Vec<(u8, u64, u64, bool)> {
        let row = |held: &Held<u8>| (held.owner, held.range.first, held.range.last, held.exclusive);
        let mut rows: Vec<_> = ranges.held().iter().map(row).collect();
        rows.sort_unstable();
        rows
    }

    #[test]
    fn ranges_end_at_the_last_byte_there_is() {
        for (offset, len, expected) in [
            (0, 0, Some((0, LAST))),
            (5, 1, Some((5, 5))),
            (LAST, 1, Some((LAST, LAST))),
            (LAST, 0, Some((LAST, LAST))),
            (LAST, 2, None),
            (LAST + 1, 1, None),
            (u64::MAX, u64::MAX, None),
            (0, LAST + 1, Some((0, LAST))),
            (1, LAST + 1, None),
        ] {
            let range = Range::new(offset, len);
            assert_eq!(range.map(|r| (r.first, r.last)), expected, "{offset} {len}");
            assert!(range.is_none_or(|r| Range::new(r.first, r.span()) == Some(r)));
        }
    }

    #[test]
    fn locks_of_one_owner_split_and_merge() {
        let mut ranges = Ranges::default();
        ranges.set(lock(1, 0, 99, false));
        ranges.set(lock(1, 40, 59, true));
        assert_eq!(sorted(&ranges), [(1, 0, 39, false), (1, 40, 59, true), (1, 60, 99, false)]);
        ranges.set(lock(1, 40, 59, false));
        assert_eq!(sorted(&ranges), [(1, 0, 99, false)]);
        assert!(ranges.clear(&1, Range { first: 10, last: 10 }));
        assert_eq!(sorted(&ranges), [(1, 0, 9, false), (1, 11, 99, false)]);
        ranges.set(lock(1, 10, 10, false));
        assert_eq!(sorted(&ranges), [(1, 0, 99, false)]);
        ranges.set(lock(1, 100, LAST, false));
        assert_eq!(sorted(&ranges), [(1, 0, LAST, false)]);
        assert!(ranges.clear(&1, Range { first: 0, last: LAST }));
        assert!(ranges.held().is_empty() && !ranges.clear(&1, Range { first: 0, last: LAST }));
    }

    /// Random operations on a small file, against one cell a byte and owner.
    #[test]
    fn every_byte_is_as_a_plain_table_says() {
        const BYTES: u64 = 24;
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let (mut ranges, mut table) = (Ranges::default(), [[None; BYTES as usize]; 3]);
        for _ in 0..20_000 {
            let owner = random(3) as u8;
            let first = random(BYTES);
            let range = Range { first, last: first + random(BYTES - first) };
            let wanted = Held { owner, range, exclusive: random(2) == 0, life: 0 };
            let cells = range.first as usize..=range.last as usize;
            let mine = usize::from(owner);
            if random(3) == 0 {
                ranges.clear(&owner, range);
                table[mine][cells].fill(None);
            } else {
                let against = |held: &Option<bool>| held.is_some_and(|held| held || wanted.exclusive);
                let free = (0..3).all(|o| o == mine || !table[o][cells.clone()].iter().any(against));
                assert_eq!(ranges.conflicts(&wanted).next().is_none(), free);
                if free {
                    ranges.set(wanted.clone());
                    table[mine][cells].fill(Some(wanted.exclusive));
                    assert!(ranges.covers(&wanted));
                }
            }
            for owner in 0..3_u8 {
                let mut cells = [None; BYTES as usize];
                for held in ranges.held().iter().filter(|held| held.owner == owner) {
                    for cell in &mut cells[held.range.first as usize..=held.range.last as usize] {
                        assert!(cell.replace(held.exclusive).is_none(), "an owner's ranges do not overlap");
                    }
                }
                assert_eq!(cells, table[usize::from(owner)]);
            }
        }
    }
}
