//! Volumes: create, list, resize, rename, delete.

use super::{Found, Manager};
use crate::error::{Error, Kind};
use crate::identity::{Attributes, Naa, WriteCache};
use crate::name::{Name, SnapshotPath, VolumePath};
use crate::pool::{Pool, KIND_SHARE, KIND_VOLUME};
use crate::state::{Intent, VolumeKey};
use crate::view::VolumeView;
use block_layer::Runtime;
use serde::{Deserialize, Serialize};
use snapshots::engine::DatasetInfo;
use snapshots::{DatasetId, Engine, SnapshotId};

/// The largest volume: 16 Ti of blocks are addressable, a host's limits come first.
const SIZE_MAX: u64 = 1 << 50;

/// A volume to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRequest {
    /// Its name.
    pub path: VolumePath,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes of its logical blocks: 512 or 4096.
    pub block_bytes: u32,
    /// When writes are acknowledged.
    pub write_cache: WriteCache,
}

impl Manager {
    /// Makes an empty volume. It takes no space until it is written.
    ///
    /// # Errors
    /// The name is taken, or the size is impossible.
    pub async fn create_volume(&self, request: &VolumeRequest) -> Result<VolumeView, Error> {
        let _turn = self.turn.lock().await;
        check_size(request.size)?;
        if !matches!(request.block_bytes, 512 | 4096) {
            let what = format!("logical blocks of {} bytes are not offered", request.block_bytes);
            return Err(Error::invalid(what, "choose 512 or 4096"));
        }
        let pool = self.pool(&request.path.pool)?;
        let engine = pool.engine()?;
        let attributes = self.new_attributes(request.block_bytes, request.write_cache);
        let name = request.path.volume.as_str();
        let made = engine.create_dataset(name, KIND_VOLUME, request.size, &attributes.encode()).await;
        made.map_err(|e| naming(&pool, e, &request.path))?;
        self.show_volume(&request.path)
    }

    pub(super) fn new_attributes(&self, block_bytes: u32, write_cache: WriteCache) -> Attributes {
        let runtime = &self.settings.runtime;
        Attributes { naa: Naa::from_random(runtime.random(), runtime.random()), block_bytes, write_cache }
    }

    /// All volumes (of one pool), by name; those of pools that are not available are missing.
    #[must_use]
    pub fn list_volumes(&self, pool: Option<&Name>) -> Vec<VolumeView> {
        let wanted = self.pools().into_iter().filter(|p| pool.is_none_or(|name| p.name() == name));
        let of_pool = |pool: std::sync::Arc<Pool>| {
            let engine = pool.try_engine()?;
            let volumes = engine.datasets().into_iter().filter(|info| info.kind == KIND_VOLUME);
            Some(volumes.filter_map(|info| self.view(&pool, &engine, info)).collect::<Vec<_>>())
        };
        wanted.filter_map(of_pool).flatten().collect()
    }

    /// One volume.
    ///
    /// # Errors
    /// It does not exist, or its pool is not available.
    pub fn show_volume(&self, path: &VolumePath) -> Result<VolumeView, Error> {
        let found = self.find(path)?;
        let info = found.engine.dataset(found.id).map_err(|e| found.pool.fault_of(e))?;
        let view = self.view(&found.pool, &found.engine, info);
        view.ok_or_else(|| Error::not_found(Kind::Volume, path))
    }

    fn view(&self, pool: &Pool, engine: &Engine, info: DatasetInfo) -> Option<VolumeView> {
        let attributes = Attributes::decode(&info.attributes)?;
        let path = VolumePath { pool: pool.name().clone(), volume: info.name.parse().ok()? };
        let key = VolumeKey { pool: self.pool_id(pool.name()), volume: info.id.0 };
        let document = self.document();
        let hosts = document.luns.iter().filter(|lun| lun.volume == key);
        let hosts = hosts.filter_map(|lun| document.host(lun.host).map(|(name, _)| name.clone()));
        Some(VolumeView {
            origin: info.origin.and_then(|id| origin_of(pool.name(), engine, id)),
            path,
            size: info.size,
            referenced: info.referenced,
            unique: info.unique,
            block_bytes: attributes.block_bytes,
            write_cache: attributes.write_cache,
            serial: attributes.naa.serial(),
            naa: attributes.naa.to_string(),
            snapshots: engine.snapshots(info.id).len(),
            hosts: hosts.collect(),
        })
    }

