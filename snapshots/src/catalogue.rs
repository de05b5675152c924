//! The catalogue: datasets, branches and snapshots, and their records in the index.
//!
//! A *dataset* is what has a name; its live side is a *branch*. A *snapshot* is an epoch of a branch at which
//! the dataset's history was cut. A branch starts empty, or at a snapshot (its origin).
//!
//! Invariants: the catalogue changes only in [`crate::machine`], by mutations in commit order, each the image
//! of a whole record; the snapshots of a branch are named by rising epochs; a branch's open epoch is above
//! all of them; a snapshot with `children` or a branch with snapshots is never removed.

use crate::decode::{check, Damaged, Reader};
use crate::ids::{BranchId, Epoch, ObjectId, PageNo};
use bytes::BufMut as _;
use std::collections::BTreeMap;
use std::fmt;

/// Longest name of a dataset or a snapshot, in bytes.
pub const NAME_MAX: usize = 255;
/// Longest opaque attributes of a dataset, in bytes.
pub const ATTRIBUTES_MAX: usize = 16 << 10;

/// A dataset's identity: never reused, the same after a rename and a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatasetId(pub u64);

impl fmt::Display for DatasetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A snapshot's identity: the branch and the epoch that it closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The branch.
    pub branch: BranchId,
    /// The last epoch that it sees.
    pub epoch: Epoch,
}

/// A dataset: a volume or a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Its identity.
    pub id: DatasetId,
    /// Its name, unique in the pool.
    pub name: String,
    /// What the crate above uses it for; opaque here.
    pub kind: u8,
    /// The branch that is its live side.
    pub branch: BranchId,
    /// Bytes that it has for its user; 0 for one without block data.
    pub size: u64,
    /// What the crate above keeps with it; opaque here.
    pub attributes: Vec<u8>,
}

/// Where a branch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// It is the live side of a dataset.
    Yes,
    /// The dataset left it; its live side is being reclaimed.
    Dying(Cursor),
    /// Only its snapshots are left.
    Gone,
}

/// How far the reclaim of a view has come: every page before it is not held by the view any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The object.
    pub object: ObjectId,
    /// The page in it.
    pub page: PageNo,
}

impl Cursor {
    /// Nothing is reclaimed yet.
    pub const START: Cursor = Cursor { object: ObjectId(0), page: PageNo(0) };
    /// Every page is reclaimed.
    pub const END: Cursor = Cursor { object: ObjectId(u64::MAX), page: PageNo(u64::MAX) };
}

/// A range of pages that is discarded from an epoch on, and not yet worked off (a range tombstone).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// The object.
    pub object: ObjectId,
    /// The first page that is not worked off.
    pub from: PageNo,
    /// One past the last page.
    pub to: PageNo,
    /// The epoch in which they were discarded.
    pub epoch: Epoch,
}

impl Trim {
    /// Whether it still hides `page` of `object`.
    #[must_use]
    pub fn covers(&self, object: ObjectId, page: PageNo) -> bool {
        self.object == object && (self.from..self.to).contains(&page)
    }
}

/// A branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Its identity.
    pub id: BranchId,
    /// The snapshot it starts from.
    pub origin: Option<SnapshotId>,
    /// Its first epoch: what was born earlier is inherited.
    pub first: Epoch,
    /// The epoch of what is written now.
    pub open: Epoch,
    /// Whether it has a live side.
    pub live: Live,
    /// Blocks that the live side sees and the branch did not write.
    pub inherited: u64,
    /// Discarded ranges, not worked off.
    pub trims: Vec<Trim>,
    /// The epoch from which on the live side needs nothing of the origin: it was flattened.
    pub flat: Option<Epoch>,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its identity.
    pub id: SnapshotId,
    /// The dataset it is of.
    pub dataset: DatasetId,
    /// Its name; `None` once it is deleted (it may have to stay for its clones, and while it is reclaimed).
    pub name: Option<String>,
    /// The dataset's size in bytes at that time.
    pub size: u64,
    /// Blocks that it sees.
    pub referenced: u64,
    /// Branches that start here.
    pub children: u32,
    /// How far its reclaim has come, once that has begun.
    pub reclaim: Option<Cursor>,
}

/// The pool-wide counters: the next of each to be given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// The next epoch.
    pub epoch: Epoch,
    /// The next branch.
    pub branch: BranchId,
    /// The next dataset.
    pub dataset: DatasetId,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters { epoch: Epoch(1), branch: BranchId(1), dataset: DatasetId(1) }
    }
}

/// The whole catalogue, in memory: its size is that of the administrator's inventory, not of the data.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// The counters.
    pub counters: Counters,
    /// Datasets by identity.
    pub datasets: BTreeMap<DatasetId, Dataset>,
    /// Dataset names.
    pub names: BTreeMap<String, DatasetId>,
    /// Branches.
    pub branches: BTreeMap<BranchId, Branch>,
    /// Snapshots by branch and epoch.
    pub snapshots: BTreeMap<SnapshotId, Snapshot>,
    /// Named snapshots by dataset and name.
    pub snapshot_names: BTreeMap<(DatasetId, String), SnapshotId>,
}

