//! A pool as the server holds it: its engine while it is open, the reason while it is not.
//!
//! Invariants: whoever does I/O asks for the engine anew each time, so that a pool that had to be reopened
//! goes on under the same handles. A pool that fails stays listed, with the reason.

mod io;
mod open;
mod shares;
mod supervise;
mod system;

pub use io::{IoError, IoSource, VolumeIo};
pub use open::{EngineSettings, PoolSettings};
pub use shares::Share;
pub(crate) use system::SYSTEM;

use crate::error::Error;
use crate::name::Name;
use crate::state::PoolRecord;
use snapshots::engine::PoolFiles;
use snapshots::{DatasetId, Engine};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::Notify;

/// What a dataset is used for: its kind in the engine.
pub(crate) const KIND_VOLUME: u8 = 1;
/// A tree of files.
pub(crate) const KIND_SHARE: u8 = 2;

/// A pool of this server.
pub struct Pool {
    name: Name,
    settings: PoolSettings,
    files: Mutex<PoolFiles>,
    slot: RwLock<Slot>,
    /// Rung by I/O that met a failed engine.
    failed: Notify,
    /// Sizes of volumes in use: asked for with every command.
    volumes: Mutex<BTreeMap<DatasetId, Arc<io::Shared>>>,
    /// Shares in use.
    shares: Mutex<BTreeMap<DatasetId, Arc<shares::Shared>>>,
}

enum Slot {
    /// In use.
    Open(Arc<Engine>),
    /// Being opened, or opened again after what is said.
    Opening(Option<String>),
    /// Of no use until the server is started again, and why.
    Failed(String),
    /// Closed for good.
    Closed,
}

impl Pool {
    /// A pool that is not open yet.
    pub(crate) fn new(name: Name, record: &PoolRecord, settings: PoolSettings) -> Arc<Pool> {
        Arc::new(Pool {
            name,
            files: Mutex::new(settings.files(record)),
            settings,
            slot: RwLock::new(Slot::Opening(None)),
            failed: Notify::new(),
            volumes: Mutex::default(),
            shares: Mutex::default(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The engine, if the pool is in use.
    pub(crate) fn try_engine(&self) -> Option<Arc<Engine>> {
        match &*self.slot.read().expect("no holder of the slot panics") {
            Slot::Open(engine) => Some(engine.clone()),
            _ => None,
        }
    }

    /// The engine.
    ///
    /// # Errors
    /// The pool is not in use, and why.
    pub(crate) fn engine(&self) -> Result<Arc<Engine>, Error> {
        match &*self.slot.read().expect("no holder of the slot panics") {
            Slot::Open(engine) => Ok(engine.clone()),
            slot => Err(Error::PoolFailed { pool: self.name.to_string(), why: slot.why().into() }),
        }
    }

    /// Why it is not in use, if it is not.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        match &*self.slot.read().expect("no holder of the slot panics") {
            Slot::Open(_) => None,
            slot => Some(slot.why().to_owned()),
        }
    }

    fn is_opening(&self) -> bool {
        matches!(*self.slot.read().expect("no holder of the slot panics"), Slot::Opening(_))
    }

    fn set(&self, slot: Slot) {
        let is_open = matches!(slot, Slot::Open(_));
        *self.slot.write().expect("no holder of the slot panics") = slot;
        if !is_open {
            // A tree would keep the engine, and with it the devices.
            self.forget_trees();
        }
    }

    /// A handle for the I/O of one of its volumes.
    pub(crate) fn volume_io(self: &Arc<Self>, dataset: DatasetId) -> VolumeIo {
        let mut volumes = self.volumes.lock().expect("no holder of the table panics");
        let shared = volumes.entry(dataset).or_insert_with(|| Arc::new(io::Shared::new(dataset)));
        let io = VolumeIo::new(self.clone(), shared.clone());
        drop(volumes);
        io.refresh();
        io
    }

    /// The handle of a volume that is in use already, whether the pool is open now or not.
    pub(crate) fn known_io(self: &Arc<Self>, dataset: DatasetId) -> Option<VolumeIo> {
        let volumes = self.volumes.lock().expect("no holder of the table panics");
        volumes.get(&dataset).map(|shared| VolumeIo::new(self.clone(), shared.clone()))
    }

    /// Turns an engine's error into ours, naming the pool.
    pub(crate) fn fault_of(&self, error: snapshots::Error) -> Error {
        match error {
            snapshots::Error::NoSpace => Error::NoSpace { pool: self.name.to_string() },
            snapshots::Error::PoolFailed(reason) => {
                self.failed.notify_one();
                Error::PoolFailed { pool: self.name.to_string(), why: reason.to_string() }
            }
            error => Error::Engine(error),
        }
    }
}

impl Slot {
    fn why(&self) -> &str {
        match self {
            Slot::Open(_) => "it is open",
            Slot::Opening(None) => "it is being opened",
            Slot::Opening(Some(why)) | Slot::Failed(why) => why,
            Slot::Closed => "it is closed",
        }
    }
}
