//! The model: what the engine promises to be, as plainly as can be said.
//!
//! Invariant: every operation is applied whole, in commit order, and its conditions must hold at its place:
//! an operation that the engine ordered although they do not is a bug, told as an error.

use super::content::{Block, Data, Stamp, SECTORS};
use super::rot::Place;
use super::sums::{cut_sectors, Sum};
use block_layer::SECTOR;
use snapshots::engine::{EntryCondition, EntryEdit, IO_MAX};
use snapshots::machine::op::{Admin, Merged, Reply};
use snapshots::{DatasetId, SnapshotId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The kind of a dataset that has entries and several objects.
pub(super) const SHARE: u8 = 2;
/// Objects that shares use beside object 0.
pub(super) const OBJECTS: std::ops::RangeInclusive<u64> = 1..=2;

/// Small entries by name.
pub(super) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a dataset or a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Bytes.
    pub(super) size: u64,
    /// Block data by object.
    pub(super) objects: BTreeMap<u64, Data>,
    /// Small entries.
    pub(super) entries: Arc<Entries>,
}

/// A dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dataset {
    /// Its name.
    pub(super) name: String,
    /// Its kind.
    pub(super) kind: u8,
    /// Its attributes.
    pub(super) attributes: Vec<u8>,
    /// What it holds.
    pub(super) content: Arc<Content>,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The dataset it is of.
    pub(super) dataset: DatasetId,
    /// Its name.
    pub(super) name: String,
    /// Whether it is of a share.
    pub(super) kind: u8,
    /// What it holds.
    pub(super) content: Arc<Content>,
}

/// The state of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    /// The datasets.
    pub(super) datasets: BTreeMap<DatasetId, Dataset>,
    /// The snapshots that have names.
    pub(super) snapshots: BTreeMap<SnapshotId, Snapshot>,
}

/// A place to read or write: the live side of a dataset, or a snapshot of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The dataset.
    pub(super) dataset: DatasetId,
    /// The object.
    pub(super) object: u64,
    /// The snapshot; `None` = the live side.
    pub(super) snapshot: Option<SnapshotId>,
}

/// A command of a client, as it was sent.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields are the command's arguments, in sectors of 512 bytes or blocks of 4096
pub(super) enum Command {
    Write {
        at: Target,
        sector: u64,
        stamps: Vec<Stamp>,
    },
    Zero {
        at: Target,
        sector: u64,
        count: u64,
    },
    Same {
        at: Target,
        sector: u64,
        count: u64,
        pattern: Vec<Stamp>,
    },
    Compare {
        at: Target,
        sector: u64,
        expected: Vec<Stamp>,
        stamps: Vec<Stamp>,
    },
    Clone {
        at: Target,
        block: u64,
        from: Target,
        from_block: u64,
        count: u64,
    },
    Edit {
        dataset: DatasetId,
        edits: Vec<EntryEdit>,
    },
    /// A write with merges, and edits of another dataset.
    Sum {
        at: Target,
        sector: u64,
        stamps: Vec<Stamp>,
        sums: Vec<Sum>,
        beside: DatasetId,
        edits: Vec<EntryEdit>,
    },
    /// A cut of an object, in bytes, with merges.
    Cut {
        at: Target,
        from: u64,
        len: u64,
        sums: Vec<Sum>,
    },
}

/// What the engine did and must not have.
pub(super) type Wrong = String;

impl Content {
    /// An object's data.
    #[must_use]
    pub(super) fn data(&self, object: u64) -> &Data {
        static NONE: Data = Data::new();
        self.objects.get(&object).unwrap_or(&NONE)
    }

    fn data_mut(&mut self, object: u64) -> &mut Data {
        self.objects.entry(object).or_default()
    }

    fn tidy(&mut self) {
        let size = self.size;
        if let Some(data) = self.objects.get_mut(&0) {
            data.clip(size);
        }
        self.objects.retain(|_, data| !data.is_empty());
    }
}

impl Model {
    /// What a target holds, if it exists.
    #[must_use]
    pub(super) fn content(&self, at: Target) -> Option<&Arc<Content>> {
        match at.snapshot {
            Some(id) => self.snapshots.get(&id).map(|s| &s.content),
            None => self.datasets.get(&at.dataset).map(|d| &d.content),
        }
    }

