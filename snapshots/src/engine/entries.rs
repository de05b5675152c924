//! Small entries: a dataset's sorted key space of names and values, versioned by the same epochs as its data,
//! and changed in the same commits (see `edit`).
//!
//! The live version of an entry has a key without an epoch; versions that a snapshot still needs are moved
//! aside when they are superseded, so dead names never slow the live ones. Clones read through to their
//! origin.

use super::Engine;
use crate::catalogue::{DatasetId, SnapshotId};
use crate::decode::Damaged;
use crate::error::Error;
use crate::ids::{BranchId, Epoch};
use crate::key::{prefix_end, LiveKey, PastKey};
use crate::machine::merge::decode_live;
use crate::machine::no_snapshot;
use crate::machine::op::OldEntry;
use crate::pages::View;
use block_layer::runtime::unblock;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Entries looked at in one go while scanning.
const SCAN: usize = 256;

/// The branch levels that a view of a dataset looks through, newest first.
type Levels = Vec<(BranchId, Epoch)>;

impl Engine {
    /// The value of an entry, as the live side or a snapshot sees it.
    ///
    /// # Errors
    /// The dataset or snapshot does not exist; the index fails.
    pub async fn get(
        &self,
        dataset: DatasetId,
        snapshot: Option<SnapshotId>,
        name: &[u8],
    ) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let levels = self.entry_levels(dataset, snapshot)?;
            let value = self.entry(&levels, name).await;
            if self.entry_levels(dataset, snapshot)? == levels {
                return value;
            }
        }
    }

    /// Brings entries into memory, all that the index has of the view's own branch in one go: a hint, for who
    /// is about to get them one by one.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub async fn warm(
        &self,
        dataset: DatasetId,
        snapshot: Option<SnapshotId>,
        names: &[Vec<u8>],
    ) -> Result<(), Error> {
        let branch = self.entry_levels(dataset, snapshot)?[0].0;
        let (mut keys, as_of) = {
            let mut state = self.space.lock();
            let mut keys: Vec<Vec<u8>> =
                names.iter().map(|name| LiveKey { branch, name: name.clone() }.encode()).collect();
            keys.retain(|key| state.known_entry(key).is_none());
            (keys, state.applied)
        };
        if keys.is_empty() {
            return Ok(());
        }
        keys.sort_unstable();
        let index = self.store.index().clone();
        let read = move || keys.into_iter().map(|key| Ok((index.get(&key)?, key))).collect();
        let read: Result<Vec<_>, Error> = unblock(&**self.store.runtime(), read).await;
        let read = read?;
        let mut state = self.space.lock();
        for (stored, key) in read {
            if state.is_unchanged_since(&key, as_of) {
                state.entry_cache.insert(key, stored);
            }
        }
        Ok(())
    }

    /// Up to `limit` entries whose names are in `from..` and begin with `prefix`, in order.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub async fn scan(
        &self,
        dataset: DatasetId,
        snapshot: Option<SnapshotId>,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
        loop {
            let levels = self.entry_levels(dataset, snapshot)?;
            let found = self.scan_levels(&levels, prefix, from, limit).await;
            // A view that went away meanwhile may have been reclaimed in part: look again, or say that it is
            // gone.
            if self.entry_levels(dataset, snapshot)? == levels {
                return found;
            }
        }
    }

    async fn scan_levels(
        &self,
        levels: &[(BranchId, Epoch)],
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
        if from > prefix && !from.starts_with(prefix) {
            return Ok(Vec::new()); // behind all names that begin with it
        }
        let mut start = from.max(prefix).to_vec();
        let mut found = Vec::new();
        while found.len() < limit {
            let (some, next) = self.scan_some(levels, prefix, &start).await?;
            found.extend(some.into_iter().filter_map(|(name, value)| Some((name, value?))));
            match next {
                Some(next) => start = next,
                None => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    pub(super) fn entry_levels(
        &self,
        dataset: DatasetId,
        snapshot: Option<SnapshotId>,
    ) -> Result<Levels, Error> {
        let state = self.space.lock();
        let (branch, view) = match snapshot {
            None => (state.live_branch(dataset)?.id, View::Live),
            Some(id) => {
                state
                    .catalogue
                    .snapshots
                    .get(&id)
                    .filter(|s| s.name.is_some())
                    .ok_or_else(|| no_snapshot(id))?;
                (id.branch, View::At(id.epoch))
            }
        };
        let top = match view {
            View::Live => Epoch::LIVE,
            View::At(epoch) => epoch,
        };
        let mut levels = vec![(branch, top)];
        let mut at = branch;
        while let Some(origin) = state.catalogue.branches.get(&at).and_then(|b| b.origin) {
            levels.push((origin.branch, origin.epoch));
            at = origin.branch;
        }
        Ok(levels)
    }

    /// The levels below a branch.
    fn below(&self, branch: BranchId) -> Levels {
        let state = self.space.lock();
        let mut levels = Vec::new();
        let mut at = branch;
        while let Some(origin) = state.catalogue.branches.get(&at).and_then(|b| b.origin) {
            levels.push((origin.branch, origin.epoch));
            at = origin.branch;
        }
        levels
    }

    /// The value of an entry that a branch has from its origin; `None` when it has one of its own, or there
    /// is none.
    pub(super) async fn inherited_entry(
        &self,
        branch: BranchId,
        name: &[u8],
    ) -> Result<Option<Vec<u8>>, Error> {
        match self.live_entry(branch, name).await? {
            Some(_) => Ok(None),
            None => self.entry(&self.below(branch), name).await,
        }
    }

    pub(super) async fn entry(
        &self,
        levels: &[(BranchId, Epoch)],
        name: &[u8],
    ) -> Result<Option<Vec<u8>>, Error> {
        for (branch, epoch) in levels {
            if let Some(old) = self.live_entry(*branch, name).await? {
                if old.birth <= *epoch {
                    return Ok(old.value);
                }
            }
            if let Some(value) = self.past_entry(*branch, *epoch, name).await? {
                return Ok(value);
            }
        }
        Ok(None)
    }

    pub(super) async fn live_entry(&self, branch: BranchId, name: &[u8]) -> Result<Option<OldEntry>, Error> {
        let key = LiveKey { branch, name: name.to_vec() }.encode();
        let as_of = {
            let mut state = self.space.lock();
            if let Some(known) = state.known_entry(&key) {
                return decode_live(known);
            }
            state.applied
        };
        let index = self.store.index().clone();
        let wanted = key.clone();
        let stored = unblock(&**self.store.runtime(), move || index.get(&wanted)).await?;
        let mut state = self.space.lock();
        if state.is_unchanged_since(&key, as_of) {
            state.entry_cache.insert(key, stored.clone());
        }
        drop(state);
        decode_live(stored)
    }

    /// The past version that `epoch` sees: the outer `None` when there is none.
    async fn past_entry(
        &self,
        branch: BranchId,
        epoch: Epoch,
        name: &[u8],
    ) -> Result<Option<Option<Vec<u8>>>, Error> {
        if epoch == Epoch::LIVE {
            return Ok(None);
        }
        let prefix = PastKey::of_entry(branch, name);
        let mut from = prefix.clone();
        from.extend(epoch.0.to_be_bytes());
        let to = prefix_end(&prefix).expect("it begins with its kind");
        match self.values_in(&from, &to, 1).await?.0.into_iter().next() {
            Some((key, value)) if PastKey::parse(&key)?.from <= epoch => decode_value(&value).map(Some),
            _ => Ok(None),
        }
    }

    /// Some entries from `start` on as the levels see them, removed ones as `None`, and where to go on.
    #[allow(clippy::type_complexity)]
    async fn scan_some(
        &self,
        levels: &[(BranchId, Epoch)],
        prefix: &[u8],
        start: &[u8],
    ) -> Result<(Vec<(Vec<u8>, Option<Vec<u8>>)>, Option<Vec<u8>>), Error> {
        let mut names: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        let mut upto: Option<Vec<u8>> = None;
        for (branch, epoch) in levels {
            let live = self.names_of_level(*branch, *epoch, prefix, start).await?;
            if let Some(last) = live.1 {
                upto = Some(upto.map_or(last.clone(), |upto| upto.min(last)));
            }
            for (name, value) in live.0 {
                names.entry(name).or_insert(value);
            }
        }
        if let Some(upto) = &upto {
            // Beyond it, a level may have names that were not looked at.
            names.retain(|name, _| name <= upto);
        }
        let next = upto.map(|mut last| {
            last.push(0);
            last
        });
        Ok((names.into_iter().collect(), next))
    }

    /// What one level has from `start` on, and the last name looked at if there is more.
    #[allow(clippy::type_complexity)]
    async fn names_of_level(
        &self,
        branch: BranchId,
        epoch: Epoch,
        prefix: &[u8],
        start: &[u8],
    ) -> Result<(BTreeMap<Vec<u8>, Option<Vec<u8>>>, Option<Vec<u8>>), Error> {
        let mut names = BTreeMap::new();
        let end = prefix_end(&LiveKey::of_names(branch, prefix)).expect("it begins with its kind");
        let (live, more) = self.values_in(&LiveKey::of_names(branch, start), &end, SCAN).await?;
        let mut upto = None;
        for (key, value) in live {
            let LiveKey { name, .. } = LiveKey::parse(&key)?;
            let (birth, rest) = split_live(&value)?;
            if birth <= epoch {
                names.insert(name.clone(), decode_value(rest)?);
            }
            upto = Some(name);
        }
        upto = upto.filter(|_| more);
        if epoch == Epoch::LIVE {
            return Ok((names, upto));
        }
        let end = prefix_end(&PastKey::of_names(branch, prefix)).expect("it begins with its kind");
        let (past, more) = self.values_in(&PastKey::of_names(branch, start), &end, SCAN).await?;
        let mut last = None;
        for (key, value) in past {
            let PastKey { name, to, from, .. } = PastKey::parse(&key)?;
            if from <= epoch && epoch <= to {
                names.entry(name.clone()).or_insert(decode_value(&value)?);
            }
            last = Some(name);
        }
        if let Some(mut last) = last.filter(|_| more) {
            // The last name may have more versions: stop before it, unless it is all there is.
            if names.keys().next().is_some_and(|first| *first < last) {
                last = names.range(..last.clone()).next_back().map_or(last, |(name, _)| name.clone());
            }
            upto = Some(upto.map_or(last.clone(), |upto: Vec<u8>| upto.min(last)));
        }
        Ok((names, upto))
    }

    /// Up to `limit` entries of the index that begin with `prefix`, overlaid by the generations.
    pub(super) async fn values(&self, prefix: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
        let to = prefix_end(prefix).expect("it begins with its kind");
        Ok(self.values_in(prefix, &to, limit).await?.0)
    }

    /// The entries of the index in `from..to`, overlaid by the generations: at least one and about `limit`,
    /// and whether there may be more behind them.
    #[allow(clippy::type_complexity)]
    pub(super) async fn values_in(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<(Vec<(Vec<u8>, Vec<u8>)>, bool), Error> {
        let (mut from, to) = (from.to_vec(), to.to_vec());
        loop {
            let (some, next) = self.values_piece(&from, &to, limit).await?;
            match next {
                Some(next) if some.is_empty() => from = next,
                next => return Ok((some, next.is_some())),
            }
        }
    }

    /// As [`Engine::values_in`], but maybe nothing although there is more, from the key returned on.
    #[allow(clippy::type_complexity)]
    async fn values_piece(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<(Vec<(Vec<u8>, Vec<u8>)>, Option<Vec<u8>>), Error> {
        let mut end = to.to_vec();
        let mut overlay: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        {
            let state = self.space.lock();
            for generation in state.frozen.as_deref().into_iter().chain([&state.active]) {
                let mut last = None;
                for (key, value) in generation.range(from, to).take(limit.max(SCAN)) {
                    overlay.insert(key.clone(), value.clone());
                    last = Some(key);
                }
                let full = generation.range(from, to).nth(limit.max(SCAN)).is_some();
                if let Some(last) = last.filter(|_| full) {
                    end = end.min(after(last));
                }
            }
        }
        let (index, start, stop) = (self.store.index().clone(), from.to_vec(), end.clone());
        let (stored, more) = unblock(&**self.store.runtime(), move || -> Result<_, Error> {
            let (mut stored, mut more) = (Vec::new(), false);
            index.scan(&start, &stop, &mut |key, value| {
                if stored.len() == limit {
                    more = true;
                    return ControlFlow::Break(());
                }
                stored.push((key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            })?;
            Ok((stored, more))
        })
        .await?;
        if let Some((last, _)) = stored.last().filter(|_| more) {
            end = after(last);
        }
        let mut merged: BTreeMap<Vec<u8>, Option<Vec<u8>>> =
            stored.into_iter().map(|(key, value)| (key, Some(value))).collect();
        merged.extend(overlay);
        let whole = merged.into_iter().filter(|(key, _)| *key < end);
        let some: Vec<_> = whole.filter_map(|(key, value)| Some((key, value?))).collect();
        Ok((some, (end < to.to_vec()).then_some(end)))
    }
}

fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The birth epoch of a live entry, and its value as [`decode_value`] takes it.
pub(crate) fn split_live(value: &[u8]) -> Result<(Epoch, &[u8]), Error> {
    let (birth, rest) = value.split_first_chunk().ok_or(Damaged { what: "an entry is too short" })?;
    Ok((Epoch(u32::from_le_bytes(*birth)), rest))
}

/// What an entry says: `None` when it hides what lies below. The inverse of `encode_value`.
pub(crate) fn decode_value(value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    match value.split_first() {
        Some((0, [])) => Ok(None),
        Some((1, value)) => Ok(Some(value.to_vec())),
        _ => Err(Damaged { what: "an entry is neither there nor hidden" }.into()),
    }
}
