//! The cache of live small entries, as they are stored: what is hot is read and edited without the index.
//!
//! Every applied change goes through it, so an entry in it is as of the last applied commit; that there is no
//! entry is kept too. Any of them can be evicted at any time. Bounded by bytes; CLOCK eviction.

use rustc_hash::FxHashMap;

struct Slot {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    used: bool,
}

/// See the module.
pub(crate) struct EntryCache {
    slots: Vec<Slot>,
    places: FxHashMap<Vec<u8>, usize>,
    bytes: usize,
    limit: usize,
    hand: usize,
}

/// Bytes that an entry costs beside its key (twice) and its value, about.
const ENTRY_BYTES: usize = 128;

impl EntryCache {
    /// A cache of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> EntryCache {
        EntryCache { slots: Vec::new(), places: FxHashMap::default(), bytes: 0, limit, hand: 0 }
    }

    /// Bytes that it holds, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is stored under a key, if that is known: `Some(None)` = nothing.
    pub(crate) fn get(&mut self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let slot = &mut self.slots[*self.places.get(key)?];
        slot.used = true;
        Some(slot.value.clone())
    }

    /// Adds or replaces an entry.
    pub(crate) fn insert(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        if let Some(at) = self.places.get(&key) {
            let slot = &mut self.slots[*at];
            self.bytes += value.as_ref().map_or(0, Vec::len);
            self.bytes -= slot.value.as_ref().map_or(0, Vec::len);
            slot.value = value;
        } else {
            let slot = Slot { key: key.clone(), value, used: false };
            self.bytes += slot.bytes();
            self.places.insert(key, self.slots.len());
            self.slots.push(slot);
        }
        while self.bytes > self.limit && !self.slots.is_empty() {
            self.evict();
        }
    }

    fn evict(&mut self) {
        loop {
            self.hand = (self.hand + 1) % self.slots.len();
            if std::mem::take(&mut self.slots[self.hand].used) {
                continue;
            }
            let slot = self.slots.swap_remove(self.hand);
            self.bytes -= slot.bytes();
            self.places.remove(&slot.key);
            if let Some(moved) = self.slots.get(self.hand) {
                self.places.insert(moved.key.clone(), self.hand);
            }
            return;
        }
    }
}

impl Slot {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + 2 * self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_put_and_never_more_than_its_bound() {
        let limit = 100 * (ENTRY_BYTES + 20);
        let mut cache = EntryCache::new(limit);
        for n in 0..1000_u64 {
            cache.insert(n.to_be_bytes().to_vec(), (n % 3 != 0).then(|| vec![n as u8; (n % 7) as usize]));
            assert!(cache.bytes() <= limit);
            assert!(n < 5 || cache.get(&3_u64.to_be_bytes()) == Some(None), "what is used stays");
        }
        assert_eq!(cache.get(&0_u64.to_be_bytes()), None);
        cache.insert(3_u64.to_be_bytes().to_vec(), Some(vec![9; 9]));
        assert_eq!(cache.get(&3_u64.to_be_bytes()), Some(Some(vec![9; 9])));
        let sum: usize = cache.slots.iter().map(Slot::bytes).sum();
        assert_eq!((sum, cache.places.len()), (cache.bytes(), cache.slots.len()));
    }
}
