//! The index's header: which pool it belongs to, at which commit it stands, and which space it counts.
//!
//! Version 1, little-endian, 48 bytes and 12 for each range:
//!
//! | bytes  | field       | meaning                                                  |
//! |--------|-------------|----------------------------------------------------------|
//! | 0..4   | crc         | crc32c of all that follows                               |
//! | 4      | version     | 1                                                        |
//! | 5..8   | reserved    | zero                                                     |
//! | 8..24  | pool        | pool UUID                                                |
//! | 24..32 | incarnation | the incarnation that wrote the cut                       |
//! | 32..40 | seq         | every record up to this one is in the index, none beyond |
//! | 40..44 | count       | ranges that follow, at most [`RANGES_MAX`]               |
//! | 44..48 | reserved    | zero                                                     |
//! | 48..   | ranges      | first segment (4 bytes), usable blocks (8 bytes)         |
//!
//! The index's counts of free blocks are those of the segments as they were at the cut; the superblocks may
//! know of a device that joined or grew since.
//!
//! A bad or missing header means that the index is not this pool's, or is rotten: the pool does not open.

use super::superblock::RANGES_MAX;
use super::PoolState;
use crate::units::{Seq, BLOCKS_PER_SEGMENT};
use bytes::{Buf as _, BufMut as _};

/// Where it lies in the index.
pub const CUT_KEY: &[u8] = b"!cut";
const FIXED: usize = 48;
const RANGE: usize = 12;
const VERSION: u8 = 1;

/// The index's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The pool.
    pub pool: [u8; 16],
    /// The incarnation that wrote it.
    pub incarnation: u64,
    /// The last record that the index contains.
    pub seq: Seq,
    /// The segments that its counts are about.
    pub segments: Sizes,
}

/// How many usable blocks each segment has: ranges of consecutive segments, all full but the last of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes(Vec<(u32, u64)>);

impl Cut {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        out.put_u8(VERSION);
        out.put_slice(&[0; 3]);
        out.put_slice(&self.pool);
        out.put_u64_le(self.incarnation);
        out.put_u64_le(self.seq.0);
        out.put_u32_le(self.segments.0.len() as u32);
        out.put_u32_le(0);
        for (first, blocks) in &self.segments.0 {
            out.put_u32_le(*first);
            out.put_u64_le(*blocks);
        }
        let crc = crate::crc32c(&out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The inverse; `None` when damaged.
    #[must_use]
    pub fn decode(mut b: &[u8]) -> Option<Cut> {
        if b.len() < FIXED || crate::crc32c(&b[4..]) != b.get_u32_le() {
            return None;
        }
        let (version, reserved) = (b.get_u8(), b.get_uint_le(3));
        let mut pool = [0; 16];
        b.copy_to_slice(&mut pool);
        let (incarnation, seq) = (b.get_u64_le(), Seq(b.get_u64_le()));
        let (count, reserved_2) = (b.get_u32_le() as usize, b.get_u32_le());
        if version != VERSION
            || reserved != 0
            || reserved_2 != 0
            || count > RANGES_MAX
            || b.len() != count * RANGE
        {
            return None;
        }
        let ranges = b.chunks_exact(RANGE).map(|mut r| (r.get_u32_le(), r.get_u64_le())).collect();
        Some(Cut { pool, incarnation, seq, segments: Sizes::checked(ranges)? })
    }
}

impl Sizes {
    /// The segments of a pool.
    #[must_use]
    pub fn of(state: &PoolState) -> Sizes {
        Sizes(state.segments.iter().map(|r| (r.first, r.blocks)).collect())
    }

    /// Ranges in order that do not overlap, none empty, all segment numbers below 2^32.
    fn checked(ranges: Vec<(u32, u64)>) -> Option<Sizes> {
        let mut used = 0;
        for &(first, blocks) in &ranges {
            let end = u64::from(first).checked_add(blocks.div_ceil(u64::from(BLOCKS_PER_SEGMENT)))?;
            if blocks == 0 || u64::from(first) < used || end > 1 << 32 {
                return None;
            }
            used = end;
        }
        Some(Sizes(ranges))
    }

    /// Usable blocks of a segment; 0 when there is no such segment.
    #[must_use]
    pub fn blocks_of(&self, segment: u32) -> u32 {
        let after = self.0.partition_point(|(first, _)| *first <= segment);
        let Some((first, blocks)) = after.checked_sub(1).map(|at| self.0[at]) else { return 0 };
        let full = u64::from(BLOCKS_PER_SEGMENT);
        blocks.saturating_sub(u64::from(segment - first) * full).min(full) as u32
    }

    /// All segments, ascending: number and usable blocks.
    pub fn segments(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let full = u64::from(BLOCKS_PER_SEGMENT);
        self.0.iter().flat_map(move |&(first, blocks)| {
            let numbers = u64::from(first)..u64::from(first) + blocks.div_ceil(full);
            numbers.map(|number| (number as u32, self.blocks_of(number as u32)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::Dice;

    fn sample() -> Cut {
        let segments = Sizes(vec![(0, 3 * 16384 + 5), (7, 16384)]);
        Cut { pool: [0xc7; 16], incarnation: 9, seq: Seq(123_456), segments }
    }

    #[test]
    fn cut_keeps_its_golden_bytes() {
        let golden = include_bytes!("../../golden/cut-v1.bin");
        assert_eq!(sample().encode(), golden);
        assert_eq!(Cut::decode(golden), Some(sample()));
    }

    #[test]
    fn a_cut_with_any_bit_turned_or_cut_short_is_refused() {
        let bytes = sample().encode();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Cut::decode(&bad), None, "bit {bit}");
        }
        assert!((0..bytes.len()).all(|len| Cut::decode(&bytes[..len]).is_none()));
    }

    #[test]
    fn random_bytes_under_a_good_checksum_decode_to_themselves_or_not_at_all() {
        let mut dice = Dice(8);
        for _ in 0..20_000 {
            let mut bytes = sample().encode();
            for _ in 0..dice.below(4) {
                let at = 4 + dice.below(bytes.len() as u32 - 4) as usize;
                bytes[at] = [0, 1, 0xff, dice.below(256) as u8][dice.below(4) as usize];
            }
            let crc = crate::crc32c(&bytes[4..]);
            bytes[..4].copy_from_slice(&crc.to_le_bytes());
            if let Some(cut) = Cut::decode(&bytes) {
                assert_eq!(cut.encode(), bytes);
            }
        }
    }

    #[test]
    fn sizes_know_every_segment() {
        let sizes = sample().segments;
        let all: Vec<_> = sizes.segments().collect();
        assert_eq!(all, [(0, 16384), (1, 16384), (2, 16384), (3, 5), (7, 16384)]);
        assert_eq!([4, 6, 8, u32::MAX].map(|s| sizes.blocks_of(s)), [0; 4]);
    }
}
