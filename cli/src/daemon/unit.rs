//! A volume as a logical unit: the two borders, joined.

use bytes::Bytes;
use san_iscsi::lun::{Durability, Extent, LogicalUnit, LunFault, Space};
use volume_manager::{IoError, IoSource, VolumeIo};

/// A volume of the catalogue.
pub(super) struct VolumeUnit(pub(super) VolumeIo);

fn fault(error: IoError) -> LunFault {
    match error {
        IoError::OutOfRange => LunFault::OutOfRange,
        IoError::NoSpace => LunFault::NoSpace,
        IoError::Corrupt => LunFault::Corrupt,
        IoError::Device => LunFault::Device,
        IoError::Interrupted => LunFault::Interrupted,
        IoError::Miscompare(at) => LunFault::Miscompare { at },
        IoError::Fenced => LunFault::Fenced,
        IoError::WritesLost => LunFault::WritesLost,
        IoError::Starting => LunFault::Starting,
        IoError::Unavailable => LunFault::Unavailable,
    }
}

fn durable(durability: Durability) -> bool {
    durability == Durability::Durable
}

impl LogicalUnit for VolumeUnit {
    type Source = IoSource;

    fn source(&self) -> IoSource {
        IoSource::new()
    }

    async fn fence(&self, source: &IoSource) {
        self.0.fence(source).await;
    }

    fn len(&self) -> u64 {
        self.0.size()
    }

    fn space(&self) -> Space {
        let (used, available) = self.0.space();
        Space { used, available }
    }

    async fn read(&self, offset: u64, len: u64) -> Result<Bytes, LunFault> {
        self.0.read(offset, len as usize).await.map_err(fault)
    }

    async fn write(
        &self,
        source: &IoSource,
        offset: u64,
        data: Bytes,
        durability: Durability,
    ) -> Result<(), LunFault> {
        self.0.write(source, offset, data, durable(durability)).await.map_err(fault)
    }

    async fn flush(&self, source: &IoSource) -> Result<(), LunFault> {
        self.0.flush(source).await.map_err(fault)
    }

    async fn write_zeroes(
        &self,
        source: &IoSource,
        offset: u64,
        len: u64,
        durability: Durability,
    ) -> Result<(), LunFault> {
        self.0.write_zeroes(source, offset, len, durable(durability)).await.map_err(fault)
    }

    async fn write_same(
        &self,
        source: &IoSource,
        offset: u64,
        len: u64,
        pattern: Bytes,
        durability: Durability,
    ) -> Result<(), LunFault> {
        self.0.write_same(source, offset, len, &pattern, durable(durability)).await.map_err(fault)
    }

    async fn compare_and_write(
        &self,
        source: &IoSource,
        offset: u64,
        expected: Bytes,
        data: Bytes,
    ) -> Result<(), LunFault> {
        self.0.compare_and_write(source, offset, &expected, &data).await.map_err(fault)
    }

    async fn extents(&self, offset: u64, len: u64, limit: usize) -> Result<Vec<Extent>, LunFault> {
        let extents = self.0.extents(offset, len, limit).await.map_err(fault)?;
        Ok(extents.iter().map(|e| Extent { offset: e.offset, len: e.len, mapped: e.mapped }).collect())
    }

    async fn copy_from(
        &self,
        source: &IoSource,
        offset: u64,
        from: &VolumeUnit,
        from_offset: u64,
        len: u64,
    ) -> Result<(), LunFault> {
        self.0.copy_from(source, offset, &from.0, from_offset, len).await.map_err(fault)
    }

    async fn save_reservations(&self, state: Bytes) -> Result<(), LunFault> {
        self.0.save_reservations(&state).await.map_err(fault)
    }
}
