//! Ordering of what changes the catalogue. Each is alone: what is applied is all that was ever ordered.

use super::mutation::Mutation;
use super::op::{Admin, Dead, IoOp, Reply};
use super::{no_snapshot, not_found, State};
use crate::catalogue::{
    Branch, Counters, Cursor, Dataset, DatasetId, Live, Snapshot, SnapshotId, Trim, ATTRIBUTES_MAX, NAME_MAX,
    TRIMS_MAX,
};
use crate::error::Error;
use crate::ids::{BranchId, Epoch, ObjectId, PageNo, PAGE_BLOCKS};
use crate::map::Partial;
use crate::pages::View;
use block_layer::store::{Refusal, Tx};
use block_layer::{Seq, BLOCK, SECTOR};

/// Largest size of a dataset, in bytes.
const SIZE_MAX: u64 = 1 << 56;

type Ordered = Result<(Reply, Vec<Mutation>), Refusal<Error>>;

fn refuse<T>(error: Error) -> Result<T, Refusal<Error>> {
    Err(Refusal::Refused(error))
}

impl State {
    pub(super) fn order_admin(&mut self, admin: &Admin) -> Ordered {
        match admin {
            Admin::Create { name, kind, size, attributes } => self.create(name, *kind, *size, attributes),
            Admin::Rename(id, name) => {
                self.check_name(name)?;
                self.change_dataset(*id, |d| d.name.clone_from(name))
            }
            Admin::SetAttributes(id, attributes) => {
                check_attributes(attributes)?;
                self.change_dataset(*id, |d| d.attributes.clone_from(attributes))
            }
            Admin::Resize { dataset, branch, from, to } => self.resize(*dataset, (*branch, *from), *to),
            Admin::Delete { dataset, snapshots } => self.delete(*dataset, *snapshots),
            Admin::Snapshot(items) => self.snapshot(items),
            Admin::DeleteSnapshot(id) => self.change_snapshot(*id, |s| s.name = None),
            Admin::RenameSnapshot(id, name) => self.rename_snapshot(*id, name),
            Admin::Rollback(dataset, id) => self.rollback(*dataset, *id),
            Admin::Clone { snapshot, name, kind, attributes } => {
                self.clone_snapshot(*snapshot, name, *kind, attributes)
            }
            Admin::Discard(dataset, object, from, to) => self.discard_pages(*dataset, *object, *from, *to),
            Admin::ReclaimDone(dead) => self.reclaim_done(*dead),
            Admin::Flattened(branch) => self.flattened(*branch),
            Admin::Materialize(key) => {
                let cached = self.pages.get(*key, View::Live).ok_or(Refusal::Bounce(Seq(0)))?;
                let partial = Partial::from(&*cached.page);
                if !self.is_whole(key.branch, View::Live) {
                    return Err(Refusal::Bounce(Seq(0)));
                }
                let epoch = self.branch(key.branch)?.open;
                Ok((Reply::Done, vec![Mutation::Amend { key: *key, epoch, partial }]))
            }
            Admin::ReclaimEntries { dead, changes } => {
                if !self.is_reclaiming_entries(*dead) {
                    return Err(Refusal::Bounce(Seq(0)));
                }
                let value = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| Mutation::Value {
                    key: key.clone(),
                    value: value.clone(),
                };
                Ok((Reply::Done, changes.iter().map(value).collect()))
            }
            Admin::Reclaim(_) | Admin::WorkOff(_) | Admin::Cut { .. } => {
                unreachable!("ordered with the space they free")
            }
        }
    }

    pub(super) fn branch(&self, id: BranchId) -> Result<&Branch, Refusal<Error>> {
        let missing = || Refusal::Refused(Error::NotFound(format!("branch {}", id.0)));
        self.catalogue.branches.get(&id).ok_or_else(missing)
    }

    fn dataset(&self, id: DatasetId) -> Result<&Dataset, Refusal<Error>> {
        self.catalogue.datasets.get(&id).ok_or_else(|| Refusal::Refused(not_found(id)))
    }

    /// A snapshot that has a name: one that is deleted is not there.
    fn named(&self, id: SnapshotId) -> Result<&Snapshot, Refusal<Error>> {
        let snapshot = self.catalogue.snapshots.get(&id).filter(|s| s.name.is_some());
        snapshot.ok_or_else(|| Refusal::Refused(no_snapshot(id)))
    }

    fn check_name(&self, name: &str) -> Result<(), Refusal<Error>> {
        check_name_len(name)?;
        match self.catalogue.names.contains_key(name) {
            true => refuse(Error::Exists(format!("dataset {name}"))),
            false => Ok(()),
        }
    }

