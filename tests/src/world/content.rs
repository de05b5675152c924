//! What a dataset holds, as the model sees it: a stamp for each sector, a value for each entry.
//!
//! The bytes of a sector follow from its stamp, so that data is cheap to keep, to compare and to recognise: 0
//! stands for zeroes, everything else for a command and a place in its data. A block is in the map if and
//! only if the engine has it mapped.

use block_layer::{Buf, Bytes, BLOCK, SECTOR};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Stands for the 512 bytes of a sector.
pub(super) type Stamp = u64;
/// Sectors of a block.
pub(super) const SECTORS: u64 = (BLOCK / SECTOR) as u64;
/// Blocks of a page of the model.
const PAGE: u64 = 256;

/// The stamps of a block.
pub(super) type Block = [Stamp; SECTORS as usize];
type Page = BTreeMap<u64, Block>;

/// The block data of an object. Clones share pages until they are changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Data(BTreeMap<u64, Arc<Page>>);

impl Data {
    /// Nothing mapped.
    #[must_use]
    pub(super) const fn new() -> Data {
        Data(BTreeMap::new())
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A mapped block.
    #[must_use]
    pub(super) fn block(&self, block: u64) -> Option<&Block> {
        self.0.get(&(block / PAGE))?.get(&block)
    }

    /// A sector.
    #[must_use]
    pub(super) fn sector(&self, sector: u64) -> Stamp {
        self.block(sector / SECTORS).map_or(0, |block| block[(sector % SECTORS) as usize])
    }

    /// Maps a block.
    pub(super) fn put(&mut self, block: u64, stamps: Block) {
        Arc::make_mut(self.0.entry(block / PAGE).or_default()).insert(block, stamps);
    }

    /// Unmaps a block.
    pub(super) fn remove(&mut self, block: u64) {
        if let Some(page) = self.0.get_mut(&(block / PAGE)) {
            Arc::make_mut(page).remove(&block);
            if page.is_empty() {
                self.0.remove(&(block / PAGE));
            }
        }
    }

    /// Sets a sector, mapping its block.
    pub(super) fn set(&mut self, sector: u64, stamp: Stamp) {
        let mut block = self.block(sector / SECTORS).copied().unwrap_or_default();
        block[(sector % SECTORS) as usize] = stamp;
        self.put(sector / SECTORS, block);
    }

    /// Zeroes sectors: whole blocks are unmapped, of others only what is mapped changes.
    pub(super) fn zero(&mut self, sector: u64, count: u64) {
        let end = sector + count;
        for block in sector / SECTORS..end.div_ceil(SECTORS) {
            let (from, to) = (sector.max(block * SECTORS), end.min((block + 1) * SECTORS));
            match self.block(block) {
                Some(_) if to - from == SECTORS => self.remove(block),
                Some(_) => (from..to).for_each(|sector| self.set(sector, 0)),
                None => {}
            }
        }
    }

    /// Unmaps whole pages of 1 MiB.
    pub(super) fn discard(&mut self, pages: std::ops::Range<u64>) {
        self.0.retain(|page, _| !pages.contains(page));
    }

    /// Forgets what lies beyond `size` bytes.
    pub(super) fn clip(&mut self, size: u64) {
        let sectors = size / SECTOR as u64;
        let last = sectors.div_ceil(SECTORS);
        let beyond: Vec<u64> = self.blocks().map(|(block, _)| block).filter(|block| *block >= last).collect();
        beyond.into_iter().for_each(|block| self.remove(block));
        let tail = sectors.next_multiple_of(SECTORS) - sectors;
        if tail > 0 {
            self.zero(sectors, tail);
        }
    }

    /// Every mapped block, in order.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (u64, &Block)> {
        self.0.values().flat_map(|page| page.iter()).map(|(block, stamps)| (*block, stamps))
    }

    /// The first block in which two differ.
    #[must_use]
    pub(super) fn difference(&self, other: &Data) -> Option<u64> {
        let both = self.blocks().chain(other.blocks()).map(|(block, _)| block);
        both.filter(|block| self.block(*block) != other.block(*block)).min()
    }
}

/// The bytes of stamped sectors.
#[must_use]
pub(super) fn bytes_of(stamps: &[Stamp]) -> Bytes {
    let mut buf = Buf::zeroed(stamps.len() * SECTOR);
    for (sector, stamp) in buf.chunks_exact_mut(SECTOR).zip(stamps) {
        for (at, word) in sector.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&word_of(*stamp, at).to_le_bytes());
        }
    }
    buf.freeze()
}

/// The stamps of bytes; `None` for a sector that no stamp has.
#[must_use]
pub(super) fn stamps_of(bytes: &[u8]) -> Vec<Option<Stamp>> {
    bytes.chunks_exact(SECTOR).map(stamp_of).collect()
}

fn stamp_of(sector: &[u8]) -> Option<Stamp> {
    let mut words = sector.chunks_exact(8).map(|w| u64::from_le_bytes(w.try_into().expect("8 bytes")));
    let stamp = words.next()?;
    words.enumerate().all(|(at, word)| word == word_of(stamp, at + 1)).then_some(stamp)
}

fn word_of(stamp: Stamp, at: usize) -> u64 {
    stamp.wrapping_mul(1 + 2 * at as u64)
}
