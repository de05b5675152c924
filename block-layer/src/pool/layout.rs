//! Where the areas of a device lie.

use super::PoolError;
use crate::device::{Disk, Geometry};
use crate::format::superblock::{RING_OFFSET, SUPERBLOCK_LEN};
use crate::units::BLOCK;

const MIB: u64 = 1 << 20;

/// Bytes of room for a ring on a device of 4 GiB or more.
pub const RING_DEFAULT: u64 = 256 * MIB;
/// Bytes of room for a ring on the smallest device.
pub const RING_MIN: u64 = MIB;
/// Bytes of data area below which a device is not worth having.
const DATA_MIN: u64 = MIB;

/// How devices are divided when they are formatted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of room for a ring on every device, a multiple of 1 MiB. By default 1/16 of the device, between
    /// [`RING_MIN`] and [`RING_DEFAULT`].
    pub ring_len: Option<u64>,
}

/// The areas of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Areas {
    /// Bytes that are used, a multiple of the block.
    pub(super) len: u64,
    /// Bytes of room for a ring, from [`RING_OFFSET`] on.
    pub(super) ring_len: u64,
    /// Blocks of the data area.
    pub(super) blocks: u64,
}

impl Areas {
    /// Byte offset of the data area.
    pub(super) fn data_offset(&self) -> u64 {
        RING_OFFSET + self.ring_len
    }
}

impl Layout {
    /// The areas of `disk`, or why it cannot have them.
    pub(super) fn areas(&self, disk: &dyn Disk) -> Result<Areas, PoolError> {
        let Geometry { len, sector, .. } = disk.geometry();
        if sector as usize > SUPERBLOCK_LEN || sector == 0 {
            return Err(PoolError::Sector { device: disk.name().to_owned(), sector });
        }
        let automatic = || (len / 16 / MIB * MIB).clamp(RING_MIN, RING_DEFAULT);
        let ring_len = self.ring_len.unwrap_or_else(automatic);
        if ring_len == 0 || !ring_len.is_multiple_of(MIB) || ring_len > u64::MAX / 2 {
            return Err(PoolError::BadRing { len: ring_len });
        }
        let needed = RING_OFFSET + ring_len + DATA_MIN;
        if len < needed {
            return Err(PoolError::TooSmall { device: disk.name().to_owned(), len, needed });
        }
        let len = len - len % BLOCK as u64;
        Ok(Areas { len, ring_len, blocks: (len - RING_OFFSET - ring_len) / BLOCK as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::MemDisk;
    use super::*;

    fn areas(layout: Layout, len: u64) -> Result<Areas, PoolError> {
        layout.areas(&MemDisk::new("d", len))
    }

    #[test]
    fn the_ring_takes_a_sixteenth_of_a_small_device_and_256_mib_of_a_large_one() {
        let ring = |len| areas(Layout::default(), len).unwrap().ring_len;
        assert_eq!(ring(3 * MIB), MIB);
        assert_eq!(ring(100 * MIB), 6 * MIB);
        assert_eq!(ring(4 << 30), RING_DEFAULT);
        assert_eq!(ring(1 << 44), RING_DEFAULT);
    }

    #[test]
    fn the_whole_rest_of_a_device_is_data() {
        let areas = areas(Layout { ring_len: Some(2 * MIB) }, 8 * MIB + 5 * 512).unwrap();
        assert_eq!(areas, Areas { len: 8 * MIB, ring_len: 2 * MIB, blocks: 5 * 256 });
    }

    #[test]
    fn a_device_too_small_is_told_how_large_it_must_be() {
        let error = areas(Layout::default(), 3 * MIB - 512).unwrap_err().to_string();
        assert_eq!(error, "d: 3145216 bytes are too few, a device needs at least 3145728: use a larger one");
        assert!(matches!(areas(Layout { ring_len: Some(1) }, 1 << 30), Err(PoolError::BadRing { len: 1 })));
    }
}
