//! A change of membership, as a journal record's payload carries it: a device joins, or a member grows.
//!
//! The record says the outcome (this device is a member with this length, and these segment ranges lie so),
//! not the wish, so that a later release that lays out devices otherwise replays it to the same tables.
//! A record that does not decode is damage to report: the journal's own checksum has vouched for it.

use super::{all_zero, u16_at, u32_at, u64_at, uuid_at, DeviceId, Ordinal, SegmentRange};

/// Bytes of an encoded [`SegmentRange`].
pub const RANGE_LEN: usize = 24;
/// The most ranges that one change sets: the rest of a partial segment, and the segments after it.
pub const CHANGE_RANGES_MAX: usize = 2;

const VERSION: u16 = 1;

/// A committed change of a pool's membership; it may be applied again without effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipChange {
    /// The member's place.
    pub ordinal: Ordinal,
    /// The member's UUID.
    pub device: DeviceId,
    /// Bytes of the device that the pool uses from now on.
    pub len: u64,
    /// Ranges that are new, or replace the range with the same first segment; 1 or 2.
    pub ranges: Vec<SegmentRange>,
}

/// A membership record that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeFault {
    /// A newer release wrote it.
    #[error("the membership record has version {0}, this release reads up to {VERSION}: update Ashlar")]
    Newer(u16),
    /// It is not whole.
    #[error("the membership record is damaged: {0}")]
    Damaged(&'static str),
}

/// Membership record, version 1: 32 bytes and 24 for each range.
///
/// | bytes  | field    | meaning                                    |
/// |--------|----------|--------------------------------------------|
/// | 0..2   | version  | 1                                          |
/// | 2..3   | ordinal  | the member's place                         |
/// | 3..4   | count    | ranges that follow, 1..=2                  |
/// | 4..8   | reserved | zero                                       |
/// | 8..16  | len      | bytes of the device that the pool uses     |
/// | 16..32 | device   | the member's UUID                          |
/// | 32..   | ranges   | see [`SegmentRange::encode`]                |
mod field {
    use std::ops::Range;
    pub(super) const VERSION: Range<usize> = 0..2;
    pub(super) const ORDINAL: usize = 2;
    pub(super) const COUNT: usize = 3;
    pub(super) const RESERVED: Range<usize> = 4..8;
    pub(super) const LEN: Range<usize> = 8..16;
    pub(super) const DEVICE: Range<usize> = 16..32;
    pub(super) const RANGES: usize = 32;
}

impl MembershipChange {
    /// The record's payload.
    ///
    /// # Panics
    /// When there is no range or more than [`CHANGE_RANGES_MAX`]: such a change is a bug.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!((1..=CHANGE_RANGES_MAX).contains(&self.ranges.len()), "a change sets 1 or 2 ranges");
        let mut out = vec![0; field::RANGES + self.ranges.len() * RANGE_LEN];
        out[field::VERSION].copy_from_slice(&VERSION.to_le_bytes());
        out[field::ORDINAL] = self.ordinal.0;
        out[field::COUNT] = self.ranges.len() as u8;
        out[field::LEN].copy_from_slice(&self.len.to_le_bytes());
        out[field::DEVICE].copy_from_slice(&self.device.0);
        for (range, bytes) in self.ranges.iter().zip(out[field::RANGES..].chunks_exact_mut(RANGE_LEN)) {
            range.encode(bytes);
        }
        out
    }

    /// The exact inverse of [`MembershipChange::encode`]. Whether the numbers fit the pool is checked when
    /// the change is applied.
    pub fn decode(bytes: &[u8]) -> Result<MembershipChange, ChangeFault> {
        if bytes.len() < field::RANGES {
            return Err(ChangeFault::Damaged("too short"));
        }
        match u16_at(bytes, field::VERSION) {
            VERSION => {}
            0 => return Err(ChangeFault::Damaged("version zero")),
            newer => return Err(ChangeFault::Newer(newer)),
        }
        let count = usize::from(bytes[field::COUNT]);
        let ranges = &bytes[field::RANGES..];
        if !(1..=CHANGE_RANGES_MAX).contains(&count) || ranges.len() != count * RANGE_LEN {
            return Err(ChangeFault::Damaged("its length does not fit its count of ranges"));
        }
        if !all_zero(&bytes[field::RESERVED]) {
            return Err(ChangeFault::Damaged("reserved bytes are not zero"));
        }
        let ranges = ranges.chunks_exact(RANGE_LEN).map(SegmentRange::decode);
        Ok(MembershipChange {
            ordinal: Ordinal(bytes[field::ORDINAL]),
            device: DeviceId(uuid_at(bytes, field::DEVICE)),
            len: u64_at(bytes, field::LEN),
            ranges: ranges.collect::<Result<_, _>>().map_err(ChangeFault::Damaged)?,
        })
    }
}

impl SegmentRange {
    /// Fills the [`RANGE_LEN`] bytes of `out`:
    ///
    /// | bytes  | field    | meaning                                     |
    /// |--------|----------|---------------------------------------------|
    /// | 0..4   | first    | first segment's number                      |
    /// | 4..5   | device   | ordinal of the device                       |
    /// | 5..8   | reserved | zero                                        |
    /// | 8..16  | offset   | byte offset of the first segment            |
    /// | 16..24 | blocks   | usable blocks of 4096 bytes, at least 1     |
    pub(super) fn encode(&self, out: &mut [u8]) {
        out[0..4].copy_from_slice(&self.first.to_le_bytes());
        out[4..8].copy_from_slice(&[self.device.0, 0, 0, 0]);
        out[8..16].copy_from_slice(&self.offset.to_le_bytes());
        out[16..24].copy_from_slice(&self.blocks.to_le_bytes());
    }

    /// The exact inverse of [`SegmentRange::encode`], for [`RANGE_LEN`] bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<SegmentRange, &'static str> {
        if !all_zero(&bytes[5..8]) {
            return Err("reserved bytes of a segment range are not zero");
        }
        Ok(SegmentRange {
            first: u32_at(bytes, 0..4),
            device: Ordinal(bytes[4]),
            offset: u64_at(bytes, 8..16),
            blocks: u64_at(bytes, 16..24),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> MembershipChange {
        let device = Ordinal(3);
        MembershipChange {
            ordinal: device,
            device: DeviceId([0xd3; 16]),
            len: 7 << 30,
            ranges: vec![
                SegmentRange { first: 9, device, offset: 257 << 20, blocks: 16384 },
                SegmentRange { first: 17, device, offset: 321 << 20, blocks: 70_000 },
            ],
        }
    }

    #[test]
    fn membership_record_keeps_its_golden_bytes() {
        let golden = include_bytes!("../../golden/membership-v1.bin");
        assert_eq!(sample().encode(), golden);
        assert_eq!(MembershipChange::decode(golden), Ok(sample()));
    }

    #[test]
    fn membership_record_is_refused_when_cut_or_of_a_newer_version() {
        let bytes = sample().encode();
        for len in 0..bytes.len() {
            assert!(MembershipChange::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        let mut newer = bytes.clone();
        newer[0] = 2;
        assert_eq!(MembershipChange::decode(&newer), Err(ChangeFault::Newer(2)));
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes() {
        let golden = sample().encode();
        for bit in 0..golden.len() * 8 {
            let mut bytes = golden.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(change) = MembershipChange::decode(&bytes) {
                assert_eq!(change.encode(), bytes, "bit {bit}");
            }
        }
    }
}