    fn change_dataset(&self, id: DatasetId, change: impl FnOnce(&mut Dataset)) -> Ordered {
        let mut dataset = self.dataset(id)?.clone();
        change(&mut dataset);
        Ok((Reply::Done, vec![Mutation::PutDataset(dataset)]))
    }

    fn change_snapshot(&self, id: SnapshotId, change: impl FnOnce(&mut Snapshot)) -> Ordered {
        let mut snapshot = self.named(id)?.clone();
        change(&mut snapshot);
        Ok((Reply::Done, vec![Mutation::PutSnapshot(snapshot)]))
    }

    fn create(&self, name: &str, kind: u8, size: u64, attributes: &[u8]) -> Ordered {
        self.check_name(name)?;
        check_attributes(attributes)?;
        check_size(size)?;
        let mut counters = self.catalogue.counters;
        let branch = new_branch(&mut counters, None, 0)?;
        let dataset = new_dataset(&mut counters, name, kind, branch.id, size, attributes);
        let id = dataset.id;
        let mutations =
            vec![Mutation::Counters(counters), Mutation::PutBranch(branch), Mutation::PutDataset(dataset)];
        Ok((Reply::Dataset(id), mutations))
    }

    fn resize(&self, id: DatasetId, old: (BranchId, u64), size: u64) -> Ordered {
        check_size(size)?;
        let mut dataset = self.dataset(id)?.clone();
        if (dataset.branch, dataset.size) != old {
            return Err(Refusal::Bounce(Seq(0)));
        }
        let page_bytes = (PAGE_BLOCKS * BLOCK) as u64;
        let (from, to) = (PageNo(size.div_ceil(page_bytes)), PageNo(dataset.size.div_ceil(page_bytes)));
        let mut mutations = Vec::new();
        if from < to {
            mutations.push(self.trim(dataset.branch, ObjectId(0), from, to)?);
        }
        dataset.size = size;
        mutations.push(Mutation::PutDataset(dataset));
        Ok((Reply::Done, mutations))
    }

    fn discard_pages(&self, id: DatasetId, object: ObjectId, from: PageNo, to: PageNo) -> Ordered {
        if from >= to {
            return refuse(Error::Invalid("an empty range of pages"));
        }
        Ok((Reply::Done, vec![self.trim(self.dataset(id)?.branch, object, from, to)?]))
    }

    /// Orders a [`Admin::Cut`]. The discard's record comes first: those of the data count upon the branch.
    pub(super) fn order_cut(
        &mut self,
        io: &IoOp,
        object: ObjectId,
        (from, to): (PageNo, PageNo),
        tx: &mut Tx<'_>,
    ) -> Result<Reply, Refusal<Error>> {
        if self.dataset(io.dataset)?.branch != io.branch {
            return Err(Refusal::Bounce(Seq(0)));
        }
        let discarded = self.trim(io.branch, object, from, to)?;
        tx.mutate(|out| discarded.encode(out));
        self.order_io(io, tx)
    }

    fn trim(
        &self,
        id: BranchId,
        object: ObjectId,
        from: PageNo,
        to: PageNo,
    ) -> Result<Mutation, Refusal<Error>> {
        let mut branch = self.branch(id)?.clone();
        let overlaps = |t: &Trim| t.object == object && t.from < to && from < t.to;
        if branch.trims.len() >= TRIMS_MAX || branch.trims.iter().any(overlaps) {
            // The background has to work off the others first.
            return Err(Refusal::Bounce(Seq(0)));
        }
        branch.trims.push(Trim { object, from, to, epoch: branch.open });
        Ok(Mutation::PutBranch(branch))
    }

    fn delete(&self, id: DatasetId, snapshots: bool) -> Ordered {
        let dataset = self.dataset(id)?;
        let named: Vec<&Snapshot> =
            self.catalogue.snapshots.values().filter(|s| s.dataset == id && s.name.is_some()).collect();
        if !named.is_empty() && !snapshots {
            let what = format!("dataset {}", dataset.name);
            return refuse(Error::InUse { what, by: format!("its {} snapshots", named.len()) });
        }
        let mut branch = self.branch(dataset.branch)?.clone();
        branch.live = Live::Dying(Cursor::START);
        let mut mutations = vec![Mutation::PutBranch(branch), Mutation::RemoveDataset(id)];
        let hide = |s: &Snapshot| Mutation::PutSnapshot(Snapshot { name: None, ..s.clone() });
        mutations.extend(named.into_iter().map(hide));
        Ok((Reply::Done, mutations))
    }

