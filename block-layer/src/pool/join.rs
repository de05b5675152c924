//! Changes of membership: planned, made durable on a new device, committed as a record, applied.
//!
//! Adding a device: [`Membership::plan_add`], [`Joining::format`], [`Membership::expect_member`], which gives
//! the record to commit, then [`Membership::apply`]. Growing one: [`Membership::plan_grow`] gives the record.
//! A change is applied before the next one is planned: a plan reckons with the tables as they are.

use super::members::{superblock, Candidate};
use super::probe::{probe, Found};
use super::{slots, Layout, Membership, MembershipChange, PoolError};
use crate::device::{Buf, Disk};
use crate::format::superblock::{Role, MEMBERS_MAX, RANGES_MAX};
use crate::format::{DeviceId, Member, Ordinal, PoolState, SegmentRange};
use crate::units::{BLOCK, BLOCKS_PER_SEGMENT};
use std::sync::Arc;

/// A device that is to be formatted for a pool.
#[must_use = "the device is not formatted yet"]
pub struct Joining {
    disk: Arc<dyn Disk>,
    change: MembershipChange,
    /// The pool as it will be.
    state: PoolState,
}

/// A device whose superblock is durable, so that the record that makes it a member may be committed.
#[must_use = "the device is no member yet"]
pub struct Joined {
    disk: Arc<dyn Disk>,
    change: MembershipChange,
}

impl Membership {
    /// Plans the addition of `disk`; `random` gives 64 random bits. Nothing is written.
    ///
    /// # Errors
    /// A device that is too small or is a member, or full tables.
    pub fn plan_add(
        &self,
        disk: Arc<dyn Disk>,
        layout: Layout,
        random: &mut dyn FnMut() -> u64,
    ) -> Result<Joining, PoolError> {
        let same = |d: &Arc<dyn Disk>| Arc::ptr_eq(d, &disk) || d.name() == disk.name();
        if self.disks().any(|(_, d)| same(d)) {
            return Err(already_member(&*disk, &self.state));
        }
        let areas = layout.areas(&*disk)?;
        let vacant = (0..MEMBERS_MAX as u8).map(Ordinal).find(|o| self.state.member(*o).is_none());
        let ordinal = vacant.ok_or(PoolError::TooManyMembers)?;
        let range = SegmentRange {
            first: first_free(&self.state)?,
            device: ordinal,
            offset: areas.data_offset(),
            blocks: areas.blocks,
        };
        let device = DeviceId::from_random(random(), random());
        let change = MembershipChange { ordinal, device, len: areas.len, ranges: vec![range] };
        let state = planned(&self.state, &change)?;
        Ok(Joining { disk, change, state })
    }

    /// Takes a formatted device in as one that may become a member; gives the record to commit.
    pub fn expect_member(&mut self, joined: Joined) -> MembershipChange {
        let Joined { disk, change } = joined;
        self.offer(Candidate { id: change.device, disk, next_slot: 0 });
        change
    }

    /// Plans that the pool uses `len` bytes of a member that has become longer; gives the record to commit.
    /// The rest below a whole block is left out.
    ///
    /// # Errors
    /// When there is no such member, it has not so many bytes, or the segment table is full.
    pub fn plan_grow(&self, ordinal: Ordinal, len: u64) -> Result<MembershipChange, PoolError> {
        let (Some(member), Some(disk)) = (self.state.member(ordinal), self.disk(ordinal)) else {
            return Err(PoolError::NoMember { pool: self.state.name.clone(), ordinal });
        };
        let block = BLOCK as u64;
        let (has, wanted) = (disk.geometry().len, len - len % block);
        if wanted <= member.len || wanted > has {
            let device = disk.name().to_owned();
            return Err(PoolError::CannotGrow { device, len: has, recorded: member.len, wanted });
        }
        let ranges = grown_ranges(&self.state, member, (wanted - member.len) / block)?;
        let change = MembershipChange { ordinal, device: member.id, len: wanted, ranges };
        planned(&self.state, &change)?;
        Ok(change)
    }
}