    /// Stamps of a range, if its target exists and reaches so far.
    #[must_use]
    pub(super) fn stamps(&self, at: Target, sector: u64, count: u64) -> Option<Vec<Stamp>> {
        let content = self.content(at)?;
        let inside = at.object != 0 || (sector + count) * SECTOR as u64 <= content.size;
        inside.then(|| (sector..sector + count).map(|s| content.data(at.object).sector(s)).collect())
    }

    fn change(&mut self, id: DatasetId, change: impl FnOnce(&mut Content)) -> Result<(), Wrong> {
        let dataset = self.datasets.get_mut(&id).ok_or_else(|| format!("dataset {id} does not exist"))?;
        let content = Arc::make_mut(&mut dataset.content);
        change(content);
        content.tidy();
        Ok(())
    }

    /// A client's command gets its place.
    ///
    /// # Errors
    /// Its conditions do not hold there.
    pub(super) fn command(&mut self, command: &Command) -> Result<(), Wrong> {
        match command {
            Command::Write { at, sector, stamps } => self.write(*at, *sector, stamps.iter().copied()),
            Command::Zero { at, sector, count } => {
                self.change(at.dataset, |c| c.data_mut(at.object).zero(*sector, *count))
            }
            Command::Same { at, pattern, .. } if pattern.iter().all(|stamp| *stamp == 0) => {
                Err(format!("a pattern of zeroes for {at:?}: the harness sends none"))
            }
            Command::Same { at, sector, count, pattern } => {
                self.write(*at, *sector, pattern.iter().copied().cycle().take(*count as usize))
            }
            Command::Compare { at, sector, expected, stamps } => {
                let found = self.stamps(*at, *sector, expected.len() as u64);
                if found.as_ref() != Some(expected) {
                    return Err(format!("compare-and-write met {found:x?}, not {expected:x?}"));
                }
                self.write(*at, *sector, stamps.iter().copied())
            }
            Command::Clone { at, block, from, from_block, count } => {
                self.clone_range(*at, *block, *from, *from_block, *count)
            }
            Command::Edit { dataset, edits } => self.edit(*dataset, edits),
            Command::Sum { .. } | Command::Cut { .. } => self.sum(command).map(drop),
        }
    }

    /// A command with merges gets its place: what became of them.
    ///
    /// # Errors
    /// Its conditions do not hold there.
    pub(super) fn sum(&mut self, command: &Command) -> Result<Vec<Merged>, Wrong> {
        let mut mapped = 0;
        let (at, sums) = match command {
            Command::Sum { at, sector, stamps, sums, beside, edits } => {
                if !edits.is_empty() {
                    self.edit(*beside, edits)?;
                }
                mapped -= self.blocks(*at, *sector, stamps.len() as u64);
                self.write(*at, *sector, stamps.iter().copied())?;
                mapped += self.blocks(*at, *sector, stamps.len() as u64);
                (*at, sums)
            }
            Command::Cut { at, from, len, sums } => {
                let sectors = cut_sectors(*from, *len);
                // Beyond 16 MiB what lies behind the first page goes later, and does not count.
                let counted = match (sectors.end - sectors.start) * SECTOR as u64 > IO_MAX {
                    true => (sectors.start + 1).next_multiple_of(2048) - sectors.start,
                    false => sectors.end - sectors.start,
                };
                mapped -= self.blocks(*at, sectors.start, counted);
                self.change(at.dataset, |content| {
                    content.data_mut(at.object).zero(sectors.start, sectors.end - sectors.start);
                })?;
                mapped += self.blocks(*at, sectors.start, counted);
                (*at, sums)
            }
            _ => return Ok(Vec::new()),
        };
        let mut all = Vec::new();
        for sum in sums {
            let merged = sum.outcome(self, at, mapped)?;
            let after = merged.after.clone();
            self.change(at.dataset, |content| {
                let entries = Arc::make_mut(&mut content.entries);
                match after {
                    Some(value) => drop(entries.insert(sum.name().to_vec(), value)),
                    None => drop(entries.remove(sum.name())),
                }
            })?;
            all.push(merged);
        }
        Ok(all)
    }

    /// Mapped blocks of a range of sectors.
    fn blocks(&self, at: Target, sector: u64, count: u64) -> i64 {
        let Some(content) = self.content(at) else { return 0 };
        let blocks = sector / SECTORS..(sector + count).div_ceil(SECTORS);
        blocks.filter(|block| content.data(at.object).block(*block).is_some()).count() as i64
    }