    fn snapshot(&self, items: &[(DatasetId, String)]) -> Ordered {
        let mut counters = self.catalogue.counters;
        let (mut mutations, mut ids) = (Vec::new(), Vec::new());
        for (at, (dataset, name)) in items.iter().enumerate() {
            check_name_len(name)?;
            if items[..at].iter().any(|(other, _)| other == dataset) {
                return refuse(Error::Invalid("a dataset is named twice"));
            }
            let record = self.dataset(*dataset)?;
            if self.catalogue.snapshot_names.contains_key(&(*dataset, name.clone())) {
                return refuse(Error::Exists(format!("snapshot {}@{name}", record.name)));
            }
            let mut branch = self.branch(record.branch)?.clone();
            if !branch.trims.is_empty() {
                // What it would count as referenced is not known before the discards are worked off.
                return Err(Refusal::Bounce(Seq(0)));
            }
            let id = SnapshotId { branch: branch.id, epoch: branch.open };
            branch.open = next_epoch(&mut counters)?;
            let referenced = self.held[&branch.id].referenced_live().saturating_add(branch.inherited);
            mutations.push(Mutation::SpaceSnapshot { branch: id.branch, epoch: id.epoch });
            mutations.push(Mutation::PutSnapshot(Snapshot {
                id,
                dataset: *dataset,
                name: Some(name.clone()),
                size: record.size,
                referenced,
                children: 0,
                reclaim: None,
            }));
            mutations.push(Mutation::PutBranch(branch));
            ids.push(id);
        }
        mutations.push(Mutation::Counters(counters));
        Ok((Reply::Snapshots(ids), mutations))
    }

    fn rename_snapshot(&self, id: SnapshotId, name: &str) -> Ordered {
        check_name_len(name)?;
        let dataset = self.named(id)?.dataset;
        if self.catalogue.snapshot_names.contains_key(&(dataset, name.to_owned())) {
            return refuse(Error::Exists(format!("snapshot {name}")));
        }
        self.change_snapshot(id, |s| s.name = Some(name.to_owned()))
    }

    fn rollback(&self, id: DatasetId, snapshot: SnapshotId) -> Ordered {
        let mut dataset = self.dataset(id)?.clone();
        let mut origin = self.named(snapshot)?.clone();
        if origin.dataset != id {
            return refuse(Error::Invalid("the snapshot is of another dataset"));
        }
        let mut old = self.branch(dataset.branch)?.clone();
        old.live = Live::Dying(Cursor::START);
        let mut counters = self.catalogue.counters;
        let branch = new_branch(&mut counters, Some(snapshot), origin.referenced)?;
        dataset.branch = branch.id;
        dataset.size = origin.size;
        origin.children += 1;
        let mutations = vec![
            Mutation::Counters(counters),
            Mutation::PutBranch(old),
            Mutation::PutBranch(branch),
            Mutation::PutSnapshot(origin),
            Mutation::PutDataset(dataset),
        ];
        Ok((Reply::Done, mutations))
    }

    fn clone_snapshot(&self, snapshot: SnapshotId, name: &str, kind: u8, attributes: &[u8]) -> Ordered {
        self.check_name(name)?;
        check_attributes(attributes)?;
        let mut origin = self.named(snapshot)?.clone();
        let mut counters = self.catalogue.counters;
        let branch = new_branch(&mut counters, Some(snapshot), origin.referenced)?;
        let dataset = new_dataset(&mut counters, name, kind, branch.id, origin.size, attributes);
        origin.children += 1;
        let id = dataset.id;
        let mutations = vec![
            Mutation::Counters(counters),
            Mutation::PutBranch(branch),
            Mutation::PutSnapshot(origin),
            Mutation::PutDataset(dataset),
        ];
        Ok((Reply::Dataset(id), mutations))
    }

