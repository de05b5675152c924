//! The parts of an engine on real devices: data devices opened and locked, then the index in its directory.
//!
//! Invariant: the devices come first, and are waited for. After a `kill -9` their locks are free only when
//! the last write of the dead process has drained (design rule 9); who has them may also have the index.

use super::MERGE_RULES;
use block_layer::device::{open_disk, DiskOptions, OpenError};
use block_layer::index::{IndexOptions, RocksIndex};
use block_layer::{Disk, IndexError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where a pool lies, and how it is reached.
#[derive(Clone)]
pub struct PoolFiles {
    /// Its devices: files or block devices.
    pub devices: Vec<PathBuf>,
    /// The directory of its index.
    pub index: PathBuf,
    /// How the devices are driven.
    pub disk: DiskOptions,
    /// What the index may use; its merge rules are set here.
    pub index_options: IndexOptions,
    /// How long a device that is in use is waited for.
    pub patience: Duration,
}

/// Devices and index, opened and locked.
pub type OpenFiles = (Vec<Arc<dyn Disk>>, Arc<RocksIndex>);

/// Why devices or index could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A device.
    #[error(transparent)]
    Device(#[from] OpenError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Rest before a lock is tried again.
const RETRY: Duration = Duration::from_millis(10);

impl PoolFiles {
    /// Devices and index where they usually lie, driven as well as the system allows.
    #[must_use]
    pub fn new(devices: Vec<PathBuf>, index: PathBuf) -> PoolFiles {
        let (disk, index_options) = (DiskOptions::default(), IndexOptions::default());
        PoolFiles { devices, index, disk, index_options, patience: Duration::from_secs(30) }
    }

    /// Opens and locks the devices, then the index, which must be there; blocks. `waiting` hears once of each
    /// that is in use and waited for.
    ///
    /// # Errors
    /// [`FilesError`]; `Busy` when the patience is over.
    pub fn open(&self, waiting: &mut dyn FnMut(&Path)) -> Result<OpenFiles, FilesError> {
        self.open_with(waiting, RocksIndex::open)
    }

    /// As [`PoolFiles::open`], for a pool that is to be created: the index is made, in an empty directory.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn open_new(&self, waiting: &mut dyn FnMut(&Path)) -> Result<OpenFiles, FilesError> {
        self.open_with(waiting, RocksIndex::create)
    }

    /// Opens and locks one more device, to be added to the pool; blocks.
    ///
    /// # Errors
    /// What stands in the way, with the device's path.
    pub fn open_device(&self, path: &Path) -> Result<Arc<dyn Disk>, OpenError> {
        open_disk(path, &self.disk)
    }

    /// Removes the index of a pool that was deleted; blocks. Its directory goes too, if nothing else is in
    /// it.
    ///
    /// # Errors
    /// It is still open, or the file system refuses.
    pub fn remove_index(&self) -> Result<(), IndexError> {
        RocksIndex::remove(&self.index)
    }

    fn open_with(
        &self,
        waiting: &mut dyn FnMut(&Path),
        open_index: fn(&Path, IndexOptions) -> Result<RocksIndex, IndexError>,
    ) -> Result<OpenFiles, FilesError> {
        let give_up = Instant::now() + self.patience;
        let mut disks: Vec<Arc<dyn Disk>> = Vec::with_capacity(self.devices.len());
        for path in &self.devices {
            let open = || open_disk(path, &self.disk);
            let busy = |e: &OpenError| matches!(e, OpenError::Busy { .. });
            disks.push(patiently(path, give_up, waiting, open, busy)?);
        }
        let options = IndexOptions { rules: MERGE_RULES, ..self.index_options };
        let open = || open_index(&self.index, options);
        let busy = |e: &IndexError| matches!(e, IndexError::Busy { .. });
        let index = patiently(&self.index, give_up, waiting, open, busy)?;
        Ok((disks, Arc::new(index)))
    }
}

/// Calls `open` until it does not find `path` in use, or the time is over.
fn patiently<T, E>(
    path: &Path,
    give_up: Instant,
    waiting: &mut dyn FnMut(&Path),
    mut open: impl FnMut() -> Result<T, E>,
    busy: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let mut said = false;
    loop {
        match open() {
            Err(e) if busy(&e) && Instant::now() < give_up => {
                if !std::mem::replace(&mut said, true) {
                    waiting(path);
                }
                std::thread::sleep(RETRY);
            }
            result => return result,
        }
    }
}
