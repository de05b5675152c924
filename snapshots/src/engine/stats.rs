//! Figures of an engine.

use super::Engine;
use crate::pages::PAGE_BYTES;

/// Figures of an engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineStats {
    /// The store's: space, block cache, index, journal, data in flight.
    pub store: block_layer::store::Stats,
    /// Bytes of resolved map pages in memory.
    pub page_bytes: u64,
    /// The bound of them.
    pub page_limit_bytes: u64,
    /// Bytes of small entries in memory.
    pub entry_bytes: u64,
    /// Page loads from the index.
    pub page_loads: u64,
    /// Datasets.
    pub datasets: usize,
    /// Snapshots with a name.
    pub snapshots: usize,
    /// Snapshots and live sides that wait for their reclaim, or for their clones.
    pub dying: usize,
}

impl Engine {
    /// Figures.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        let store = self.store.stats();
        let state = self.space.lock();
        let named = state.catalogue.snapshot_names.len();
        let dying = state.catalogue.branches.values();
        let dying = dying.filter(|b| matches!(b.live, crate::catalogue::Live::Dying(_))).count();
        EngineStats {
            store,
            page_bytes: state.page_bytes(),
            page_limit_bytes: state.pages.limit() as u64 * PAGE_BYTES,
            entry_bytes: state.entry_cache.bytes() as u64,
            page_loads: state.pages.misses,
            datasets: state.catalogue.datasets.len(),
            snapshots: named,
            dying: dying + state.catalogue.snapshots.len() - named,
        }
    }
}
