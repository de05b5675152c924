//! Shares: create, list, set, rename, delete; clones of them.

use super::volumes::{naming, origin_of};
use super::{Found, Manager};
use crate::error::{Error, Kind};
use crate::name::{Name, SnapshotPath, VolumePath};
use crate::pool::{Pool, KIND_SHARE};
use crate::share::attributes::Attributes;
use crate::share::types::Fault;
use crate::share::SnapshotDir;
use crate::state::{Intent, VolumeKey};
use crate::view::ShareView;
use serde::{Deserialize, Serialize};
use snapshots::engine::DatasetInfo;
use snapshots::{Engine, SnapshotId};

/// What can be set of a share; `None` = as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareSettings {
    /// Bytes that it may take; 0 = no limit.
    #[serde(default)]
    pub quota: Option<u64>,
    /// How its root shows its snapshots.
    #[serde(default)]
    pub snapshot_dir: Option<SnapshotDir>,
}

impl ShareSettings {
    fn apply(&self, attributes: &mut Attributes) {
        attributes.quota = self.quota.unwrap_or(attributes.quota);
        attributes.snapshot_dir = self.snapshot_dir.unwrap_or(attributes.snapshot_dir);
    }
}

impl Manager {
    /// Makes an empty share: a tree of files that has nothing but its root.
    ///
    /// # Errors
    /// The name is taken.
    pub async fn create_share(
        &self,
        path: &VolumePath,
        settings: &ShareSettings,
    ) -> Result<ShareView, Error> {
        let _turn = self.turn.lock().await;
        let pool = self.pool(&path.pool)?;
        let engine = pool.engine()?;
        let mut attributes = Attributes::new();
        settings.apply(&mut attributes);
        let made = engine.create_dataset(path.volume.as_str(), KIND_SHARE, 0, &attributes.encode()).await;
        let id = made.map_err(|e| naming(&pool, e, path))?;
        pool.share(id).tree().await.map_err(|fault| unusable(&pool, fault))?;
        engine.flush().await.map(drop).map_err(|e| pool.fault_of(e))?;
        self.show_share(path)
    }

    /// All shares (of one pool), by name; those of pools that are not available are missing.
    #[must_use]
    pub fn list_shares(&self, pool: Option<&Name>) -> Vec<ShareView> {
        let wanted = self.pools().into_iter().filter(|p| pool.is_none_or(|name| p.name() == name));
        let of_pool = |pool: std::sync::Arc<Pool>| {
            let engine = pool.try_engine()?;
            let shares = engine.datasets().into_iter().filter(|info| info.kind == KIND_SHARE);
            Some(shares.filter_map(|info| self.share_view(&pool, &engine, info)).collect::<Vec<_>>())
        };
        wanted.filter_map(of_pool).flatten().collect()
    }

    /// One share.
    ///
    /// # Errors
    /// It does not exist, or its pool is not available.
    pub fn show_share(&self, path: &VolumePath) -> Result<ShareView, Error> {
        let found = self.find_share(path)?;
        let info = found.engine.dataset(found.id).map_err(|e| found.pool.fault_of(e))?;
        let view = self.share_view(&found.pool, &found.engine, info);
        view.ok_or_else(|| Error::not_found(Kind::Share, path))
    }

    fn share_view(&self, pool: &Pool, engine: &Engine, info: DatasetInfo) -> Option<ShareView> {
        let attributes = Attributes::decode(&info.attributes).ok()?;
        let path = VolumePath { pool: pool.name().clone(), volume: info.name.parse().ok()? };
        let key = VolumeKey { pool: self.pool_id(pool.name()), volume: info.id.0 };
        Some(ShareView {
            origin: info.origin.and_then(|id| origin_of(pool.name(), engine, id)),
            path,
            referenced: info.referenced,
            unique: info.unique,
            quota: attributes.quota,
            snapshot_dir: attributes.snapshot_dir,
            fsid: format!("{:016x}", attributes.fsid),
            snapshots: engine.snapshots(info.id).len(),
            exports: self.document().exports.iter().filter(|export| export.share == key).count(),
        })
    }

