//! Pools: create, list, grow, scrub, delete.

use super::Manager;
use crate::error::{Error, Kind};
use crate::name::Name;
use crate::pool::{Pool, KIND_VOLUME, SYSTEM};
use crate::state::{Intent, PoolRecord};
use crate::view::{DamagedView, DeviceView, PoolSpace, PoolView, ScrubView};
use block_layer::device::FileDisk;
use block_layer::Runtime;
use serde::{Deserialize, Serialize};
use snapshots::engine::DamagedRange;
use snapshots::Engine;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A device for a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// An absolute path of a block device or a file.
    pub path: PathBuf,
    /// Bytes of the file that is made if there is none.
    pub size: Option<u64>,
}

impl Manager {
    /// Makes a pool on `devices` and opens it. Devices that hold something are refused unless `force`.
    ///
    /// # Errors
    /// The name is taken, or a device cannot be used: nothing is left behind.
    pub async fn create_pool(
        &self,
        name: Name,
        devices: &[DeviceRequest],
        force: bool,
    ) -> Result<PoolView, Error> {
        let _turn = self.turn.lock().await;
        if self.known().pools.contains_key(&name) {
            return Err(Error::Exists { kind: Kind::Pool, name: name.to_string() });
        }
        if devices.is_empty() {
            return Err(Error::invalid("no device was given", "name at least one with --device PATH[:SIZE]"));
        }
        let created = check_devices(devices)?;
        let tag = self.settings.runtime.random();
        let record = PoolRecord {
            devices: devices.iter().map(|device| device.path.clone()).collect(),
            index: PathBuf::from(format!("pools/{name}-{tag:016x}")),
            id: None,
        };
        self.change(|document| {
            document.pools.insert(name.clone(), record.clone());
            document.intents.push(Intent::CreatePool { name: name.clone(), created: created.clone() });
            Ok(())
        })
        .await?;
        match self.make_pool(&name, &record, devices, force).await {
            Ok(()) => self.show_pool(&name),
            Err(e) => {
                for file in &created {
                    remove_file(file)?;
                }
                self.forget_pool(&name).await?;
                Err(e)
            }
        }
    }

    async fn make_pool(
        &self,
        name: &Name,
        record: &PoolRecord,
        devices: &[DeviceRequest],
        force: bool,
    ) -> Result<(), Error> {
        let index = self.dir.path().join(&record.index);
        fs::create_dir_all(&index).map_err(Error::io(index))?;
        for device in devices {
            if let (Some(size), false) = (device.size, device.path.exists()) {
                make_file(device.path.clone(), size).await?;
            }
        }
        let pool = Pool::new(name.clone(), record, self.settings.clone());
        pool.create(force).await?;
        let id = pool.engine()?.pool().id.to_string();
        let recorded = self
            .change(|document| {
                let record = document.pools.get_mut(name).expect("it was recorded before it was made");
                record.id = Some(id);
                let ours =
                    |intent: &Intent| matches!(intent, Intent::CreatePool { name: n, .. } if n == name);
                document.intents.retain(|intent| !ours(intent));
                Ok(())
            })
            .await;
        if let Err(e) = recorded {
            pool.close().await;
            return Err(e);
        }
        self.known().pools.insert(name.clone(), pool);
        Ok(())
    }

    /// All pools, by name.
    #[must_use]
    pub fn list_pools(&self) -> Vec<PoolView> {
        let names: Vec<Name> = self.known().pools.keys().cloned().collect();
        names.iter().filter_map(|name| self.show_pool(name).ok()).collect()
    }

    /// One pool.
    ///
    /// # Errors
    /// It does not exist.
    pub fn show_pool(&self, name: &Name) -> Result<PoolView, Error> {
        let pool = self.pool(name)?;
        let devices = self.document().pools.get(name).map_or_else(Vec::new, |record| record.devices.clone());
        let mut view = PoolView {
            name: name.clone(),
            health: pool.fault().unwrap_or_else(|| "online".into()),
            capacity: 0,
            allocated: 0,
            free: 0,
            devices: devices.into_iter().map(DeviceView::absent).collect(),
            volumes: 0,
            scrub: None,
        };
        if let Some(engine) = pool.try_engine() {
            let info = engine.pool();
            (view.capacity, view.allocated) = (info.capacity, info.allocated);
            view.free = info.free.saturating_sub(info.reserve);
            view.devices = info.devices.into_iter().map(device_view).collect();
            view.volumes = engine.datasets().iter().filter(|info| info.kind == KIND_VOLUME).count();
            let scrub = engine.scrub_progress();
            view.scrub = (scrub.running || scrub.done_bytes > 0).then(|| ScrubView {
                running: scrub.running,
                paused: scrub.paused,
                done: scrub.done_bytes,
                total: scrub.total_bytes,
                damaged_blocks: scrub.damaged_blocks,
                damaged: scrub.damaged.iter().map(|range| damaged_view(&engine, range)).collect(),
            });
        }
        Ok(view)
    }

