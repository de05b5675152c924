//! What a pool's superblocks agree on: its members, its segments, and where its journal begins.
//!
//! Invariant: a [`PoolState`] that was decoded, or is encoded, has passed [`PoolState::check`]; code that
//! uses one never meets a range outside a device or a ring inside the data.

use super::superblock::{MEMBERS_MAX, RANGES_MAX, RING_OFFSET};
use super::{DeviceId, Ordinal, PoolId, PoolName};
use crate::units::{Pba, Seq, BLOCK, BLOCKS_PER_SEGMENT, SECTOR, SECTORS_PER_SEGMENT};

/// One past the largest segment number that an address can name.
const SEGMENTS_LIMIT: u64 = Pba::LIMIT / SECTORS_PER_SEGMENT;

/// Counters stay below this: what counts on from a decoded one does not overflow.
const COUNTER_LIMIT: u64 = 1 << 63;

/// The newest state of a pool, the same in the superblocks of all its devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// The pool's UUID.
    pub id: PoolId,
    /// The pool's name.
    pub name: PoolName,
    /// What the pool's format has beyond its version.
    pub features: Features,
    /// Which writing of the superblocks this is: one more than the writing before; the first is 1.
    pub generation: u64,
    /// Where the journal begins and what is known of it.
    pub journal: JournalMark,
    /// The devices, by ascending ordinal.
    pub members: Vec<Member>,
    /// Where the segments lie, by ascending segment number.
    pub segments: Vec<SegmentRange>,
}

/// Format features, one bit each. What an unknown bit forbids depends on its set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Unknown bits forbid nothing, and are kept.
    pub compatible: u64,
    /// Unknown bits forbid writing to the pool.
    pub read_only_compatible: u64,
    /// Unknown bits forbid opening the pool.
    pub incompatible: u64,
}

/// What is recorded of the journal: all that changes from one writing of the superblocks to the next when
/// the membership does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalMark {
    /// Which opening of the pool this is; every open takes a new one (rule 3). The first is 1.
    pub incarnation: u64,
    /// The active ring.
    pub ring: Ring,
    /// The first record to replay.
    pub tail: Tail,
    /// The highest sequence known to be flushed when this was written.
    pub flushed: Seq,
}

/// The area that the journal goes round in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// The device that holds it.
    pub device: Ordinal,
    /// Byte offset on the device, block-aligned.
    pub offset: u64,
    /// Bytes, a positive multiple of the block.
    pub len: u64,
}

/// The first record that recovery expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Byte offset in the ring, sector-aligned, below the ring's length.
    pub offset: u64,
    /// The record's sequence number, at least 1.
    pub next: Seq,
    /// Checksum of its predecessor; 0 when there was none.
    pub predecessor: u32,
}

/// A device of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its place in the table.
    pub ordinal: Ordinal,
    /// Its UUID.
    pub id: DeviceId,
    /// Bytes of it that the pool uses, a multiple of the block; the device may be longer.
    pub len: u64,
}

/// Consecutive segments that lie one after the other on one device. Only the last may be partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRange {
    /// The first segment's number.
    pub first: u32,
    /// The device that holds them.
    pub device: Ordinal,
    /// Byte offset of the first segment on the device, block-aligned.
    pub offset: u64,
    /// Usable blocks, at least 1.
    pub blocks: u64,
}

impl SegmentRange {
    /// One past the last segment's number.
    #[must_use]
    pub fn end(&self) -> u64 {
        u64::from(self.first) + self.blocks.div_ceil(u64::from(BLOCKS_PER_SEGMENT))
    }

    /// One past the last byte on the device; `None` when no device is that long.
    #[must_use]
    pub fn end_offset(&self) -> Option<u64> {
        self.blocks.checked_mul(BLOCK as u64)?.checked_add(self.offset)
    }
}

impl PoolState {
    /// The member with this ordinal.
    #[must_use]
    pub fn member(&self, ordinal: Ordinal) -> Option<&Member> {
        self.members.iter().find(|m| m.ordinal == ordinal)
    }