impl Joining {
    /// Writes the device's superblock, and flushes: it is now prepared, and no member.
    ///
    /// # Errors
    /// A device of this pool; one that holds something else, without `force` (an addition to this pool that
    /// was begun and never committed needs no force); an I/O error.
    pub async fn format(self, force: bool) -> Result<Joined, PoolError> {
        let Joining { disk, change, state } = self;
        match probe(&*disk).await? {
            // By its own word or by ours: a member's superblock may still call it joining.
            Some(Found::Ashlar { pool, device, role, .. })
                if pool == state.id
                    && (role == Role::Member || state.members.iter().any(|m| m.id == device)) =>
            {
                return Err(already_member(&*disk, &state));
            }
            Some(Found::Ashlar { pool, .. }) if pool == state.id => {}
            Some(found) if !force => {
                return Err(PoolError::InUse { device: disk.name().to_owned(), found });
            }
            _ => {}
        }
        let member = state.member(change.ordinal).expect("the planned state lists the device");
        let bytes = Buf::copy_of(&superblock(&state, member, Role::Joining).encode()).freeze();
        slots::write_both(&[(disk.clone(), bytes)]).await?;
        Ok(Joined { disk, change })
    }
}

fn already_member(disk: &dyn Disk, state: &PoolState) -> PoolError {
    PoolError::AlreadyMember { device: disk.name().to_owned(), pool: state.name.clone() }
}

/// The lowest segment number above all in use.
fn first_free(state: &PoolState) -> Result<u32, PoolError> {
    u32::try_from(state.segments_end()).map_err(|_| PoolError::TooManyRanges)
}

/// The ranges for `blocks` more blocks at the end of `member`: its last range goes on if the segment numbers
/// after it are free, or else to the end of its partial segment, with a new range for the rest.
fn grown_ranges(state: &PoolState, member: &Member, blocks: u64) -> Result<Vec<SegmentRange>, PoolError> {
    let full = u64::from(BLOCKS_PER_SEGMENT);
    let at_end = |r: &&SegmentRange| r.device == member.ordinal && r.end_offset() == Some(member.len);
    let mut ranges = Vec::with_capacity(2);
    let mut rest =
        SegmentRange { first: first_free(state)?, device: member.ordinal, offset: member.len, blocks };
    if let Some(last) = state.segments.iter().find(at_end) {
        let partial = last.blocks.next_multiple_of(full) - last.blocks;
        let room = if last.end() == state.segments_end() { blocks } else { partial.min(blocks) };
        if room > 0 {
            ranges.push(SegmentRange { blocks: last.blocks + room, ..*last });
            rest.offset += room * BLOCK as u64;
            rest.blocks -= room;
        }
    }
    if rest.blocks > 0 {
        ranges.push(rest);
    }
    Ok(ranges)
}

/// The state after a change that was planned from `state`.
fn planned(state: &PoolState, change: &MembershipChange) -> Result<PoolState, PoolError> {
    // What a plan can run into is a full table, or the end of the segment numbers.
    let added = change.ranges.iter().filter(|r| !state.segments.iter().any(|s| s.first == r.first)).count();
    if state.segments.len() + added > RANGES_MAX {
        return Err(PoolError::TooManyRanges);
    }
    let bad = |what| PoolError::BadChange { pool: state.name.clone(), id: change.device, what };
    changed(state, change).map_err(bad)?.ok_or_else(|| bad("it changes nothing"))
}

/// The state after `change`; `None` when `state` is that of this change or a later one.
pub(super) fn changed(
    state: &PoolState,
    change: &MembershipChange,
) -> Result<Option<PoolState>, &'static str> {
    let mut next = state.clone();
    let member = Member { ordinal: change.ordinal, id: change.device, len: change.len };
    match next.members.binary_search_by_key(&change.ordinal, |m| m.ordinal) {
        Ok(at) if next.members[at].id != change.device => return Err("its place is another device's"),
        Ok(at) if next.members[at].len >= change.len => return Ok(None),
        Ok(at) => next.members[at] = member,
        Err(at) => next.members.insert(at, member),
    }
    for range in &change.ranges {
        if range.device != change.ordinal {
            return Err("it changes another device's segments");
        }
        match next.segments.binary_search_by_key(&range.first, |r| r.first) {
            Err(at) => next.segments.insert(at, *range),
            Ok(at) => {
                let old = std::mem::replace(&mut next.segments[at], *range);
                if old.device != range.device || old.offset != range.offset || old.blocks > range.blocks {
                    return Err("it takes space away from a segment");
                }
            }
        }
    }
    next.check()?;
    Ok(Some(next))
}
