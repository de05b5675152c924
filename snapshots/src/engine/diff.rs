//! Changed blocks: which ranges differ between two states of a volume, in time proportional to the change.
//!
//! Candidates are the pages touched on the way from one state to the other, along the branches up to where
//! their histories meet; each is compared slot by slot.

use super::{Engine, Volume};
use crate::catalogue::Catalogue;
use crate::error::Error;
use crate::generation::PageKey;
use crate::ids::{BranchId, Epoch, ObjectId, PageNo, PAGE_BLOCKS};
use crate::key::{prefix_end, TouchedKey};
use crate::map::{Page, Pointer};
use crate::pages::View;
use crate::touched::Touched;
use block_layer::runtime::unblock;
use block_layer::{IndexError, BLOCK};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A range of bytes that differs: both ends multiples of 4096, except at the volume's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedRange {
    /// Byte offset.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// A stretch of a branch's history: the epochs after `after`, up to `upto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    branch: BranchId,
    after: Epoch,
    upto: Epoch,
}

/// Where two states end, in bytes; an end that hides nothing from the other is `u64::MAX`.
///
/// What a shrink left behind an end is mapped and no content: a larger state differs there though its
/// pointers are the same.
struct Ends {
    new: u64,
    old: u64,
}

type Groups = BTreeMap<(ObjectId, u64), Touched>;

impl Volume {
    /// The ranges in which this state (of a dataset or of a snapshot of it) differs from `from`, from byte
    /// `start` on, at most `limit` of them. `from` = `None` compares with nothing at all: every mapped range.
    ///
    /// # Errors
    /// One of the two does not exist (any more).
    pub async fn changed_since(
        &self,
        from: Option<&Volume>,
        start: u64,
        limit: usize,
    ) -> Result<Vec<ChangedRange>, Error> {
        loop {
            let (new, old) = (self.view()?, from.map(Volume::view).transpose()?);
            let ranges = self.compare(new, old, start, limit).await?;
            // A view that went away meanwhile may have been reclaimed in part: look again, or say that it is
            // gone.
            let (now, then) = (self.view()?, from.map(Volume::view).transpose()?);
            if now == new && then == old {
                return Ok(ranges);
            }
        }
    }

    async fn compare(
        &self,
        (branch, view, size): (BranchId, View, u64),
        old: Option<(BranchId, View, u64)>,
        start: u64,
        limit: usize,
    ) -> Result<Vec<ChangedRange>, Error> {
        let engine = self.engine();
        let object = self.object_id();
        let ends = Ends::of(object, size, old.map(|(.., end)| end));
        let old = old.map(|(branch, view, _)| (branch, view));
        let mut groups = engine.touched_between(object, (branch, view), old).await?;
        if ends.old < ends.new {
            let (group, place) = PageNo::of_block(ends.old / BLOCK as u64).0.group();
            groups.entry((object, group)).or_default().insert(place);
        }
        let mut ranges: Vec<ChangedRange> = Vec::new();
        for ((object, group), touched) in groups {
            for place in touched.iter() {
                let page = PageNo::in_group(group, place).expect("it was made from a page");
                let first = page.0 * PAGE_BLOCKS as u64;
                if (first + PAGE_BLOCKS as u64) * BLOCK as u64 <= start {
                    continue;
                }
                let new = engine.seen(PageKey { branch, object, page }, view).await?;
                let old = match old {
                    Some((branch, view)) => engine.seen(PageKey { branch, object, page }, view).await?,
                    None => Box::new(Page::EMPTY),
                };
                for slot in 0..PAGE_BLOCKS {
                    let offset = (first + slot as u64) * BLOCK as u64;
                    if offset < start || !ends.differ(offset, new.slots()[slot], old.slots()[slot]) {
                        continue;
                    }
                    let end = ends.new.min(offset + BLOCK as u64);
                    let full = ranges.len() == limit;
                    match ranges.last_mut() {
                        Some(last) if last.offset + last.len == offset => last.len += end - offset,
                        _ if full => return Ok(ranges),
                        _ => ranges.push(ChangedRange { offset, len: end - offset }),
                    }
                }
            }
        }
        Ok(ranges)
    }
}

impl Ends {
    fn of(object: ObjectId, new: u64, old: Option<u64>) -> Ends {
        match object {
            ObjectId(0) => Ends { new, old: old.filter(|old| *old < new).unwrap_or(u64::MAX) },
            _ => Ends { new: u64::MAX, old: u64::MAX },
        }
    }

    /// Whether the two states differ in the block at byte `offset`, for which they have these pointers.
    fn differ(&self, offset: u64, new: Option<Pointer>, old: Option<Pointer>) -> bool {
        let cut = offset < self.old && self.old - offset < BLOCK as u64;
        offset < self.new && (new != old.filter(|_| offset < self.old) || (cut && new.is_some()))
    }
}

impl Engine {
    /// A page as a view sees it, past the cache: a comparison of everything would only empty it.
    async fn seen(&self, key: PageKey, view: View) -> Result<Box<Page>, Error> {
        if view == View::Live && self.space.lock().is_discarded(key) {
            return Ok(Box::new(Page::EMPTY));
        }
        self.page_behind(key, view).await
    }

