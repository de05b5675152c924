//! The superblock: the record from which a pool is found and put together.
//!
//! Every device has two slots for it, written in turn with a flush between, so that one is whole whatever
//! happens to the write of the other. What a bad one means: a copy that does not decode is the torn end of an
//! interrupted write, or rot; the other copy stands in for it. Two bad copies are damage to report.
//!
//! For all versions to come: the magic, the place and the coverage of the checksum, and the version and
//! feature fields stay as they are, so that every release can name a newer format when it meets one.

use super::membership::RANGE_LEN;
use super::{
    all_zero, u16_at, u32_at, u64_at, uuid_at, DeviceId, Features, JournalMark, Member, Ordinal, PoolId,
    PoolName, PoolState, Ring, SegmentRange, Tail,
};
use crate::units::Seq;

/// Bytes of a superblock.
pub const SUPERBLOCK_LEN: usize = 4096;
/// Byte offsets of the two slots; what lies before them is left to partition tables.
pub const SLOT_OFFSETS: [u64; 2] = [64 << 10, 128 << 10];
/// Byte offset of the room for a ring; data areas begin behind that.
pub const RING_OFFSET: u64 = 1 << 20;
/// The most devices of a pool.
pub const MEMBERS_MAX: usize = 64;
/// The most segment ranges of a pool: each device has one, growth may add more.
pub const RANGES_MAX: usize = 96;
/// The newest version that this release reads and writes.
pub const VERSION: u16 = 1;
/// The incompatible features that this release knows.
pub const INCOMPATIBLE: u64 = 0;
/// The read-only-compatible features that this release knows.
pub const READ_ONLY_COMPATIBLE: u64 = 0;

const MAGIC: &[u8; 8] = b"ASHLARSB";
const MEMBER_LEN: usize = 24;

/// One device's superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The UUID of the device it lies on.
    pub device: DeviceId,
    /// The place of that device in the member table, which lists it.
    pub ordinal: Ordinal,
    /// Whether the device is a member.
    pub role: Role,
    /// What all devices of the pool have in common.
    pub pool: PoolState,
}

/// What a device is to the pool that its superblock names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A member: what its superblock says of the pool counts.
    Member,
    /// Formatted to join, but a member only if a committed record says so: its superblock says how the pool
    /// would look, and does not count.
    Joining,
}

/// Bytes that are no superblock this release can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockFault {
    /// There is no superblock of ours.
    #[error("it holds no Ashlar superblock")]
    NotOurs,
    /// A newer release wrote it.
    #[error(
        "it has format version {found}, unknown features {incompatible:#x}; \
         this release reads up to version {supported}"
    )]
    NewerFormat {
        /// Its version.
        found: u16,
        /// The newest version that this release reads.
        supported: u16,
        /// Its incompatible features that this release does not know.
        incompatible: u64,
    },
    /// A superblock of ours that is not whole.
    #[error("its Ashlar superblock is damaged: {what}")]
    Damaged {
        /// The first thing found wrong.
        what: &'static str,
    },
}

/// Superblock, version 1.
///
/// | bytes      | field         | meaning                                                          |
/// |------------|---------------|------------------------------------------------------------------|
/// | 0..8       | magic         | `ASHLARSB`                                                       |
/// | 8..12      | crc           | crc32c of bytes 12..4096                                         |
/// | 12..14     | version       | 1                                                                |
/// | 14..15     | role          | 1 member, 2 joining                                              |
/// | 15..16     | ordinal       | this device's place in the member table                          |
/// | 16..24     | compatible    | feature bits: unknown ones are kept                              |
/// | 24..32     | ro_compatible | feature bits: unknown ones forbid writing                        |
/// | 32..40     | incompatible  | feature bits: unknown ones forbid opening                        |
/// | 40..56     | pool          | pool UUID                                                        |
/// | 56..72     | device        | this device's UUID                                               |
/// | 72..80     | generation    | one more than that of the writing before, at least 1             |
/// | 80..88     | incarnation   | which opening of the pool wrote it, at least 1                   |
/// | 88..96     | flushed       | highest sequence known flushed                                   |
/// | 96..104    | ring_offset   | byte offset of the active ring on its device                     |
/// | 104..112   | ring_len      | bytes of the active ring                                         |
/// | 112..120   | tail_offset   | byte offset in the ring of the first record to replay            |
/// | 120..128   | tail_next     | sequence of that record, at least 1                              |
/// | 128..132   | tail_crc      | checksum of the record before it, 0 if there was none            |
/// | 132..133   | ring_device   | ordinal of the active ring's device                              |
/// | 133..134   | name_len      | bytes of the pool's name, 1..=64                                 |
/// | 134..136   | reserved      | zero                                                             |
/// | 136..200   | name          | UTF-8, then zeros                                                |
/// | 200..256   | reserved      | zero; a feature that uses it is an incompatible one              |
/// | 256..1792  | members       | 64 entries by ordinal: UUID, u64 byte length; vacant: zero       |
/// | 1792..4096 | segments      | 96 entries, see [`SegmentRange::encode`]; unused at the end: zero |
mod field {
    use std::ops::Range;
    pub(super) const MAGIC: Range<usize> = 0..8;
    pub(super) const CRC: Range<usize> = 8..12;
    pub(super) const CHECKED: Range<usize> = 12..4096;
    pub(super) const VERSION: Range<usize> = 12..14;
    pub(super) const ROLE: usize = 14;
    pub(super) const ORDINAL: usize = 15;
    pub(super) const COMPATIBLE: Range<usize> = 16..24;
    pub(super) const RO_COMPATIBLE: Range<usize> = 24..32;
    pub(super) const INCOMPATIBLE: Range<usize> = 32..40;
    pub(super) const POOL: Range<usize> = 40..56;
    pub(super) const DEVICE: Range<usize> = 56..72;
    pub(super) const GENERATION: Range<usize> = 72..80;
    pub(super) const INCARNATION: Range<usize> = 80..88;
    pub(super) const FLUSHED: Range<usize> = 88..96;
    pub(super) const RING_OFFSET: Range<usize> = 96..104;
    pub(super) const RING_LEN: Range<usize> = 104..112;
    pub(super) const TAIL_OFFSET: Range<usize> = 112..120;
    pub(super) const TAIL_NEXT: Range<usize> = 120..128;
    pub(super) const TAIL_CRC: Range<usize> = 128..132;
    pub(super) const RING_DEVICE: usize = 132;
    pub(super) const NAME_LEN: usize = 133;
    pub(super) const RESERVED: [Range<usize>; 2] = [134..136, 200..256];
    pub(super) const NAME: Range<usize> = 136..200;
    pub(super) const MEMBERS: Range<usize> = 256..1792;
    pub(super) const SEGMENTS: Range<usize> = 1792..4096;
}