    /// The space of each pool that is open: cheap enough to be asked for every second.
    #[must_use]
    pub fn pool_space(&self) -> Vec<PoolSpace> {
        let space = |pool: Arc<Pool>| {
            let info = pool.try_engine()?.pool();
            let free = info.free.saturating_sub(info.reserve);
            Some(PoolSpace { name: pool.name().clone(), capacity: info.capacity, free })
        };
        self.pools().into_iter().filter_map(space).collect()
    }

    /// Adds a device to a pool in use; its space can be used when this returns.
    ///
    /// # Errors
    /// The device cannot be used, or holds something and not `force`: nothing was changed.
    pub async fn add_device(
        &self,
        name: &Name,
        device: &DeviceRequest,
        force: bool,
    ) -> Result<PoolView, Error> {
        let _turn = self.turn.lock().await;
        let pool = self.pool(name)?;
        let engine = pool.engine()?;
        let created = check_devices(std::slice::from_ref(device))?;
        if let (Some(size), false) = (device.size, created.is_empty()) {
            make_file(device.path.clone(), size).await?;
        }
        // The pool needs the device from the moment it is committed: it is on the list before.
        let list = self
            .change(|document| {
                let record =
                    document.pools.get_mut(name).ok_or_else(|| Error::not_found(Kind::Pool, name))?;
                record.devices.push(device.path.clone());
                Ok(record.devices.clone())
            })
            .await?;
        match pool.add_device(&engine, device.path.clone(), force).await {
            Ok(()) => {
                pool.set_devices(list);
                self.show_pool(name)
            }
            // Whether it joined shows at the next open, which finds it on the list.
            Err(e @ Error::PoolFailed { .. }) => Err(e),
            Err(e) => {
                self.change(|document| {
                    let record = document.pools.get_mut(name);
                    record.into_iter().for_each(|record| record.devices.retain(|path| *path != device.path));
                    Ok(())
                })
                .await?;
                created.iter().try_for_each(|file| remove_file(file))?;
                Err(e)
            }
        }
    }

    /// Lets a pool in use have the whole of a device that became longer. With a size, the device is a file,
    /// and is made so long first.
    ///
    /// # Errors
    /// The pool has no such device, or it did not become longer: nothing was changed.
    pub async fn grow_device(&self, name: &Name, device: &DeviceRequest) -> Result<PoolView, Error> {
        let _turn = self.turn.lock().await;
        let pool = self.pool(name)?;
        let engine = pool.engine()?;
        let path = device.path.display();
        let devices = engine.pool().devices;
        let Some(member) = devices.into_iter().find(|member| Path::new(&member.name) == device.path) else {
            let remedy = format!("see `ashlar pool show {name}` for its devices");
            return Err(Error::invalid(format!("{path} is no device of pool {name}"), remedy));
        };
        if device.size.is_some_and(|size| size <= member.len) {
            let remedy = format!("give more than its {} bytes: a device never shrinks", member.len);
            return Err(Error::invalid(format!("{path} would not grow"), remedy));
        }
        let len = device.size.unwrap_or(0);
        engine.grow_device(member.ordinal, len).await.map_err(|e| pool.fault_of(e))?;
        self.show_pool(name)
    }

    /// Holds the scrub that runs, or lets it go on.
    ///
    /// # Errors
    /// None runs.
    pub fn pause_scrub(&self, name: &Name, paused: bool) -> Result<(), Error> {
        let engine = self.pool(name)?.engine()?;
        if !engine.scrub_progress().running {
            let remedy = format!("start one with `ashlar pool scrub {name}`");
            return Err(Error::invalid(format!("no scrub of pool {name} runs"), remedy));
        }
        engine.pause_scrub(paused);
        Ok(())
    }

