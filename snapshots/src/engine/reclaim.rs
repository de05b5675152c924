//! Reclaim: giving back what only a deleted view saw, page by page, in bounded commits.
//!
//! The pages to look at are those touched both in the view's own interval and in the next one: only there can
//! a block have been born in the first and replaced in the second (design rule 6). When a group of pages is
//! done, its touched set moves to the next interval, which the dead one becomes part of.
//!
//! The step is prepared here and decided in [`crate::machine`], in commit order.

use super::versions::{levels, resolve, since, Levels};
use super::Engine;
use crate::catalogue::Cursor;
use crate::error::{Error, Retry};
use crate::generation::PageKey;
use crate::ids::{BranchId, Epoch, ObjectId, PageNo};
use crate::key::{prefix_end, DeathKey, LiveKey, PastKey, TouchedKey};
use crate::machine::op::{Admin, Between, Dead, DyingPage, Next, Op, ReclaimStep};
use crate::map::{Page, Partial};
use crate::pages::View;
use crate::touched::Touched;
use block_layer::runtime::unblock;
use block_layer::IndexError;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Blocks freed after which a step takes no further page: commands wait while they are.
const STEP_BLOCKS: usize = 256;
/// Small entries that one commit removes.
const ENTRIES: usize = 64;
/// Bytes of their keys and values after which it takes no more: a record has to hold them.
const ENTRY_BYTES: usize = 64 << 10;

impl Engine {
    /// Reclaims some of a view.
    pub(super) async fn reclaim_step(&self, dead: Dead) -> Result<(), Error> {
        let looked = {
            let state = self.space.lock();
            state.between(dead).zip(state.cursor(dead)).map(|(between, from)| (between, from, state.applied))
        };
        let Some((between, from, as_of)) = looked else { return Ok(()) };
        let admin = if from == Cursor::END {
            match self.dead_entries(dead, between).await? {
                changes if changes.is_empty() => Admin::ReclaimDone(dead),
                changes => Admin::ReclaimEntries { dead, changes },
            }
        } else {
            let step = ReclaimStep {
                dead,
                between,
                from,
                as_of,
                to: Cursor::END,
                pages: Vec::new(),
                untouched: Vec::new(),
                group: None,
            };
            Admin::Reclaim(self.prepare_step(step).await?)
        };
        match self.store.commit(Op::Admin(admin)).await.map_err(Retry::from) {
            Ok(_) => Ok(()),
            // The view's neighbours changed, or a page left memory: the next step looks anew.
            Err(Retry::After(seq)) => {
                self.store.wait_visible(seq).await;
                Ok(())
            }
            Err(Retry::Failed(e)) => Err(e),
        }
    }

    async fn prepare_step(&self, mut step: ReclaimStep) -> Result<ReclaimStep, Error> {
        let (branch, between, from) = (step.dead.branch(), step.between, step.from);
        let (group_no, _) = from.page.group();
        let found = self.touched_group(branch, between.epoch, (from.object, group_no), None).await?;
        let Some(((object, group), touched)) = found else { return Ok(step) };
        let start = if (object, group) == (from.object, group_no) { from.page.group().1 } else { 0 };
        let places: Vec<u16> = touched.iter().filter(|place| *place >= start).collect();
        let most = self.config.background.step_pages.max(1);
        let next_touched = match between.next {
            Next::Nothing => None,
            Next::Snapshot(epoch) | Next::Live(epoch) => {
                let own = (object, group);
                let next = self.touched_group(branch, epoch, own, Some(own)).await?;
                Some(next.map_or_else(Touched::default, |(_, touched)| touched))
            }
        };
        let (mut looked, mut freed) = (0, 0);
        for place in places.iter().take(most) {
            if freed >= STEP_BLOCKS {
                break;
            }
            looked += 1;
            let page = PageNo::in_group(group, *place).expect("it was made from a page");
            let key = PageKey { branch, object, page };
            let seen_next = next_touched.as_ref().map(|touched| touched.contains(*place));
            if seen_next == Some(false) && matches!(between.next, Next::Live(_)) {
                step.untouched.push(key);
            }
            if let Some(dying) = self.dying_page(key, between, seen_next).await? {
                freed += self.freed_by(&dying, between);
                step.pages.push(dying);
            }
        }
        step.to = match places.get(looked) {
            Some(place) => Cursor { object, page: PageNo::in_group(group, *place).expect("as above") },
            None => {
                step.group = Some((object, group, touched));
                match PageNo::in_group(group + 1, 0) {
                    Some(page) => Cursor { object, page },
                    None => Cursor { object: ObjectId(object.0 + 1), page: PageNo(0) },
                }
            }
        };
        let blocks = step.pages.iter().flat_map(|page| page.page.iter().map(|(_, p)| p));
        let born: Vec<_> = blocks.filter(|p| p.birth() > between.before).collect();
        self.load_refs(born.into_iter()).await?;
        Ok(step)
    }

