//! The members of an open pool, and how their superblocks and their list change.
//!
//! The value is plain state, to be kept under a lock; what needs I/O is handed out as a value of its own
//! ([`SuperblockWrite`], [`super::Joining`]) that runs without the lock, and its proof is handed back.

use super::slots::{settle, SuperblockWrite, Target, Written};
use super::{MembershipChange, PoolError, SegmentTable};
use crate::device::{Buf, Disk};
use crate::format::superblock::{Role, Superblock, READ_ONLY_COMPATIBLE, SLOT_OFFSETS, SUPERBLOCK_LEN};
use crate::format::{DeviceId, JournalMark, Member, Ordinal, PoolState};
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// An open pool's devices and state.
pub struct Membership {
    pub(super) state: PoolState,
    /// As `state.members`, in the same order.
    attached: Vec<Attached>,
    candidates: Vec<Candidate>,
    segments: SegmentTable,
}

/// A member's device.
pub(super) struct Attached {
    pub(super) ordinal: Ordinal,
    pub(super) disk: Arc<dyn Disk>,
    /// The slot that does not hold the newest durable superblock.
    pub(super) next_slot: usize,
}

/// A device that is prepared to join.
pub(super) struct Candidate {
    pub(super) id: DeviceId,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) next_slot: usize,
}

impl Membership {
    pub(super) fn new(state: PoolState, attached: Vec<Attached>, candidates: Vec<Candidate>) -> Membership {
        let segments = SegmentTable::of(&state);
        Membership { state, attached, candidates, segments }
    }

    /// The pool's state: as of the newest superblocks, with the changes applied since.
    #[must_use]
    pub fn state(&self) -> &PoolState {
        &self.state
    }

    /// Where the segments lie; a change of membership makes a new table.
    #[must_use]
    pub fn segments(&self) -> SegmentTable {
        self.segments.clone()
    }

    /// The device of a member.
    #[must_use]
    pub fn disk(&self, ordinal: Ordinal) -> Option<&Arc<dyn Disk>> {
        self.attached.iter().find(|a| a.ordinal == ordinal).map(|a| &a.disk)
    }

    /// The members' devices by ascending ordinal.
    pub fn disks(&self) -> impl Iterator<Item = (Ordinal, &Arc<dyn Disk>)> {
        self.attached.iter().map(|a| (a.ordinal, &a.disk))
    }

    /// Devices that are prepared to join but no member. After the journal's replay they are leftovers of an
    /// addition that was never committed: to be added again or wiped.
    pub fn candidates(&self) -> impl Iterator<Item = &Arc<dyn Disk>> {
        self.candidates.iter().map(|c| &c.disk)
    }

    /// Begins the next writing of all members' superblocks, with `journal` and the present membership. To be
    /// run, and then finished with [`Membership::finish_write`]; one at a time.
    ///
    /// A writing that fails, or is dropped, may be begun again: the older copies are still whole, and the new
    /// one gets a generation of its own.
    ///
    /// # Errors
    /// When the pool has features that this release must not write to.
    ///
    /// # Panics
    /// When `journal` goes back, or does not fit the devices.
    pub fn begin_write(&mut self, journal: JournalMark) -> Result<SuperblockWrite, PoolError> {
        let unknown = self.state.features.read_only_compatible & !READ_ONLY_COMPATIBLE;
        if unknown != 0 {
            return Err(PoolError::ReadOnly { pool: self.state.name.clone(), features: unknown });
        }
        let before = &self.state.journal;
        assert!(journal.incarnation >= before.incarnation, "the incarnation goes back");
        assert!(journal.flushed >= before.flushed, "the flushed mark goes back");
        assert!(journal.tail.next >= before.tail.next, "the tail goes back");
        self.state.generation += 1;
        self.state.journal = journal;
        let target = |(member, attached): (&Member, &Attached)| Target {
            ordinal: attached.ordinal,
            disk: attached.disk.clone(),
            slot: attached.next_slot,
            bytes: Buf::copy_of(&superblock(&self.state, member, Role::Member).encode()).freeze(),
        };
        let targets = self.state.members.iter().zip(&self.attached).map(target).collect();
        Ok(SuperblockWrite { generation: self.state.generation, targets })
    }