    /// Verifies everything that is in use, in the background; `bytes_per_second` bounds it.
    ///
    /// # Errors
    /// The pool is not available, or a scrub runs already.
    pub fn scrub_pool(&self, name: &Name, bytes_per_second: u64) -> Result<(), Error> {
        let engine = self.pool(name)?.engine()?;
        if engine.scrub_progress().running {
            return Err(Error::InUse {
                what: format!("pool {name}"),
                why: "a scrub runs already".into(),
                remedy: "see `ashlar pool show`".into(),
            });
        }
        let name = name.clone();
        tokio::spawn(async move {
            match engine.scrub(bytes_per_second).await {
                Ok(progress) if progress.damaged.is_empty() => {
                    tracing::info!(pool = %name, "scrub: no damage")
                }
                Ok(progress) => {
                    tracing::error!(pool = %name, damaged = progress.damaged.len(), "scrub: damage")
                }
                Err(e) => tracing::error!(pool = %name, "the scrub ended early: {e}"),
            }
        });
        Ok(())
    }

    /// Deletes a pool and all that is in it.
    ///
    /// # Errors
    /// It has volumes and not `force`, or some host was given one: nothing was done.
    pub async fn delete_pool(&self, name: &Name, force: bool) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let pool = self.pool(name)?;
        let id = self.pool_id(name);
        let given = self.document().luns.iter().filter(|lun| lun.volume.pool == id).count();
        if given > 0 {
            return Err(Error::InUse {
                what: format!("pool {name}"),
                why: format!("{given} of its volumes are given to hosts"),
                remedy: "unmap them first, see `ashlar lun list`".into(),
            });
        }
        let volumes = pool.engine()?.datasets().iter().filter(|info| info.name != SYSTEM).count();
        if volumes > 0 && !force {
            return Err(Error::InUse {
                what: format!("pool {name}"),
                why: format!("it has {volumes} volume(s)"),
                remedy: "delete them first, or give --force to delete all".into(),
            });
        }
        self.change(|document| {
            document.intents.push(Intent::DeletePool { name: name.clone() });
            Ok(())
        })
        .await?;
        self.finish_pool_deletion(name).await
    }

    /// Wipes the pool's devices, as far as it opens, and forgets it.
    pub(super) async fn finish_pool_deletion(&self, name: &Name) -> Result<(), Error> {
        let pool = self.known().pools.remove(name);
        if let Some(pool) = pool {
            if let Err(e) = pool.delete().await {
                tracing::warn!(pool = %name, "its devices were not wiped: {e}");
            }
        }
        self.forget_pool(name).await
    }
}

fn damaged_view(engine: &Engine, range: &DamagedRange) -> DamagedView {
    let volume = range.dataset.and_then(|id| engine.dataset(id).ok());
    let snapshot = range.snapshot.zip(volume.as_ref()).and_then(|(id, volume)| {
        engine
            .snapshots(volume.id)
            .into_iter()
            .find(|snapshot| snapshot.id == id)
            .map(|snapshot| snapshot.name)
    });
    DamagedView {
        volume: volume.map_or_else(|| "(deleted)".to_owned(), |info| info.name),
        snapshot,
        offset: range.offset,
        length: range.len,
    }
}

fn device_view(device: block_layer::store::DeviceInfo) -> DeviceView {
    DeviceView {
        path: PathBuf::from(device.name),
        size: device.len,
        mode: device.mode.to_owned(),
        survives_power_loss: device.durable,
    }
}

/// The device files that have to be made.
fn check_devices(devices: &[DeviceRequest]) -> Result<Vec<PathBuf>, Error> {
    let mut created = Vec::new();
    for device in devices {
        let path = device.path.display();
        if !device.path.is_absolute() {
            return Err(Error::invalid(
                format!("{path} is not an absolute path"),
                "write it from the root on",
            ));
        }
        match (device.path.exists(), device.size) {
            (false, Some(_)) => created.push(device.path.clone()),
            (false, None) => {
                let remedy = format!("check the path, or give a size to make a file: {path}:100G");
                return Err(Error::invalid(format!("{path} does not exist"), remedy));
            }
            (true, Some(_)) => {
                let remedy = "leave the size out to use it as it is, or choose another path";
                return Err(Error::invalid(format!("{path} exists already"), remedy));
            }
            (true, None) => {}
        }
    }
    Ok(created)
}

pub(super) async fn make_file(path: PathBuf, size: u64) -> Result<(), Error> {
    let make = tokio::task::spawn_blocking(move || FileDisk::create(&path, size));
    let made = make.await.expect("making a file does not panic");
    made.map_err(|e| Error::Files(e.into()))
}

pub(super) fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path)(e)),
        _ => Ok(()),
    }
}
