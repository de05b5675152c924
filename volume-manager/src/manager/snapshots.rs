//! Snapshots and clones: create, list, delete, rollback, clone, diff.

use super::volumes::naming;
use super::{Found, Manager};
use crate::error::{Error, Kind};
use crate::identity::Attributes;
use crate::name::{Name, SnapshotPath, VolumePath};
use crate::pool::KIND_VOLUME;
use crate::view::{ChangedView, ShareView, SnapshotView, VolumeView};
use serde::{Deserialize, Serialize};
use snapshots::SnapshotId;

/// Ranges of one answer of `diff`.
const DIFF_LIMIT: usize = 10_000;

/// What a snapshot was made into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Made {
    /// A volume.
    Volume(VolumeView),
    /// A share.
    Share(ShareView),
}

impl Manager {
    /// Takes a snapshot of each volume, all at one instant; they are of one pool.
    ///
    /// # Errors
    /// A volume does not exist, a name is taken, or the pools differ: none is taken.
    pub async fn create_snapshots(&self, paths: &[SnapshotPath]) -> Result<Vec<SnapshotView>, Error> {
        let _turn = self.turn.lock().await;
        let Some(first) = paths.first() else {
            return Err(Error::invalid("no snapshot was named", "name at least one"));
        };
        if paths.iter().any(|path| path.volume.pool != first.volume.pool) {
            let remedy = "take one snapshot a pool: there is no instant common to two pools";
            return Err(Error::invalid("the volumes are in different pools", remedy));
        }
        let found = paths.iter().map(|path| self.find_any(&path.volume)).collect::<Result<Vec<_>, _>>()?;
        let items: Vec<_> = found.iter().zip(paths).map(|(f, path)| (f.id, path.snapshot.as_str())).collect();
        let taken = found[0].engine.snapshot(&items).await;
        taken.map_err(|e| match e {
            snapshots::Error::Exists(name) => Error::Exists { kind: Kind::Snapshot, name },
            error => found[0].pool.fault_of(error),
        })?;
        paths.iter().map(|path| self.show_snapshot(path)).collect()
    }

    /// The snapshots of a volume, or of all.
    ///
    /// # Errors
    /// The volume does not exist.
    pub fn list_snapshots(&self, volume: Option<&VolumePath>) -> Result<Vec<SnapshotView>, Error> {
        let volumes = match volume {
            Some(path) => vec![path.clone()],
            None => {
                let volumes = self.list_volumes(None).into_iter().map(|view| view.path);
                volumes.chain(self.list_shares(None).into_iter().map(|view| view.path)).collect()
            }
        };
        let mut views = Vec::new();
        for path in volumes {
            let found = self.find_any(&path)?;
            views.extend(found.engine.snapshots(found.id).into_iter().filter_map(|info| {
                let snapshot = info.name.parse().ok()?;
                Some(SnapshotView {
                    path: SnapshotPath { volume: path.clone(), snapshot },
                    size: info.size,
                    referenced: info.referenced,
                    unique: info.unique,
                    clones: info.clones,
                })
            }));
        }
        Ok(views)
    }

    /// One snapshot.
    ///
    /// # Errors
    /// It does not exist.
    pub fn show_snapshot(&self, path: &SnapshotPath) -> Result<SnapshotView, Error> {
        let all = self.list_snapshots(Some(&path.volume))?;
        let found = all.into_iter().find(|view| view.path == *path);
        found.ok_or_else(|| Error::not_found(Kind::Snapshot, path))
    }

    fn find_snapshot(&self, path: &SnapshotPath) -> Result<(Found, SnapshotId), Error> {
        let found = self.find_any(&path.volume)?;
        let id = found.engine.find_snapshot(found.id, path.snapshot.as_str());
        let id = id.map_err(|_| Error::not_found(Kind::Snapshot, path))?;
        Ok((found, id))
    }

    /// Deletes a snapshot. Its space comes back in the background, once no clone needs it.
    ///
    /// # Errors
    /// It does not exist.
    pub async fn delete_snapshot(&self, path: &SnapshotPath) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let (found, id) = self.find_snapshot(path)?;
        found.engine.delete_snapshot(id).await.map_err(|e| found.pool.fault_of(e))
    }

    /// Makes a volume what its snapshot is. While a session can reach it that needs `force`.
    ///
    /// # Errors
    /// It is in use, or does not exist.
    pub async fn rollback(&self, path: &SnapshotPath, force: bool) -> Result<Made, Error> {
        let _turn = self.turn.lock().await;
        let (found, id) = self.find_snapshot(path)?;
        self.without_sessions(&path.volume, &found.key, force).await?;
        found.engine.rollback(found.id, id).await.map_err(|e| found.pool.fault_of(e))?;
        if found.is_share {
            // Clients see it in the cookies' verifier and in what changed; their handles stay.
            return self.show_share(&path.volume).map(Made::Share);
        }
        found.pool.volume_io(found.id);
        *self.known().rollbacks.entry(found.key).or_default() += 1;
        self.tell_border().await;
        self.show_volume(&path.volume).map(Made::Volume)
    }

    /// Makes a volume that starts as a snapshot is. Constant time, whatever its size.
    ///
    /// # Errors
    /// The name is taken, or the pools differ.
    pub async fn clone_snapshot(&self, path: &SnapshotPath, to: &VolumePath) -> Result<Made, Error> {
        let _turn = self.turn.lock().await;
        if path.volume.pool != to.pool {
            let remedy = "clone inside the pool: only there can data be shared";
            return Err(Error::invalid(format!("{path} and {to} are in different pools"), remedy));
        }
        let (found, id) = self.find_snapshot(path)?;
        if found.is_share {
            return self.clone_share(&found, id, path, to).await.map(Made::Share);
        }
        let info = found.engine.dataset(found.id).map_err(|e| found.pool.fault_of(e))?;
        let origin = Attributes::decode(&info.attributes);
        let origin = origin.ok_or_else(|| Error::not_found(Kind::Volume, &path.volume))?;
        let attributes = self.new_attributes(origin.block_bytes, origin.write_cache).encode();
        let cloned = found.engine.clone_snapshot(id, to.volume.as_str(), KIND_VOLUME, &attributes).await;
        cloned.map_err(|e| naming(&found.pool, e, to))?;
        self.show_volume(to).map(Made::Volume)
    }

    /// What differs between a snapshot and a later one of its volume, or its volume now: ranges from byte
    /// `start` on, and where to go on if there are more.
    ///
    /// # Errors
    /// One does not exist.
    pub async fn diff(
        &self,
        from: &SnapshotPath,
        to: Option<&Name>,
        start: u64,
    ) -> Result<(Vec<ChangedView>, Option<u64>), Error> {
        let (found, id) = self.find_snapshot(from)?;
        if found.is_share {
            let remedy = "compare the directories .snapshots/NAME of the share";
            return Err(Error::invalid("a share has no ranges that could differ", remedy));
        }
        let live = found.engine.volume(found.id);
        let new = match to {
            None => live.clone(),
            Some(name) => {
                let path = SnapshotPath { volume: from.volume.clone(), snapshot: name.clone() };
                live.at(self.find_snapshot(&path)?.1)
            }
        };
        let old = live.at(id);
        let ranges = new.changed_since(Some(&old), start, DIFF_LIMIT).await;
        let ranges = ranges.map_err(|e| found.pool.fault_of(e))?;
        let more = ranges.last().filter(|_| ranges.len() == DIFF_LIMIT).map(|r| r.offset + r.len);
        Ok((ranges.iter().map(|r| ChangedView { offset: r.offset, length: r.len }).collect(), more))
    }
}
