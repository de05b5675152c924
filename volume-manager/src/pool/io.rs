//! I/O of a volume, whatever carries it. Offsets and lengths are bytes, multiples of 512.

use super::Pool;
use block_layer::store::ReadError;
use block_layer::Buf;
use bytes::Bytes;
use snapshots::engine::{Extent, Volume, WriteOptions};
use snapshots::{DatasetId, Engine, Error, Session};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Why I/O was not done: a variant for each answer that a protocol has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IoError {
    /// Beyond the end of the volume, or not aligned.
    #[error("the range lies behind the end of the volume")]
    OutOfRange,
    /// No space; nothing was done.
    #[error("no space is left in the pool")]
    NoSpace,
    /// A block is damaged, or its device cannot read it.
    #[error("data is damaged")]
    Corrupt,
    /// Storage failed.
    #[error("storage failed")]
    Device,
    /// The pool stopped while it was at it, and is opened again: whether it was done is not known.
    #[error("the pool stopped in the middle")]
    Interrupted,
    /// What was compared differs, first at this byte.
    #[error("compared data differs at byte {0}")]
    Miscompare(u64),
    /// The source was fenced.
    #[error("the session was fenced")]
    Fenced,
    /// Writes of this source that were acknowledged may be lost; said once.
    #[error("acknowledged writes may have been lost")]
    WritesLost,
    /// The pool is being opened; nothing was done.
    #[error("the pool is being opened")]
    Starting,
    /// The pool is not open and will not be, or the volume is gone.
    #[error("the pool is not available")]
    Unavailable,
}

/// What all handles of a volume share.
pub(super) struct Shared {
    dataset: DatasetId,
    size: AtomicU64,
}

impl Shared {
    pub(super) fn new(dataset: DatasetId) -> Shared {
        Shared { dataset, size: AtomicU64::new(0) }
    }
}

/// Whose commands these are. Cloning gives the same source.
#[derive(Clone, Debug, Default)]
pub struct IoSource {
    session: Session,
    /// The verifier under which it last wrote without a flush since; 0 when there is nothing to lose.
    wrote_under: Arc<AtomicU64>,
}

/// A handle for a volume's I/O; valid as long as the volume exists, through reopening of its pool.
#[derive(Clone)]
pub struct VolumeIo {
    pool: Arc<Pool>,
    shared: Arc<Shared>,
}

impl VolumeIo {
    pub(super) fn new(pool: Arc<Pool>, shared: Arc<Shared>) -> VolumeIo {
        VolumeIo { pool, shared }
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.size.load(Ordering::Relaxed)
    }

    /// Looks its size up again: after a resize, a rollback, a reopening.
    pub(crate) fn refresh(&self) {
        if let Some(info) = self.pool.try_engine().and_then(|e| e.dataset(self.shared.dataset).ok()) {
            self.shared.size.store(info.size, Ordering::Relaxed);
        }
    }

    /// Bytes that it takes, and bytes that the pool still has.
    #[must_use]
    pub fn space(&self) -> (u64, u64) {
        let Some(engine) = self.pool.try_engine() else { return (0, 0) };
        let used = engine.dataset(self.shared.dataset).map_or(0, |info| info.referenced);
        let pool = engine.pool();
        (used, pool.free.saturating_sub(pool.reserve))
    }

    fn open(&self) -> Result<(Arc<Engine>, Volume), IoError> {
        let engine = self.pool.try_engine().ok_or_else(|| self.absent())?;
        let volume = engine.volume(self.shared.dataset);
        Ok((engine, volume))
    }

    /// What is said while there is no engine.
    fn absent(&self) -> IoError {
        match self.pool.is_opening() {
            true => IoError::Starting,
            false => IoError::Unavailable,
        }
    }

    fn fault(&self, error: Error) -> IoError {
        match error {
            Error::OutOfRange { .. } | Error::Invalid(_) => IoError::OutOfRange,
            Error::NoSpace => IoError::NoSpace,
            Error::Miscompare { offset } => IoError::Miscompare(offset),
            Error::Fenced => IoError::Fenced,
            Error::NotFound(_) => IoError::Unavailable,
            Error::Closed => self.absent(),
            Error::Read(ReadError::Corrupt { .. } | ReadError::Nowhere(_)) | Error::Damaged(_) => {
                IoError::Corrupt
            }
            error => {
                tracing::error!(pool = %self.pool.name, volume = self.shared.dataset.0, "{error}");
                self.pool.failed.notify_one();
                match error {
                    Error::Read(ReadError::Disk(_)) => IoError::Corrupt,
                    Error::PoolFailed(_) => IoError::Interrupted,
                    _ => IoError::Device,
                }
            }
        }
    }

    /// Reads `len` bytes.
    ///
    /// # Errors
    /// [`IoError`].
    pub async fn read(&self, offset: u64, len: usize) -> Result<Bytes, IoError> {
        if len == 0 {
            return Ok(Bytes::new());
        }
        let (_, volume) = self.open()?;
        // All of it is read, or nobody sees it.
        let read = volume.read(offset, Buf::recycled(len)).await;
        read.map(Buf::freeze).map_err(|e| self.fault(e))
    }

    /// Writes `data`, wholly or not at all; durable when it returns if `durable`.
    ///
    /// # Errors
    /// [`IoError`].
    pub async fn write(
        &self,
        source: &IoSource,
        offset: u64,
        data: Bytes,
        durable: bool,
    ) -> Result<(), IoError> {
        let (engine, volume) = self.open()?;
        let options = source.begin(&engine, durable);
        volume.write(offset, data, &options).await.map_err(|e| self.fault(e))
    }

