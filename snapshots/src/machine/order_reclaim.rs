//! Ordering of reclaim: which blocks nobody sees any more (design rules 6 and 7).
//!
//! A pointer is visible in one contiguous run of views of its branch, so a block of a dying view is free
//! exactly when it was born after the view before, and the view after does not see it.

use super::mutation::Mutation;
use super::op::{Between, Dead, DyingPage, Next, ReclaimStep, Reply, WorkOffStep};
use super::{no_snapshot, State};
use crate::catalogue::{Branch, Cursor, Live, Snapshot};
use crate::error::Error;
use crate::generation::PageKey;
use crate::held::Delta;
use crate::ids::Epoch;
use crate::map::{Partial, Pointer, Slot};
use crate::pages::View;
use block_layer::store::{Refusal, Tx};
use block_layer::Seq;

impl State {
    /// The neighbours of a view that may be reclaimed now; `None` when it may not: something depends on it,
    /// or something else of its branch comes first.
    pub(crate) fn between(&self, dead: Dead) -> Option<Between> {
        let branch = self.catalogue.branches.get(&dead.branch())?;
        if !branch.trims.is_empty() {
            return None;
        }
        match dead {
            Dead::Live(id) => {
                matches!(branch.live, Live::Dying(_)).then_some(())?;
                if self.catalogue.snapshots_of(id).any(|s| s.reclaim.is_some()) {
                    return None;
                }
                let before = self.catalogue.snapshots_of(id).next_back().map_or(Epoch::ZERO, |s| s.id.epoch);
                Some(Between { before, epoch: branch.open, next: Next::Nothing })
            }
            Dead::Snapshot(id) => {
                let snapshot = self.catalogue.snapshots.get(&id)?;
                let others =
                    self.catalogue.snapshots_of(id.branch).any(|s| s.id != id && s.reclaim.is_some());
                if snapshot.name.is_some() || snapshot.children > 0 || others {
                    return None;
                }
                let next = match (self.catalogue.after(id.branch, id.epoch), branch.live) {
                    (Some(next), _) => Next::Snapshot(next.id.epoch),
                    (None, Live::Yes) => Next::Live(branch.open),
                    (None, Live::Gone) => Next::Nothing,
                    // A reclaim that had begun goes on beside the live side, which is whole as yet; otherwise
                    // the live side goes first.
                    (None, Live::Dying(Cursor::START)) if snapshot.reclaim.is_some() => {
                        Next::Live(branch.open)
                    }
                    (None, Live::Dying(_)) => return None,
                };
                let before = self.catalogue.before(id.branch, id.epoch).map_or(Epoch::ZERO, |s| s.id.epoch);
                Some(Between { before, epoch: id.epoch, next })
            }
        }
    }

    /// How far the reclaim of a view has come.
    pub(crate) fn cursor(&self, dead: Dead) -> Option<Cursor> {
        match dead {
            Dead::Snapshot(id) => Some(self.catalogue.snapshots.get(&id)?.reclaim.unwrap_or(Cursor::START)),
            Dead::Live(id) => match self.catalogue.branches.get(&id)?.live {
                Live::Dying(cursor) => Some(cursor),
                _ => None,
            },
        }
    }

    pub(super) fn order_reclaim(
        &mut self,
        step: &mut ReclaimStep,
        tx: &mut Tx<'_>,
    ) -> Result<Reply, Refusal<Error>> {
        if self.between(step.dead) != Some(step.between) || self.cursor(step.dead) != Some(step.from) {
            return Err(Refusal::Bounce(Seq(0)));
        }
        let touched_since = |key: &PageKey| {
            let generations = self.frozen.as_deref().into_iter().chain([&self.active]);
            let newest = generations.filter_map(|g| g.versions(*key).last()).map(|(epoch, _)| *epoch).max();
            newest.is_some_and(|epoch| Next::Live(epoch) == step.between.next)
        };
        if step.as_of < self.forgotten || step.untouched.iter().any(touched_since) {
            return Err(Refusal::Bounce(Seq(0)));
        }
        let branch = self.branch(step.dead.branch())?.clone();
        let mut freed = Vec::new();
        for page in &step.pages {
            self.dying_blocks(&branch, step.between, page, &mut freed)?;
        }
        if freed.iter().any(|p| tx.needs_refs(p.pba())) {
            return Err(Refusal::Bounce(Seq(0)));
        }
        let mut deltas: Vec<Delta> = freed.iter().map(|p| self.freed_delta(step, *p)).collect();
        freed.iter().for_each(|p| tx.release(p.pba()));
        Delta::coalesce(&mut deltas);
        let mut mutations = vec![self.move_cursor(step)?];
        if !deltas.is_empty() {
            mutations.push(Mutation::Space { branch: branch.id, deltas, inherited: 0 });
        }
        for page in &mut step.pages {
            let key = page.key;
            if let Some((epoch, partial)) = page.fold.clone() {
                mutations.push(Mutation::Amend { key, epoch, partial });
            }
            mutations.extend(page.drop.iter().map(|epoch| Mutation::DropVersion { key, epoch: *epoch }));
        }
        if let Some((object, group, touched)) = &step.group {
            let to = match step.between.next {
                Next::Nothing => None,
                Next::Snapshot(epoch) | Next::Live(epoch) => Some((epoch, touched.clone())),
            };
            let (branch, epoch) = (branch.id, step.between.epoch);
            mutations.push(Mutation::MoveTouched { branch, epoch, object: *object, group: *group, to });
        }
        tx.mutate(|out| mutations.iter().for_each(|m| m.encode(out)));
        Ok(Reply::Done)
    }

