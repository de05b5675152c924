//! Space accounting of one branch: how many blocks were born in which interval and died in which.
//!
//! The snapshots of a branch cut its history into intervals; an interval is named by the epoch of the
//! snapshot that ends it, the last one, which no snapshot has ended yet, by [`Epoch::OPEN`]. A block born in
//! interval `i` that died in interval `d` is seen by the snapshots from `i` up to the one before `d`; one
//! whose death is [`Epoch::LIVE`] is alive. So one table says exactly what a snapshot shares and what its
//! deletion frees. It counts what is born in this branch only: a clone's origin counts its own blocks.
//!
//! Invariants: no cell is 0; in every cell the birth interval precedes the death interval (a block that dies
//! in the interval of its birth is gone, not held); only commits change the table, in commit order, so
//! replaying the [`Delta`]s, snapshots and deletions of the records gives the same table. Owned by the
//! branch, under its lock.

use crate::ids::Epoch;
use block_layer::units::SECTORS_PER_BLOCK;
use block_layer::Pba;
use std::collections::{BTreeMap, BTreeSet};

/// More blocks than any pool has: as many as there are addresses.
pub const BLOCKS_MAX: u64 = Pba::LIMIT / SECTORS_PER_BLOCK;

/// A change of one cell, as a commit record carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delta {
    /// The interval of birth: a snapshot's epoch or [`Epoch::OPEN`].
    pub birth: Epoch,
    /// The interval of death: a snapshot's epoch, [`Epoch::OPEN`] or [`Epoch::LIVE`].
    pub death: Epoch,
    /// Blocks more (or fewer).
    pub blocks: i64,
}

impl Delta {
    /// `blocks` blocks born in interval `birth` have come alive.
    #[must_use]
    pub fn add_live(birth: Epoch, blocks: i64) -> Delta {
        Delta { birth, death: Epoch::LIVE, blocks }
    }

    /// `blocks` live blocks born in interval `birth` die now, in the open interval.
    pub fn die(birth: Epoch, blocks: i64) -> impl Iterator<Item = Delta> {
        let dead = Delta { birth, death: Epoch::OPEN, blocks };
        std::iter::once(Delta::add_live(birth, -blocks)).chain((birth != Epoch::OPEN).then_some(dead))
    }

    /// Joins the changes of each cell and drops those that cancel out; the result is sorted.
    pub fn coalesce(deltas: &mut Vec<Delta>) {
        deltas.sort_unstable();
        deltas.dedup_by(|next, kept| {
            let same = (next.birth, next.death) == (kept.birth, kept.death);
            if same {
                // A sum that reaches either end is far beyond `BLOCKS_MAX`: refused when it is applied.
                kept.blocks = kept.blocks.saturating_add(next.blocks);
            }
            same
        });
        deltas.retain(|delta| delta.blocks != 0);
    }
}

/// A change that does not fit the table: a bug of ours, or damage in what was replayed. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeldFault {
    /// No interval has this name.
    #[error("no interval of the branch ends at epoch {0}")]
    NoInterval(Epoch),
    /// A snapshot must be newer than all others of its branch.
    #[error("epoch {0} cannot name the newest snapshot of the branch")]
    NotNewest(Epoch),
    /// A block cannot die before the interval after its birth.
    #[error("blocks born in interval {birth} cannot be held until {death}")]
    DeadAtBirth {
        /// The interval of birth.
        birth: Epoch,
        /// The interval of death.
        death: Epoch,
    },
    /// The branch would hold more than [`BLOCKS_MAX`] blocks.
    #[error("{0} blocks are held: they cannot change by {1}, a pool has fewer than {BLOCKS_MAX}")]
    TooMany(u64, i64),
    /// A cell would fall below 0 or exceed [`BLOCKS_MAX`].
    #[error("{held} blocks are held from {birth} until {death}: they cannot change by {blocks}")]
    OutOfRange {
        /// The interval of birth.
        birth: Epoch,
        /// The interval of death.
        death: Epoch,
        /// Blocks that the cell counts.
        held: u64,
        /// The change asked for.
        blocks: i64,
    },
}

/// An interval's identity while the branch is in memory: rising with time, and it stays when the open
/// interval gets its name, so that a snapshot moves no cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id(u64);

