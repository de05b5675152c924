//! Creating a pool.

use super::layout::Areas;
use super::{assemble, probe, slots, Layout, Membership, PoolError};
use crate::device::{zero_ahead, Buf, Disk};
use crate::format::superblock::{Role, Superblock, MEMBERS_MAX, RING_OFFSET};
use crate::format::{
    DeviceId, Features, JournalMark, Member, Ordinal, PoolId, PoolName, PoolState, Ring, SegmentRange, Tail,
};
use crate::units::{Seq, BLOCKS_PER_SEGMENT};
use std::sync::Arc;

/// How a pool is created.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Its name.
    pub name: PoolName,
    /// How its devices are divided.
    pub layout: Layout,
    /// Whether devices that hold something are overwritten.
    pub force: bool,
}

/// Makes a pool of `disks`, whose ordinals follow their order; `random` gives 64 random bits.
///
/// The ring is put on the device with most room for it. The journal is empty: its first record has
/// sequence 1 and no predecessor. The incarnation is 1.
///
/// # Errors
/// A device that is too small, or not empty without `force`, or an alias that can be told without writing:
/// nothing has been written then. After an I/O error, or when two names turn out to be one device, some may
/// carry a superblock of a pool that is not whole, and need `force` to be used.
pub async fn create(
    disks: &[Arc<dyn Disk>],
    options: &CreateOptions,
    random: &mut (dyn FnMut() -> u64 + Send),
) -> Result<Membership, PoolError> {
    refuse_twice(disks)?;
    let areas = disks.iter().map(|d| options.layout.areas(&**d)).collect::<Result<Vec<_>, _>>()?;
    let state = plan(options.name.clone(), &areas, random)?;
    if !options.force {
        for disk in disks {
            if let Some(found) = probe::probe(&**disk).await? {
                return Err(PoolError::InUse { device: disk.name().to_owned(), found });
            }
        }
    }
    // Before the superblocks: they make it a pool.
    let ring = state.journal.ring;
    let disk = &disks[usize::from(ring.device.0)];
    zero_ahead(&**disk, ring.offset, ring.offset + ring.len).await?;
    let superblock = |member: &Member| Superblock {
        device: member.id,
        ordinal: member.ordinal,
        role: Role::Member,
        pool: state.clone(),
    };
    let bytes = state.members.iter().map(|m| Buf::copy_of(&superblock(m).encode()).freeze());
    slots::write_both(&disks.iter().cloned().zip(bytes).collect::<Vec<_>>()).await?;
    // Reading it all back also finds one device under two names: its second superblock replaced the first.
    Ok(assemble(disks, Some(state.id)).await?.members)
}

fn refuse_twice(disks: &[Arc<dyn Disk>]) -> Result<(), PoolError> {
    for (i, second) in disks.iter().enumerate() {
        let same = |first: &&Arc<dyn Disk>| Arc::ptr_eq(first, second) || first.name() == second.name();
        if let Some(first) = disks[..i].iter().find(same) {
            let (first, second) = (first.name().to_owned(), second.name().to_owned());
            return Err(PoolError::GivenTwice { first, second });
        }
    }
    Ok(())
}

/// The first state of a pool with these devices.
fn plan(name: PoolName, areas: &[Areas], random: &mut dyn FnMut() -> u64) -> Result<PoolState, PoolError> {
    if areas.len() > MEMBERS_MAX {
        return Err(PoolError::TooManyMembers);
    }
    let ordinals = || (0..MEMBERS_MAX as u8).map(Ordinal);
    // The first of the longest: `max_by_key` takes the last of equals.
    let Some((device, longest)) = ordinals().zip(areas).rev().max_by_key(|(_, a)| a.ring_len) else {
        return Err(PoolError::NoDevice);
    };
    let ring = Ring { device, offset: RING_OFFSET, len: longest.ring_len };
    let tail = Tail { offset: 0, next: Seq(1), predecessor: 0 };
    let id = PoolId::from_random(random(), random());
    let mut members = Vec::with_capacity(areas.len());
    let mut segments = Vec::with_capacity(areas.len());
    let mut first = 0;
    for (ordinal, areas) in ordinals().zip(areas) {
        members.push(Member { ordinal, id: DeviceId::from_random(random(), random()), len: areas.len });
        segments.push(SegmentRange {
            first,
            device: ordinal,
            offset: areas.data_offset(),
            blocks: areas.blocks,
        });
        // 64 devices of at most 2^64 bytes could have more segments than there are numbers.
        let count = areas.blocks.div_ceil(u64::from(BLOCKS_PER_SEGMENT));
        let next = u32::try_from(count).ok().and_then(|count| first.checked_add(count));
        first = next.ok_or(PoolError::TooManyRanges)?;
    }
    let state = PoolState {
        id,
        name,
        features: Features::default(),
        generation: 1,
        journal: JournalMark { incarnation: 1, ring, tail, flushed: Seq(0) },
        members,
        segments,
    };
    state.check().map(|()| state).map_err(|_| PoolError::TooManyRanges)
}
