//! Views of a share: the live tree, its snapshots, and the directory that lists them.
//!
//! The root's `.snapshots` has a directory of each snapshot's name: the tree as it was, a file system of its
//! own, which does not change. It exists for who looks; nothing of it is stored.

use super::format::{ROOT, SNAPSHOTS};
use super::inode::time_of;
use super::types::{Attributes, Entry, Fault, Kind, Listing, ObjectRef, Time};
use super::{attributes, Object, Tree};
use bytes::Bytes;
use snapshots::{BranchId, Epoch, SnapshotId};

/// The live tree.
pub(super) const LIVE: u64 = 0;
/// The directory that lists the snapshots.
pub(super) const LISTING: u64 = u64::MAX;
/// Its name in the root.
pub(super) const NAME: &[u8] = b".snapshots";
/// Its cookie there: below all others.
pub(super) const COOKIE: u64 = 3;

/// Where an object is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// In the live tree, or a snapshot.
    Tree(Option<SnapshotId>),
    /// Among the snapshots.
    Listing,
}

/// A snapshot's number as a view.
pub(super) fn view_of(id: SnapshotId) -> u64 {
    u64::from(id.branch.0) << 32 | u64::from(id.epoch.0)
}

/// The directory of snapshots.
pub(super) const DIRECTORY: ObjectRef = ObjectRef { view: LISTING, inode: SNAPSHOTS, generation: 1 };

impl Tree {
    /// The view that a reference is of; [`Fault::Stale`] if there is none any more.
    pub(super) fn view(&self, object: ObjectRef) -> Result<View, Fault> {
        match object.view {
            LIVE => Ok(View::Tree(None)),
            LISTING if object == DIRECTORY => Ok(View::Listing),
            view => {
                let id = SnapshotId { branch: BranchId((view >> 32) as u32), epoch: Epoch(view as u32) };
                match self.engine.dataset_of(id) {
                    Some(dataset) if dataset == self.dataset => Ok(View::Tree(Some(id))),
                    _ => Err(Fault::Stale),
                }
            }
        }
    }

    /// The number of a view's file system: stable, and different for each.
    pub(super) fn fsid_of(&self, view: u64) -> u64 {
        if view == LIVE || view == LISTING {
            return self.fsid;
        }
        let mixed = (self.fsid ^ view).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 31) | 1
    }

    /// The root as a snapshot has it.
    async fn root_of(&self, id: SnapshotId) -> Result<(ObjectRef, Attributes), Fault> {
        let root = self.object(Some(id), ROOT).await?;
        let view = view_of(id);
        Ok((root.reference(view), attributes(&root.inode, self.fsid_of(view))))
    }

    /// The directory of snapshots. It is dated so that whoever compares notices that snapshots came or went.
    pub(super) async fn listing_attributes(&self) -> Result<Attributes, Fault> {
        let Object { inode, .. } = self.object(None, ROOT).await?;
        let all = self.engine.snapshots(self.dataset);
        let newest = all.iter().map(|info| info.id.epoch.0).max().unwrap_or(0);
        let changed = Time { seconds: i64::from(newest), nanos: all.len().min(999_999_999) as u32 };
        let named = Attributes {
            kind: Kind::Directory,
            mode: 0o555,
            links: 2,
            size: all.len() as u64,
            used: 0,
            mtime: changed,
            ctime: changed,
            atime: time_of(inode.ctime),
            change: u64::from(newest) << 32 | all.len() as u64,
            ..attributes(&inode, self.fsid)
        };
        Ok(named)
    }

    /// The snapshot with a name, as a directory.
    pub(super) async fn snapshot_named(&self, name: &[u8]) -> Result<(ObjectRef, Attributes), Fault> {
        let name = std::str::from_utf8(name).map_err(|_| Fault::NotFound)?;
        let id = self.engine.find_snapshot(self.dataset, name).map_err(|_| Fault::NotFound)?;
        self.root_of(id).await
    }

    /// The root as the snapshot with a name has it.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    pub async fn snapshot_root(&self, name: &str) -> Result<ObjectRef, Fault> {
        self.snapshot_named(name.as_bytes()).await.map(|(root, _)| root)
    }

    /// Some of the snapshots, as directories; their cookies are their views.
    pub(super) async fn list_snapshots(
        &self,
        cookie: u64,
        limit: usize,
        with_attributes: bool,
    ) -> Result<Listing, Fault> {
        let mut all = self.engine.snapshots(self.dataset);
        all.retain(|info| view_of(info.id) > cookie);
        all.sort_by_key(|info| view_of(info.id));
        let end = all.len() <= limit;
        let mut entries = Vec::new();
        for info in all.into_iter().take(limit) {
            let (object, attributes) = match self.root_of(info.id).await {
                Err(Fault::Stale) => continue,
                found => found?,
            };
            let attributes = with_attributes.then_some(attributes);
            entries.push(Entry { cookie: object.view, name: Bytes::from(info.name), object, attributes });
        }
        let attributes = self.listing_attributes().await?;
        Ok(Listing { entries, end, verifier: 1, attributes, parent: self.root() })
    }
}