    /// Blocks that a page will free, about: what the live side has of it now may change yet.
    fn freed_by(&self, dying: &DyingPage, between: Between) -> usize {
        let state = self.space.lock();
        let live = match between.next {
            Next::Live(_) => state.pages.peek(dying.key, View::Live).map(|cached| &*cached.page),
            _ => None,
        };
        let next = dying.next.as_deref().or(live);
        let unseen = |slot, p| next.is_none_or(|page| page.get(slot) != Some(p));
        dying.page.iter().filter(|(slot, p)| p.birth() > between.before && unseen(*slot, *p)).count()
    }

    /// What is to be done with one page; `None` when nothing is.
    ///
    /// `seen_next`: whether the next interval touched it; `None` when there is no next one.
    async fn dying_page(
        &self,
        key: PageKey,
        between: Between,
        seen_next: Option<bool>,
    ) -> Result<Option<DyingPage>, Error> {
        let into = match (between.next, seen_next) {
            (Next::Snapshot(epoch), Some(true)) => epoch,
            _ => between.epoch,
        };
        let views = match (seen_next, between.next) {
            (Some(false), _) => vec![],
            (_, Next::Snapshot(next)) => vec![between.epoch, next],
            _ => vec![between.epoch],
        };
        let (own, views) = {
            let state = self.space.lock();
            let generations = state.frozen.as_deref().into_iter().chain([&state.active]);
            let own = levels(&state.catalogue, generations, key, View::At(into)).swap_remove(0);
            let views = views.into_iter().map(|epoch| Levels::all(&state, key, View::At(epoch)));
            (own, views.collect::<Vec<_>>())
        };
        let index = self.store.index().clone();
        let job = move || -> Result<_, IndexError> {
            Ok((since(&*index, own, between.before)?, resolve(&*index, views)?))
        };
        let (versions, pages) = unblock(&**self.store.runtime(), job).await?;
        let (drop, fold) = folded(versions, between.next, into);
        let mut pages = pages.into_iter().map(|resolved| resolved.page);
        let Some(page) = pages.next() else {
            // Nothing of it was replaced: everything is still seen. Only its versions may be folded.
            let page = Box::new(Page::EMPTY);
            let next = Some(page.clone());
            return Ok((!drop.is_empty()).then_some(DyingPage { key, page, next, drop, fold }));
        };
        if let Next::Live(_) = between.next {
            self.load(key, View::Live).await?;
        }
        Ok(Some(DyingPage { key, page, next: pages.next(), drop, fold }))
    }

    /// The first group of pages, at or behind `from`, that an interval touched (`only`: no other than this).
    pub(super) async fn touched_group(
        &self,
        branch: BranchId,
        epoch: Epoch,
        from: (ObjectId, u64),
        only: Option<(ObjectId, u64)>,
    ) -> Result<Option<((ObjectId, u64), Touched)>, Error> {
        loop {
            let cut = self.space.lock().forgotten;
            let mut known = self.stored_touched(branch, epoch, from).await?;
            let state = self.space.lock();
            if state.forgotten != cut {
                // A checkpoint has ended meanwhile: what it took to the index is in neither of the two.
                continue;
            }
            for generation in state.frozen.as_deref().into_iter().chain([&state.active]) {
                generation.overlay_touched(branch, epoch, from, &mut known);
            }
            let wanted = |at: &(ObjectId, u64)| only.is_none_or(|only| only == *at);
            return Ok(known.into_iter().find(|(at, touched)| !touched.is_empty() && wanted(at)));
        }
    }