const LIVE: Id = Id(u64::MAX);

/// An interval that a snapshot has ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    epoch: Epoch,
    id: Id,
}

/// The space that one branch holds, in blocks, by birth and death interval.
#[derive(Clone, Debug)]
pub struct Held {
    /// In order of time.
    ended: Vec<Ended>,
    open: Id,
    /// Blocks by (birth, death).
    cells: BTreeMap<(Id, Id), u64>,
    /// The same keys as (death, birth).
    by_death: BTreeSet<(Id, Id)>,
    live: u64,
    total: u64,
}

impl Default for Held {
    /// A branch without blocks and snapshots.
    fn default() -> Held {
        Held {
            ended: Vec::new(),
            open: Id(0),
            cells: BTreeMap::new(),
            by_death: BTreeSet::new(),
            live: 0,
            total: 0,
        }
    }
}

impl Held {
    /// The table that [`Held::snapshots`] and [`Held::cells`] of another one describe.
    ///
    /// # Errors
    /// When they describe none: they are damaged.
    pub fn load(snapshots: impl IntoIterator<Item = Epoch>, cells: &[Delta]) -> Result<Held, HeldFault> {
        let mut held = Held::default();
        snapshots.into_iter().try_for_each(|epoch| held.snapshot(epoch))?;
        held.apply(cells)?;
        Ok(held)
    }

    /// Counts `blocks` blocks born in interval `birth` as alive.
    pub fn add_live(&mut self, birth: Epoch, blocks: u32) -> Result<(), HeldFault> {
        self.apply(&[Delta::add_live(birth, blocks.into())])
    }

    /// Counts `blocks` live blocks born in interval `birth` as dead since the open interval; those born in
    /// the open interval are gone.
    pub fn die(&mut self, birth: Epoch, blocks: u32) -> Result<(), HeldFault> {
        self.apply(&Delta::die(birth, blocks.into()).collect::<Vec<_>>())
    }

    /// Applies the changes of a commit, all or none. O(changes × log cells).
    pub fn apply(&mut self, deltas: &[Delta]) -> Result<(), HeldFault> {
        let mut deltas = deltas.to_vec();
        Delta::coalesce(&mut deltas);
        let mut changed = Vec::with_capacity(deltas.len());
        let mut change = 0_i64;
        for Delta { birth, death, blocks } in deltas {
            let cell =
                (self.interval(birth)?, if death == Epoch::LIVE { LIVE } else { self.interval(death)? });
            if cell.0 >= cell.1 {
                return Err(HeldFault::DeadAtBirth { birth, death });
            }
            let held = self.cell(cell);
            let out_of_range = HeldFault::OutOfRange { birth, death, held, blocks };
            let after = held.checked_add_signed(blocks).filter(|after| *after <= BLOCKS_MAX);
            changed.push((cell, after.ok_or(out_of_range)?));
            change = change.saturating_add(blocks);
        }
        let total = self.total.checked_add_signed(change).filter(|total| *total <= BLOCKS_MAX);
        total.ok_or(HeldFault::TooMany(self.total, change))?;
        changed.into_iter().for_each(|(cell, held)| self.put(cell, held));
        Ok(())
    }

    /// A snapshot has been taken: the open interval ends and gets the name `epoch`, a new one opens. O(1).
    pub fn snapshot(&mut self, epoch: Epoch) -> Result<(), HeldFault> {
        let newest = self.ended.last().map_or(Epoch::ZERO, |last| last.epoch);
        if !epoch.is_name() || epoch <= newest {
            return Err(HeldFault::NotNewest(epoch));
        }
        self.ended.push(Ended { epoch, id: self.open });
        self.open = Id(self.open.0 + 1);
        Ok(())
    }