const _: () = assert!(field::NAME.end - field::NAME.start == PoolName::MAX);
const _: () = assert!(field::MEMBERS.end - field::MEMBERS.start == MEMBERS_MAX * MEMBER_LEN);
const _: () = assert!(field::SEGMENTS.end - field::SEGMENTS.start == RANGES_MAX * RANGE_LEN);
const _: () = assert!(field::SEGMENTS.end == SUPERBLOCK_LEN && field::CHECKED.end == SUPERBLOCK_LEN);

impl Superblock {
    /// The record's bytes.
    ///
    /// # Panics
    /// When the superblock contradicts itself: only a bug makes such a one.
    #[must_use]
    pub fn encode(&self) -> [u8; SUPERBLOCK_LEN] {
        if let Err(what) = self.check() {
            panic!("a superblock that must not be written: {what}");
        }
        let mut out = [0; SUPERBLOCK_LEN];
        let mut put = |range: std::ops::Range<usize>, bytes: &[u8]| out[range].copy_from_slice(bytes);
        let pool = &self.pool;
        put(field::MAGIC, MAGIC);
        put(field::VERSION, &VERSION.to_le_bytes());
        put(field::COMPATIBLE, &pool.features.compatible.to_le_bytes());
        put(field::RO_COMPATIBLE, &pool.features.read_only_compatible.to_le_bytes());
        put(field::INCOMPATIBLE, &pool.features.incompatible.to_le_bytes());
        put(field::POOL, &pool.id.0);
        put(field::DEVICE, &self.device.0);
        put(field::GENERATION, &pool.generation.to_le_bytes());
        put(field::INCARNATION, &pool.journal.incarnation.to_le_bytes());
        put(field::FLUSHED, &pool.journal.flushed.0.to_le_bytes());
        put(field::RING_OFFSET, &pool.journal.ring.offset.to_le_bytes());
        put(field::RING_LEN, &pool.journal.ring.len.to_le_bytes());
        put(field::TAIL_OFFSET, &pool.journal.tail.offset.to_le_bytes());
        put(field::TAIL_NEXT, &pool.journal.tail.next.0.to_le_bytes());
        put(field::TAIL_CRC, &pool.journal.tail.predecessor.to_le_bytes());
        let name = pool.name.as_str().as_bytes();
        put(field::NAME.start..field::NAME.start + name.len(), name);
        out[field::ROLE] = match self.role {
            Role::Member => 1,
            Role::Joining => 2,
        };
        out[field::ORDINAL] = self.ordinal.0;
        out[field::RING_DEVICE] = pool.journal.ring.device.0;
        out[field::NAME_LEN] = name.len() as u8;
        for member in &pool.members {
            let at = field::MEMBERS.start + member.ordinal.index() * MEMBER_LEN;
            out[at..at + 16].copy_from_slice(&member.id.0);
            out[at + 16..at + MEMBER_LEN].copy_from_slice(&member.len.to_le_bytes());
        }
        let entries = out[field::SEGMENTS].chunks_exact_mut(RANGE_LEN);
        pool.segments.iter().zip(entries).for_each(|(range, entry)| range.encode(entry));
        let crc = crate::crc32c(&out[field::CHECKED]);
        out[field::CRC].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The exact inverse of [`Superblock::encode`].
    pub fn decode(bytes: &[u8; SUPERBLOCK_LEN]) -> Result<Superblock, SuperblockFault> {
        if &bytes[field::MAGIC] != MAGIC {
            return Err(SuperblockFault::NotOurs);
        }
        // Before the version: a flipped bit there is damage, not a newer format.
        if u32_at(bytes, field::CRC) != crate::crc32c(&bytes[field::CHECKED]) {
            return Err(SuperblockFault::Damaged { what: "its checksum does not match" });
        }
        let found = u16_at(bytes, field::VERSION);
        let incompatible = u64_at(bytes, field::INCOMPATIBLE) & !INCOMPATIBLE;
        if found > VERSION || incompatible != 0 {
            return Err(SuperblockFault::NewerFormat { found, supported: VERSION, incompatible });
        }
        let superblock = decode_checked(bytes).map_err(|what| SuperblockFault::Damaged { what })?;
        superblock.check().map_err(|what| SuperblockFault::Damaged { what })?;
        Ok(superblock)
    }

    fn check(&self) -> Result<(), &'static str> {
        self.pool.check()?;
        match self.pool.member(self.ordinal) {
            Some(member) if member.id == self.device => Ok(()),
            _ => Err("the member table does not list its own device"),
        }
    }
}