impl Catalogue {
    /// The dataset with this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Dataset> {
        self.datasets.get(self.names.get(name)?)
    }

    /// Sets a dataset's record.
    pub fn put_dataset(&mut self, dataset: Dataset) {
        if let Some(old) = self.datasets.get(&dataset.id) {
            self.names.remove(&old.name);
        }
        self.names.insert(dataset.name.clone(), dataset.id);
        self.datasets.insert(dataset.id, dataset);
    }

    /// Removes a dataset's record.
    pub fn remove_dataset(&mut self, id: DatasetId) {
        if let Some(old) = self.datasets.remove(&id) {
            self.names.remove(&old.name);
        }
    }

    /// Sets a snapshot's record.
    pub fn put_snapshot(&mut self, snapshot: Snapshot) {
        if let Some(name) = self.snapshots.get(&snapshot.id).and_then(|old| old.name.clone()) {
            self.snapshot_names.remove(&(snapshot.dataset, name));
        }
        if let Some(name) = snapshot.name.clone() {
            self.snapshot_names.insert((snapshot.dataset, name), snapshot.id);
        }
        self.snapshots.insert(snapshot.id, snapshot);
    }

    /// Removes a snapshot's record.
    pub fn remove_snapshot(&mut self, id: SnapshotId) {
        if let Some(old) = self.snapshots.remove(&id) {
            if let Some(name) = old.name {
                self.snapshot_names.remove(&(old.dataset, name));
            }
        }
    }

    /// The snapshots of a branch, oldest first.
    pub fn snapshots_of(&self, branch: BranchId) -> impl DoubleEndedIterator<Item = &Snapshot> {
        self.in_epochs(branch, Epoch::ZERO, Epoch::LIVE)
    }

    /// The newest snapshot of a branch before `epoch`.
    #[must_use]
    pub fn before(&self, branch: BranchId, epoch: Epoch) -> Option<&Snapshot> {
        self.in_epochs(branch, Epoch::ZERO, epoch).next_back()
    }

    /// The oldest snapshot of a branch after `epoch`.
    #[must_use]
    pub fn after(&self, branch: BranchId, epoch: Epoch) -> Option<&Snapshot> {
        self.in_epochs(branch, Epoch(epoch.0.saturating_add(1)), Epoch::LIVE).next()
    }

    fn in_epochs(
        &self,
        branch: BranchId,
        from: Epoch,
        to: Epoch,
    ) -> impl DoubleEndedIterator<Item = &Snapshot> {
        let id = |epoch| SnapshotId { branch, epoch };
        self.snapshots.range(id(from)..id(to)).map(|(_, s)| s)
    }
}

/// A record of the catalogue: appended by `encode`, read by `decode`, exact inverses. Version 1:
/// little-endian numbers in the order of the fields, strings and lists behind a u32 count, options behind one
/// byte.
pub(crate) trait Record: Sized {
    fn encode(&self, out: &mut Vec<u8>);
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged>;
}

macro_rules! number_records {
    ($($kind:ty),*) => {$(
        impl Record for $kind {
            fn encode(&self, out: &mut Vec<u8>) {
                out.put_slice(&self.to_le_bytes());
            }
            fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
                reader.array().map(<$kind>::from_le_bytes)
            }
        }
    )*};
}
number_records!(u8, u16, u32, u64, i64);

macro_rules! wrapped_records {
    ($($kind:ident),*) => {$(
        impl Record for $kind {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }
            fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
                Record::decode(reader).map($kind)
            }
        }
    )*};
}
wrapped_records!(DatasetId, BranchId, Epoch, ObjectId, PageNo);

macro_rules! struct_records {
    ($($kind:ident { $($field:ident),* })*) => {$(
        impl Record for $kind {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$field.encode(out);)*
            }
            fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
                Ok($kind { $($field: Record::decode(reader)?),* })
            }
        }
    )*};
}
struct_records! {
    SnapshotId { branch, epoch }
    Dataset { id, name, kind, branch, size, attributes }
    Cursor { object, page }
    Trim { object, from, to, epoch }
    Branch { id, origin, first, open, live, inherited, trims, flat }
    Snapshot { id, dataset, name, size, referenced, children, reclaim }
    Counters { epoch, branch, dataset }
}

impl<T: Record> Record for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(u8::from(self.is_some()));
        if let Some(value) = self {
            value.encode(out);
        }
    }
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        match reader.u8()? {
            0 => Ok(None),
            1 => T::decode(reader).map(Some),
            _ => Err(Damaged { what: "an option is neither there nor not" }),
        }
    }
}

impl Record for Live {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Live::Yes => out.put_u8(0),
            Live::Gone => out.put_u8(1),
            Live::Dying(cursor) => {
                out.put_u8(2);
                cursor.encode(out);
            }
        }
    }
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        match reader.u8()? {
            0 => Ok(Live::Yes),
            1 => Ok(Live::Gone),
            2 => Cursor::decode(reader).map(Live::Dying),
            _ => Err(Damaged { what: "a branch is in no known state" }),
        }
    }
}

impl Record for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as u32).encode(out);
        out.put_slice(self);
    }
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let len = u32::decode(reader)? as usize;
        reader.slice(len).map(<[u8]>::to_vec)
    }
}

impl Record for String {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_bytes().to_vec().encode(out);
    }
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        String::from_utf8(Record::decode(reader)?).map_err(|_| Damaged { what: "a name is not UTF-8" })
    }
}

/// Most pending discards of a branch.
pub const TRIMS_MAX: usize = 64;

impl Record for Vec<Trim> {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as u32).encode(out);
        self.iter().for_each(|trim| trim.encode(out));
    }
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let count = u32::decode(reader)? as usize;
        check(count <= TRIMS_MAX, "too many discards")?;
        (0..count).map(|_| Trim::decode(reader)).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
