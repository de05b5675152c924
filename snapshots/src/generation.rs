//! A generation: changes that only the journal holds, until a checkpoint writes them to the index.
//!
//! There are two: the active one takes what is applied now; the frozen one is being written. What a reader
//! sees is the index, overlaid by the frozen, overlaid by the active generation.

use crate::ids::{BranchId, Epoch, ObjectId, PageNo};
use crate::key::{MapKey, TouchedKey};
use crate::map::{codec, Partial};
use crate::touched::Touched;
use block_layer::index::Batch;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};

/// A map page of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageKey {
    /// The branch.
    pub branch: BranchId,
    /// The object.
    pub object: ObjectId,
    /// The page.
    pub page: PageNo,
}

/// What became of one version of a page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Version {
    /// What older generations and the index have of this version is void.
    pub(crate) dropped: bool,
    /// What was changed (since).
    pub(crate) partial: Partial,
}

impl Version {
    /// Takes over what a newer generation says of it.
    pub(crate) fn lay_over(&mut self, newer: Version) {
        match newer.dropped {
            true => *self = newer,
            false => self.partial.lay_over(&newer.partial),
        }
    }

    /// Takes what an older generation, or the index, says of it.
    pub(crate) fn lay_under(&mut self, older: Partial) {
        if !self.dropped {
            self.partial.lay_under(older);
        }
    }
}

type Pages = FxHashMap<PageKey, Vec<(Epoch, Version)>>;

/// The touched pages of a group.
#[derive(Clone, Debug, Default)]
struct TouchedChange {
    dropped: bool,
    added: Touched,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Generation {
    /// Versions by page, by rising epoch.
    pages: Pages,
    touched: BTreeMap<(BranchId, Epoch, ObjectId, u64), TouchedChange>,
    /// Everything else: the last value put, or `None` when it was deleted.
    values: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Branches that were made in it.
    made: BTreeSet<BranchId>,
    bytes: u64,
}

/// Bytes that an entry costs beside its content, about.
const ENTRY_BYTES: u64 = 128;
/// Bytes that a touched page costs, about.
const TOUCH_BYTES: u64 = 8;

impl Generation {
    /// Memory it holds, about, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Notes that a branch was made.
    pub(crate) fn make(&mut self, branch: BranchId) {
        self.made.insert(branch);
        self.bytes += TOUCH_BYTES;
    }

    /// Whether a branch was made in it: nothing older has anything of it.
    pub(crate) fn has_made(&self, branch: BranchId) -> bool {
        self.made.contains(&branch)
    }

    /// The versions of a page in it, oldest first.
    pub(crate) fn versions(&self, key: PageKey) -> &[(Epoch, Version)] {
        self.pages.get(&key).map_or(&[], |versions| versions)
    }

    /// The pages of an object in `from..to` that it has versions of, in no order.
    pub(crate) fn pages_in(
        &self,
        branch: BranchId,
        object: ObjectId,
        from: PageNo,
        to: PageNo,
    ) -> impl Iterator<Item = PageNo> + '_ {
        let own = move |key: &&PageKey| key.branch == branch && key.object == object;
        self.pages.keys().filter(own).map(|key| key.page).filter(move |page| (from..to).contains(page))
    }

