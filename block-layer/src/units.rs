//! Units as types: what a number counts is part of its type.

use std::fmt;

/// Bytes of a block: the unit of mapping, of checksums and of allocation.
pub const BLOCK: usize = 4096;
/// Bytes of a sector: the unit of addresses ([`Pba`]) and the smallest piece a device writes whole.
pub const SECTOR: usize = 512;
/// Sectors of a block.
pub const SECTORS_PER_BLOCK: u64 = (BLOCK / SECTOR) as u64;
/// Bytes of a segment: the unit in which devices give space to the allocator.
pub const SEGMENT: u64 = 64 << 20;
/// Blocks of a segment.
pub const BLOCKS_PER_SEGMENT: u32 = (SEGMENT / BLOCK as u64) as u32;
/// Sectors of a segment.
pub const SECTORS_PER_SEGMENT: u64 = SEGMENT / SECTOR as u64;

/// A sequence number: the place of a record in the commit order. The first record is 1; 0 = "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The sequence number that follows.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A pool-logical block address in sectors, 48 bits: segment number × [`SECTORS_PER_SEGMENT`] + offset.
///
/// The pool's segment table says on which device a segment lies, so a segment can move without a
/// pointer changing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pba(u64);

impl Pba {
    /// One past the largest address: 48 bits.
    pub const LIMIT: u64 = 1 << 48;

    /// The address of sector `sectors`.
    ///
    /// # Panics
    /// When it does not fit in 48 bits; decoders check before they call.
    #[must_use]
    pub fn new(sectors: u64) -> Pba {
        assert!(sectors < Self::LIMIT, "address {sectors:#x} does not fit in 48 bits");
        Pba(sectors)
    }

    /// The address of block `slot` of segment `segment`.
    #[must_use]
    pub fn of_block(segment: u32, slot: u32) -> Pba {
        Pba::new(u64::from(segment) * SECTORS_PER_SEGMENT + u64::from(slot) * SECTORS_PER_BLOCK)
    }

    /// The address in sectors.
    #[must_use]
    pub fn sectors(self) -> u64 {
        self.0
    }

    /// The segment that holds it.
    #[must_use]
    pub fn segment(self) -> u32 {
        (self.0 / SECTORS_PER_SEGMENT) as u32
    }

    /// The block inside its segment, `0..BLOCKS_PER_SEGMENT`.
    #[must_use]
    pub fn slot(self) -> u32 {
        ((self.0 % SECTORS_PER_SEGMENT) / SECTORS_PER_BLOCK) as u32
    }

    /// The address `blocks` blocks further on.
    #[must_use]
    pub fn plus_blocks(self, blocks: u64) -> Pba {
        Pba::new(self.0 + blocks * SECTORS_PER_BLOCK)
    }
}

impl fmt::Display for Pba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment(), self.slot())
    }
}
