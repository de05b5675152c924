//! Application: a written commit becomes visible. Live and at replay the same, so nothing here decides.

use super::mutation::Mutation;
use super::{load, State};
use crate::catalogue::Branch;
use crate::generation::PageKey;
use crate::held::Held;
use crate::ids::{BranchId, Epoch};
use crate::key::Kind;
use crate::map::Partial;
use crate::pages::View;
use block_layer::Seq;

/// Versions of a page that pile up before it is written out whole.
const PILE: u8 = 8;

impl State {
    /// Applies one mutation of record `seq`.
    ///
    /// # Errors
    /// What does not fit, as a text: at replay that is damage, live it is a bug.
    pub(super) fn apply(&mut self, seq: Seq, mutation: Mutation) -> Result<(), String> {
        match mutation {
            Mutation::Write { key, epoch, partial } => self.apply_write(seq, key, epoch, &partial),
            Mutation::Amend { key, epoch, partial } => drop(self.active.change(key, epoch, &partial)),
            Mutation::DropVersion { key, epoch } => self.active.drop_version(key, epoch),
            Mutation::Space { branch, deltas, inherited } => {
                self.held_mut(branch)?.apply(&deltas).map_err(|e| e.to_string())?;
                let record = self.branch_mut(branch)?;
                record.inherited = record
                    .inherited
                    .checked_add_signed(inherited)
                    .ok_or("a branch sees fewer than no inherited blocks")?;
            }
            Mutation::SpaceSnapshot { branch, epoch } => {
                self.held_mut(branch)?.snapshot(epoch).map_err(|e| e.to_string())?;
            }
            Mutation::SpaceMerge { branch, epoch } => {
                match self.held_mut(branch)?.merge_into_next(epoch).map_err(|e| e.to_string())? {
                    0 => {}
                    left => return Err(format!("{left} blocks of a reclaimed snapshot were not freed")),
                }
            }
            Mutation::SpaceDeath { branch } => self.apply_death(branch)?,
            Mutation::MoveTouched { branch, epoch, object, group, to } => {
                self.active.drop_touched(branch, epoch, object, group);
                if let Some((epoch, touched)) = to {
                    self.active.touch(branch, epoch, object, group, |known| known.union(&touched));
                }
            }
            Mutation::Value { key, value } => {
                self.entry_orders.insert(key.clone(), seq);
                if self.ordered_entries.get(&key).is_some_and(|(ordered, _)| *ordered <= seq) {
                    self.ordered_entries.remove(&key);
                }
                if key.first() == Some(&(Kind::Live as u8)) {
                    self.entry_cache.insert(key.clone(), value.clone());
                }
                self.active.put(key, value);
            }
            other => self.apply_catalogue(seq, other),
        }
        Ok(())
    }

    fn apply_catalogue(&mut self, seq: Seq, mutation: Mutation) {
        let (key, value) = match mutation {
            Mutation::PutDataset(dataset) => {
                let entry = (load::dataset_key(dataset.id), Some(load::encode(&dataset)));
                self.catalogue.put_dataset(dataset);
                entry
            }
            Mutation::RemoveDataset(id) => {
                self.catalogue.remove_dataset(id);
                (load::dataset_key(id), None)
            }
            Mutation::PutBranch(branch) => self.put_branch(seq, branch),
            Mutation::RemoveBranch(id) => {
                self.catalogue.branches.remove(&id);
                self.held.remove(&id);
                self.trims_changed.remove(&id);
                self.pages.forget(|key, _| key.branch == id);
                self.active.put(load::held_key(id), None);
                (load::branch_key(id), None)
            }
            Mutation::PutSnapshot(snapshot) => {
                let entry = (load::snapshot_key(snapshot.id), Some(load::encode(&snapshot)));
                self.catalogue.put_snapshot(snapshot);
                entry
            }
            Mutation::RemoveSnapshot(id) => {
                self.catalogue.remove_snapshot(id);
                (load::snapshot_key(id), None)
            }
            Mutation::Counters(counters) => {
                self.catalogue.counters = counters;
                (load::counters_key(), Some(load::encode(&counters)))
            }
            _ => unreachable!("the caller has handled the others"),
        };
        self.active.put(key, value);
    }

    fn put_branch(&mut self, seq: Seq, branch: Branch) -> (Vec<u8>, Option<Vec<u8>>) {
        let known = self.catalogue.branches.get(&branch.id);
        if known.is_none() {
            self.active.make(branch.id);
        }
        let old = known.map_or(&[][..], |b| &b.trims);
        if *old != branch.trims {
            self.trims_changed.insert(branch.id, seq);
        }
        // A new discard hides pages that are cached.
        let had = old.len();
        if branch.trims.len() > had {
            let (id, trims) = (branch.id, branch.trims.clone());
            self.pages.forget(|key, view| {
                key.branch == id && view == View::Live && trims.iter().any(|t| t.covers(key.object, key.page))
            });
        }
        self.held.entry(branch.id).or_default();
        let entry = (load::branch_key(branch.id), Some(load::encode(&branch)));
        self.catalogue.branches.insert(branch.id, branch);
        entry
    }

    fn apply_write(&mut self, seq: Seq, key: PageKey, epoch: Epoch, partial: &Partial) {
        let merged = self.active.change(key, epoch, partial);
        if let Some(cached) = self.pages.get(key, View::Live) {
            cached.page.apply(partial);
            if epoch > cached.newest {
                cached.newest = epoch;
                cached.versions = cached.versions.saturating_add(1);
            }
            if cached.versions >= PILE && !merged.is_complete() {
                merged.lay_under(Partial::from(&*cached.page));
                cached.versions = 1;
            }
        }
        if let Some(loading) = self.loading.get_mut(&(key, View::Live)) {
            loading.later.push((epoch, partial.clone()));
        }
        if let Some(changes) = self.ordered.get_mut(&key) {
            changes.retain(|(ordered, _)| *ordered > seq);
            if changes.is_empty() {
                self.ordered.remove(&key);
            }
        }
    }

    /// What was alive is held by the branch's last snapshot alone from now on. What no snapshot sees has been
    /// freed before: were some of it left, nobody would ever free it.
    fn apply_death(&mut self, branch: BranchId) -> Result<(), String> {
        let held = self.held_mut(branch)?;
        let unseen = |cell: &crate::held::Delta| (cell.birth, cell.death) == (Epoch::OPEN, Epoch::LIVE);
        if let Some(left) = held.cells().find(unseen) {
            return Err(format!("{} blocks of a reclaimed live side were not freed", left.blocks));
        }
        let deaths: Vec<_> = held
            .cells()
            .filter(|cell| cell.death == Epoch::LIVE)
            .flat_map(|cell| crate::held::Delta::die(cell.birth, cell.blocks))
            .collect();
        held.apply(&deaths).map_err(|e| e.to_string())?;
        self.branch_mut(branch)?.inherited = 0;
        Ok(())
    }

    fn held_mut(&mut self, branch: BranchId) -> Result<&mut Held, String> {
        self.dirty.insert(branch);
        self.held.get_mut(&branch).ok_or_else(|| format!("branch {} has no space table", branch.0))
    }

    fn branch_mut(&mut self, branch: BranchId) -> Result<&mut Branch, String> {
        self.dirty.insert(branch);
        let record = self.catalogue.branches.get_mut(&branch);
        record.ok_or_else(|| format!("branch {} does not exist", branch.0))
    }
}
