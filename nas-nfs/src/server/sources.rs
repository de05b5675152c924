//! How many connections one peer, and all peers together, may have.

use rustc_hash::FxHashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections of one source address.
pub(super) const PER_SOURCE: usize = 64;
/// Connections in all.
pub(super) const CONNECTIONS: usize = 2048;

/// The count.
#[derive(Clone, Default)]
pub(super) struct Sources {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_source: FxHashMap<IpAddr, usize>,
}

/// A place in the count, until it is dropped.
pub(super) struct Slot {
    sources: Sources,
    source: IpAddr,
}

impl Sources {
    /// A place for a connection from `source`, if there is one.
    pub(super) fn take(&self, source: IpAddr) -> Option<Slot> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.by_source.get(&source).copied().unwrap_or(0);
        if counts.all >= CONNECTIONS || own >= PER_SOURCE {
            return None;
        }
        counts.all += 1;
        counts.by_source.insert(source, own + 1);
        Some(Slot { sources: self.clone(), source })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.sources.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(own) = counts.by_source.get_mut(&self.source) {
            *own -= 1;
            if *own == 0 {
                counts.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_so_many_connections_and_no_more() {
        let sources = Sources::default();
        let source = |n: u16| IpAddr::from([10, 0, (n >> 8) as u8, n as u8]);
        let mut slots: Vec<Slot> = (0..PER_SOURCE).filter_map(|_| sources.take(source(0))).collect();
        assert_eq!(slots.len(), PER_SOURCE);
        assert!(sources.take(source(0)).is_none());
        for n in 1..=CONNECTIONS as u16 {
            slots.extend(sources.take(source(n)));
        }
        assert_eq!(slots.len(), CONNECTIONS);
        slots.clear();
        assert!(sources.counts.lock().expect("unpoisoned").by_source.is_empty());
        assert!(sources.take(source(0)).is_some());
    }
}