    fn reclaim_done(&self, dead: Dead) -> Ordered {
        // Somebody else may have done it already: then its branch may be gone as well.
        if !self.is_reclaiming_entries(dead) {
            return Err(Refusal::Bounce(Seq(0)));
        }
        let branch = self.branch(dead.branch())?.clone();
        let mut mutations = Vec::new();
        let left = match dead {
            Dead::Snapshot(id) => {
                mutations.push(Mutation::SpaceMerge { branch: id.branch, epoch: id.epoch });
                mutations.push(Mutation::RemoveSnapshot(id));
                self.catalogue.snapshots_of(branch.id).filter(|s| s.id != id).map(|s| s.id.epoch).min()
            }
            Dead::Live(_) => {
                mutations.push(Mutation::SpaceDeath { branch: branch.id });
                self.catalogue.snapshots_of(branch.id).map(|s| s.id.epoch).min()
            }
        };
        let alive = branch.live == Live::Yes;
        // A live side that is dying too, and whose turn comes after this snapshot, still holds its blocks.
        let settled = branch.live == Live::Gone || matches!(dead, Dead::Live(_));
        let release = match (left, branch.flat) {
            (None, _) if settled => {
                mutations.push(Mutation::RemoveBranch(branch.id));
                true
            }
            (oldest, Some(flat)) if oldest.is_none_or(|epoch| epoch >= flat) && alive => {
                mutations.push(Mutation::PutBranch(Branch { origin: None, flat: None, ..branch.clone() }));
                true
            }
            _ => {
                if let Dead::Live(_) = dead {
                    let gone = Branch { live: Live::Gone, inherited: 0, ..branch.clone() };
                    mutations.push(Mutation::PutBranch(gone));
                }
                false
            }
        };
        if let Some(origin) = branch.origin.filter(|_| release) {
            mutations.push(self.release_origin(origin)?);
        }
        Ok((Reply::Done, mutations))
    }

    fn release_origin(&self, id: SnapshotId) -> Result<Mutation, Refusal<Error>> {
        let origin = self.catalogue.snapshots.get(&id);
        let mut origin = origin.ok_or_else(|| Refusal::Refused(no_snapshot(id)))?.clone();
        origin.children -= 1;
        Ok(Mutation::PutSnapshot(origin))
    }

    fn flattened(&self, id: BranchId) -> Ordered {
        let mut branch = self.branch(id)?.clone();
        let Some(origin) = branch.origin else { return Ok((Reply::Done, Vec::new())) };
        if branch.inherited > 0 || !branch.trims.is_empty() {
            return refuse(Error::Invalid("the branch still has blocks of its origin"));
        }
        let mut mutations = Vec::new();
        if self.catalogue.snapshots_of(id).next().is_none() {
            branch.origin = None;
            mutations.push(self.release_origin(origin)?);
        } else {
            branch.flat = Some(branch.open);
        }
        mutations.push(Mutation::PutBranch(branch));
        Ok((Reply::Done, mutations))
    }

    /// Whether all pages of a dying view are reclaimed, so that its small entries are next.
    pub(super) fn is_reclaiming_entries(&self, dead: Dead) -> bool {
        match dead {
            Dead::Snapshot(id) => {
                self.catalogue.snapshots.get(&id).is_some_and(|s| s.reclaim == Some(Cursor::END))
            }
            Dead::Live(id) => {
                self.catalogue.branches.get(&id).is_some_and(|b| b.live == Live::Dying(Cursor::END))
            }
        }
    }
}

fn check_name_len(name: &str) -> Result<(), Refusal<Error>> {
    match name.len() {
        1..=NAME_MAX => Ok(()),
        _ => refuse(Error::Invalid("a name has 1 to 255 bytes")),
    }
}

fn check_attributes(attributes: &[u8]) -> Result<(), Refusal<Error>> {
    match attributes.len() <= ATTRIBUTES_MAX {
        true => Ok(()),
        false => refuse(Error::Invalid("the attributes are longer than 16 KiB")),
    }
}

fn check_size(size: u64) -> Result<(), Refusal<Error>> {
    match size.is_multiple_of(SECTOR as u64) && size <= SIZE_MAX {
        true => Ok(()),
        false => refuse(Error::Invalid("a size is a multiple of 512 bytes, at most 64 PiB")),
    }
}

fn next_epoch(counters: &mut Counters) -> Result<Epoch, Refusal<Error>> {
    let epoch = counters.epoch;
    counters.epoch = Epoch(epoch.0.saturating_add(1));
    match epoch.is_name() {
        true => Ok(epoch),
        false => refuse(Error::Invalid("the pool has used up its 2^32 epochs")),
    }
}

fn new_branch(
    counters: &mut Counters,
    origin: Option<SnapshotId>,
    inherited: u64,
) -> Result<Branch, Refusal<Error>> {
    let id = counters.branch;
    counters.branch = BranchId(id.0 + 1);
    let first = next_epoch(counters)?;
    Ok(Branch { id, origin, first, open: first, live: Live::Yes, inherited, trims: Vec::new(), flat: None })
}

fn new_dataset(
    counters: &mut Counters,
    name: &str,
    kind: u8,
    branch: BranchId,
    size: u64,
    attributes: &[u8],
) -> Dataset {
    let id = counters.dataset;
    counters.dataset = DatasetId(id.0 + 1);
    Dataset { id, name: name.to_owned(), kind, branch, size, attributes: attributes.to_vec() }
}
