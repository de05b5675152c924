//! Datasets and snapshots: what an administrator does. Every call is durable when it returns, and all or
//! nothing.

use super::Engine;
use crate::catalogue::{DatasetId, SnapshotId};
use crate::error::{Error, Retry};
use crate::ids::{Epoch, ObjectId};
use crate::machine::not_found;
use crate::machine::op::{Admin, Reply};
use block_layer::BLOCK;
use std::sync::Arc;

/// A dataset, as a listing shows it. Space is in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetInfo {
    /// Its identity.
    pub id: DatasetId,
    /// Its name.
    pub name: String,
    /// What the crate above uses it for.
    pub kind: u8,
    /// What the crate above keeps with it.
    pub attributes: Vec<u8>,
    /// Bytes that it has for its user.
    pub size: u64,
    /// Bytes that its live side sees.
    pub referenced: u64,
    /// Bytes that only its live side sees.
    pub unique: u64,
    /// The snapshot that it was cloned from, or rolled back to.
    pub origin: Option<SnapshotId>,
}

/// A snapshot, as a listing shows it. Space is in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its identity.
    pub id: SnapshotId,
    /// Its name.
    pub name: String,
    /// The dataset's size in bytes when it was taken.
    pub size: u64,
    /// Bytes that it sees.
    pub referenced: u64,
    /// Bytes that deleting it frees.
    pub unique: u64,
    /// Clones (and rolled back live sides) that start from it.
    pub clones: u32,
}

impl Engine {
    /// Commits an administrative operation and makes it durable.
    async fn admin_durable(&self, make: impl FnMut() -> Admin) -> Result<Reply, Error> {
        let reply = self.admin(make).await?;
        let _durable = self.flush().await?;
        Ok(reply)
    }

    /// Makes an empty dataset of `size` bytes (a multiple of 512; 0 for one without block data of its own).
    ///
    /// # Errors
    /// The name is taken or malformed.
    pub async fn create_dataset(
        &self,
        name: &str,
        kind: u8,
        size: u64,
        attributes: &[u8],
    ) -> Result<DatasetId, Error> {
        let make = || Admin::Create { name: name.into(), kind, size, attributes: attributes.into() };
        self.admin_durable(make).await.map(dataset_of)
    }

    /// Renames a dataset.
    ///
    /// # Errors
    /// It does not exist, or the name is taken.
    pub async fn rename_dataset(&self, id: DatasetId, name: &str) -> Result<(), Error> {
        self.admin_durable(|| Admin::Rename(id, name.into())).await.map(drop)
    }

    /// Sets what the crate above keeps with a dataset.
    ///
    /// # Errors
    /// It does not exist, or the attributes are too long.
    pub async fn set_attributes(&self, id: DatasetId, attributes: &[u8]) -> Result<(), Error> {
        self.admin_durable(|| Admin::SetAttributes(id, attributes.into())).await.map(drop)
    }

    /// Grows or shrinks a dataset, in use or not. What lies beyond a smaller size is discarded: it reads as
    /// zeroes if the dataset grows again.
    ///
    /// # Errors
    /// It does not exist, or the size is not a multiple of 512 bytes.
    pub async fn resize(self: &Arc<Self>, id: DatasetId, size: u64) -> Result<(), Error> {
        let _turn = self.resizing.lock().await;
        loop {
            let (branch, from) = {
                let state = self.space.lock();
                let dataset = state.catalogue.datasets.get(&id).ok_or_else(|| not_found(id))?;
                (dataset.branch, dataset.size)
            };
            if size > from {
                // The last page of the smaller size may still have blocks from before a shrink. A rollback to
                // a snapshot of that size may bring others: it makes a new branch.
                self.clear_edge(id, from).await?;
            }
            match self.admin_once(Admin::Resize { dataset: id, branch, from, to: size }).await {
                Err(Retry::After(_)) => continue,
                Err(Retry::Failed(e)) => return Err(e),
                Ok(_) => {}
            }
            let _durable = self.flush().await?;
            if size < from {
                match self.clear_edge(id, size).await {
                    // It is smaller all the same, and what lies behind the end is cleared before it grows.
                    Err(Error::Read(_) | Error::Index(_)) => {}
                    cleared => cleared?,
                }
            }
            self.background.wake();
            return Ok(());
        }
    }

    /// A dataset's size in bytes.
    pub(super) fn size_of(&self, id: DatasetId) -> Result<u64, Error> {
        let size = self.space.lock().catalogue.datasets.get(&id).map(|d| d.size);
        size.ok_or_else(|| not_found(id))
    }

    /// Removes a dataset. With `snapshots`, its snapshots go too; without, it must have none. Space comes
    /// back in the background; what clones still need stays until they let go.
    ///
    /// # Errors
    /// It does not exist, or has snapshots.
    pub async fn delete_dataset(&self, id: DatasetId, snapshots: bool) -> Result<(), Error> {
        self.admin_durable(|| Admin::Delete { dataset: id, snapshots }).await?;
        self.background.wake();
        Ok(())
    }

    /// Takes a snapshot of each dataset, all at one instant. Constant time.
    ///
    /// # Errors
    /// A dataset does not exist, or a name is taken: then none is taken.
    pub async fn snapshot(&self, items: &[(DatasetId, &str)]) -> Result<Vec<SnapshotId>, Error> {
        let owned = || items.iter().map(|(id, name)| (*id, (*name).to_owned())).collect();
        match self.admin_durable(|| Admin::Snapshot(owned())).await? {
            Reply::Snapshots(ids) => Ok(ids),
            _ => unreachable!("a snapshot answers snapshots"),
        }
    }

