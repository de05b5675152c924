//! What can be wrong with a pool's devices, in the words that the administrator reads: which device, what is
//! wrong, what to do.

use super::Found;
use crate::error::DiskError;
use crate::format::superblock::{SuperblockFault, MEMBERS_MAX, RANGES_MAX};
use crate::format::{DeviceId, Ordinal, PoolId, PoolName};

/// Why a pool cannot be created, opened or changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PoolError {
    /// A device failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// No device was named.
    #[error("no device was given: name at least one")]
    NoDevice,
    /// The member table is full.
    #[error("a pool has at most {MEMBERS_MAX} devices: grow a device, or create another pool")]
    TooManyMembers,
    /// The segment table is full.
    #[error("the pool's {RANGES_MAX} segment ranges are used up: create another pool")]
    TooManyRanges,
    /// The device cannot hold the areas of the layout.
    #[error("{device}: {len} bytes are too few, a device needs at least {needed}: use a larger one")]
    TooSmall {
        /// The device.
        device: String,
        /// Its bytes.
        len: u64,
        /// The least that would do, in bytes.
        needed: u64,
    },
    /// The layout's ring length is not a multiple of 1 MiB.
    #[error("a ring of {len} bytes is impossible: choose a positive multiple of 1 MiB")]
    BadRing {
        /// The length asked for, in bytes.
        len: u64,
    },
    /// The device's sectors are larger than a superblock.
    #[error("{device}: sectors of {sector} bytes are not supported: use a device with 512 or 4096")]
    Sector {
        /// The device.
        device: String,
        /// Bytes of its sectors.
        sector: u32,
    },
    /// The device is not empty.
    #[error("{device} holds {found}: choose another device, or force to overwrite it")]
    InUse {
        /// The device.
        device: String,
        /// What is on it.
        found: Found,
    },
    /// The device is a member of this very pool; force does not help.
    #[error("{device} is already a member of pool {pool}: choose another device")]
    AlreadyMember {
        /// The device.
        device: String,
        /// The pool.
        pool: PoolName,
    },
    /// The device never belonged to a pool, or was wiped.
    #[error("{device} holds no Ashlar superblock: check the path, or leave the device out")]
    NoSuperblock {
        /// The device.
        device: String,
    },
    /// Both copies are bad.
    #[error(
        "{device}: both superblock copies are bad ({first}; {second}): restore the device from a copy, \
         or delete the pool"
    )]
    Damaged {
        /// The device.
        device: String,
        /// What is wrong with the first copy.
        first: Box<CopyFault>,
        /// What is wrong with the second copy.
        second: Box<CopyFault>,
    },
    /// A newer release wrote a superblock.
    #[error("{device} cannot be opened: {fault}: update Ashlar")]
    NewerFormat {
        /// The device.
        device: String,
        /// Which format it has.
        fault: SuperblockFault,
    },
    /// The pool has features that this release can read past but not write.
    #[error("pool {pool} cannot be written: unknown features {features:#x}: update Ashlar")]
    ReadOnly {
        /// The pool.
        pool: PoolName,
        /// The unknown read-only-compatible feature bits.
        features: u64,
    },
    /// The device belongs to another pool.
    #[error("{device} belongs to pool {found} ({found_id}), not to pool {pool_id}: leave it out")]
    Foreign {
        /// The device.
        device: String,
        /// Its pool.
        found: PoolName,
        /// Its pool's UUID.
        found_id: PoolId,
        /// The UUID of the pool being opened.
        pool_id: PoolId,
    },
    /// One device under two names, or a byte copy of one.
    #[error("{first} and {second} are the same device, or copies of it: leave one out")]
    GivenTwice {
        /// One name.
        first: String,
        /// The other name.
        second: String,
    },
    /// A member was not given.
    #[error(
        "device {ordinal} ({id}, {len} bytes) of pool {pool} is missing; found: {}: attach it and open again",
        found.join(", ")
    )]
    Missing {
        /// The pool.
        pool: PoolName,
        /// The member's place.
        ordinal: Ordinal,
        /// The member's UUID.
        id: DeviceId,
        /// Bytes of it that the pool uses.
        len: u64,
        /// The devices that were given.
        found: Vec<String>,
    },
    /// The device has fewer bytes than the pool uses of it.
    #[error("{device} has {len} bytes, the pool uses {recorded} of it: restore its size")]
    Shrunk {
        /// The device.
        device: String,
        /// Its bytes now.
        len: u64,
        /// The bytes that the pool uses.
        recorded: u64,
    },
    /// The superblocks of a pool contradict each other: its devices lived apart for a while.
    #[error("{device} and {other} disagree about pool {pool}: {what}: restore both from one point in time")]
    Inconsistent {
        /// One device.
        device: String,
        /// A device with the newest state.
        other: String,
        /// The pool.
        pool: PoolName,
        /// In what they disagree.
        what: &'static str,
    },
    /// No member has the ordinal.
    #[error("pool {pool} has no device {ordinal}: see its list of devices")]
    NoMember {
        /// The pool.
        pool: PoolName,
        /// The place asked for.
        ordinal: Ordinal,
    },
    /// The device is not longer than it was.
    #[error(
        "{device} cannot grow from {recorded} to {wanted} bytes, it has {len}: enlarge the device first"
    )]
    CannotGrow {
        /// The device.
        device: String,
        /// Its bytes now.
        len: u64,
        /// The bytes that the pool uses.
        recorded: u64,
        /// The bytes that the pool should use.
        wanted: u64,
    },
    /// A membership record contradicts the pool: the journal is damaged, or there is a bug of ours.
    #[error("a membership record for device {id} does not fit pool {pool}: {what}: report this")]
    BadChange {
        /// The pool.
        pool: PoolName,
        /// The device of the record.
        id: DeviceId,
        /// In what it does not fit.
        what: &'static str,
    },
}

/// Why one copy of a superblock is of no use.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CopyFault {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(DiskError),
    /// It is read, but no superblock.
    #[error(transparent)]
    Invalid(SuperblockFault),
}

/// What an open found that does not keep the pool from working, but should be known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Warning {
    /// One of the two superblock copies is bad; the next writing replaces it.
    #[error("{device}: the superblock copy at byte {at} is bad and will be rewritten: {fault}")]
    BadCopy {
        /// The device.
        device: String,
        /// Byte offset of the copy.
        at: u64,
        /// What is wrong with it.
        fault: CopyFault,
    },
    /// A device missed more than the one writing that a crash can interrupt.
    #[error(
        "{device} missed {} writings of the superblocks: was it restored from an older copy? scrub the pool",
        newest - generation
    )]
    Behind {
        /// The device.
        device: String,
        /// Its generation.
        generation: u64,
        /// The newest generation.
        newest: u64,
    },
}
