//! Whole pools with rot in them: opened, read, written, audited, scrubbed and cleaned up. Errors are allowed;
//! panics, hangs and wrong data are not.
//!
//! On the devices any bit may flip: what a read returns is right, or it is an error. In the index any bit of
//! a value may flip too, though RocksDB's own checksums would have told before: there only panics and hangs
//! are judged, since a value that still decodes cannot be told from a right one.
//!
//! `ASHLAR_DAMAGE_SEEDS` = how many seeds, `ASHLAR_DAMAGE_SEED` = one alone.

use ashlar_tests::sim::{FaultPlan, Machine, Rng};
use block_layer::format::PoolName;
use block_layer::index::{Batch, Index, TwinIndex};
use block_layer::pool::{CreateOptions, Layout};
use block_layer::{Buf, Bytes, Disk, Geometry, BLOCK};
use snapshots::engine::{WriteOptions, MERGE_RULES};
use snapshots::{Engine, EngineConfig, EngineParts, Volume};
use std::ops::{ControlFlow, Range};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// Blocks of the volume that are ever written: two map pages have some.
const BLOCKS: Range<u64> = 240..272;
const SIZE: u64 = 2 << 20;
/// Steps of background work that a damaged pool gets.
const STEPS: u32 = 200;

#[derive(Clone, Copy, Debug)]
enum Place {
    Device,
    Index,
}

fn parts(machine: &Machine, index: &TwinIndex) -> EngineParts {
    let disks = machine.disks().iter().map(|d| d.clone() as Arc<dyn Disk>).collect();
    let mut config = EngineConfig::default();
    config.store.reserve_bytes = 64 << 10;
    config.store.cache_bytes = 64 << 10;
    EngineParts { runtime: machine.runtime(), disks, index: Arc::new(index.clone()), config }
}

/// What block `block` holds after it was written for the `round`-th time.
fn content(block: u64, round: u8) -> Vec<u8> {
    (0..BLOCK).map(|at| (block as u8).wrapping_mul(31) ^ (at / 16) as u8 ^ round.wrapping_mul(77)).collect()
}

async fn write(volume: &Volume, blocks: Range<u64>, round: u8) -> Result<(), snapshots::Error> {
    let data: Vec<u8> = blocks.clone().flat_map(|block| content(block, round)).collect();
    volume.write(blocks.start * BLOCK as u64, Bytes::from(data), &WriteOptions::default()).await
}

/// Round 1 everywhere, a snapshot, round 2 in the middle; a clone with round 3 at its end.
async fn fill(engine: &Arc<Engine>, checkpoint: bool) -> Result<(), snapshots::Error> {
    let volume = engine.volume(engine.create_dataset("volume", 1, SIZE, b"attributes").await?);
    write(&volume, BLOCKS, 1).await?;
    let snapshot = engine.snapshot(&[(volume.dataset(), "snapshot")]).await?[0];
    if checkpoint {
        engine.checkpoint().await?;
    }
    write(&volume, 250..262, 2).await?;
    let clone = engine.volume(engine.clone_snapshot(snapshot, "clone", 1, b"").await?);
    write(&clone, 265..272, 3).await?;
    engine.flush().await.map(drop)
}

fn round(name: &str, block: u64) -> u8 {
    match name {
        "volume" if (250..262).contains(&block) => 2,
        "clone" if (265..272).contains(&block) => 3,
        _ => 1,
    }
}

/// Reads a volume block by block: each is an error or right. `lossy`: writes may be missing altogether.
async fn read_all(volume: &Volume, name: &str, lossy: bool) {
    for block in BLOCKS {
        let Ok(data) = volume.read(block * BLOCK as u64, Buf::zeroed(BLOCK)).await else { continue };
        let newest = round(name, block);
        let known = |round: u8| data[..] == content(block, round)[..];
        let older = lossy && (data.iter().all(|byte| *byte == 0) || known(1));
        assert!(known(newest) || older, "{name}: block {block} is wrong");
    }
}