    /// Unmaps whole blocks, zeroes the rest.
    ///
    /// # Errors
    /// [`IoError`].
    pub async fn write_zeroes(
        &self,
        source: &IoSource,
        offset: u64,
        len: u64,
        durable: bool,
    ) -> Result<(), IoError> {
        let (engine, volume) = self.open()?;
        let options = source.begin(&engine, durable);
        volume.write_zeroes(offset, len, &options).await.map_err(|e| self.fault(e))
    }

    /// Writes `pattern` again and again.
    ///
    /// # Errors
    /// [`IoError`].
    pub async fn write_same(
        &self,
        source: &IoSource,
        offset: u64,
        len: u64,
        pattern: &[u8],
        durable: bool,
    ) -> Result<(), IoError> {
        let (engine, volume) = self.open()?;
        let options = source.begin(&engine, durable);
        volume.write_same(offset, len, pattern, &options).await.map_err(|e| self.fault(e))
    }

    /// Writes `data` if the range holds `expected`; atomic and durable.
    ///
    /// # Errors
    /// [`IoError`].
    pub async fn compare_and_write(
        &self,
        source: &IoSource,
        offset: u64,
        expected: &[u8],
        data: &[u8],
    ) -> Result<(), IoError> {
        let (_, volume) = self.open()?;
        let session = Some(source.session.clone());
        volume.compare_and_write(offset, expected, data, session).await.map_err(|e| self.fault(e))
    }

    /// Makes everything acknowledged before durable.
    ///
    /// # Errors
    /// [`IoError::WritesLost`] once, when writes of this source were acknowledged and then lost.
    pub async fn flush(&self, source: &IoSource) -> Result<(), IoError> {
        let (engine, _) = self.open()?;
        let wrote_under = source.wrote_under.load(Ordering::Acquire);
        let _durable = engine.flush().await.map_err(|e| self.fault(e))?;
        // A write that is acknowledged after this flush began sets it again: only the value seen is cleared.
        let _ = source.wrote_under.compare_exchange(wrote_under, 0, Ordering::AcqRel, Ordering::Relaxed);
        match wrote_under == 0 || wrote_under == engine.verifier() {
            true => Ok(()),
            false => Err(IoError::WritesLost),
        }
    }

    /// Runs of mapped and unmapped space.
    ///
    /// # Errors
    /// [`IoError`].
    pub async fn extents(&self, offset: u64, len: u64, limit: usize) -> Result<Vec<Extent>, IoError> {
        let (_, volume) = self.open()?;
        volume.extents(offset, len, limit).await.map_err(|e| self.fault(e))
    }

    /// Makes a range what `from` has at `from_offset`: by reference where that is possible, else by copying.
    ///
    /// # Errors
    /// [`IoError`].
    pub async fn copy_from(
        &self,
        source: &IoSource,
        offset: u64,
        from: &VolumeIo,
        from_offset: u64,
        len: u64,
    ) -> Result<(), IoError> {
        let aligned = [offset, from_offset, len].iter().all(|n| n % block_layer::BLOCK as u64 == 0);
        if aligned && len > 0 && Arc::ptr_eq(&self.pool, &from.pool) {
            let (engine, volume) = self.open()?;
            let origin = engine.volume(from.shared.dataset);
            let options = source.begin(&engine, false);
            return volume
                .clone_range(offset, &origin, from_offset, len, &options)
                .await
                .map_err(|e| self.fault(e));
        }
        let data = from.read(from_offset, len as usize).await?;
        self.write(source, offset, data, false).await
    }

    /// Keeps the volume's reservations, durably.
    ///
    /// # Errors
    /// [`IoError`].
    pub async fn save_reservations(&self, state: &[u8]) -> Result<(), IoError> {
        let saved = self.pool.save_reservations(self.shared.dataset, state).await;
        saved.map_err(|e| {
            tracing::error!(pool = %self.pool.name, "reservations were not saved: {e}");
            match e {
                crate::Error::NoSpace { .. } => IoError::NoSpace,
                crate::Error::PoolFailed { .. } if self.pool.is_opening() => IoError::Starting,
                crate::Error::PoolFailed { .. } => IoError::Interrupted,
                _ => IoError::Device,
            }
        })
    }

    /// Ends when each command of `source` took effect or never will.
    pub async fn fence(&self, source: &IoSource) {
        // An engine that is gone has no unfinished commands: whatever replaces it never heard of them.
        if let Some(engine) = self.pool.try_engine() {
            engine.fence(&source.session).await;
        }
    }
}

impl IoSource {
    /// A new source.
    #[must_use]
    pub fn new() -> IoSource {
        IoSource::default()
    }

    fn begin(&self, engine: &Engine, durable: bool) -> WriteOptions {
        if !durable {
            // Before the write, so that a flush that begins after its answer sees it. The first verifier
            // stays: writes under it may have been lost, and that is still to be said.
            let verifier = engine.verifier().max(1);
            let _ = self.wrote_under.compare_exchange(0, verifier, Ordering::AcqRel, Ordering::Relaxed);
        }
        WriteOptions { session: Some(self.session.clone()), durable }
    }
}

impl Pool {
    /// Looks the sizes of all volumes in use up again.
    pub(super) fn refresh_sizes(self: &Arc<Self>) {
        let volumes = self.volumes.lock().expect("no holder of the table panics");
        let handles: Vec<VolumeIo> =
            volumes.values().map(|shared| VolumeIo::new(self.clone(), shared.clone())).collect();
        drop(volumes);
        handles.iter().for_each(VolumeIo::refresh);
    }
}
