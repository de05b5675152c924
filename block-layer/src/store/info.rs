//! An open pool as its administrator sees it: its space, its devices, and what each of them can promise.

use super::machine::Machine;
use super::Store;
use crate::format::{DeviceId, Ordinal, PoolId, PoolName};
use crate::units::BLOCK;

/// A pool, as a listing shows it. Space is in bytes.
#[derive(Clone, Debug)]
pub struct PoolInfo {
    /// Its identity.
    pub id: PoolId,
    /// Its name.
    pub name: PoolName,
    /// How often it was opened.
    pub incarnation: u64,
    /// Bytes of its data area.
    pub capacity: u64,
    /// Bytes that hold data, of snapshots too.
    pub allocated: u64,
    /// Bytes that do not, those included that become usable after a flush.
    pub free: u64,
    /// The part of `free` that only what frees space may use.
    pub reserve: u64,
    /// The part of `free` that cannot be used, since the index's account of it is damaged. The data beside it
    /// is whole; a copy of it to another pool, or of the pool from a backup, has the space again.
    pub damaged: u64,
    /// Its devices by ordinal.
    pub devices: Vec<DeviceInfo>,
    /// Devices that were given at the open and are no members: additions that were begun and never committed.
    pub unused: Vec<String>,
}

/// A device of a pool.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// Its place in the pool.
    pub ordinal: Ordinal,
    /// Its identity.
    pub id: DeviceId,
    /// Its path, as it was given.
    pub name: String,
    /// Bytes that it has now.
    pub len: u64,
    /// Bytes that the pool uses of it.
    pub used: u64,
    /// Bytes of its data area.
    pub capacity: u64,
    /// Bytes of the journal on it; 0 if the journal is elsewhere.
    pub journal: u64,
    /// How it is driven (see [`crate::Disk::mode`]).
    pub mode: &'static str,
    /// Whether what was flushed survives the loss of power; not so for files in memory.
    pub durable: bool,
}

impl<M: Machine> Store<M> {
    /// The pool and its devices.
    #[must_use]
    pub fn info(&self) -> PoolInfo {
        let space = self.space();
        let bytes = |blocks: u64| blocks * BLOCK as u64;
        let membership = self.membership();
        let state = membership.state();
        let device = |member: &crate::format::Member| {
            let disk = membership.disk(member.ordinal).expect("every member has its device");
            let own = state.segments.iter().filter(|range| range.device == member.ordinal);
            let ring = state.journal.ring;
            DeviceInfo {
                ordinal: member.ordinal,
                id: member.id,
                name: disk.name().to_owned(),
                len: disk.geometry().len,
                used: member.len,
                capacity: bytes(own.map(|range| range.blocks).sum()),
                journal: if ring.device == member.ordinal { ring.len } else { 0 },
                mode: disk.mode(),
                durable: !disk.is_volatile(),
            }
        };
        PoolInfo {
            id: state.id,
            name: state.name.clone(),
            incarnation: state.journal.incarnation,
            capacity: bytes(space.capacity),
            allocated: bytes(space.allocated),
            free: bytes(space.free),
            reserve: self.config.reserve_bytes.min(bytes(space.free)),
            damaged: bytes(space.unready),
            devices: state.members.iter().map(device).collect(),
            unused: membership.candidates().map(|disk| disk.name().to_owned()).collect(),
        }
    }
}
