//! From versions to a page: what the index and the generations say of it, along the branch and its origins.
//!
//! A page at a view is the newest version at or before it, laid over the next older, and so on, then over the
//! origin's at the branch point, until nothing is left unset. Blocking: it reads the index.

use crate::catalogue::Catalogue;
use crate::error::Error;
use crate::generation::{Generation, PageKey, Version};
use crate::ids::Epoch;
use crate::key::{prefix_end, MapKey};
use crate::machine::State;
use crate::map::{codec, Page, Partial};
use crate::pages::View;
use block_layer::index::Index;
use block_layer::IndexError;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

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

/// Lays the versions of `levels` over one another, and over what is below them.
pub(super) fn resolve(index: &dyn Index, Levels { levels, base }: Levels) -> Result<Resolved, Error> {
    let mut sum = Partial::default();
    let (mut versions, mut newest, mut depth) = (0_u8, Epoch::ZERO, 0);
    for level in levels {
        depth += 1;
        for (epoch, partial) in level.versions(index)? {
            if versions == 0 && newest == Epoch::ZERO {
                newest = epoch;
            }
            versions = versions.saturating_add(1);
            sum.lay_under(partial);
            if sum.is_complete() {
                break;
            }
        }
        if sum.is_complete() {
            break;
        }
    }
    let page = match base {
        Some(Base { mut page, newest: below }) => {
            page.apply(&sum);
            newest = newest.max(below);
            page
        }
        None => Page::resolve_from([&sum]),
    };
    Ok(Resolved { page, versions, newest, depth })
}

/// The versions of a page in its own branch, born after `before` and at or before the level's limit, oldest
/// first.
pub(super) fn since(
    index: &dyn Index,
    level: Level,
    before: Epoch,
) -> Result<BTreeMap<Epoch, Partial>, Error> {
    let mut all: BTreeMap<Epoch, Version> = BTreeMap::new();
    for (epoch, newer) in level.deltas {
        let version = all.entry(epoch).or_default();
        if newer.dropped {
            *version = newer;
        } else {
            version.partial.lay_over(&newer.partial);
        }
    }
    read_versions(index, level.key, level.limit, &mut |epoch, partial| {
        let version = all.entry(epoch).or_default();
        if !version.dropped {
            version.partial.lay_under(partial);
        }
        epoch <= before
    })?;
    all.retain(|epoch, version| *epoch > before && !version.partial.is_empty());
    Ok(all.into_iter().map(|(epoch, version)| (epoch, version.partial)).collect())
}

impl Level {
    /// The level's versions, newest first.
    fn versions(self, index: &dyn Index) -> Result<Vec<(Epoch, Partial)>, Error> {
        let mut all: BTreeMap<std::cmp::Reverse<Epoch>, Version> = BTreeMap::new();
        for (epoch, newer) in self.deltas {
            let version = all.entry(std::cmp::Reverse(epoch)).or_default();
            if newer.dropped {
                *version = newer;
            } else {
                version.partial.lay_over(&newer.partial);
            }
        }
        // A complete version is enough if it is the newest, and what the generations have need not be:
        // reclaim completes old versions while newer ones are in the index only.
        let newest = all.get(&std::cmp::Reverse(self.limit));
        if !self.fresh && !newest.is_some_and(|version| version.partial.is_complete()) {
            read_versions(index, self.key, self.limit, &mut |epoch, partial| {
                let version = all.entry(std::cmp::Reverse(epoch)).or_default();
                if !version.dropped {
                    version.partial.lay_under(partial);
                }
                version.partial.is_complete()
            })?;
        }
        let whole = all.into_iter().filter(|(_, version)| !version.partial.is_empty());
        Ok(whole.map(|(epoch, version)| (epoch.0, version.partial)).collect())
    }
}

/// Calls `visit` with the index's versions of a page at or before `limit`, newest first, until it says
/// enough.
pub(super) fn read_versions(
    index: &dyn Index,
    key: PageKey,
    limit: Epoch,
    visit: &mut dyn FnMut(Epoch, Partial) -> bool,
) -> Result<(), Error> {
    let PageKey { branch, object, page } = key;
    let from = MapKey { branch, object, page, epoch: limit }.encode();
    let to = prefix_end(&MapKey::of_page(branch, object, page)).expect("a key begins with its kind");
    let mut damaged = None;
    index.scan(&from, &to, &mut |key, value| {
        let version = MapKey::parse(key).and_then(|key| Ok((key.epoch, codec::decode(value)?)));
        match version {
            Ok((epoch, partial)) => match visit(epoch, partial) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            },
            Err(e) => {
                damaged = Some(IndexError::Damaged { key: key.to_vec(), what: e.what });
                ControlFlow::Break(())
            }
        }
    })?;
    damaged.map_or(Ok(()), |e| Err(e.into()))
}
