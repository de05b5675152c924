//! The devices as the data path sees them: an immutable picture that a change of membership replaces.

use super::machine::{Contradiction, Machine};
use super::{FailReason, State, Store};
use crate::alloc::{Allocator, Run, SegmentState, Summary};
use crate::device::Disk;
use crate::format::cut::Sizes;
use crate::format::{JournalMark, Ring, Tail};
use crate::journal::Place;
use crate::pool::{Extent, Membership, MembershipChange, PoolError, SegmentTable, Unmapped};
use crate::units::Seq;
use std::sync::{Arc, MutexGuard};

/// A picture of the members.
pub(super) struct Members {
    sizes: Sizes,
    table: SegmentTable,
    disks: Vec<(u8, Arc<dyn Disk>)>,
    ring: (Arc<dyn Disk>, Ring),
}

impl Members {
    pub(super) fn of(membership: &Membership) -> Members {
        let ring = membership.state().journal.ring;
        let disk =
            membership.disk(ring.device).expect("the state was checked: the ring's device is a member");
        Members {
            sizes: Sizes::of(membership.state()),
            table: membership.segments(),
            disks: membership.disks().map(|(ordinal, disk)| (ordinal.0, disk.clone())).collect(),
            ring: (disk.clone(), ring),
        }
    }

    /// The extents of a run that was allocated.
    pub(super) fn locate(&self, run: Run) -> impl Iterator<Item = Extent> + '_ {
        self.try_locate(run).expect("an allocated run lies on the members")
    }

    /// The extents of a run that a pointer names.
    pub(super) fn try_locate(&self, run: Run) -> Result<impl Iterator<Item = Extent> + '_, Unmapped> {
        self.table.locate(run.at, u64::from(run.blocks))
    }

    /// The disk of an extent.
    pub(super) fn disk(&self, extent: &Extent) -> &Arc<dyn Disk> {
        let at = self.disks.binary_search_by_key(&extent.device.0, |(ordinal, _)| *ordinal);
        &self.disks[at.expect("the table names members only")].1
    }

    /// All disks.
    pub(super) fn disks(&self) -> impl Iterator<Item = &Arc<dyn Disk>> {
        self.disks.iter().map(|(_, disk)| disk)
    }

    /// The disk of the journal, and the byte offset of the ring on it.
    pub(super) fn ring(&self) -> (&Arc<dyn Disk>, u64) {
        (&self.ring.0, self.ring.1.offset)
    }

    /// As [`Members::ring`], owned, with the ring itself.
    pub(super) fn ring_parts(&self) -> (Arc<dyn Disk>, Ring) {
        self.ring.clone()
    }

    /// Usable blocks of the segments.
    pub(super) fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Blocks of all segments together.
    pub(super) fn capacity(&self) -> u64 {
        self.table.blocks()
    }
}

/// The summary of a segment that nothing was allocated from yet.
pub(super) fn fresh_summary(blocks: u32) -> Summary {
    let state = if blocks == 0 { SegmentState::default() } else { SegmentState::READY };
    Summary { free: blocks as u16, ..Summary::empty(state) }
}

impl<M: Machine> Store<M> {
    /// The present picture of the members.
    pub(super) fn members(&self) -> Arc<Members> {
        self.members.read().expect("no holder panics").clone()
    }

    /// A committed change of membership takes effect. Called under the commit lock, in order.
    pub(super) fn apply_membership(&self, state: &mut State<M>, change: &MembershipChange) {
        let mut membership = self.membership();
        let before = Sizes::of(membership.state());
        membership.apply(change).expect("the change was planned against this membership");
        let after = Members::of(&membership);
        grow(&mut state.alloc, &before, &after.sizes).expect("segments are added after the last one");
        *self.members.write().expect("no holder panics") = Arc::new(after);
    }

    /// Writes all superblocks with the journal's mark changed by `change`; they also state what is flushed.
    ///
    /// Takes turns with the flushes, and stops the pool when it fails: its own flush covers data too.
    pub(super) async fn write_superblocks(
        &self,
        change: impl FnOnce(&mut JournalMark),
    ) -> Result<(), FailReason> {
        let _turn = self.flushing.lock().await;
        let flushed = {
            let state = self.lock();
            state.running()?;
            state.flushed
        };
        let result = self.run_superblocks(flushed, change).await;
        if let Err(e) = result {
            let reason = FailReason::Superblock(e.to_string());
            self.fail(reason.clone());
            return Err(reason);
        }
        let mut state = self.lock();
        state.stated = state.stated.max(flushed);
        self.release(&mut state);
        Ok(())
    }

    async fn run_superblocks(
        &self,
        flushed: Seq,
        change: impl FnOnce(&mut JournalMark),
    ) -> Result<(), PoolError> {
        let write = {
            let mut membership = self.membership();
            let mut mark = membership.state().journal;
            mark.flushed = mark.flushed.max(flushed);
            change(&mut mark);
            membership.begin_write(mark)?
        };
        let written = write.run().await?;
        self.membership().finish_write(written);
        Ok(())
    }

    /// States the flushed mark in the superblocks, for when the journal has no room for it.
    pub(super) async fn state_in_superblocks(&self) -> Result<(), FailReason> {
        self.write_superblocks(|_| {}).await
    }

    pub(super) fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().expect("no holder panics")
    }

    /// The tail as the superblocks say it.
    pub(super) fn tail_of(&self, place: Place) -> Tail {
        let ring_len = self.ring_len;
        Tail { offset: place.at % ring_len, next: place.seq, predecessor: place.previous }
    }

    /// The offset of a virtual position in the ring.
    pub(super) fn ring_offset(&self, at: u64) -> u64 {
        at % self.ring_len
    }
}

/// Gives the allocator the segments, and the blocks of a segment that was partial, that a change added.
pub(super) fn grow(alloc: &mut Allocator, before: &Sizes, after: &Sizes) -> Result<(), Contradiction> {
    let wrong = |e: crate::alloc::Damaged| Contradiction(e.to_string());
    for (segment, blocks) in after.segments() {
        let had = before.blocks_of(segment);
        while alloc.segments() < segment {
            alloc.add_segments([fresh_summary(0)]).map_err(wrong)?;
        }
        if alloc.segments() == segment {
            alloc.add_segments([fresh_summary(blocks)]).map_err(wrong)?;
        } else if blocks > had {
            alloc.extend(segment, blocks - had);
        }
    }
    Ok(())
}
