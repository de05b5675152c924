//! The page cache: resolved pages, so that a warm lookup touches neither the index nor a version.
//!
//! A live page is kept up to date by every applied commit; a snapshot's page never changes. Any page can be
//! evicted at any time: what is dirty lives in the generations. Bounded by a number of pages; CLOCK eviction.

use crate::generation::PageKey;
use crate::ids::{Epoch, PageNo};
use crate::map::Page;
use rustc_hash::FxHashMap;

/// Which state of a branch is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// As of the end of an epoch.
    At(Epoch),
    /// The live side.
    Live,
}

/// A page in the cache.
#[derive(Debug)]
pub(crate) struct Cached {
    pub(crate) page: Box<Page>,
    /// Versions that a reader would have to lay over one another, about.
    pub(crate) versions: u8,
    /// The epoch of the newest of them.
    pub(crate) newest: Epoch,
}

struct Slot {
    key: (PageKey, View),
    cached: Cached,
    used: bool,
}

/// See the module.
pub(crate) struct PageCache {
    slots: Vec<Slot>,
    places: FxHashMap<(PageKey, View), usize>,
    limit: usize,
    hand: usize,
    pub(crate) misses: u64,
    /// The last page that was missed.
    missed: Option<(PageKey, View)>,
}

/// Bytes that a cached page takes, with its entry.
pub(crate) const PAGE_BYTES: u64 = 4096 + 128;

impl PageCache {
    /// A cache of at most `limit` pages.
    pub(crate) fn new(limit: usize) -> PageCache {
        let (slots, places) = (Vec::new(), FxHashMap::default());
        PageCache { slots, places, limit: limit.max(1), hand: 0, misses: 0, missed: None }
    }

    /// How many pages it holds.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many pages it may hold.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether `pages` more would push none out.
    pub(crate) fn has_room(&self, pages: usize) -> bool {
        self.slots.len() + pages <= self.limit
    }

    /// Counts a page that was missed; whether it follows the last one, so that the next ones may be wanted.
    pub(crate) fn miss(&mut self, key: PageKey, view: View) -> bool {
        self.misses += 1;
        let before = PageKey { page: PageNo(key.page.0.wrapping_sub(1)), ..key };
        self.missed.replace((key, view)) == Some((before, view))
    }

    /// A page, not marked as used.
    pub(crate) fn peek(&self, key: PageKey, view: View) -> Option<&Cached> {
        self.places.get(&(key, view)).map(|at| &self.slots[*at].cached)
    }

    /// A page, marked as used.
    pub(crate) fn get(&mut self, key: PageKey, view: View) -> Option<&mut Cached> {
        let slot = &mut self.slots[*self.places.get(&(key, view))?];
        slot.used = true;
        Some(&mut slot.cached)
    }

    /// Adds or replaces a page.
    pub(crate) fn insert(&mut self, key: PageKey, view: View, cached: Cached) {
        let key = (key, view);
        if let Some(at) = self.places.get(&key) {
            self.slots[*at].cached = cached;
            return;
        }
        let slot = Slot { key, cached, used: false };
        let at = if self.slots.len() < self.limit {
            self.slots.push(slot);
            self.slots.len() - 1
        } else {
            let at = self.victim();
            self.places.remove(&self.slots[at].key);
            self.slots[at] = slot;
            at
        };
        self.places.insert(key, at);
    }

    /// Forgets every page that `goes` names.
    pub(crate) fn forget(&mut self, goes: impl Fn(PageKey, View) -> bool) {
        let mut at = 0;
        while at < self.slots.len() {
            let (key, view) = self.slots[at].key;
            if goes(key, view) {
                self.places.remove(&(key, view));
                self.slots.swap_remove(at);
                if let Some(moved) = self.slots.get(at) {
                    self.places.insert(moved.key, at);
                }
            } else {
                at += 1;
            }
        }
        self.hand = 0;
    }

    fn victim(&mut self) -> usize {
        loop {
            self.hand = (self.hand + 1) % self.slots.len();
            if !std::mem::take(&mut self.slots[self.hand].used) {
                return self.hand;
            }
        }
    }
}