    /// Gives a volume another size. A smaller one discards what lies beyond, and is refused while a session
    /// can reach it, unless `force`.
    ///
    /// # Errors
    /// The size is impossible, or the volume is in use.
    pub async fn resize_volume(
        &self,
        path: &VolumePath,
        size: u64,
        force: bool,
    ) -> Result<VolumeView, Error> {
        let _turn = self.turn.lock().await;
        check_size(size)?;
        let Found { pool, engine, id, key, .. } = self.find(path)?;
        let now = engine.dataset(id).map_err(|e| pool.fault_of(e))?.size;
        if size < now {
            self.without_sessions(path, &key, force).await?;
        }
        engine.resize(id, size).await.map_err(|e| pool.fault_of(e))?;
        pool.volume_io(id);
        self.tell_border().await;
        self.show_volume(path)
    }

    /// Gives a volume another name; hosts do not notice.
    ///
    /// # Errors
    /// The new name is taken.
    pub async fn rename_volume(&self, path: &VolumePath, to: &Name) -> Result<VolumeView, Error> {
        let _turn = self.turn.lock().await;
        let found = self.find(path)?;
        let new = VolumePath { pool: path.pool.clone(), volume: to.clone() };
        let renamed = found.engine.rename_dataset(found.id, to.as_str()).await;
        renamed.map_err(|e| naming(&found.pool, e, &new))?;
        self.show_volume(&new)
    }

    /// Deletes a volume, with its snapshots if `snapshots`. Its hosts lose it; while a session can reach it
    /// that needs `force`.
    ///
    /// # Errors
    /// It is in use, or has snapshots.
    pub async fn delete_volume(&self, path: &VolumePath, snapshots: bool, force: bool) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let Found { engine, id, key, .. } = self.find(path)?;
        let count = engine.snapshots(id).len();
        if count > 0 && !snapshots {
            return Err(Error::InUse {
                what: format!("volume {path}"),
                why: format!("it has {count} snapshot(s)"),
                remedy: "delete them first, or give --snapshots to delete them too".into(),
            });
        }
        self.without_sessions(path, &key, force).await?;
        self.change(|document| {
            document.luns.retain(|lun| lun.volume != key);
            document.intents.push(Intent::DeleteVolume { volume: key.clone() });
            Ok(())
        })
        .await?;
        self.tell_border().await;
        self.finish_volume_deletion(&key).await
    }

    /// Deletes what the intent names, if it is still there, and drops the intent.
    pub(super) async fn finish_volume_deletion(&self, key: &VolumeKey) -> Result<(), Error> {
        if let Some((pool, info)) = self.volume_of(key) {
            match info.kind {
                KIND_SHARE => pool.forget_share(info.id).await?,
                _ => pool.save_reservations(info.id, b"").await?,
            }
            let deleted = pool.engine()?.delete_dataset(DatasetId(key.volume), true).await;
            deleted.map_err(|e| pool.fault_of(e))?;
        }
        self.change(|document| {
            let ours = |intent: &Intent| matches!(intent, Intent::DeleteVolume { volume } if volume == key);
            document.luns.retain(|lun| lun.volume != *key);
            document.exports.retain(|export| export.share != *key);
            document.intents.retain(|intent| !ours(intent));
            Ok(())
        })
        .await
    }
}

pub(super) fn origin_of(pool: &Name, engine: &Engine, id: SnapshotId) -> Option<SnapshotPath> {
    for info in engine.datasets() {
        if let Some(snapshot) = engine.snapshots(info.id).into_iter().find(|s| s.id == id) {
            let volume = VolumePath { pool: pool.clone(), volume: info.name.parse().ok()? };
            return Some(SnapshotPath { volume, snapshot: snapshot.name.parse().ok()? });
        }
    }
    None
}

pub(super) fn naming(pool: &Pool, error: snapshots::Error, path: &VolumePath) -> Error {
    match error {
        snapshots::Error::Exists(_) => Error::Exists { kind: Kind::Volume, name: path.to_string() },
        error => pool.fault_of(error),
    }
}

fn check_size(size: u64) -> Result<(), Error> {
    if size == 0 || size > SIZE_MAX {
        return Err(Error::invalid(format!("a size of {size} bytes is impossible"), "choose 4K to 1P"));
    }
    if !size.is_multiple_of(4096) {
        let up = size.next_multiple_of(4096);
        return Err(Error::invalid(
            format!("{size} bytes are not a multiple of 4096"),
            format!("the next size that is one: {up}"),
        ));
    }
    Ok(())
}