    /// Ends a writing: its copies are the newest ones now, and the other slots are next.
    ///
    /// # Panics
    /// When another writing was begun meanwhile.
    pub fn finish_write(&mut self, written: Written) {
        assert_eq!(written.generation, self.state.generation, "two writings at a time");
        for (ordinal, slot) in written.slots {
            if let Some(attached) = self.attached.iter_mut().find(|a| a.ordinal == ordinal) {
                attached.next_slot = 1 - slot;
            }
        }
    }

    /// Writes all members' superblocks: [`Membership::begin_write`], run, [`Membership::finish_write`].
    ///
    /// # Errors
    /// The first device's failure; the older copies are whole.
    pub async fn write_superblocks(&mut self, journal: JournalMark) -> Result<(), PoolError> {
        let written = self.begin_write(journal)?.run().await?;
        self.finish_write(written);
        Ok(())
    }

    /// Keeps a prepared device until its record is applied.
    pub(super) fn offer(&mut self, candidate: Candidate) {
        self.candidates.retain(|c| c.id != candidate.id);
        self.candidates.push(candidate);
    }

    /// Applies a committed change, now or at replay; `false` when the superblocks knew it already.
    ///
    /// # Errors
    /// [`PoolError::Missing`] when the device that joins was not given; [`PoolError::BadChange`] when the
    /// change does not fit the pool. Nothing is changed then.
    pub fn apply(&mut self, change: &MembershipChange) -> Result<bool, PoolError> {
        let bad = |what| PoolError::BadChange { pool: self.state.name.clone(), id: change.device, what };
        let Some(next) = super::join::changed(&self.state, change).map_err(bad)? else { return Ok(false) };
        let candidate = self.candidates.iter().position(|c| c.id == change.device);
        let joined = match (self.disk(change.ordinal), candidate) {
            (Some(_), _) => None,
            (None, Some(at)) => Some(at),
            (None, None) => return Err(self.missing(change)),
        };
        let disk = joined.map_or_else(|| self.disk(change.ordinal), |at| Some(&self.candidates[at].disk));
        let disk = disk.expect("a member or a candidate");
        if disk.geometry().len < change.len {
            let (device, len) = (disk.name().to_owned(), disk.geometry().len);
            return Err(PoolError::Shrunk { device, len, recorded: change.len });
        }
        if let Some(at) = joined {
            let Candidate { disk, next_slot, .. } = self.candidates.swap_remove(at);
            let place = self.attached.partition_point(|a| a.ordinal < change.ordinal);
            self.attached.insert(place, Attached { ordinal: change.ordinal, disk, next_slot });
        }
        self.segments = SegmentTable::of(&next);
        self.state = next;
        Ok(true)
    }

    fn missing(&self, change: &MembershipChange) -> PoolError {
        PoolError::Missing {
            pool: self.state.name.clone(),
            ordinal: change.ordinal,
            id: change.device,
            len: change.len,
            found: self.disks().map(|(_, d)| d.name().to_owned()).collect(),
        }
    }

    /// Deletes the pool: wipes the superblocks of all members, and flushes. Their data stays as it is.
    ///
    /// # Errors
    /// The first device's failure; devices may then still carry a superblock of a pool that is not whole.
    pub async fn delete(self) -> Result<(), PoolError> {
        self.wipe().await
    }

    /// As [`Membership::delete`], for a membership that is kept under a lock.
    pub fn wipe(&self) -> impl Future<Output = Result<(), PoolError>> + Send + 'static {
        let disks: Vec<_> = self.attached.iter().map(|a| a.disk.clone()).collect();
        async move {
            let zeros = Buf::zeroed(SUPERBLOCK_LEN).freeze();
            let wipe = |disk: &Arc<dyn Disk>| SLOT_OFFSETS.map(|at| disk.write(at, vec![zeros.clone()]));
            settle(disks.iter().flat_map(wipe).collect()).await?;
            settle(disks.iter().map(|disk| disk.flush()).collect()).await?;
            Ok(())
        }
    }
}

/// The superblock of `member`.
pub(super) fn superblock(state: &PoolState, member: &Member, role: Role) -> Superblock {
    Superblock { device: member.id, ordinal: member.ordinal, role, pool: state.clone() }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disks: Vec<_> = self.disks().map(|(_, d)| d.name()).collect();
        f.debug_struct("Membership").field("state", &self.state).field("disks", &disks).finish()
    }
}
