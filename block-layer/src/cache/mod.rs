//! The block cache: copies of blocks by address, so that all clones of a template share one.
//!
//! Invariants:
//! - a block is found only under the address *and* the CRC-32C that its pointer says, so a stale copy is a
//!   miss;
//! - who fills the cache from a device holds a pin ([`crate::alloc::Pins`]) until the copy is in, and who
//!   allocates an address evicts it first (design rule 2);
//! - memory is bounded: it is taken in chunks as the cache fills and never exceeds what was configured;
//! - no lock is held for longer than the copy of one block, or the eviction of `NEIGHBOURS`.
//!
//! Neighbouring addresses share a shard, so that evicting a run takes few locks. Read next: `shard` (the
//! eviction).

mod shard;

use crate::alloc::Run;
use crate::units::{Pba, BLOCK, BLOCKS_PER_SEGMENT, SECTORS_PER_BLOCK};
use shard::Shard;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Consecutive blocks that live in one shard.
const NEIGHBOURS: u32 = 32;
/// Most shards: enough that a few cores rarely meet in one.
const SHARDS_MAX: usize = 64;
/// Fewest blocks of a shard, unless the whole cache has fewer.
const SHARD_MIN: usize = 1024;

/// Figures of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Lookups that found the block.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Bytes of the blocks held.
    pub bytes: u64,
    /// Bytes of the blocks that can be held.
    pub capacity_bytes: u64,
}

/// The block cache of a pool; shared by all readers.
pub struct BlockCache {
    /// A power of two of them.
    shards: Box<[Mutex<Shard>]>,
}

impl BlockCache {
    /// A cache of at most `bytes` bytes of blocks; 0 = nothing is ever found.
    #[must_use]
    pub fn new(bytes: u64) -> BlockCache {
        let slots = usize::try_from(bytes / BLOCK as u64).unwrap_or(usize::MAX);
        let shards = (slots / SHARD_MIN).clamp(1, SHARDS_MAX);
        let shards = 1 << shards.ilog2();
        let share = |at| slots / shards + usize::from(at < slots % shards);
        BlockCache { shards: (0..shards).map(|at| Mutex::new(Shard::new(share(at)))).collect() }
    }

    /// Copies the block at `pba` to `out` if it is here with this checksum; whether it is.
    ///
    /// # Panics
    /// When `out` is not one block.
    pub fn get(&self, pba: Pba, crc: u32, out: &mut [u8]) -> bool {
        assert_eq!(out.len(), BLOCK);
        self.shard(pba).get(key(pba), crc, out)
    }

    /// Keeps a copy of the block at `pba`, in place of an older one.
    ///
    /// # Panics
    /// When `data` is not one block.
    pub fn insert(&self, pba: Pba, crc: u32, data: &[u8]) {
        assert_eq!(data.len(), BLOCK);
        self.shard(pba).insert(key(pba), crc, data);
    }

    /// Forgets the block at `pba`.
    pub fn evict(&self, pba: Pba) {
        self.shard(pba).evict(key(pba));
    }

    /// Forgets the blocks of a run: whoever allocates them calls this before writing.
    pub fn evict_run(&self, run: Run) {
        let first = key(run.at);
        let end = first + u64::from(run.blocks);
        let mut at = first;
        while at < end {
            let stop = end.min((at / u64::from(NEIGHBOURS) + 1) * u64::from(NEIGHBOURS));
            let mut shard = self.shard(run.at.plus_blocks(at - first));
            (at..stop).for_each(|key| shard.evict(key));
            at = stop;
        }
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let mut sum = CacheStats::default();
        for shard in &self.shards {
            let stats = lock(shard).stats();
            sum.hits += stats.hits;
            sum.misses += stats.misses;
            sum.bytes += stats.bytes;
            sum.capacity_bytes += stats.capacity_bytes;
        }
        sum
    }

    fn shard(&self, pba: Pba) -> MutexGuard<'_, Shard> {
        // Neighbourhoods go round the shards, each segment beginning at a place of its own: contiguous space
        // spreads evenly, and so does space at a stride of segments.
        let start = pba.segment().wrapping_mul(0x9e37_79b1) >> 16;
        let at = (pba.slot() / NEIGHBOURS).wrapping_add(start) as usize & (self.shards.len() - 1);
        lock(&self.shards[at])
    }
}

impl std::fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BlockCache").field(&self.stats()).finish()
    }
}

const _: () = assert!(BLOCKS_PER_SEGMENT.is_multiple_of(NEIGHBOURS));

/// The number of the block at an address.
fn key(pba: Pba) -> u64 {
    pba.sectors() / SECTORS_PER_BLOCK
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // A shard panics only when its own links are wrong; a cache in that state must not be used.
    shard.lock().unwrap_or_else(|_: PoisonError<_>| panic!("the block cache is broken"))
}

#[cfg(test)]
mod tests;
