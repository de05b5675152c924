//! A shard of the block cache: slots of one block each, evicted by S3-FIFO.
//!
//! A new block enters the *small* queue (a tenth of the slots). Reaching its head it moves to the *main*
//! queue if it was read at least twice since, otherwise it goes, and its key is remembered as a ghost; a
//! block that returns while its ghost is remembered goes to main at once. Main is a queue in which a block
//! that was read gets another round. So a scan passes through the small queue and leaves the rest alone.
//!
//! Invariants: a slot is in exactly one of small, main, the free list; `index` has exactly the keys of the
//! slots in small and main.

use super::CacheStats;
use crate::units::BLOCK;
use rustc_hash::FxHashMap;

/// Blocks of a chunk, the unit in which memory is taken: 1 MiB.
const CHUNK: usize = 256;
/// One slot in so many is for the small queue.
const SMALL_PART: usize = 10;
/// Reads in the small queue that earn a place in main.
const PROMOTE_AT: u8 = 2;
/// Reads that count: so many further rounds a block in main can earn.
const READS_MAX: u8 = 3;
/// No slot.
const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Small,
    Main,
    Free,
}

/// What is known of a slot.
#[derive(Debug)]
struct Slot {
    key: u64,
    crc: u32,
    /// Neighbours in its queue: towards the head (older), towards the tail.
    older: u32,
    newer: u32,
    reads: u8,
    place: Place,
}

/// A queue of slots, linked through them.
#[derive(Debug)]
struct Queue {
    head: u32,
    tail: u32,
    len: usize,
}

impl Queue {
    const EMPTY: Queue = Queue { head: NIL, tail: NIL, len: 0 };
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shard {
    capacity: usize,
    slots: Vec<Slot>,
    chunks: Vec<Box<[u8]>>,
    index: FxHashMap<u64, u32>,
    small: Queue,
    main: Queue,
    free: Vec<u32>,
    /// Tags of keys that left the small queue unread, by hash; a newer one takes the place of an older.
    ghosts: Box<[u32]>,
    hits: u64,
    misses: u64,
}

impl Shard {
    /// A shard of `capacity` blocks.
    pub(super) fn new(capacity: usize) -> Shard {
        Shard {
            capacity,
            slots: Vec::new(),
            chunks: Vec::new(),
            index: FxHashMap::default(),
            small: Queue::EMPTY,
            main: Queue::EMPTY,
            free: Vec::new(),
            ghosts: vec![0; capacity.next_power_of_two()].into_boxed_slice(),
            hits: 0,
            misses: 0,
        }
    }

    pub(super) fn get(&mut self, key: u64, crc: u32, out: &mut [u8]) -> bool {
        let slot = self.index.get(&key).copied();
        let Some(at) = slot.filter(|&at| self.slots[at as usize].crc == crc) else {
            self.misses += 1;
            return false;
        };
        self.hits += 1;
        let slot = &mut self.slots[at as usize];
        slot.reads = (slot.reads + 1).min(READS_MAX);
        out.copy_from_slice(&self.chunks[at as usize / CHUNK][bytes_of(at)]);
        true
    }

    pub(super) fn insert(&mut self, key: u64, crc: u32, data: &[u8]) {
        if self.capacity == 0 {
            return;
        }
        let at = match self.index.get(&key) {
            Some(&at) => at,
            None => self.admit(key),
        };
        self.slots[at as usize].crc = crc;
        self.chunks[at as usize / CHUNK][bytes_of(at)].copy_from_slice(data);
    }

    pub(super) fn evict(&mut self, key: u64) {
        if let Some(&at) = self.index.get(&key) {
            self.remove(at);
        }
    }

    pub(super) fn stats(&self) -> CacheStats {
        let bytes = |blocks: usize| blocks as u64 * BLOCK as u64;
        CacheStats {
            hits: self.hits,
            misses: self.misses,
            bytes: bytes(self.index.len()),
            capacity_bytes: bytes(self.capacity),
        }
    }

    /// Gives a new key a slot, in main if its ghost is remembered.
    fn admit(&mut self, key: u64) -> u32 {
        let at = self.vacant();
        let (ghost, tag) = self.ghost(key);
        let place = if self.ghosts[ghost] == tag { Place::Main } else { Place::Small };
        self.slots[at as usize] = Slot { key, crc: 0, older: NIL, newer: NIL, reads: 0, place: Place::Free };
        self.index.insert(key, at);
        self.push(at, place);
        at
    }