/// Everything that one does with a pool. What fails may fail.
async fn use_pool(engine: Arc<Engine>, place: Place, lossy: bool) {
    for dataset in engine.datasets() {
        let volume = engine.volume(dataset.id);
        let snapshots = engine.snapshots(dataset.id);
        if let Place::Device = place {
            read_all(&volume, &dataset.name, lossy).await;
        } else {
            let _ = volume.read(BLOCKS.start * BLOCK as u64, Buf::zeroed(32 * BLOCK)).await;
        }
        let _ = volume.extents(0, SIZE, 100).await;
        for snapshot in snapshots {
            let old = volume.at(snapshot.id);
            if let Place::Device = place {
                read_all(&old, "snapshot", lossy).await;
            }
            let _ = volume.changed_since(Some(&old), 0, 100).await;
        }
    }
    let _ = engine.audit().await;
    let _ = engine.scrub(0).await;
    for dataset in engine.datasets() {
        let volume = engine.volume(dataset.id);
        let _ = write(&volume, 245..255, 4).await;
        let _ =
            volume.write_zeroes(257 * BLOCK as u64 + 512, 9 * BLOCK as u64, &WriteOptions::default()).await;
        let _ = engine.snapshot(&[(dataset.id, "another")]).await;
        let _ = engine.checkpoint().await;
    }
    for dataset in engine.datasets() {
        let _ = engine.delete_dataset(dataset.id, true).await;
        for _ in 0..STEPS {
            if !matches!(engine.background_step().await, Ok(true)) {
                break;
            }
        }
    }
    let _ = engine.close().await;
}

fn flip_in_index(index: &TwinIndex, rng: &mut Rng) {
    let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let collect = &mut |key: &[u8], value: &[u8]| {
        entries.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    index.scan(&[], &[0xff], collect).unwrap();
    let (key, mut value) = rng.pick(&entries).clone();
    if value.is_empty() {
        return;
    }
    let at = rng.below(value.len() as u64) as usize;
    match rng.below(4) {
        0 => value.truncate(at),
        1 => value[at] = rng.next() as u8,
        _ => value[at] ^= 1 << rng.below(8),
    }
    let mut batch = Batch::default();
    batch.put(key, value);
    index.write(batch).unwrap();
    index.flush().unwrap();
}

fn run(seed: u64, place: Place) {
    let mut rng = Rng::new(seed);
    let mut machine = Machine::new(seed);
    let geometry = Geometry { len: 64 << 20, sector: 512, sparse: false };
    machine.add_disk("disk-a", geometry, FaultPlan::default());
    let index = TwinIndex::new(MERGE_RULES);
    let name = PoolName::new("p").unwrap();
    let options = CreateOptions { name, layout: Layout { ring_len: Some(1 << 20) }, force: false };
    let (checkpoint, closed) = (rng.chance(0.5), rng.chance(0.5));
    let made = parts(&machine, &index);
    let filled = machine.run(async {
        let engine = Engine::create(made, &options).await?;
        fill(&engine, checkpoint).await?;
        if closed {
            engine.close().await.map_err(snapshots::Error::PoolFailed)?;
        }
        Ok::<(), snapshots::Error>(())
    });
    filled.unwrap().unwrap();
    machine.kill();
    machine.run(machine.drained()).unwrap();
    for _ in 0..=rng.below(3) {
        match place {
            Place::Device => drop(machine.disks()[0].flip_random_bit()),
            Place::Index => flip_in_index(&index, &mut rng),
        }
    }
    if let Ok((engine, _)) = machine.run(Engine::open(parts(&machine, &index))).unwrap() {
        // The journal's last records may be above the last mark: rot there ends the log early.
        machine.run(use_pool(engine, place, !closed)).unwrap();
    }
}

fn all(place: Place) {
    let number = |name: &str| std::env::var(name).ok().map(|v| v.parse::<u64>().expect("a number"));
    if let Some(seed) = number("ASHLAR_DAMAGE_SEED") {
        return run(seed, place);
    }
    let seeds = 0..number("ASHLAR_DAMAGE_SEEDS").unwrap_or(400);
    let fails = |seed: &u64| catch_unwind(AssertUnwindSafe(|| run(*seed, place))).is_err();
    let failed: Vec<u64> = seeds.filter(fails).collect();
    assert!(failed.is_empty(), "{place:?}: ASHLAR_DAMAGE_SEED= one of {failed:?}");
}

#[test]
fn rot_on_a_device_is_an_error_or_unseen_and_never_data() {
    all(Place::Device);
}

#[test]
fn rot_in_the_index_is_no_panic_and_no_hang() {
    all(Place::Index);
}