/// Decodes bytes whose magic, checksum and version are right; the parts are not yet checked together.
fn decode_checked(bytes: &[u8; SUPERBLOCK_LEN]) -> Result<Superblock, &'static str> {
    if u16_at(bytes, field::VERSION) != VERSION {
        return Err("version zero");
    }
    if field::RESERVED.into_iter().any(|range| !all_zero(&bytes[range])) {
        return Err("reserved bytes are not zero");
    }
    let role = match bytes[field::ROLE] {
        1 => Role::Member,
        2 => Role::Joining,
        _ => return Err("unknown role"),
    };
    let ring = Ring {
        device: Ordinal(bytes[field::RING_DEVICE]),
        offset: u64_at(bytes, field::RING_OFFSET),
        len: u64_at(bytes, field::RING_LEN),
    };
    let tail = Tail {
        offset: u64_at(bytes, field::TAIL_OFFSET),
        next: Seq(u64_at(bytes, field::TAIL_NEXT)),
        predecessor: u32_at(bytes, field::TAIL_CRC),
    };
    let pool = PoolState {
        id: PoolId(uuid_at(bytes, field::POOL)),
        name: decode_name(bytes)?,
        features: Features {
            compatible: u64_at(bytes, field::COMPATIBLE),
            read_only_compatible: u64_at(bytes, field::RO_COMPATIBLE),
            incompatible: u64_at(bytes, field::INCOMPATIBLE),
        },
        generation: u64_at(bytes, field::GENERATION),
        journal: JournalMark {
            incarnation: u64_at(bytes, field::INCARNATION),
            ring,
            tail,
            flushed: Seq(u64_at(bytes, field::FLUSHED)),
        },
        members: decode_members(bytes),
        segments: decode_segments(bytes)?,
    };
    let device = DeviceId(uuid_at(bytes, field::DEVICE));
    Ok(Superblock { device, ordinal: Ordinal(bytes[field::ORDINAL]), role, pool })
}

fn decode_name(bytes: &[u8; SUPERBLOCK_LEN]) -> Result<PoolName, &'static str> {
    let len = usize::from(bytes[field::NAME_LEN]);
    let Some((name, padding)) = bytes[field::NAME].split_at_checked(len) else {
        return Err("the pool's name is too long");
    };
    if !all_zero(padding) {
        return Err("the pool's name is followed by something");
    }
    let name = std::str::from_utf8(name).map_err(|_| "the pool's name is not UTF-8")?;
    PoolName::new(name).map_err(|_| "the pool's name is none")
}

fn decode_members(bytes: &[u8; SUPERBLOCK_LEN]) -> Vec<Member> {
    let entries = bytes[field::MEMBERS].chunks_exact(MEMBER_LEN).zip(0..);
    let listed = entries.filter(|(entry, _)| !all_zero(entry));
    let member = |(entry, ordinal): (&[u8], u8)| Member {
        ordinal: Ordinal(ordinal),
        id: DeviceId(uuid_at(entry, 0..16)),
        len: u64_at(entry, 16..24),
    };
    listed.map(member).collect()
}

fn decode_segments(bytes: &[u8; SUPERBLOCK_LEN]) -> Result<Vec<SegmentRange>, &'static str> {
    // An entry after an unused one is as wrong as an empty range: the check of the whole finds it, since an
    // entry of zeros decodes to a range of no blocks.
    let area = &bytes[field::SEGMENTS];
    let used = area.iter().rposition(|b| *b != 0).map_or(0, |last| last / RANGE_LEN + 1);
    area.chunks_exact(RANGE_LEN).take(used).map(SegmentRange::decode).collect()
}

#[cfg(test)]
#[path = "superblock_tests.rs"]
mod tests;