    /// A slot in no queue and not in the free list.
    fn vacant(&mut self) -> u32 {
        if self.free.is_empty() && self.slots.len() == self.capacity {
            self.make_room();
        }
        if let Some(at) = self.free.pop() {
            return at;
        }
        let at = self.slots.len();
        if at.is_multiple_of(CHUNK) {
            let blocks = CHUNK.min(self.capacity - at);
            self.chunks.push(vec![0; blocks * BLOCK].into_boxed_slice());
        }
        self.slots.push(Slot { key: 0, crc: 0, older: NIL, newer: NIL, reads: 0, place: Place::Free });
        at as u32
    }

    /// Evicts one block. Each turn evicts, moves a slot out of small, or takes a read from one in main, so it
    /// ends.
    fn make_room(&mut self) {
        loop {
            let from_small = self.small.len * SMALL_PART >= self.capacity || self.main.len == 0;
            let at = if from_small { self.small.head } else { self.main.head };
            let &Slot { key, reads, .. } = &self.slots[at as usize];
            if from_small && reads >= PROMOTE_AT {
                self.unlink(at);
                self.slots[at as usize].reads = 0;
                self.push(at, Place::Main);
            } else if !from_small && reads > 0 {
                self.unlink(at);
                self.slots[at as usize].reads -= 1;
                self.push(at, Place::Main);
            } else {
                if from_small {
                    let (ghost, tag) = self.ghost(key);
                    self.ghosts[ghost] = tag;
                }
                return self.remove(at);
            }
        }
    }

    /// Forgets the block in a slot and frees the slot.
    fn remove(&mut self, at: u32) {
        self.unlink(at);
        self.index.remove(&self.slots[at as usize].key);
        self.free.push(at);
    }

    fn queue(&mut self, place: Place) -> &mut Queue {
        match place {
            Place::Small => &mut self.small,
            Place::Main => &mut self.main,
            Place::Free => unreachable!("free slots are not linked"),
        }
    }

    /// Links a slot to the tail of a queue.
    fn push(&mut self, at: u32, place: Place) {
        let queue = self.queue(place);
        let older = std::mem::replace(&mut queue.tail, at);
        queue.len += 1;
        if older == NIL {
            queue.head = at;
        } else {
            self.slots[older as usize].newer = at;
        }
        let slot = &mut self.slots[at as usize];
        (slot.older, slot.newer, slot.place) = (older, NIL, place);
    }

    fn unlink(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        let (older, newer) = (slot.older, slot.newer);
        let place = std::mem::replace(&mut slot.place, Place::Free);
        match older {
            NIL => self.queue(place).head = newer,
            _ => self.slots[older as usize].newer = newer,
        }
        match newer {
            NIL => self.queue(place).tail = older,
            _ => self.slots[newer as usize].older = older,
        }
        self.queue(place).len -= 1;
    }

    /// Where a key's ghost would be, and its tag, which is never 0.
    fn ghost(&self, key: u64) -> (usize, u32) {
        let mut hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        ((hash >> 32) as usize & (self.ghosts.len() - 1), hash as u32 | 1)
    }

    /// Checks the invariants.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut linked = 0;
        for (queue, place) in [(&self.small, Place::Small), (&self.main, Place::Main)] {
            let (mut at, mut older, mut len) = (queue.head, NIL, 0);
            while at != NIL {
                let slot = &self.slots[at as usize];
                assert_eq!((slot.older, slot.place, self.index.get(&slot.key)), (older, place, Some(&at)));
                (older, at, len) = (at, slot.newer, len + 1);
            }
            assert_eq!((queue.tail, queue.len), (older, len));
            linked += len;
        }
        assert_eq!(linked, self.index.len());
        assert_eq!(linked + self.free.len(), self.slots.len());
        assert!(self.slots.len() <= self.capacity);
    }
}

/// Where the block of a slot lies in its chunk.
fn bytes_of(slot: u32) -> std::ops::Range<usize> {
    let start = slot as usize % CHUNK * BLOCK;
    start..start + BLOCK
}