    fn write(&mut self, at: Target, sector: u64, stamps: impl Iterator<Item = Stamp>) -> Result<(), Wrong> {
        self.change(at.dataset, |content| {
            let data = content.data_mut(at.object);
            for (nth, stamp) in stamps.enumerate() {
                data.set(sector + nth as u64, stamp);
            }
        })
    }

    fn clone_range(
        &mut self,
        at: Target,
        block: u64,
        from: Target,
        from_block: u64,
        count: u64,
    ) -> Result<(), Wrong> {
        let source = self.content(from).ok_or_else(|| format!("the source {from:?} does not exist"))?;
        let blocks: Vec<Option<Block>> =
            (from_block..from_block + count).map(|b| source.data(from.object).block(b).copied()).collect();
        self.change(at.dataset, |content| {
            let data = content.data_mut(at.object);
            for (nth, stamps) in blocks.into_iter().enumerate() {
                match stamps {
                    Some(stamps) => data.put(block + nth as u64, stamps),
                    None => data.remove(block + nth as u64),
                }
            }
        })
    }

    fn edit(&mut self, dataset: DatasetId, edits: &[EntryEdit]) -> Result<(), Wrong> {
        let entries = self.datasets.get(&dataset).map(|d| d.content.entries.clone()).unwrap_or_default();
        for edit in edits {
            if !holds(&edit.condition, entries.get(&edit.name)) {
                return Err(format!("the condition of {edit:?} does not hold"));
            }
        }
        self.change(dataset, |content| {
            let entries = Arc::make_mut(&mut content.entries);
            for edit in edits {
                match &edit.value {
                    Some(value) => drop(entries.insert(edit.name.clone(), value.clone())),
                    None => drop(entries.remove(&edit.name)),
                }
            }
        })
    }