    /// One past the highest segment number in use.
    #[must_use]
    pub fn segments_end(&self) -> u64 {
        self.segments.last().map_or(0, SegmentRange::end)
    }

    /// Whether the parts fit each other; the answer names the first that does not.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.id.0 == [0; 16] {
            return Err("the pool's identifier is zero");
        }
        if self.generation == 0 || self.generation >= COUNTER_LIMIT {
            return Err("the generation is out of bounds");
        }
        self.check_members()?;
        self.check_segments()?;
        self.check_journal()
    }

    fn check_members(&self) -> Result<(), &'static str> {
        let members = &self.members;
        if members.is_empty() || members.len() > MEMBERS_MAX {
            return Err("the number of members is out of bounds");
        }
        for (i, member) in members.iter().enumerate() {
            if member.ordinal.index() >= MEMBERS_MAX {
                return Err("a member's ordinal is out of bounds");
            }
            if i > 0 && members[i - 1].ordinal >= member.ordinal {
                return Err("members are out of order");
            }
            if member.id.0 == [0; 16] || members[..i].iter().any(|m| m.id == member.id) {
                return Err("a member's identifier is zero or not its own");
            }
            if member.len < RING_OFFSET || !member.len.is_multiple_of(BLOCK as u64) {
                return Err("a member's length is impossible");
            }
        }
        Ok(())
    }

    fn check_segments(&self) -> Result<(), &'static str> {
        if self.segments.len() > RANGES_MAX {
            return Err("too many segment ranges");
        }
        let mut numbers_used = 0;
        let mut used = Vec::with_capacity(self.segments.len());
        for range in &self.segments {
            let Some(end) = range.end_offset() else { return Err("a segment range is too long") };
            let Some(member) = self.member(range.device) else {
                return Err("a segment range is on no member");
            };
            if range.blocks == 0 || !range.offset.is_multiple_of(BLOCK as u64) {
                return Err("a segment range is empty or not aligned");
            }
            if range.offset < RING_OFFSET || end > member.len {
                return Err("a segment range is outside its device's data area");
            }
            if u64::from(range.first) < numbers_used || range.end() > SEGMENTS_LIMIT {
                return Err("segment numbers are out of order or out of bounds");
            }
            numbers_used = range.end();
            used.push((range.device, range.offset, end));
        }
        used.sort_unstable();
        if used.windows(2).any(|w| w[0].0 == w[1].0 && w[0].2 > w[1].1) {
            return Err("segment ranges overlap");
        }
        Ok(())
    }

    fn check_journal(&self) -> Result<(), &'static str> {
        let JournalMark { incarnation, ring, tail, flushed } = self.journal;
        if incarnation == 0 || incarnation >= COUNTER_LIMIT {
            return Err("the incarnation is out of bounds");
        }
        if tail.next.0 >= COUNTER_LIMIT || flushed.0 >= COUNTER_LIMIT {
            return Err("a sequence number is out of bounds");
        }
        let Some(member) = self.member(ring.device) else { return Err("the ring is on no member") };
        let Some(end) = ring.offset.checked_add(ring.len) else { return Err("the ring is too long") };
        if ring.len == 0
            || !ring.len.is_multiple_of(BLOCK as u64)
            || !ring.offset.is_multiple_of(BLOCK as u64)
        {
            return Err("the ring is empty or not aligned");
        }
        if ring.offset < RING_OFFSET || end > member.len {
            return Err("the ring is outside its device");
        }
        let in_ring = |r: &SegmentRange| {
            r.device == ring.device && r.offset < end && r.end_offset().is_none_or(|e| e > ring.offset)
        };
        if self.segments.iter().any(in_ring) {
            return Err("the ring overlaps a segment range");
        }
        if tail.offset >= ring.len || !tail.offset.is_multiple_of(SECTOR as u64) || tail.next == Seq(0) {
            return Err("the tail is outside the ring or not a record");
        }
        Ok(())
    }
}