    /// The first group of pages that an interval touched, as the index has it.
    async fn stored_touched(
        &self,
        branch: BranchId,
        epoch: Epoch,
        from: (ObjectId, u64),
    ) -> Result<BTreeMap<(ObjectId, u64), Touched>, Error> {
        let index = self.store.index().clone();
        unblock(&**self.store.runtime(), move || {
            let start = TouchedKey { branch, epoch, object: from.0, group: from.1 }.encode();
            let end = prefix_end(&TouchedKey::of_epoch(branch, epoch)).expect("it begins with its kind");
            let (mut known, mut damaged) = (BTreeMap::new(), None);
            index.scan(&start, &end, &mut |key, value| {
                match TouchedKey::parse(key).and_then(|k| Ok((k, Touched::decode(value)?))) {
                    Ok((key, touched)) => {
                        known.insert((key.object, key.group), touched);
                    }
                    Err(e) => damaged = Some(IndexError::Damaged { key: key.to_vec(), what: e.what }),
                }
                ControlFlow::Break(())
            })?;
            damaged.map_or(Ok(known), |e| Err(e.into()))
        })
        .await
    }

    /// Changes that remove small entries which only the dead view saw, and hand others to the view before.
    async fn dead_entries(
        &self,
        dead: Dead,
        between: Between,
    ) -> Result<Vec<(Vec<u8>, Option<Vec<u8>>)>, Error> {
        let mut changes = Vec::new();
        let before = between.before;
        match dead {
            Dead::Live(branch) => {
                let from = LiveKey::of_names(branch, b"");
                for (key, value) in self.values(&from, ENTRIES).await? {
                    if weight(&changes) > ENTRY_BYTES {
                        break;
                    }
                    let LiveKey { name, .. } = LiveKey::parse(&key)?;
                    let (birth, bare) = super::entries::split_live(&value)?;
                    changes.push((key, None));
                    if birth <= before {
                        push_past(&mut changes, PastKey { branch, name, to: before, from: birth }, bare);
                    }
                }
            }
            Dead::Snapshot(id) => {
                let from = DeathKey::of_epoch(id.branch, id.epoch);
                for (key, _) in self.values(&from, ENTRIES).await? {
                    if weight(&changes) > ENTRY_BYTES {
                        break;
                    }
                    let DeathKey { branch, to, name } = DeathKey::parse(&key)?;
                    changes.push((key, None));
                    let mut prefix = PastKey::of_entry(branch, &name);
                    prefix.extend(to.0.to_be_bytes());
                    for (key, value) in self.values(&prefix, ENTRIES).await? {
                        let past = PastKey::parse(&key)?;
                        changes.push((key, None));
                        if past.from <= before {
                            push_past(&mut changes, PastKey { to: before, ..past }, &value);
                        }
                    }
                }
            }
        }
        Ok(changes)
    }
}

fn weight(changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> usize {
    changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
}

fn push_past(changes: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>, past: PastKey, value: &[u8]) {
    let death = DeathKey { branch: past.branch, to: past.to, name: past.name.clone() };
    changes.push((past.encode(), Some(value.to_vec())));
    changes.push((death.encode(), Some(Vec::new())));
}

/// Which of a page's versions go, and what a later one takes over from them: afterwards the joined interval
/// has one version of the page, and one that is still open.
fn folded(
    versions: BTreeMap<Epoch, Partial>,
    next: Next,
    into: Epoch,
) -> (Vec<Epoch>, Option<(Epoch, Partial)>) {
    if next == Next::Nothing {
        return (versions.into_keys().collect(), None);
    }
    if versions.len() < 2 {
        return (Vec::new(), None);
    }
    let mut sum = Partial::default();
    versions.values().for_each(|version| sum.lay_over(version));
    let drop: Vec<Epoch> = versions.keys().copied().filter(|epoch| *epoch != into).collect();
    if sum.is_sealed() {
        return (drop, Some((into, sum)));
    }
    // All that goes is said again, also what the target has: in memory it may be more complete than the
    // journal knows (a page that has piled up is written out whole), and a replay would miss the rest.
    let mut taken = Partial::default();
    for version in versions.iter().filter(|(epoch, _)| **epoch != into).map(|(_, version)| version) {
        version.iter().for_each(|(slot, _)| taken.set(slot, sum.get(slot)));
    }
    (drop, (!taken.is_empty()).then_some((into, taken)))
}