    /// Removes a snapshot from view; its space comes back in the background, once no clone needs it.
    ///
    /// # Errors
    /// It does not exist.
    pub async fn delete_snapshot(&self, id: SnapshotId) -> Result<(), Error> {
        self.admin_durable(|| Admin::DeleteSnapshot(id)).await?;
        self.background.wake();
        Ok(())
    }

    /// Renames a snapshot.
    ///
    /// # Errors
    /// It does not exist, or its dataset has one of that name.
    pub async fn rename_snapshot(&self, id: SnapshotId, name: &str) -> Result<(), Error> {
        self.admin_durable(|| Admin::RenameSnapshot(id, name.into())).await.map(drop)
    }

    /// Makes a dataset's live side what `snapshot` of it is, size included. Constant time; later snapshots
    /// stay.
    ///
    /// # Errors
    /// One does not exist, or they do not belong together.
    pub async fn rollback(&self, dataset: DatasetId, snapshot: SnapshotId) -> Result<(), Error> {
        self.admin_durable(|| Admin::Rollback(dataset, snapshot)).await?;
        self.background.wake();
        Ok(())
    }

    /// Makes a dataset that starts as `snapshot`. Constant time.
    ///
    /// # Errors
    /// The snapshot does not exist, or the name is taken.
    pub async fn clone_snapshot(
        &self,
        snapshot: SnapshotId,
        name: &str,
        kind: u8,
        attributes: &[u8],
    ) -> Result<DatasetId, Error> {
        let make = || Admin::Clone { snapshot, name: name.into(), kind, attributes: attributes.into() };
        let id = self.admin_durable(make).await.map(dataset_of)?;
        self.background.wake();
        Ok(id)
    }

    /// Discards `pages` whole pages (1 MiB each) of an object from page `first` on: they read as zeroes at
    /// once, and their space comes back in the background.
    ///
    /// # Errors
    /// The dataset does not exist, or the range is empty.
    pub async fn discard(
        &self,
        dataset: DatasetId,
        object: ObjectId,
        first: u64,
        pages: u64,
    ) -> Result<(), Error> {
        let (from, to) = (crate::ids::PageNo(first), crate::ids::PageNo(first.saturating_add(pages)));
        self.admin_durable(|| Admin::Discard(dataset, object, from, to)).await?;
        self.background.wake();
        Ok(())
    }

    /// All datasets, by name.
    #[must_use]
    pub fn datasets(&self) -> Vec<DatasetInfo> {
        let state = self.space.lock();
        state.catalogue.names.values().filter_map(|id| info(&state, *id)).collect()
    }

    /// One dataset.
    ///
    /// # Errors
    /// It does not exist.
    pub fn dataset(&self, id: DatasetId) -> Result<DatasetInfo, Error> {
        info(&self.space.lock(), id).ok_or_else(|| not_found(id))
    }

    /// The dataset with this name.
    ///
    /// # Errors
    /// There is none.
    pub fn find_dataset(&self, name: &str) -> Result<DatasetId, Error> {
        let found = self.space.lock().catalogue.by_name(name).map(|d| d.id);
        found.ok_or_else(|| Error::NotFound(format!("dataset {name}")))
    }

    /// The snapshots of a dataset, oldest first (those before a rollback included).
    #[must_use]
    pub fn snapshots(&self, dataset: DatasetId) -> Vec<SnapshotInfo> {
        let state = self.space.lock();
        let ids = state.catalogue.snapshot_names.range((dataset, String::new())..);
        let own = ids.take_while(|((d, _), _)| *d == dataset);
        let mut infos: Vec<SnapshotInfo> = own
            .filter_map(|((_, name), id)| {
                let snapshot = state.catalogue.snapshots.get(id)?;
                let unique = state.held.get(&id.branch)?.unique(id.epoch).ok()?;
                Some(SnapshotInfo {
                    id: *id,
                    name: name.clone(),
                    size: snapshot.size,
                    referenced: bytes(snapshot.referenced),
                    unique: bytes(unique),
                    clones: snapshot.children,
                })
            })
            .collect();
        infos.sort_by_key(|info| info.id.epoch);
        infos
    }

    /// The snapshot of a dataset with this name.
    ///
    /// # Errors
    /// There is none.
    pub fn find_snapshot(&self, dataset: DatasetId, name: &str) -> Result<SnapshotId, Error> {
        let found = self.space.lock().catalogue.snapshot_names.get(&(dataset, name.to_owned())).copied();
        found.ok_or_else(|| Error::NotFound(format!("snapshot @{name}")))
    }
}

fn info(state: &crate::machine::State, id: DatasetId) -> Option<DatasetInfo> {
    let dataset = state.catalogue.datasets.get(&id)?;
    let branch = state.catalogue.branches.get(&dataset.branch)?;
    let held = state.held.get(&branch.id)?;
    let live = |cell: &crate::held::Delta| (cell.birth, cell.death) == (Epoch::OPEN, Epoch::LIVE);
    let unique = held.cells().find(live).map_or(0, |cell| cell.blocks as u64);
    Some(DatasetInfo {
        id,
        name: dataset.name.clone(),
        kind: dataset.kind,
        attributes: dataset.attributes.clone(),
        size: dataset.size,
        referenced: bytes(held.referenced_live().saturating_add(branch.inherited)),
        unique: bytes(unique),
        origin: branch.origin,
    })
}

/// Bytes of blocks; a damaged index may count more of them than there are.
fn bytes(blocks: u64) -> u64 {
    blocks.saturating_mul(BLOCK as u64)
}

fn dataset_of(reply: Reply) -> DatasetId {
    match reply {
        Reply::Dataset(id) => id,
        _ => unreachable!("making a dataset answers its identity"),
    }
}
