//! Opening, creating and closing a pool.

use super::{Pool, Slot};
use crate::error::Error;
use crate::state::PoolRecord;
use block_layer::device::DiskOptions;
use block_layer::format::PoolName;
use block_layer::pool::{CreateOptions, Layout};
use block_layer::runtime::TokioRuntime;
use block_layer::Runtime;
use snapshots::engine::PoolFiles;
use snapshots::{Engine, EngineConfig, EngineParts};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How small entries are merged: only shares have any.
const RULES: &[snapshots::machine::merge::EntryRule] = &[crate::share::RULE];

/// What each pool may take of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Bytes of verified blocks that are kept.
    pub block_cache_bytes: u64,
    /// Bytes of volumes' maps that are kept.
    pub map_cache_bytes: u64,
    /// Bytes of writes that were begun and not yet answered.
    pub in_flight_bytes: u64,
    /// Bytes of shares' names and inodes that are kept.
    pub entry_cache_bytes: u64,
}

impl Default for EngineSettings {
    fn default() -> EngineSettings {
        EngineSettings {
            block_cache_bytes: 256 << 20,
            map_cache_bytes: 64 << 20,
            in_flight_bytes: 64 << 20,
            entry_cache_bytes: 64 << 20,
        }
    }
}

impl EngineSettings {
    fn config(self) -> EngineConfig {
        let memory = (self.block_cache_bytes, self.map_cache_bytes, self.in_flight_bytes);
        let config = EngineConfig::of_memory(memory.0, memory.1, memory.2);
        EngineConfig { entry_cache_bytes: self.entry_cache_bytes, entry_rules: RULES, ..config }
    }
}

/// How this server drives its pools.
#[derive(Clone)]
pub struct PoolSettings {
    /// The state directory, below which the index directories are.
    pub state_dir: PathBuf,
    /// Budgets of each pool.
    pub engine: EngineSettings,
    /// How devices are driven.
    pub disk: DiskOptions,
    /// How long a device that is in use is waited for at the start.
    pub patience: Duration,
    /// The runtime of the threads that serve.
    pub runtime: Arc<TokioRuntime>,
}

impl PoolSettings {
    /// Usual settings, on the runtime that calls.
    #[must_use]
    pub fn new(state_dir: PathBuf) -> PoolSettings {
        PoolSettings {
            state_dir,
            engine: EngineSettings::default(),
            disk: DiskOptions::default(),
            patience: Duration::from_secs(30),
            runtime: Arc::new(TokioRuntime::new(tokio::runtime::Handle::current())),
        }
    }

    pub(super) fn files(&self, record: &PoolRecord) -> PoolFiles {
        let mut files = PoolFiles::new(record.devices.clone(), self.state_dir.join(&record.index));
        files.disk = self.disk;
        files.patience = self.patience;
        files
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime.clone()
    }
}

impl Pool {
    /// Opens the pool. When it cannot be opened it stays, with the reason.
    pub(crate) async fn open(self: &Arc<Self>) -> Result<(), Error> {
        let opened = self.open_engine().await;
        match opened {
            Ok(engine) => {
                self.set(Slot::Open(engine));
                self.refresh_sizes();
                self.supervise();
                Ok(())
            }
            Err(e) => {
                self.set(Slot::Failed(e.to_string()));
                Err(e)
            }
        }
    }

    pub(super) async fn open_engine(&self) -> Result<Arc<Engine>, Error> {
        let (engine, warnings) = Engine::open(self.parts(false).await?).await.map_err(Error::Engine)?;
        for warning in warnings {
            tracing::warn!(pool = %self.name, "{warning}");
        }
        Ok(engine)
    }

    /// Makes the pool on its devices and opens it.
    pub(crate) async fn create(self: &Arc<Self>, force: bool) -> Result<(), Error> {
        let name = PoolName::new(self.name.as_str()).expect("a name is stricter than a pool's name");
        let options = CreateOptions { name, layout: Layout { ring_len: None }, force };
        let engine = Engine::create(self.parts(true).await?, &options).await.map_err(Error::Engine)?;
        self.set(Slot::Open(engine));
        self.supervise();
        Ok(())
    }

    async fn parts(&self, new: bool) -> Result<EngineParts, Error> {
        let files = self.files.lock().expect("no holder of the paths panics").clone();
        let name = self.name.clone();
        let open = move || {
            let mut waiting = |path: &std::path::Path| {
                tracing::info!(pool = %name, device = %path.display(), "in use: waiting until it is free");
            };
            if new {
                files.open_new(&mut waiting)
            } else {
                files.open(&mut waiting)
            }
        };
        let (disks, index) =
            tokio::task::spawn_blocking(open).await.expect("opening devices does not panic")?;
        for disk in &disks {
            tracing::info!(pool = %self.name, device = disk.name(), mode = disk.mode(), "device opened");
        }
        Ok(EngineParts {
            runtime: self.settings.runtime(),
            disks,
            index,
            config: self.settings.engine.config(),
        })
    }

    /// Adds a device to the open pool.
    pub(crate) async fn add_device(&self, engine: &Engine, path: PathBuf, force: bool) -> Result<(), Error> {
        let files = self.files.lock().expect("no holder of the paths panics").clone();
        let open = tokio::task::spawn_blocking(move || files.open_device(&path));
        let disk =
            open.await.expect("opening a device does not panic").map_err(|e| Error::Files(e.into()))?;
        engine.add_device(disk, Layout { ring_len: None }, force).await.map_err(|e| self.fault_of(e))
    }

    /// The devices that the next opening is given.
    pub(crate) fn set_devices(&self, devices: Vec<PathBuf>) {
        self.files.lock().expect("no holder of the paths panics").devices = devices;
    }

    /// Closes the pool and takes its devices out of it.
    pub(crate) async fn delete(&self) -> Result<(), Error> {
        let engine = self.engine()?;
        self.set(Slot::Closed);
        self.failed.notify_one();
        engine.delete().await.map_err(|e| self.fault_of(e))
    }

    /// Finishes everything and closes the pool.
    pub(crate) async fn close(&self) {
        let Some(engine) = self.try_engine() else { return };
        self.set(Slot::Closed);
        self.failed.notify_one();
        if let Err(reason) = engine.close().await {
            tracing::error!(pool = %self.name, "{reason}: the next start recovers");
        }
    }
}
