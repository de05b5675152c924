//! From versions to a page: what the index and the generations say of it, along the branch and its origins.
//!
//! A page at a view is the newest version at or before it, laid over the next older, and so on, then over the
//! origin's at the branch point, until nothing is left unset. Blocking: it reads the index.

use crate::catalogue::Catalogue;
use crate::generation::{Generation, PageKey, Version};
use crate::ids::Epoch;
use crate::key::{prefix_end, MapKey};
use crate::machine::State;
use crate::map::{codec, Page, Partial};
use crate::pages::View;
use block_layer::index::Index;
use block_layer::IndexError;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

/// A branch on the way from a page's branch to its first origin.
pub(super) struct Level {
    key: PageKey,
    /// The newest epoch to look at.
    limit: Epoch,
    /// What the generations have: frozen first.
    deltas: Vec<(Epoch, Version)>,
    /// The branch was made since the last checkpoint: the index has nothing of it.
    fresh: bool,
}

/// Where the versions of a page are, and what need not be asked for any more.
pub(super) struct Levels {
    levels: Vec<Level>,
    /// The page as it is below them, if that is known.
    base: Option<Base>,
}

/// A page that was in memory.
struct Base {
    page: Box<Page>,
    newest: Epoch,
}

impl Levels {
    /// The levels of a page down to the first whose page is in memory.
    pub(super) fn of(state: &mut State, key: PageKey, view: View) -> Levels {
        let generations = state.frozen.as_deref().into_iter().chain([&state.active]);
        let mut levels = levels(&state.catalogue, generations, key, view);
        for at in 0..levels.len() {
            if let Some(cached) = state.cached_at(levels[at].key, levels[at].limit) {
                let base = Base { page: cached.page.clone(), newest: cached.newest };
                levels.truncate(at);
                return Levels { levels, base: Some(base) };
            }
        }
        Levels { levels, base: None }
    }

    /// All levels, whatever is in memory.
    pub(super) fn all(state: &State, key: PageKey, view: View) -> Levels {
        let generations = state.frozen.as_deref().into_iter().chain([&state.active]);
        Levels { levels: levels(&state.catalogue, generations, key, view), base: None }
    }

    /// Whether they are resolved without the index.
    pub(super) fn are_in_memory(&self) -> bool {
        self.levels.iter().all(|level| level.fresh)
    }
}

/// A page, resolved.
pub(super) struct Resolved {
    pub(super) page: Box<Page>,
    /// Versions that were laid over one another.
    pub(super) versions: u8,
    /// Branches that had to be looked at.
    pub(super) depth: usize,
    /// The epoch of the newest.
    pub(super) newest: Epoch,
}

/// The levels of a page, with what the generations have of each.
pub(super) fn levels<'a>(
    catalogue: &Catalogue,
    generations: impl Iterator<Item = &'a Generation> + Clone,
    key: PageKey,
    view: View,
) -> Vec<Level> {
    let (mut branch, mut limit) = match view {
        View::At(epoch) => (key.branch, epoch),
        View::Live => (key.branch, Epoch::LIVE),
    };
    let mut levels = Vec::with_capacity(1);
    loop {
        let key = PageKey { branch, ..key };
        let older = |(epoch, _): &&(Epoch, Version)| *epoch <= limit;
        let deltas = generations.clone().flat_map(|g| g.versions(key).iter().filter(older).cloned());
        let fresh = generations.clone().any(|generation| generation.has_made(branch));
        levels.push(Level { key, limit, deltas: deltas.collect(), fresh });
        let Some(record) = catalogue.branches.get(&branch) else { return levels };
        let flat = record.flat.is_some_and(|flat| limit >= flat);
        match record.origin {
            Some(origin) if !flat => (branch, limit) = (origin.branch, origin.epoch),
            _ => return levels,
        }
    }
}

/// Lays the versions of each page over one another, and over what is below them: one pass over the index for
/// every branch on the way. The index reads least when the pages are in order.
pub(super) fn resolve(index: &dyn Index, pages: Vec<Levels>) -> Result<Vec<Resolved>, IndexError> {
    let mut sums: Vec<Sum> = pages.into_iter().map(Sum::of).collect();
    loop {
        let mut found: Vec<Option<Found>> =
            sums.iter_mut().map(|sum| sum.next_level().map(Found::of)).collect();
        if found.iter().all(Option::is_none) {
            return Ok(sums.into_iter().map(Sum::resolved).collect());
        }
        let (mut ranges, mut wanted) = (Vec::new(), Vec::new());
        for (at, found) in found.iter().enumerate().filter_map(|(at, f)| f.as_ref().map(|f| (at, f))) {
            if found.wants_index() {
                ranges.push(versions_of(found.key, found.limit));
                wanted.push(at);
            }
        }
        // An empty lookup would be one all the same.
        if !ranges.is_empty() {
            read_versions(index, &ranges, &mut |place, epoch, partial| {
                found[wanted[place]].as_mut().expect("it was asked for").lay_under(epoch, partial)
            })?;
        }
        for (sum, found) in sums.iter_mut().zip(found) {
            found.into_iter().for_each(|found| sum.take(found));
        }
    }
}

