//! The engine in situations that chance meets too rarely: each test tells one story, on simulated disks and
//! the simulated clock.

#![allow(clippy::unwrap_used)] // all of it is a test

use ashlar_tests::files::noise;
use ashlar_tests::sim::{FaultPlan, Faults, Machine, SimDisk};
use block_layer::alloc::Record;
use block_layer::format::{space_key, PoolName};
use block_layer::index::{Batch, Index, TwinIndex};
use block_layer::pool::{CreateOptions, Layout};
use block_layer::{Buf, Disk, Geometry, BLOCK};
use snapshots::engine::{EntryCondition, EntryEdit, WriteOptions, MERGE_RULES};
use snapshots::{Engine, EngineConfig, EngineParts, Error, Session, Volume};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MIB: u64 = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

/// A machine with one disk and a pool on it.
struct Story {
    machine: Machine,
    disk: Arc<SimDisk>,
    index: TwinIndex,
    config: EngineConfig,
}

impl Story {
    fn new(seed: u64, change: impl FnOnce(&mut EngineConfig)) -> (Story, Arc<Engine>) {
        Story::with_device(seed, 64 << 20, change)
    }

    fn with_device(seed: u64, len: u64, change: impl FnOnce(&mut EngineConfig)) -> (Story, Arc<Engine>) {
        let mut machine = Machine::new(seed);
        let geometry = Geometry { len, sector: 512, sparse: false };
        let disk = machine.add_disk("disk-a", geometry, FaultPlan::default());
        let mut config = EngineConfig::default();
        config.store.reserve_bytes = 64 << 10;
        change(&mut config);
        let story = Story { machine, disk, index: TwinIndex::new(MERGE_RULES), config };
        let name = PoolName::new("p").unwrap();
        let options = CreateOptions { name, layout: Layout { ring_len: Some(MIB) }, force: false };
        let engine = story.run(Engine::create(story.parts(), &options)).unwrap();
        (story, engine)
    }

    fn parts(&self) -> EngineParts {
        let disks = vec![self.disk.clone() as Arc<dyn Disk>];
        let (runtime, index) = (self.machine.runtime(), Arc::new(self.index.clone()));
        EngineParts { runtime, disks, index, config: self.config }
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        self.machine.run(future).expect("no power cut is planned")
    }

    fn sleep(&self, time: Duration) {
        self.run(self.machine.runtime().sleep(time));
    }

    fn now(&self) -> Duration {
        self.machine.runtime().now()
    }

    fn volume(&self, engine: &Arc<Engine>, size: u64) -> Volume {
        engine.volume(self.run(engine.create_dataset("volume", 1, size, b"")).unwrap())
    }

    fn write(&self, volume: &Volume, at: u64, seed: u64, len: usize) {
        self.run(volume.write(at, noise(seed, len), &WriteOptions::default())).unwrap();
    }

    fn reads(&self, volume: &Volume, at: u64, seed: u64, len: usize) -> bool {
        self.run(volume.read(at, Buf::zeroed(len))).unwrap()[..] == noise(seed, len)[..]
    }

    /// Flips a bit in the last block of what was written from `seed`.
    fn damage(&self, seed: u64, len: usize) {
        let bytes = noise(seed, len);
        let mut found = vec![0; BLOCK];
        for at in (2 * MIB..64 * MIB).step_by(BLOCK) {
            self.disk.peek(at, &mut found);
            if found[..] == bytes[len - BLOCK..] {
                return self.disk.flip_bit(at + 77, 3);
            }
        }
        panic!("the block is nowhere");
    }

    /// Begins something; its result appears in the slot.
    fn begin<T: Send + 'static>(&self, what: impl Future<Output = T> + Send + 'static) -> Slot<T> {
        let slot: Slot<T> = Slot::default();
        let into = slot.clone();
        self.machine.runtime().spawn(Box::pin(async move {
            let result = what.await;
            *into.0.lock().unwrap() = Some(result);
        }));
        slot
    }

    fn reopen(&self) -> Arc<Engine> {
        self.machine.kill();
        self.run(self.machine.drained());
        self.run(Engine::open(self.parts())).unwrap().0
    }
}

struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Default for Slot<T> {
    fn default() -> Slot<T> {
        Slot(Arc::default())
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Slot<T> {
        Slot(self.0.clone())
    }
}

impl<T> Slot<T> {
    fn take(&self) -> Option<T> {
        self.0.lock().unwrap().take()
    }
}

fn by(session: &Session) -> WriteOptions {
    WriteOptions { session: Some(session.clone()), durable: false }
}

/// A host is lost while the disk hangs, and another takes its place: nothing of the first may come late.
#[test]
fn a_fence_waits_for_a_hung_disk_and_nothing_takes_effect_after_it() {
    for seed in 0..40 {
        let (story, engine) = Story::new(seed, |c| c.store.inflight_bytes = 1 << 20);
        let volume = story.volume(&engine, 8 * MIB);
        story.write(&volume, 0, 1, 64 << 10);
        let lost = Session::new();
        story.disk.hold();
        let before = story.disk.counters().writes;
        // More than eight batches and more than the budget: some are on the disk, some are queued, some are
        // not even that. One reads first, one writes part of a block.
        let mut begun = Vec::new();
        for nth in 0..40 {
            let (volume, options) = (volume.clone(), by(&lost));
            let (at, len) = if nth % 4 == 3 { (512, 1024) } else { (0, 64 << 10) };
            begun.push(story.begin(async move { volume.write(at, noise(100 + nth, len), &options).await }));
        }
        story.sleep(Duration::from_micros(300 * seed));
        let fence = story.begin({
            let (engine, lost) = (engine.clone(), lost.clone());
            async move { engine.fence(&lost).await }
        });
        story.sleep(10 * SECOND);
        let begun_on_disk = story.disk.counters().writes > before;
        let ended = fence.0.lock().unwrap().is_some();
        assert_ne!(
            begun_on_disk, ended,
            "seed {seed}: a fence waits for what is on the disk, and only for that"
        );
        assert!(begun_on_disk || seed < 8, "seed {seed}: nothing reached the disk");
        story.disk.release();
        story.sleep(SECOND);
        assert!(fence.take().is_some(), "seed {seed}: the fence never ended");
        let after_fence = story.run(volume.read(0, Buf::zeroed(64 << 10))).unwrap();
        story.sleep(SECOND);
        let later = story.run(volume.read(0, Buf::zeroed(64 << 10))).unwrap();
        assert!(after_fence[..] == later[..], "seed {seed}: something of the session ran after the fence");
        story.write(&volume, 0, 2, 64 << 10);
        story.sleep(10 * SECOND);
        assert!(story.reads(&volume, 0, 2, 64 << 10), "seed {seed}: a late effect");
        let answers: Vec<_> = begun.iter().map(|slot| slot.take().expect("it was answered")).collect();
        let fenced = answers.iter().filter(|a| matches!(a, Err(Error::Fenced))).count();
        assert!(answers.iter().all(|a| matches!(a, Ok(()) | Err(Error::Fenced))), "{answers:?}");
        assert!(fenced > 0, "seed {seed}: all forty were ordered before the fence");
        let late = story.run(volume.write(0, noise(3, BLOCK), &by(&lost)));
        assert!(matches!(late, Err(Error::Fenced)));
        story.run(engine.audit()).unwrap();
        drop((volume, engine));
        let engine = story.reopen();
        let volume = engine.volume(engine.find_dataset("volume").unwrap());
        assert!(story.reads(&volume, 0, 2, 64 << 10), "seed {seed}: a late effect by recovery");
    }
}

#[test]
fn a_fence_leaves_other_sessions_alone() {
    let (story, engine) = Story::new(1, |_| {});
    let volume = story.volume(&engine, MIB);
    let (lost, other) = (Session::new(), Session::new());
    story.run(engine.fence(&lost));
    story.run(volume.write(0, noise(1, BLOCK), &by(&other))).unwrap();
    assert!(story.reads(&volume, 0, 1, BLOCK));
}

/// NFS clients send their unstable writes again when the verifier changed: it must change whenever some may
/// be gone, and not otherwise, or every client sends everything again.
#[test]
fn the_verifier_changes_at_every_open_and_only_then() {
    let (story, engine) = Story::new(2, |_| {});
    let volume = story.volume(&engine, 8 * MIB);
    let first = engine.verifier();
    story.write(&volume, 0, 1, BLOCK);
    let _durable = story.run(engine.flush()).unwrap();
    let next = story.disk.counters().writes + 1;
    story.disk.set_plan(FaultPlan { write: Faults::at(next), ..FaultPlan::default() });
    // A write that failed and was done over elsewhere has lost nothing.
    story.write(&volume, 0, 2, BLOCK);
    story.run(engine.checkpoint()).unwrap();
    story.run(engine.resize(volume.dataset(), 9 * MIB)).unwrap();
    story.sleep(100 * SECOND);
    assert_eq!(engine.verifier(), first);
    story.run(engine.close()).unwrap();
    drop((engine, volume));
    let mut seen = vec![first];
    for _ in 0..4 {
        let engine = story.reopen();
        assert!(!seen.contains(&engine.verifier()));
        seen.push(engine.verifier());
    }
}

/// The flush fails: what it should have covered may be lost, so the pool acknowledges nothing more until it
/// is opened again, with another verifier; and what clients were told is durable is there.
#[test]
fn a_failed_flush_stops_the_pool_and_the_reopened_one_has_another_verifier() {
    for seed in 0..40 {
        let (story, engine) = Story::new(seed, |_| {});
        let volume = story.volume(&engine, 8 * MIB);
        story.write(&volume, 0, 1, BLOCK);
        let _durable = story.run(engine.flush()).unwrap();
        story.write(&volume, BLOCK as u64, 2, BLOCK);
        let verifier = engine.verifier();
        let flush = Faults::with_probability(1.0);
        story.disk.set_plan(FaultPlan { flush, ..FaultPlan::default() });
        assert!(matches!(story.run(engine.flush()), Err(Error::PoolFailed(_))), "seed {seed}");
        assert!(engine.failure().is_some());
        let write = story.run(volume.write(0, noise(3, BLOCK), &WriteOptions::default()));
        assert!(matches!(write, Err(Error::PoolFailed(_))), "seed {seed}: {write:?}");
        let again = story.run(engine.flush());
        assert!(matches!(again, Err(Error::PoolFailed(_))), "seed {seed}: a later flush covers nothing");
        story.disk.set_plan(FaultPlan::default());
        assert!(matches!(story.run(engine.flush()), Err(Error::PoolFailed(_))), "seed {seed}");
        drop((engine, volume));
        let engine = story.reopen();
        assert_ne!(engine.verifier(), verifier);
        let volume = engine.volume(engine.find_dataset("volume").unwrap());
        assert!(story.reads(&volume, 0, 1, BLOCK), "seed {seed}: a flushed write is gone");
        let data = story.run(volume.read(BLOCK as u64, Buf::zeroed(BLOCK))).unwrap();
        let whole = data[..] == noise(2, BLOCK)[..] || data.iter().all(|byte| *byte == 0);
        assert!(whole, "seed {seed}: an unflushed write is there in part");
        story.run(engine.audit()).unwrap();
    }
}

#[test]
fn a_scrub_keeps_its_rate_can_pause_and_tells_how_far_it_is() {
    let (story, engine) = Story::new(3, |_| {});
    let volume = story.volume(&engine, 16 * MIB);
    for nth in 0..4 {
        story.write(&volume, nth * MIB, nth, MIB as usize);
    }
    let begun = story.now();
    let scrub = story.begin({
        let engine = engine.clone();
        async move { engine.scrub(MIB).await }
    });
    story.sleep(SECOND);
    let early = engine.scrub_progress();
    assert!(early.running && early.total_bytes == 4 * MIB, "{early:?}");
    assert!((MIB / 2..=MIB + MIB / 2).contains(&early.done_bytes), "{early:?}");
    assert!(matches!(story.run(engine.scrub(0)), Err(Error::InUse { .. })));
    engine.pause_scrub(true);
    story.sleep(SECOND);
    let paused = engine.scrub_progress();
    story.sleep(100 * SECOND);
    assert_eq!(engine.scrub_progress().done_bytes, paused.done_bytes);
    assert!(paused.paused && scrub.take().is_none());
    engine.pause_scrub(false);
    story.sleep(5 * SECOND);
    let done = scrub.take().expect("it is done").unwrap();
    assert_eq!((done.done_bytes, done.damaged_blocks, done.running), (4 * MIB, 0, false));
    assert!(story.now() - begun > 104 * SECOND);
    let begun = story.now();
    story.run(engine.scrub(2 * MIB)).unwrap();
    let took = story.now() - begun;
    assert!(took >= 2 * SECOND && took < 3 * SECOND, "4 MiB at 2 MiB/s took {took:?}");
}

/// The task of a paused scrub was stopped from outside: the next scrub must not find it running for ever.
#[test]
fn a_scrub_that_is_given_up_is_over_and_a_closed_pool_ends_a_paused_one() {
    let (story, engine) = Story::new(4, |_| {});
    let volume = story.volume(&engine, 8 * MIB);
    story.write(&volume, 0, 1, MIB as usize);
    {
        let mut given_up = Box::pin(engine.scrub(1));
        let once = std::future::poll_fn(|cx| std::task::Poll::Ready(given_up.as_mut().poll(cx).is_pending()));
        assert!(story.run(once));
        assert!(engine.scrub_progress().running);
    }
    assert!(!engine.scrub_progress().running);
    assert_eq!(story.run(engine.scrub(0)).unwrap().done_bytes, MIB);
    let scrub = story.begin({
        let engine = engine.clone();
        async move { engine.scrub(64 << 10).await }
    });
    story.sleep(SECOND);
    engine.pause_scrub(true);
    story.run(engine.close()).unwrap();
    story.sleep(10 * SECOND);
    assert!(matches!(scrub.take(), Some(Err(Error::Closed))));
}

#[test]
fn a_damaged_block_is_reported_with_dataset_snapshot_and_range() {
    let (story, engine) = Story::new(5, |_| {});
    let volume = story.volume(&engine, 8 * MIB);
    story.write(&volume, MIB, 1, BLOCK);
    let snapshot = story.run(engine.snapshot(&[(volume.dataset(), "s")])).unwrap()[0];
    story.write(&volume, 2 * MIB, 2, 2 * BLOCK);
    story.damage(1, BLOCK);
    story.damage(2, 2 * BLOCK);
    let found = story.run(engine.scrub(0)).unwrap();
    let places: Vec<_> = found.damaged.iter().map(|d| (d.dataset, d.snapshot, d.offset, d.len)).collect();
    let (dataset, block) = (Some(volume.dataset()), BLOCK as u64);
    assert_eq!(places, [(dataset, Some(snapshot), MIB, block), (dataset, None, 2 * MIB + block, block)]);
}

/// A deleted snapshot's pages count as its own until a whole group of them is reclaimed; those that the
/// reclaim has passed are the next view's already. The scrub looked for them in neither. (Simulation seed
/// 100310.)
#[test]
fn a_scrub_in_the_middle_of_a_reclaim_misses_nothing() {
    for steps in 0..6 {
        let (story, engine) = Story::new(9, |c| {
            c.background.step_pages = 1;
            c.background.pause = 3600 * SECOND;
        });
        let volume = story.volume(&engine, 8 * MIB);
        (0..4).for_each(|page| story.write(&volume, page * MIB, 1 + page, BLOCK));
        let snapshot = story.run(engine.snapshot(&[(volume.dataset(), "s")])).unwrap()[0];
        story.write(&volume, 2 * MIB, 7, BLOCK);
        story.run(engine.delete_snapshot(snapshot)).unwrap();
        for _ in 0..steps {
            story.run(engine.background_step()).unwrap();
        }
        [1, 2, 7, 4].into_iter().for_each(|seed| story.damage(seed, BLOCK));
        let found = story.run(engine.scrub(0)).unwrap();
        let mut places: Vec<_> = found.damaged.iter().map(|d| d.offset).collect();
        places.sort_unstable();
        assert_eq!(places, [0, MIB, 2 * MIB, 3 * MIB], "after {steps} steps");
        assert_eq!(found.damaged_blocks, 4);
    }
}

/// The callers go away, the disk hangs, more callers come: their data must not pile up.
#[test]
fn data_of_callers_that_went_away_counts_until_it_is_written() {
    let (story, engine) = Story::new(6, |c| c.store.inflight_bytes = 1 << 20);
    let volume = story.volume(&engine, 16 * MIB);
    story.run(volume.read(0, Buf::zeroed(16 << 20))).unwrap();
    story.disk.hold();
    let data = noise(1, 256 << 10);
    for nth in 0..40 {
        let mut abandoned = Box::pin({
            let (volume, data) = (volume.clone(), data.clone());
            async move { volume.write(nth % 8 * MIB, data, &WriteOptions::default()).await }
        });
        let polls =
            std::future::poll_fn(|cx| std::task::Poll::Ready(abandoned.as_mut().poll(cx).is_pending()));
        assert!(story.run(polls));
        story.sleep(Duration::from_millis(1));
    }
    let stats = engine.stats().store;
    assert_eq!((stats.inflight_bytes, stats.inflight_limit_bytes), (1 << 20, 1 << 20));
    // Each write was handed to the disk once, or not at all.
    let begun: u64 = story.disk.log().iter().filter(|w| w.len >= 256 << 10).map(|w| w.len).sum();
    assert!(begun <= 1 << 20, "{begun} bytes were written for callers that are gone");
    story.disk.release();
    story.sleep(SECOND);
    assert_eq!(engine.stats().store.inflight_bytes, 0);
}

#[test]
fn memory_stays_within_what_is_configured() {
    let (story, engine) = Story::new(7, |c| {
        c.store.inflight_bytes = 512 << 10;
        c.store.cache_bytes = 1 << 20;
        c.store.dirty_bytes = 256 << 10;
        c.page_cache_bytes = 1 << 20;
    });
    let volume = story.volume(&engine, 4096 * MIB);
    let mut workers = Vec::new();
    for worker in 0..16_u64 {
        let volume = volume.clone();
        workers.push(story.begin(async move {
            let mut rng = ashlar_tests::sim::Rng::new(worker);
            for nth in 0..60 {
                let at = rng.below(4000) * MIB + rng.below(64) * BLOCK as u64;
                volume.write(at, noise(nth, 32 << 10), &WriteOptions::default()).await?;
                volume.read(rng.below(4000) * MIB, Buf::zeroed(64 << 10)).await?;
                volume.write_zeroes(at, 32 << 10, &WriteOptions::default()).await?;
            }
            Ok::<(), Error>(())
        }));
    }
    let mut most = (0, 0, 0, 0);
    while workers.iter().any(|w| w.0.lock().unwrap().is_none()) {
        story.sleep(Duration::from_micros(500));
        let stats = engine.stats();
        assert!(stats.store.inflight_bytes <= stats.store.inflight_limit_bytes);
        assert!(stats.store.cache.bytes <= stats.store.cache.capacity_bytes);
        assert!(stats.page_bytes <= stats.page_limit_bytes, "{} bytes of pages", stats.page_bytes);
        let s = stats.store;
        most = (
            most.0.max(s.inflight_bytes),
            most.1.max(s.cache.bytes),
            most.2.max(s.dirty_bytes),
            most.3.max(stats.page_bytes),
        );
    }
    workers.iter().for_each(|w| w.take().unwrap().unwrap());
    // The bounds were reached, and dirty memory passes its own by what was in flight at most.
    let (inflight, _, dirty, pages) = most;
    assert!(inflight > 256 << 10 && pages > 512 << 10, "{most:?}");
    assert!((128 << 10..(256 << 10) + (512 << 10)).contains(&dirty), "{most:?}");
}

/// One value of the index is rotten: it costs the free space of one segment, not the pool.
#[test]
fn a_damaged_bitmap_costs_the_free_space_of_its_segment() {
    let (story, engine) = Story::with_device(9, 200 << 20, |_| {});
    let volume = story.volume(&engine, 64 * MIB);
    story.write(&volume, 0, 1, MIB as usize);
    story.run(engine.close()).unwrap();
    drop((engine, volume));
    let mut batch = Batch::default();
    batch.put(space_key::encode(Record::Bitmap(0)), vec![0x5a; 3]);
    story.index.write(batch).unwrap();
    story.index.flush().unwrap();
    let engine = story.reopen();
    let volume = engine.volume(engine.find_dataset("volume").unwrap());
    assert!(story.reads(&volume, 0, 1, MIB as usize));
    for nth in 0..48 {
        story.write(&volume, nth * MIB, nth, MIB as usize);
    }
    let pool = engine.pool();
    let segment = 64 * MIB;
    assert!(engine.failure().is_none() && (segment - 2 * MIB..=segment).contains(&pool.damaged), "{pool:?}");
    assert_eq!(pool.allocated, 48 * MIB);
    story.run(engine.delete_dataset(volume.dataset(), true)).unwrap();
    while story.run(engine.background_step()).unwrap() {}
    story.run(engine.close()).unwrap();
    drop((engine, volume));
    let engine = story.reopen();
    assert_eq!(engine.pool().allocated, 0);
}

#[test]
fn a_nearly_full_index_takes_no_references_and_no_new_entries_but_removals() {
    let (story, engine) = Story::new(8, |c| c.store.index_reserve_bytes = 64 << 10);
    let volume = story.volume(&engine, 16 * MIB);
    let id = volume.dataset();
    story.write(&volume, 0, 1, 64 << 10);
    let edit = |name: &str, value: Option<&[u8]>| EntryEdit {
        name: name.as_bytes().to_vec(),
        value: value.map(<[u8]>::to_vec),
        condition: EntryCondition::Any,
    };
    story.run(engine.edit(id, &[edit("old", Some(b"1"))], None)).unwrap();
    story.index.set_free_bytes(0);
    story.sleep(2 * SECOND);
    let options = WriteOptions::default();
    let full = |result: Result<(), Error>| assert!(matches!(result, Err(Error::NoSpace)), "{result:?}");
    full(story.run(volume.clone_range(8 * MIB, &volume, 0, 64 << 10, &options)));
    full(story.run(volume.write(8 * MIB, noise(2, BLOCK), &options)));
    full(story.run(engine.edit(id, &[edit("new", Some(b"1"))], None)).map(drop));
    full(story.run(engine.snapshot(&[(id, "s")])).map(drop));
    full(story.run(engine.create_dataset("second", 1, MIB, b"")).map(drop));
    story.run(engine.edit(id, &[edit("old", None), edit("renamed", Some(b"1"))], None)).unwrap();
    story.run(engine.edit(id, &[edit("renamed", None), edit("old", Some(b"1"))], None)).unwrap();
    story.run(engine.edit(id, &[edit("old", Some(b"2"))], None)).unwrap();
    story.run(engine.edit(id, &[edit("old", None)], None)).unwrap();
    story.run(volume.write_zeroes(0, 64 << 10, &options)).unwrap();
    story.run(engine.delete_dataset(id, true)).unwrap();
    while story.run(engine.background_step()).unwrap() {}
    assert_eq!(engine.pool().allocated, 0);
    story.run(engine.audit()).unwrap();
    story.index.set_free_bytes(u64::MAX);
    story.sleep(2 * SECOND);
    let volume = engine.volume(story.run(engine.create_dataset("again", 1, MIB, b"")).unwrap());
    story.write(&volume, 0, 1, BLOCK);
}