    /// The snapshot `epoch` is gone: its interval becomes part of the next one. The blocks that only it saw
    /// are dropped from the table; their number is returned, 0 when reclaim has counted them down before.
    /// O(cells of the interval × log cells).
    pub fn merge_into_next(&mut self, epoch: Epoch) -> Result<u64, HeldFault> {
        let at = self.position(epoch)?;
        let (gone, next) = (self.ended[at].id, self.next(at));
        let row = self.cells.range((gone, Id(0))..=(gone, LIVE)).map(|(cell, _)| *cell);
        let column = self.by_death.range((gone, Id(0))..=(gone, LIVE)).map(|&(death, birth)| (birth, death));
        let cells: Vec<(Id, Id)> = row.chain(column).collect();
        let freed = self.cell((gone, next));
        for cell in cells {
            let blocks = self.cell(cell);
            self.put(cell, 0);
            let renamed = |id| if id == gone { next } else { id };
            let into = (renamed(cell.0), renamed(cell.1));
            if into.0 != into.1 {
                self.put(into, self.cell(into) + blocks);
            }
        }
        self.ended.remove(at);
        Ok(freed)
    }

    /// The interval in which a block with this birth epoch was born: a snapshot's epoch or [`Epoch::OPEN`].
    #[must_use]
    pub fn interval_of(&self, birth: Epoch) -> Epoch {
        let at = self.ended.partition_point(|ended| ended.epoch < birth);
        self.ended.get(at).map_or(Epoch::OPEN, |ended| ended.epoch)
    }

    /// Blocks that only this snapshot sees: what its deletion frees. O(log cells).
    pub fn unique(&self, snapshot: Epoch) -> Result<u64, HeldFault> {
        let at = self.position(snapshot)?;
        Ok(self.cell((self.ended[at].id, self.next(at))))
    }

    /// Blocks that this snapshot sees. O(cells of the branch): for reports, not for the data path.
    pub fn referenced(&self, snapshot: Epoch) -> Result<u64, HeldFault> {
        let id = self.ended[self.position(snapshot)?].id;
        let born = self.cells.range(..=(id, LIVE));
        Ok(born.filter(|((_, death), _)| *death > id).map(|(_, blocks)| blocks).sum())
    }

    /// Blocks that are alive.
    #[must_use]
    pub fn referenced_live(&self) -> u64 {
        self.live
    }

    /// Blocks that the branch holds, dead or alive.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The snapshots, oldest first.
    pub fn snapshots(&self) -> impl Iterator<Item = Epoch> + use<'_> {
        self.ended.iter().map(|ended| ended.epoch)
    }

    /// The cells, by birth and then death, as the changes that lead to them from an empty table.
    pub fn cells(&self) -> impl Iterator<Item = Delta> + use<'_> {
        self.cells.iter().map(|((birth, death), blocks)| Delta {
            birth: self.name(*birth),
            death: self.name(*death),
            blocks: i64::try_from(*blocks).expect("cells are at most BLOCKS_MAX"),
        })
    }

    fn position(&self, epoch: Epoch) -> Result<usize, HeldFault> {
        self.ended.binary_search_by_key(&epoch, |ended| ended.epoch).map_err(|_| HeldFault::NoInterval(epoch))
    }

    fn interval(&self, name: Epoch) -> Result<Id, HeldFault> {
        match name {
            Epoch::OPEN => Ok(self.open),
            epoch => self.position(epoch).map(|at| self.ended[at].id),
        }
    }

    fn name(&self, id: Id) -> Epoch {
        match self.ended.binary_search_by_key(&id, |ended| ended.id) {
            Ok(at) => self.ended[at].epoch,
            Err(_) if id == LIVE => Epoch::LIVE,
            Err(_) => Epoch::OPEN,
        }
    }

    /// The interval after the ended one at `at`.
    fn next(&self, at: usize) -> Id {
        self.ended.get(at + 1).map_or(self.open, |next| next.id)
    }

    fn cell(&self, cell: (Id, Id)) -> u64 {
        self.cells.get(&cell).copied().unwrap_or(0)
    }

    /// Sets a cell; the only place that changes one, so the sums and the second order always fit.
    fn put(&mut self, cell: (Id, Id), blocks: u64) {
        let before = if blocks == 0 {
            self.by_death.remove(&(cell.1, cell.0));
            self.cells.remove(&cell)
        } else {
            self.by_death.insert((cell.1, cell.0));
            self.cells.insert(cell, blocks)
        };
        let before = before.unwrap_or(0);
        self.total = self.total - before + blocks;
        if cell.1 == LIVE {
            self.live = self.live - before + blocks;
        }
    }
}

#[cfg(test)]
mod tests;