    /// An administrative operation gets its place; whether it is one that a user sees.
    ///
    /// # Errors
    /// Its conditions do not hold there.
    pub(super) fn admin(&mut self, admin: &Admin, reply: &Reply) -> Result<bool, Wrong> {
        match (admin, reply) {
            (Admin::Create { name, kind, size, attributes }, Reply::Dataset(id)) => {
                let content = Arc::new(Content { size: *size, ..Content::default() });
                self.create(*id, name, *kind, attributes, content)?;
            }
            (Admin::Clone { snapshot, name, kind, attributes }, Reply::Dataset(id)) => {
                let content = self.snapshot(*snapshot)?.content.clone();
                self.create(*id, name, *kind, attributes, content)?;
            }
            (Admin::Snapshot(items), Reply::Snapshots(ids)) => self.take(items, ids)?,
            (Admin::Rename(id, name), _) => self.dataset(*id)?.name.clone_from(name),
            (Admin::SetAttributes(id, attributes), _) => self.dataset(*id)?.attributes.clone_from(attributes),
            (Admin::Resize { dataset, to, .. }, _) => self.change(*dataset, |content| content.size = *to)?,
            (Admin::Delete { dataset, snapshots }, _) => {
                self.dataset(*dataset)?;
                self.datasets.remove(dataset);
                let had = self.snapshots.values().any(|s| s.dataset == *dataset);
                if had && !snapshots {
                    return Err(format!("dataset {dataset} was deleted though it had snapshots"));
                }
                self.snapshots.retain(|_, s| s.dataset != *dataset);
            }
            (Admin::DeleteSnapshot(id), _) => {
                self.snapshot(*id)?;
                self.snapshots.remove(id);
            }
            (Admin::RenameSnapshot(id, name), _) => self.snapshot(*id)?.name.clone_from(name),
            (Admin::Rollback(dataset, id), _) => {
                let content = self.snapshot(*id)?.content.clone();
                self.dataset(*dataset)?.content = content;
            }
            (Admin::Discard(dataset, object, from, to), _) => {
                self.change(*dataset, |c| c.data_mut(object.0).discard(from.0..to.0))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn create(
        &mut self,
        id: DatasetId,
        name: &str,
        kind: u8,
        attributes: &[u8],
        content: Arc<Content>,
    ) -> Result<(), Wrong> {
        if self.datasets.contains_key(&id) || self.datasets.values().any(|d| d.name == name) {
            return Err(format!("dataset {id} named {name} exists already"));
        }
        let dataset = Dataset { name: name.into(), kind, attributes: attributes.into(), content };
        self.datasets.insert(id, dataset);
        Ok(())
    }

    fn take(&mut self, items: &[(DatasetId, String)], ids: &[SnapshotId]) -> Result<(), Wrong> {
        for ((dataset, name), id) in items.iter().zip(ids) {
            let Dataset { kind, content, .. } = self.dataset(*dataset)?.clone();
            let snapshot = Snapshot { dataset: *dataset, name: name.clone(), kind, content };
            if self.snapshots.insert(*id, snapshot).is_some() {
                return Err(format!("snapshot {id:?} exists already"));
            }
        }
        Ok(())
    }

    fn dataset(&mut self, id: DatasetId) -> Result<&mut Dataset, Wrong> {
        self.datasets.get_mut(&id).ok_or_else(|| format!("dataset {id} does not exist"))
    }

    fn snapshot(&mut self, id: SnapshotId) -> Result<&mut Snapshot, Wrong> {
        self.snapshots.get_mut(&id).ok_or_else(|| format!("snapshot {id:?} does not exist"))
    }

    /// Puts a block where it could not be read.
    pub(super) fn mend(&mut self, place: Place, block: Block) {
        let content = match place.snapshot {
            Some(id) => self.snapshots.get_mut(&id).map(|s| &mut s.content),
            None => self.datasets.get_mut(&place.dataset).map(|d| &mut d.content),
        };
        let content = Arc::make_mut(content.expect("it was found there"));
        content.data_mut(place.object).put(place.block, block);
    }

    /// Where two states differ, for people.
    #[must_use]
    pub(super) fn differences(&self, other: &Model) -> Vec<String> {
        let mut all = Vec::new();
        let datasets = self.datasets.keys().chain(other.datasets.keys());
        for id in datasets.collect::<std::collections::BTreeSet<_>>() {
            match (self.datasets.get(id), other.datasets.get(id)) {
                (Some(a), Some(b)) if a != b => all.push(format!(
                    "dataset {id} {}/{}: {}",
                    a.name,
                    b.name,
                    difference(&a.content, &b.content)
                )),
                (Some(_), Some(_)) => {}
                (a, b) => all.push(format!("dataset {id}: {} / {}", a.is_some(), b.is_some())),
            }
        }
        let snapshots = self.snapshots.keys().chain(other.snapshots.keys());
        for id in snapshots.collect::<std::collections::BTreeSet<_>>() {
            match (self.snapshots.get(id), other.snapshots.get(id)) {
                (Some(a), Some(b)) if a != b => {
                    all.push(format!("{id:?} {}/{}: {}", a.name, b.name, difference(&a.content, &b.content)));
                }
                (Some(_), Some(_)) => {}
                (a, b) => all.push(format!("{id:?}: {} / {}", a.is_some(), b.is_some())),
            }
        }
        all
    }
}

/// Whether an edit's condition holds.
#[must_use]
pub(super) fn holds(condition: &EntryCondition, value: Option<&Vec<u8>>) -> bool {
    match condition {
        EntryCondition::Any => true,
        EntryCondition::Absent => value.is_none(),
        EntryCondition::Is(wanted) => value == Some(wanted),
    }
}

fn difference(a: &Content, b: &Content) -> String {
    if a.size != b.size {
        return format!("sizes {} / {}", a.size, b.size);
    }
    for object in a.objects.keys().chain(b.objects.keys()) {
        let (x, y) = (a.data(*object), b.data(*object));
        if let Some(block) = x.difference(y) {
            let all = (block * SECTORS, x.block(block), y.block(block));
            return format!("object {object}, block {block} (sector {}): {:x?} / {:x?}", all.0, all.1, all.2);
        }
    }
    match a.entries == b.entries {
        true => "only in name, kind or attributes".into(),
        false => {
            let only = |a: &Entries, b: &Entries| {
                let differs = a.iter().filter(|(name, value)| b.get(*name) != Some(*value));
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                differs.map(|(name, value)| text(name) + "=" + &text(value)).collect::<Vec<_>>()
            };
            format!("entries {:?} / {:?}", only(&a.entries, &b.entries), only(&b.entries, &a.entries))
        }
    }
}