    /// The pages of an object that were touched between two states.
    async fn touched_between(
        &self,
        object: ObjectId,
        new: (BranchId, View),
        old: Option<(BranchId, View)>,
    ) -> Result<Groups, Error> {
        let (stretches, discards) = {
            let state = self.space.lock();
            let stretches = stretches(&state.catalogue, new, old);
            let trims = |branch: BranchId| {
                state.catalogue.branches.get(&branch).map_or(Vec::new(), |b| b.trims.clone())
            };
            let discards: Vec<_> =
                [Some(new), old].into_iter().flatten().flat_map(|(b, _)| trims(b)).collect();
            (stretches, discards)
        };
        let mut groups = Groups::new();
        for stretch in stretches {
            self.touched_in(object, stretch, &mut groups).await?;
        }
        // Pages that are discarded and not worked off differ too, wherever they were mapped.
        for trim in discards.into_iter().filter(|t| t.object == object) {
            let mut rest = trim;
            while rest.from < rest.to {
                let (pages, next) = self.mapped_pages(new.0, rest).await?;
                for page in pages {
                    let (group, place) = page.group();
                    groups.entry((object, group)).or_default().insert(place);
                }
                rest.from = next;
            }
        }
        Ok(groups)
    }

    async fn touched_in(&self, object: ObjectId, stretch: Stretch, to: &mut Groups) -> Result<(), Error> {
        let Stretch { branch, after, upto } = stretch;
        if after >= upto {
            return Ok(());
        }
        let first = Epoch(after.0 + 1);
        loop {
            let cut = self.space.lock().forgotten;
            let mut found = self.stored_touched_in(object, stretch).await?;
            let state = self.space.lock();
            if state.forgotten != cut {
                // A checkpoint has ended meanwhile: what it took to the index is in neither of the two.
                continue;
            }
            for generation in state.frozen.as_deref().into_iter().chain([&state.active]) {
                for epoch in generation.touched_epochs(branch, first, upto) {
                    let groups = found.entry(epoch).or_default();
                    generation.overlay_touched(branch, epoch, (ObjectId(0), 0), groups);
                }
            }
            for (at, touched) in found.into_values().flatten().filter(|((o, _), _)| *o == object) {
                to.entry(at).or_default().union(&touched);
            }
            return Ok(());
        }
    }

    /// The pages of an object that were touched in a stretch, by epoch, as the index has it.
    async fn stored_touched_in(
        &self,
        object: ObjectId,
        Stretch { branch, after, upto }: Stretch,
    ) -> Result<BTreeMap<Epoch, Groups>, Error> {
        let index = self.store.index().clone();
        unblock(&**self.store.runtime(), move || {
            let first = Epoch(after.0 + 1);
            let start = TouchedKey { branch, epoch: first, object: ObjectId(0), group: 0 }.encode();
            let end = prefix_end(&TouchedKey::of_epoch(branch, upto)).expect("it begins with its kind");
            let (mut found, mut damaged) = (BTreeMap::<Epoch, Groups>::new(), None);
            index.scan(&start, &end, &mut |key, value| match TouchedKey::parse(key)
                .and_then(|k| Ok((k, Touched::decode(value)?)))
            {
                Ok((key, touched)) => {
                    if key.object == object {
                        let group = (key.object, key.group);
                        found.entry(key.epoch).or_default().insert(group, touched);
                    }
                    ControlFlow::Continue(())
                }
                Err(e) => {
                    damaged = Some(IndexError::Damaged { key: key.to_vec(), what: e.what });
                    ControlFlow::Break(())
                }
            })?;
            damaged.map_or(Ok(found), |e| Err(e.into()))
        })
        .await
    }
}

/// The branches that a state looks through, newest first, each with the last epoch that it sees.
fn lineage(catalogue: &Catalogue, (branch, view): (BranchId, View)) -> Vec<(BranchId, Epoch)> {
    let open = |id: BranchId| catalogue.branches.get(&id).map_or(Epoch::LIVE, |b| b.open);
    let mut levels = vec![match view {
        View::Live => (branch, open(branch)),
        View::At(epoch) => (branch, epoch),
    }];
    let mut at = branch;
    while let Some(origin) = catalogue.branches.get(&at).and_then(|b| b.origin) {
        levels.push((origin.branch, origin.epoch));
        at = origin.branch;
    }
    levels
}

/// The stretches of history in which two states differ.
fn stretches(catalogue: &Catalogue, new: (BranchId, View), old: Option<(BranchId, View)>) -> Vec<Stretch> {
    let ours = lineage(catalogue, new);
    let theirs = old.map_or_else(Vec::new, |old| lineage(catalogue, old));
    let meets = |id: BranchId| theirs.iter().position(|(branch, _)| *branch == id);
    let meeting = ours.iter().enumerate().find_map(|(at, (id, _))| Some((at, meets(*id)?)));
    let (own, other) = meeting.unwrap_or((ours.len(), theirs.len()));
    let whole =
        |(branch, upto): &(BranchId, Epoch)| Stretch { branch: *branch, after: Epoch::ZERO, upto: *upto };
    let mut all: Vec<Stretch> = ours[..own].iter().chain(&theirs[..other]).map(whole).collect();
    if let Some((own, other)) = meeting {
        let ((branch, a), (_, b)) = (ours[own], theirs[other]);
        all.push(Stretch { branch, after: a.min(b), upto: a.max(b) });
    }
    all
}