    /// Every page of a branch that it has versions of, in no order.
    pub(crate) fn all_pages(&self, branch: BranchId) -> impl Iterator<Item = (ObjectId, PageNo)> + '_ {
        self.pages.keys().filter(move |key| key.branch == branch).map(|key| (key.object, key.page))
    }

    /// Lays a change over a version. Returns the version as it is now.
    pub(crate) fn change(&mut self, key: PageKey, epoch: Epoch, change: &Partial) -> &mut Partial {
        let Generation { pages, touched, bytes, .. } = self;
        let (version, there) = version(pages, key, epoch);
        let before = version.partial.heap_bytes();
        version.partial.lay_over(change);
        *bytes += (version.partial.heap_bytes().saturating_sub(before)) as u64;
        if !there {
            let (group, place) = key.page.group();
            touched.entry((key.branch, epoch, key.object, group)).or_default().added.insert(place);
            *bytes += ENTRY_BYTES + TOUCH_BYTES;
        }
        &mut version.partial
    }

    /// Drops a version.
    pub(crate) fn drop_version(&mut self, key: PageKey, epoch: Epoch) {
        let (version, there) = version(&mut self.pages, key, epoch);
        *version = Version { dropped: true, partial: Partial::default() };
        if !there {
            self.bytes += ENTRY_BYTES;
        }
    }

    /// Adds touched pages.
    pub(crate) fn touch(
        &mut self,
        branch: BranchId,
        epoch: Epoch,
        object: ObjectId,
        group: u64,
        add: impl FnOnce(&mut Touched),
    ) {
        add(&mut self.touched.entry((branch, epoch, object, group)).or_default().added);
        self.bytes += TOUCH_BYTES;
    }

    /// Forgets the touched pages of a group.
    pub(crate) fn drop_touched(&mut self, branch: BranchId, epoch: Epoch, object: ObjectId, group: u64) {
        let change = TouchedChange { dropped: true, added: Touched::default() };
        self.touched.insert((branch, epoch, object, group), change);
        self.bytes += ENTRY_BYTES;
    }

    /// Lays this generation's touched groups of a branch's epoch, from `(object, group)` on, over `known`.
    pub(crate) fn overlay_touched(
        &self,
        branch: BranchId,
        epoch: Epoch,
        from: (ObjectId, u64),
        known: &mut BTreeMap<(ObjectId, u64), Touched>,
    ) {
        let end = (branch, epoch, ObjectId(u64::MAX), u64::MAX);
        for ((_, _, object, group), change) in self.touched.range((branch, epoch, from.0, from.1)..=end) {
            if change.dropped {
                known.remove(&(*object, *group));
            }
            if !change.added.is_empty() {
                known.entry((*object, *group)).or_default().union(&change.added);
            }
        }
    }

    /// The epochs in `from..=to` of a branch for which it has touched pages.
    pub(crate) fn touched_epochs(&self, branch: BranchId, from: Epoch, to: Epoch) -> Vec<Epoch> {
        let start = (branch, from, ObjectId(0), 0);
        let end = (branch, to, ObjectId(u64::MAX), u64::MAX);
        let mut epochs: Vec<Epoch> =
            self.touched.range(start..=end).map(|((_, epoch, _, _), _)| *epoch).collect();
        epochs.dedup();
        epochs
    }

    /// Sets or deletes a value.
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += ENTRY_BYTES + key.len() as u64 + value.as_ref().map_or(0, Vec::len) as u64;
        self.values.insert(key, value);
    }

    /// A value, if it was changed: `Some(None)` when it was deleted.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.values.get(key)
    }

    /// The changed values in `from..to`.
    pub(crate) fn range<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)> {
        self.values.range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)))
    }

    /// Adds all changes to `batch`, in key order within each kind.
    pub(crate) fn write(&self, batch: &mut Batch) {
        let mut keys: Vec<&PageKey> = self.pages.keys().collect();
        keys.sort_unstable();
        for key in keys {
            // Newest first, as the keys sort.
            for (epoch, version) in self.pages[key].iter().rev() {
                let PageKey { branch, object, page } = *key;
                let name = MapKey { branch, object, page, epoch: *epoch }.encode();
                if version.dropped {
                    batch.delete(name.clone());
                }
                if !version.partial.is_empty() {
                    let mut value = Vec::with_capacity(32);
                    codec::encode(&version.partial, &mut value);
                    batch.merge(name, value);
                }
            }
        }
        for (&(branch, epoch, object, group), change) in &self.touched {
            let name = TouchedKey { branch, epoch, object, group }.encode();
            if change.dropped {
                batch.delete(name.clone());
            }
            if !change.added.is_empty() {
                let mut value = Vec::new();
                change.added.encode(&mut value);
                batch.merge(name, value);
            }
        }
        for (key, value) in &self.values {
            match value {
                Some(value) => batch.put(key.clone(), value.clone()),
                None => batch.delete(key.clone()),
            }
        }
    }
}

/// The version of a page at `epoch`, to be changed; made when it is not there. The flag says that it was.
fn version(pages: &mut Pages, key: PageKey, epoch: Epoch) -> (&mut Version, bool) {
    let versions = pages.entry(key).or_default();
    let at = versions.partition_point(|(e, _)| *e < epoch);
    let there = versions.get(at).is_some_and(|(e, _)| *e == epoch);
    if !there {
        versions.insert(at, (epoch, Version::default()));
    }
    (&mut versions[at].1, there)
}
