//! Reading and writing the superblocks of devices.

use super::{CopyFault, PoolError, Warning};
use crate::device::{Buf, Disk, Io};
use crate::error::DiskError;
use crate::format::superblock::{Superblock, SuperblockFault, RING_OFFSET, SLOT_OFFSETS, SUPERBLOCK_LEN};
use crate::format::Ordinal;
use bytes::Bytes;
use std::sync::Arc;

/// A device and the newest whole superblock on it.
pub(super) struct Device {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) superblock: Superblock,
    /// The slot to write next: the one that does not hold `superblock`.
    pub(super) next_slot: usize,
}

/// Reads the superblocks of all `disks`, in parallel; warns of each bad copy.
pub(super) async fn read_all(
    disks: &[Arc<dyn Disk>],
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Device>, PoolError> {
    let long_enough = |disk: &Arc<dyn Disk>| disk.geometry().len >= RING_OFFSET;
    if let Some(short) = disks.iter().find(|disk| !long_enough(disk)) {
        return Err(PoolError::NoSuperblock { device: short.name().to_owned() });
    }
    let start = |disk: &Arc<dyn Disk>| SLOT_OFFSETS.map(|at| disk.read(at, Buf::zeroed(SUPERBLOCK_LEN)));
    let reads: Vec<[Io<Buf>; 2]> = disks.iter().map(start).collect();
    let mut devices = Vec::with_capacity(disks.len());
    for (disk, [first, second]) in disks.iter().zip(reads) {
        let copies = [decode(first.await), decode(second.await)];
        devices.push(choose(disk, copies, warnings)?);
    }
    Ok(devices)
}

fn decode(read: Result<Buf, DiskError>) -> Result<Superblock, CopyFault> {
    let bytes = read.map_err(CopyFault::Unreadable)?;
    let bytes: &[u8; SUPERBLOCK_LEN] = bytes[..].try_into().expect("a read gives its buffer back");
    Superblock::decode(bytes).map_err(CopyFault::Invalid)
}

/// Takes the newer of two copies.
fn choose(
    disk: &Arc<dyn Disk>,
    copies: [Result<Superblock, CopyFault>; 2],
    warnings: &mut Vec<Warning>,
) -> Result<Device, PoolError> {
    let device = disk.name().to_owned();
    let newer = |copy: &Result<_, CopyFault>| match copy {
        Err(CopyFault::Invalid(fault @ SuperblockFault::NewerFormat { .. })) => Some(fault.clone()),
        _ => None,
    };
    // Even beside a copy that we can read: the newer release wrote it last.
    if let Some(fault) = copies.iter().find_map(newer) {
        return Err(PoolError::NewerFormat { device, fault });
    }
    let not_ours = |fault: &CopyFault| matches!(fault, CopyFault::Invalid(SuperblockFault::NotOurs));
    let found = |superblock, slot: usize| Device { disk: disk.clone(), superblock, next_slot: 1 - slot };
    let mut bad = |slot: usize, fault| {
        warnings.push(Warning::BadCopy { device: device.clone(), at: SLOT_OFFSETS[slot], fault });
    };
    match copies {
        [Ok(first), Ok(second)] if first.pool.generation > second.pool.generation => Ok(found(first, 0)),
        [Ok(_), Ok(second)] => Ok(found(second, 1)),
        [Ok(first), Err(fault)] => {
            bad(1, fault);
            Ok(found(first, 0))
        }
        [Err(fault), Ok(second)] => {
            bad(0, fault);
            Ok(found(second, 1))
        }
        [Err(first), Err(second)] if not_ours(&first) && not_ours(&second) => {
            Err(PoolError::NoSuperblock { device })
        }
        [Err(first), Err(second)] => {
            Err(PoolError::Damaged { device, first: first.into(), second: second.into() })
        }
    }
}

/// Writes both slots of each device, which holds nothing that counts yet, and flushes.
pub(super) async fn write_both(devices: &[(Arc<dyn Disk>, Bytes)]) -> Result<(), DiskError> {
    let write =
        |(disk, bytes): &(Arc<dyn Disk>, Bytes)| SLOT_OFFSETS.map(|at| disk.write(at, vec![bytes.clone()]));
    settle(devices.iter().flat_map(write).collect()).await?;
    settle(devices.iter().map(|(disk, _)| disk.flush()).collect()).await
}

/// A writing of the superblocks of all members, made by [`super::Membership::begin_write`].
#[must_use = "nothing is written until it runs"]
pub struct SuperblockWrite {
    pub(super) generation: u64,
    pub(super) targets: Vec<Target>,
}

/// One device's part of a writing.
pub(super) struct Target {
    pub(super) ordinal: Ordinal,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) slot: usize,
    pub(super) bytes: Bytes,
}

/// The proof that a writing is durable on all members, for [`super::Membership::finish_write`].
#[must_use = "the next writing would overwrite the newest copies"]
#[derive(Debug)]
pub struct Written {
    pub(super) generation: u64,
    pub(super) slots: Vec<(Ordinal, usize)>,
}

impl SuperblockWrite {
    /// Writes one slot of each member, in parallel, then flushes each; returns when all is answered.
    ///
    /// # Errors
    /// The first device's failure. The older copies are whole; which of the new ones are is unknown.
    pub async fn run(self) -> Result<Written, PoolError> {
        let write = |t: &Target| t.disk.write(SLOT_OFFSETS[t.slot], vec![t.bytes.clone()]);
        settle(self.targets.iter().map(write).collect()).await?;
        settle(self.targets.iter().map(|t| t.disk.flush()).collect()).await?;
        let slots = self.targets.iter().map(|t| (t.ordinal, t.slot)).collect();
        Ok(Written { generation: self.generation, slots })
    }
}

/// Waits for all of `requests`, also after a failure: a request still under way could otherwise overtake the
/// next writing of the same slot. Returns the first failure.
pub(super) async fn settle(requests: Vec<Io<()>>) -> Result<(), DiskError> {
    let mut outcome = Ok(());
    for request in requests {
        let answer = request.await;
        outcome = outcome.and(answer);
    }
    outcome
}