    /// The blocks of a dying page that nobody sees any more.
    fn dying_blocks(
        &mut self,
        branch: &Branch,
        between: Between,
        dying: &DyingPage,
        freed: &mut Vec<Pointer>,
    ) -> Result<(), Refusal<Error>> {
        let live;
        let next = match (&dying.next, between.next) {
            (Some(page), _) => Some(&**page),
            (None, Next::Nothing) => None,
            (None, _) => {
                let cached = self.pages.get(dying.key, View::Live).ok_or(Refusal::Bounce(Seq(0)))?;
                live = cached.page.clone();
                Some(&*live)
            }
        };
        let born_here = |p: &Pointer| p.birth() > between.before && p.birth() >= branch.first;
        let unseen = |slot: u8, p: &Pointer| next.is_none_or(|page| page.get(slot) != Some(*p));
        freed.extend(dying.page.iter().filter(|(slot, p)| born_here(p) && unseen(*slot, p)).map(|(_, p)| p));
        Ok(())
    }

    fn freed_delta(&self, step: &ReclaimStep, freed: Pointer) -> Delta {
        let birth = self.held[&step.dead.branch()].interval_of(freed.birth());
        let death = match (step.dead, step.between.next) {
            (Dead::Live(_), _) => Epoch::LIVE,
            (_, Next::Snapshot(epoch)) => epoch,
            (_, Next::Live(_) | Next::Nothing) => Epoch::OPEN,
        };
        Delta { birth, death, blocks: -1 }
    }

    fn move_cursor(&self, step: &ReclaimStep) -> Result<Mutation, Refusal<Error>> {
        match step.dead {
            Dead::Snapshot(id) => {
                let snapshot = self.catalogue.snapshots.get(&id);
                let snapshot = snapshot.ok_or_else(|| Refusal::Refused(no_snapshot(id)))?.clone();
                Ok(Mutation::PutSnapshot(Snapshot { reclaim: Some(step.to), ..snapshot }))
            }
            Dead::Live(id) => {
                let branch = self.branch(id)?.clone();
                Ok(Mutation::PutBranch(Branch { live: Live::Dying(step.to), ..branch }))
            }
        }
    }

    pub(super) fn order_work_off(
        &mut self,
        step: &WorkOffStep,
        tx: &mut Tx<'_>,
    ) -> Result<Reply, Refusal<Error>> {
        // Somebody else may have done it already: then the branch may be gone as well.
        let branch = self.catalogue.branches.get(&step.branch).ok_or(Refusal::Bounce(Seq(0)))?;
        let mut branch = branch.clone();
        if self.trims_changed.get(&step.branch).is_some_and(|changed| *changed > step.as_of) {
            return Err(Refusal::Bounce(Seq(0)));
        }
        let is_it = |t: &crate::catalogue::Trim| {
            t.object == step.object && t.from == step.from && t.epoch == step.epoch && step.to <= t.to
        };
        let at = branch.trims.iter().position(is_it).ok_or(Refusal::Bounce(Seq(0)))?;
        let own = |p: &Pointer| p.birth() >= branch.first;
        let mut pointers = step.pages.iter().flat_map(|(_, page)| page.iter()).map(|(_, p)| p);
        if pointers.any(|p| own(&p) && tx.needs_refs(p.pba())) {
            return Err(Refusal::Bounce(Seq(0)));
        }
        let (mut deltas, mut inherited, mut amends) = (Vec::new(), 0, Vec::new());
        for (key, page) in &step.pages {
            let holder = self.holder(branch.id, *key);
            let mut holes = Partial::default();
            for (slot, pointer) in page.iter() {
                holes.set(slot, Slot::Hole);
                self.let_go_of(&branch, holder, pointer, tx, (&mut deltas, &mut inherited));
            }
            // A write, not an amendment: a load that began before the discard must see it.
            amends.push(Mutation::Write { key: *key, epoch: step.epoch, partial: holes });
        }
        branch.trims[at].from = step.to;
        branch.trims.retain(|t| t.from < t.to);
        Delta::coalesce(&mut deltas);
        let id = branch.id;
        // The record first: the space change below adds to its count of inherited blocks.
        tx.mutate(|out| Mutation::PutBranch(branch).encode(out));
        tx.mutate(|out| Mutation::Space { branch: id, deltas, inherited }.encode(out));
        tx.mutate(|out| amends.iter().for_each(|m| m.encode(out)));
        Ok(Reply::Done)
    }
}