/// A page on the way to be resolved.
struct Sum {
    levels: std::vec::IntoIter<Level>,
    base: Option<Base>,
    partial: Partial,
    versions: u8,
    depth: usize,
    newest: Epoch,
}

impl Sum {
    fn of(Levels { levels, base }: Levels) -> Sum {
        let levels = levels.into_iter();
        Sum { levels, base, partial: Partial::default(), versions: 0, depth: 0, newest: Epoch::ZERO }
    }

    /// The next branch to be looked at, if something is left to be known.
    fn next_level(&mut self) -> Option<Level> {
        let next = if self.partial.is_complete() { None } else { self.levels.next() };
        self.depth += usize::from(next.is_some());
        next
    }

    fn take(&mut self, found: Found) {
        for (Reverse(epoch), version) in found.versions.into_iter().filter(|(_, v)| !v.partial.is_empty()) {
            if self.versions == 0 {
                self.newest = epoch;
            }
            self.versions = self.versions.saturating_add(1);
            self.partial.lay_under(version.partial);
            if self.partial.is_complete() {
                return;
            }
        }
    }

    fn resolved(self) -> Resolved {
        let Sum { base, partial, versions, depth, newest, .. } = self;
        match base {
            Some(Base { mut page, newest: below }) => {
                page.apply(&partial);
                Resolved { page, versions, depth, newest: newest.max(below) }
            }
            None => Resolved { page: Page::resolve_from([&partial]), versions, depth, newest },
        }
    }
}

/// The versions of a page in one branch, newest first.
struct Found {
    key: PageKey,
    limit: Epoch,
    fresh: bool,
    versions: BTreeMap<Reverse<Epoch>, Version>,
}

impl Found {
    /// What the generations have.
    fn of(Level { key, limit, deltas, fresh }: Level) -> Found {
        let mut versions: BTreeMap<Reverse<Epoch>, Version> = BTreeMap::new();
        for (epoch, newer) in deltas {
            versions.entry(Reverse(epoch)).or_default().lay_over(newer);
        }
        Found { key, limit, fresh, versions }
    }

    /// Whether the index may have more. A complete version is enough if it is the newest, and what the
    /// generations have need not be: reclaim completes old versions while newer ones are in the index only.
    fn wants_index(&self) -> bool {
        let newest = self.versions.get(&Reverse(self.limit));
        !self.fresh && !newest.is_some_and(|version| version.partial.is_complete())
    }

    /// Takes a version that the index has; whether older ones are not needed.
    fn lay_under(&mut self, epoch: Epoch, partial: Partial) -> bool {
        let version = self.versions.entry(Reverse(epoch)).or_default();
        version.lay_under(partial);
        version.partial.is_complete()
    }
}

/// The versions of a page in its own branch, born after `before` and at or before the level's limit, oldest
/// first.
pub(super) fn since(
    index: &dyn Index,
    level: Level,
    before: Epoch,
) -> Result<BTreeMap<Epoch, Partial>, IndexError> {
    let mut found = Found::of(level);
    read_versions(index, &[versions_of(found.key, found.limit)], &mut |_, epoch, partial| {
        found.lay_under(epoch, partial);
        epoch <= before
    })?;
    let versions = found.versions.into_iter().rev().map(|(Reverse(epoch), version)| (epoch, version.partial));
    Ok(versions.filter(|(epoch, partial)| *epoch > before && !partial.is_empty()).collect())
}

/// Where the index has the versions of a page at or before `limit`, newest first.
fn versions_of(key: PageKey, limit: Epoch) -> Range<Vec<u8>> {
    let PageKey { branch, object, page } = key;
    let end = prefix_end(&MapKey::of_page(branch, object, page)).expect("a key begins with its kind");
    MapKey { branch, object, page, epoch: limit }.encode()..end
}

/// Calls `visit` with the place of a range and each version that the index has in it, until it says enough.
fn read_versions(
    index: &dyn Index,
    ranges: &[Range<Vec<u8>>],
    visit: &mut dyn FnMut(usize, Epoch, Partial) -> bool,
) -> Result<(), IndexError> {
    let mut damaged = None;
    index.lookup(ranges, &mut |place, key, value| {
        let version = MapKey::parse(key).and_then(|key| Ok((key.epoch, codec::decode(value)?)));
        let enough = match version {
            Ok((epoch, partial)) => damaged.is_some() || visit(place, epoch, partial),
            Err(e) => {
                damaged = Some(IndexError::Damaged { key: key.to_vec(), what: e.what });
                true
            }
        };
        match enough {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    damaged.map_or(Ok(()), Err)
}
