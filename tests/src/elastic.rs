//! A simulated disk whose length the administrator can change.

use crate::sim::SimDisk;
use block_layer::{Buf, Bytes, Disk, Geometry, Io};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

/// A disk that shows less than it has, until it grows.
pub(crate) struct Elastic {
    /// All of it.
    pub(crate) disk: Arc<SimDisk>,
    len: AtomicU64,
}

impl Elastic {
    /// Shows the first `len` bytes of `disk`.
    pub(crate) fn new(disk: Arc<SimDisk>, len: u64) -> Arc<Elastic> {
        Arc::new(Elastic { disk, len: AtomicU64::new(len) })
    }

    /// Shows the whole disk from now on.
    pub(crate) fn grow(&self) {
        self.len.store(self.disk.geometry().len, Relaxed);
    }
}

impl Disk for Elastic {
    fn name(&self) -> &str {
        self.disk.name()
    }

    fn geometry(&self) -> Geometry {
        Geometry { len: self.len.load(Relaxed), ..self.disk.geometry() }
    }

    fn mode(&self) -> &'static str {
        self.disk.mode()
    }

    fn read(&self, at: u64, buf: Buf) -> Io<Buf> {
        self.disk.read(at, buf)
    }

    fn write(&self, at: u64, data: Vec<Bytes>) -> Io<()> {
        self.disk.write(at, data)
    }

    fn flush(&self) -> Io<()> {
        self.disk.flush()
    }
}
