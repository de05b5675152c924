//! What a device already holds, so that nothing is overwritten unasked.

use crate::device::{Buf, Disk};
use crate::error::DiskError;
use crate::format::superblock::{Role, Superblock, SuperblockFault, SLOT_OFFSETS, SUPERBLOCK_LEN};
use crate::format::{DeviceId, PoolId, PoolName};
use std::fmt;

/// Bytes at the head of a device that must be zero before it is formatted: all up to the end of the slots.
const PROBE_LEN: usize = SLOT_OFFSETS[1] as usize + SUPERBLOCK_LEN;

/// What a device holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A device of a pool, or one that was formatted to join it.
    Ashlar {
        /// The pool's name.
        name: PoolName,
        /// The pool's UUID.
        pool: PoolId,
        /// The device's UUID.
        device: DeviceId,
        /// Whether it is a member by its own superblock.
        role: Role,
    },
    /// A superblock of ours that this release cannot use.
    AshlarUnusable(SuperblockFault),
    /// Something else that is known by its signature.
    Foreign(&'static str),
    /// Bytes that are not zero.
    Data,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Ashlar { name, pool, role: Role::Member, .. } => {
                write!(f, "a device of Ashlar pool {name} ({pool})")
            }
            Found::Ashlar { name, pool, role: Role::Joining, .. } => {
                write!(f, "a device prepared for Ashlar pool {name} ({pool})")
            }
            Found::AshlarUnusable(SuperblockFault::NewerFormat { found, .. }) => {
                write!(f, "a device of an Ashlar pool of a newer release (version {found})")
            }
            Found::AshlarUnusable(_) => f.write_str("a damaged Ashlar superblock"),
            Found::Foreign(what) => f.write_str(what),
            Found::Data => f.write_str("data"),
        }
    }
}

/// What `disk`, at least 1 MiB long, holds; `None` when its head is all zero.
pub(super) async fn probe(disk: &dyn Disk) -> Result<Option<Found>, DiskError> {
    let head = disk.read(0, Buf::zeroed(PROBE_LEN)).await?;
    Ok(identify(&head))
}

/// Signatures by byte offset, the more telling first: a boot sector's is also at the head of file systems.
const SIGNATURES: [(usize, &[u8], &str); 13] = [
    (512, b"EFI PART", "a GPT partition table"),
    (4096, b"EFI PART", "a GPT partition table"),
    (1024 + 56, &[0x53, 0xef], "an ext2, ext3 or ext4 file system"),
    (0, b"XFSB", "an xfs file system"),
    (0x10040, b"_BHRfS_M", "a btrfs file system"),
    (512, b"LABELONE", "an LVM physical volume"),
    (0, b"LUKS\xba\xbe", "a LUKS encrypted volume"),
    (4096, &[0xfc, 0x4e, 0x2b, 0xa9], "a member of a Linux RAID"),
    (4086, b"SWAPSPACE2", "swap space"),
    (0, b"bluestore block device", "a Ceph OSD"),
    (3, b"NTFS    ", "an NTFS file system"),
    (0x8001, b"CD001", "an ISO 9660 file system"),
    (510, &[0x55, 0xaa], "an MBR partition table or a boot sector"),
];

/// What the first [`PROBE_LEN`] bytes of a device say.
fn identify(head: &[u8]) -> Option<Found> {
    let mut unusable = None;
    for at in SLOT_OFFSETS {
        let copy = &head[at as usize..at as usize + SUPERBLOCK_LEN];
        match Superblock::decode(copy.try_into().expect("a slot is a superblock long")) {
            Ok(Superblock { device, role, pool, .. }) => {
                return Some(Found::Ashlar { name: pool.name, pool: pool.id, device, role });
            }
            Err(SuperblockFault::NotOurs) => {}
            Err(fault) => unusable = Some(Found::AshlarUnusable(fault)),
        }
    }
    let foreign = || {
        let found = SIGNATURES.iter().find(|(at, bytes, _)| head[*at..].starts_with(bytes));
        found.map(|(_, _, what)| Found::Foreign(what))
    };
    let data = || head.iter().any(|b| *b != 0).then_some(Found::Data);
    unusable.or_else(foreign).or_else(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_holds_is_named() {
        let with = |marks: &[(usize, &[u8])]| {
            let mut head = vec![0; PROBE_LEN];
            for (at, bytes) in marks {
                head[*at..*at + bytes.len()].copy_from_slice(bytes);
            }
            identify(&head).map(|found| found.to_string())
        };
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[(PROBE_LEN - 1, b"x")]).unwrap(), "data");
        let protective_mbr: (usize, &[u8]) = (510, &[0x55, 0xaa]);
        assert_eq!(with(&[protective_mbr, (512, b"EFI PART")]).unwrap(), "a GPT partition table");
        assert_eq!(with(&[protective_mbr]).unwrap(), "an MBR partition table or a boot sector");
        for (at, bytes, what) in SIGNATURES {
            assert_eq!(with(&[(at, bytes)]).unwrap(), what);
        }
        assert_eq!(with(&[(64 << 10, b"ASHLARSB")]).unwrap(), "a damaged Ashlar superblock");
    }
}