    /// Sets what can be set of a share, in use or not.
    ///
    /// # Errors
    /// It does not exist.
    pub async fn set_share(&self, path: &VolumePath, settings: &ShareSettings) -> Result<ShareView, Error> {
        let _turn = self.turn.lock().await;
        let Found { pool, engine, id, .. } = self.find_share(path)?;
        let mut attributes = self.share_attributes(&engine, path)?;
        settings.apply(&mut attributes);
        engine.set_attributes(id, &attributes.encode()).await.map_err(|e| pool.fault_of(e))?;
        let tree = pool.share(id).tree().await.map_err(|fault| unusable(&pool, fault))?;
        tree.set_quota(attributes.quota);
        tree.set_snapshot_dir(attributes.snapshot_dir);
        self.show_share(path)
    }

    /// Gives a share another name. Its handles stay; clients mount it by the new name from now on.
    ///
    /// # Errors
    /// The new name is taken.
    pub async fn rename_share(&self, path: &VolumePath, to: &Name) -> Result<ShareView, Error> {
        let _turn = self.turn.lock().await;
        let found = self.find_share(path)?;
        let new = VolumePath { pool: path.pool.clone(), volume: to.clone() };
        let renamed = found.engine.rename_dataset(found.id, to.as_str()).await;
        renamed.map_err(|e| naming(&found.pool, e, &new))?;
        self.change(|document| {
            let own = document.exports.iter_mut().filter(|export| export.share == found.key);
            own.for_each(|export| export.path = new.clone());
            Ok(())
        })
        .await?;
        self.tell_border().await;
        self.show_share(&new)
    }

    /// Deletes a share, with its snapshots if `snapshots`. While it is exported that needs `force`.
    ///
    /// # Errors
    /// It is exported, or has snapshots.
    pub async fn delete_share(&self, path: &VolumePath, snapshots: bool, force: bool) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let Found { engine, id, key, .. } = self.find_share(path)?;
        let count = engine.snapshots(id).len();
        let in_use = |why: String, remedy: &str| {
            Err(Error::InUse { what: format!("share {path}"), why, remedy: remedy.into() })
        };
        if count > 0 && !snapshots {
            let remedy = "delete them first, or give --snapshots to delete them too";
            return in_use(format!("it has {count} snapshot(s)"), remedy);
        }
        if !force && self.document().exports.iter().any(|export| export.share == key) {
            return in_use("it is exported".into(), "remove its exports first, or give --force");
        }
        self.change(|document| {
            document.exports.retain(|export| export.share != key);
            document.intents.push(Intent::DeleteVolume { volume: key.clone() });
            Ok(())
        })
        .await?;
        self.tell_border().await;
        self.finish_volume_deletion(&key).await
    }

    /// Makes a share that starts as a snapshot of one is: another file system, with handles of its own.
    pub(super) async fn clone_share(
        &self,
        found: &Found,
        id: SnapshotId,
        path: &SnapshotPath,
        to: &VolumePath,
    ) -> Result<ShareView, Error> {
        let origin = self.share_attributes(&found.engine, &path.volume)?;
        let tree = found.pool.share(found.id).tree().await.map_err(|f| unusable(&found.pool, f))?;
        let first_number = tree.number_behind_all().await.map_err(|e| found.pool.fault_of(e))?;
        let attributes = Attributes { snapshot_dir: origin.snapshot_dir, first_number, ..Attributes::new() };
        let name = to.volume.as_str();
        let cloned = found.engine.clone_snapshot(id, name, KIND_SHARE, &attributes.encode()).await;
        cloned.map_err(|e| naming(&found.pool, e, to))?;
        self.show_share(to)
    }

    pub(super) fn share_attributes(&self, engine: &Engine, path: &VolumePath) -> Result<Attributes, Error> {
        let missing = || Error::not_found(Kind::Share, path);
        let id = engine.find_dataset(path.volume.as_str()).map_err(|_| missing())?;
        let info = engine.dataset(id).map_err(|_| missing())?;
        Attributes::decode(&info.attributes).map_err(|_| missing())
    }
}

/// Why a tree cannot be used, for an administrator.
pub(super) fn unusable(pool: &Pool, fault: Fault) -> Error {
    match fault {
        Fault::NoSpace => Error::NoSpace { pool: pool.name().to_string() },
        fault => Error::PoolFailed { pool: pool.name().to_string(), why: fault.to_string() },
    }
}
