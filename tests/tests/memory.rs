//! Resident memory under load stays within what is configured: the process is asked, not the engine. Alone in
//! its file, so that no other test shares the process.

#![allow(clippy::unwrap_used)] // all of it is a test

use ashlar_tests::files::{on_runtime, parts_when_free, Place};
use ashlar_tests::sim::Rng;
use block_layer::device::FileDisk;
use block_layer::format::PoolName;
use block_layer::pool::{CreateOptions, Layout};
use block_layer::{Buf, Bytes, BLOCK};
use snapshots::engine::WriteOptions;
use snapshots::{Engine, EngineConfig, Volume};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

const MIB: u64 = 1 << 20;
/// Bytes that the volume has; mapped, it takes 64 times the page cache.
const SIZE: u64 = 8192 * MIB;
const WRITERS: u64 = 64;
const WRITES: u64 = 60_000;

/// The process's resident memory in bytes; `None` where the system does not tell it so.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// Writes blocks all over the volume, and reads as many.
async fn load(volume: Volume, seed: u64, most: Arc<AtomicU64>) {
    let mut rng = Rng::new(seed);
    let options = WriteOptions::default();
    for nth in 0..WRITES / WRITERS {
        // A hundred thousand places, so that the pool is large enough for what is written twice, too.
        let place = |rng: &mut Rng| rng.below(100_000) * (SIZE / 100_000 / BLOCK as u64) * BLOCK as u64;
        let data = Bytes::from(vec![nth as u8; BLOCK]);
        volume.write(place(&mut rng), data, &options).await.unwrap();
        volume.read(place(&mut rng), Buf::zeroed(BLOCK)).await.unwrap();
        if nth % 16 == 0 {
            most.fetch_max(resident().unwrap_or(0), Relaxed);
        }
    }
}

#[test]
fn resident_memory_stays_within_the_budgets() {
    on_runtime(async {
        let place = Place::new("memory");
        FileDisk::create(&place.path("a"), 1024 * MIB).unwrap();
        let mut files = place.pool(&["a"], "index");
        files.index_options.cache_bytes = 8 << 20;
        files.index_options.write_buffer_bytes = 8 << 20;
        let mut parts = parts_when_free(&files, true).await.unwrap();
        let mut config = EngineConfig { page_cache_bytes: 4 << 20, ..EngineConfig::default() };
        config.store.inflight_bytes = 8 << 20;
        config.store.cache_bytes = 8 << 20;
        config.store.dirty_bytes = 16 << 20;
        config.store.ref_entries = 1 << 16;
        parts.config = config;
        let name = PoolName::new("memory").unwrap();
        let options = CreateOptions { name, layout: Layout { ring_len: Some(64 * MIB) }, force: false };
        let engine = Engine::create(parts, &options).await.unwrap();
        let volume = engine.volume(engine.create_dataset("volume", 1, SIZE, b"").await.unwrap());
        let Some(before) = resident() else {
            return ashlar_tests::skip::skip("memory", "no /proc/self/status");
        };
        let most = Arc::new(AtomicU64::new(before));
        let begin = |seed| tokio::spawn(load(volume.clone(), seed, most.clone()));
        for writer in (0..WRITERS).map(begin).collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let stats = engine.stats();
        let grown = most.load(Relaxed) - before;
        // Caches, data in flight, changes that only the journal has, once more while they become a batch of
        // the index, and its memtables.
        let configured = (8 + 4 + 8 + 2 * 16 + 8 + 3 * 8) << 20;
        assert!(grown < configured, "{} MiB more than before; {stats:?}", grown >> 20);
        assert!(stats.store.index.memory_bytes <= (8 + 3 * 8 + 8) << 20, "{stats:?}");
    });
}
