//! The pool under the engine, as its owner changes it: devices added, devices made larger, all of it deleted.
//!
//! Who opens pools keeps the list of their devices. A device is to be on that list *before* it is added here:
//! once the addition is committed the pool does not open without it, while one that was never committed does
//! no harm (it shows as unused in [`PoolInfo`]).

use super::Engine;
use crate::error::Error;
use block_layer::format::Ordinal;
use block_layer::pool::Layout;
use block_layer::store::{MemberError, PoolInfo};
use block_layer::Disk;
use std::sync::Arc;

impl Engine {
    /// The pool, its space and its devices.
    #[must_use]
    pub fn pool(&self) -> PoolInfo {
        self.store.info()
    }

    /// Adds a device while the pool is in use; `force` overwrites what it holds. Its space can be used when
    /// this returns, and the pool needs it from now on.
    ///
    /// # Errors
    /// [`Error::Pool`]: the device does not fit, nothing was changed. [`Error::PoolFailed`]: whether it
    /// joined shows at the next open, which must be given the device.
    pub async fn add_device(&self, disk: Arc<dyn Disk>, layout: Layout, force: bool) -> Result<(), Error> {
        self.store.add_device(disk, layout, force).await.map_err(Error::from)
    }

    /// Lets the pool use the whole of a device that has become longer. A file that is shorter than `len`
    /// bytes is made so long first; 0 takes a device as it is.
    ///
    /// # Errors
    /// As [`Engine::add_device`].
    pub async fn grow_device(&self, device: Ordinal, len: u64) -> Result<(), Error> {
        self.store.grow_device(device, len).await.map_err(Error::from)
    }

    /// Closes the pool and takes its devices out of it: they can be used for something else without force.
    /// Its index is the caller's to remove, when the engine is gone: see [`super::PoolFiles::remove_index`].
    ///
    /// # Errors
    /// [`Error::PoolFailed`]: nothing was deleted. [`Error::Pool`]: some devices still say that they belong
    /// to the pool, and need force to be used.
    pub async fn delete(&self) -> Result<(), Error> {
        self.background.stop();
        self.store.delete().await.map_err(Error::from)
    }
}

impl From<MemberError> for Error {
    fn from(e: MemberError) -> Error {
        match e {
            MemberError::Pool(e) => Error::Pool(Box::new(e)),
            MemberError::Failed(reason) => Error::PoolFailed(reason),
            MemberError::Closed => Error::Closed,
        }
    }
}
