//! What a change of size may do to commands that it meets: two at once, from many seeds.
#![allow(clippy::unwrap_used)] // all of it is a test

use ashlar_tests::sim::{FaultPlan, Machine, Rng};
use block_layer::format::PoolName;
use block_layer::index::TwinIndex;
use block_layer::pool::{CreateOptions, Layout};
use block_layer::{Buf, Bytes, Disk, Geometry, Seq, BLOCK};
use snapshots::engine::MERGE_RULES;
use snapshots::machine::observe::Observer;
use snapshots::machine::op::{Admin, Op, Reach, Reply};
use snapshots::{DatasetId, Engine, EngineConfig, EngineParts, Error};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// A machine with an empty pool, all of whose choices come from a seed.
struct Rig {
    machine: Machine,
    engine: Arc<Engine>,
    rng: Rng,
}

impl Rig {
    fn new(seed: u64) -> Rig {
        let mut machine = Machine::new(seed);
        let geometry = Geometry { len: 32 << 20, sector: 512, sparse: false };
        let disk = machine.add_disk("disk", geometry, FaultPlan::default()) as Arc<dyn Disk>;
        let mut config = EngineConfig::default();
        config.store.reserve_bytes = 64 << 10;
        config.store.cache_bytes = MIB as usize;
        let index = Arc::new(TwinIndex::new(MERGE_RULES));
        let parts = EngineParts { runtime: machine.runtime(), disks: vec![disk], index, config };
        let name = PoolName::new("pool").unwrap();
        let options = CreateOptions { name, layout: Layout { ring_len: Some(MIB) }, force: false };
        let engine = machine.run(Engine::create(parts, &options)).unwrap().unwrap();
        Rig { machine, engine, rng: Rng::new(seed) }
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        self.machine.run(future).expect("no power cut is planned")
    }

    /// Starts `future` some time within the next `within`; it tells its output when it has ended.
    fn start<T: Send + 'static>(
        &mut self,
        within: Duration,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Arc<Mutex<Option<T>>> {
        let output = Arc::new(Mutex::new(None));
        let (runtime, slot) = (self.machine.runtime(), output.clone());
        let delay = Duration::from_nanos(self.rng.below(within.as_nanos() as u64));
        self.machine.runtime().spawn(Box::pin(async move {
            runtime.sleep(delay).await;
            let output = future.await;
            *slot.lock().unwrap() = Some(output);
        }));
        output
    }

    /// Sleeps until everything that was started has ended.
    fn settle(&self) {
        self.run(self.machine.runtime().sleep(Duration::from_secs(5)));
    }
}

fn ended<T>(output: &Mutex<Option<T>>) -> T {
    output.lock().unwrap().take().expect("it has ended")
}

fn pattern(len: u64) -> Bytes {
    Buf::copy_of(&(0..len).map(|i| 1 + (i % 251) as u8).collect::<Vec<_>>()).freeze()
}

/// A read that has found its range inside the volume waits for a map page. A shrink comes between, which
/// discards that page, and zeroes are read that were never there. (Simulation seeds 7266 and 10339.)
#[test]
fn a_read_that_a_shrink_overtakes_gives_content_or_says_that_it_is_out_of_range() {
    let (mut content, mut refused) = (0, 0);
    for seed in 0..200 {
        let mut rig = Rig::new(seed);
        let id = rig.run(rig.engine.create_dataset("volume", 1, 8 * MIB, b"")).unwrap();
        let volume = rig.engine.volume(id);
        rig.run(volume.write(5 * MIB, pattern(4096), &Default::default())).unwrap();
        let engine = rig.engine.clone();
        let shrink = rig.start(Duration::from_micros(200), async move { engine.resize(id, MIB).await });
        let read = rig.start(Duration::from_micros(200), async move {
            let buf = Buf::zeroed(8 * BLOCK);
            volume.read(5 * MIB - 4096, buf).await
        });
        rig.settle();
        ended(&shrink).unwrap();
        match ended(&read) {
            Ok(bytes) => {
                assert_eq!(bytes[BLOCK..2 * BLOCK], pattern(4096)[..], "seed {seed}");
                content += 1;
            }
            Err(Error::OutOfRange { .. }) => refused += 1,
            Err(e) => panic!("seed {seed}: {e}"),
        }
    }
    assert!(content > 0 && refused > 0, "the two never met: {content} {refused}");
}

/// Notes whether a command of a client got a place behind the shrink that it met.
#[derive(Default)]
struct Watch {
    shrunk: AtomicBool,
    late: AtomicBool,
}

impl Observer for Watch {
    fn ordered(&self, _: Seq, op: &Op, _: &Reply) {
        match op {
            Op::Admin(Admin::Resize { .. }) => self.shrunk.store(true, Ordering::Relaxed),
            Op::Io(io) if matches!(io.reach, Reach::Inside(_)) => {
                self.late.fetch_or(self.shrunk.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            _ => {}
        }
    }
    fn discarded(&self, _: Seq) {}
}

impl Watch {
    fn over(engine: &Engine) -> Arc<Watch> {
        let watch = Arc::new(Watch::default());
        engine.observe(watch.clone());
        watch
    }

    fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }
}

/// A shrink leaves blocks behind the new end in the last page, to be cleared after it. A range clone that was
/// prepared before it found them mapped still, and made them content of another volume. (Simulation seeds
/// 73 and 3456.)
#[test]
fn a_range_clone_that_a_shrink_of_its_source_overtakes_is_out_of_range() {
    let (mut cloned, mut refused) = (0, 0);
    for seed in 0..200 {
        let mut rig = Rig::new(seed);
        let made = |name: &'static str| rig.run(rig.engine.create_dataset(name, 1, 2 * MIB, b"")).unwrap();
        let ids: [DatasetId; 2] = ["source", "target"].map(made);
        let [source, target] = ids.map(|id| rig.engine.volume(id));
        rig.run(source.write(MIB - 8192, pattern(8192), &Default::default())).unwrap();
        let watch = Watch::over(&rig.engine);
        let engine = rig.engine.clone();
        let end = [MIB / 2, MIB - 4096, MIB - 4096 + 512][(seed % 3) as usize];
        let shrink = rig.start(Duration::from_micros(200), async move { engine.resize(ids[0], end).await });
        let clone = rig.start(Duration::from_micros(200), async move {
            target.clone_range(0, &source, MIB - 8192, 8192, &Default::default()).await
        });
        rig.settle();
        ended(&shrink).unwrap();
        let outcome = ended(&clone);
        assert!(!watch.is_late(), "seed {seed}: cloned from behind the end");
        let read = rig.run(rig.engine.volume(ids[1]).read(0, Buf::zeroed(2 * BLOCK))).unwrap();
        match outcome {
            Ok(()) => {
                assert_eq!(read[..], pattern(8192)[..], "seed {seed}");
                cloned += 1;
            }
            Err(Error::OutOfRange { .. }) => {
                assert!(read.iter().all(|byte| *byte == 0), "seed {seed}");
                refused += 1;
            }
            Err(e) => panic!("seed {seed}: {e}"),
        }
    }
    assert!(cloned > 0 && refused > 0, "the two never met: {cloned} {refused}");
}

/// A snapshot that is taken right behind a shrink still has blocks behind its end. They are no content of it:
/// what goes on behind that end differs, though the pointers are the same. (Simulation seed 21372.)
#[test]
fn what_goes_on_behind_the_end_of_a_snapshot_is_changed() {
    let mut met = 0;
    for seed in 0..200 {
        let mut rig = Rig::new(seed);
        let id = rig.run(rig.engine.create_dataset("volume", 1, 2 * MIB, b"")).unwrap();
        let volume = rig.engine.volume(id);
        rig.run(volume.write(0, pattern(MIB), &Default::default())).unwrap();
        let before = rig.run(rig.engine.snapshot(&[(id, "before")])).unwrap()[0];
        let (one, other) = (rig.engine.clone(), rig.engine.clone());
        let end = MIB / 2 + 512;
        let shrink = rig.start(Duration::from_micros(200), async move { one.resize(id, end).await });
        let snapshot =
            rig.start(Duration::from_micros(2000), async move { other.snapshot(&[(id, "behind")]).await });
        rig.settle();
        ended(&shrink).unwrap();
        let behind = ended(&snapshot).unwrap()[0];
        let shrunk = rig.engine.snapshots(id).iter().any(|s| s.id == behind && s.size == end);
        met += u32::from(shrunk);
        let [before, behind] = [before, behind].map(|id| volume.at(id));
        let changed = rig.run(before.changed_since(Some(&behind), 0, usize::MAX)).unwrap();
        let whole = changed.first().map(|range| (range.offset, range.offset + range.len));
        assert_eq!(whole, shrunk.then_some((MIB / 2, MIB)), "seed {seed}");
    }
    assert!(met > 0, "no snapshot was taken behind a shrink");
}

/// A shrink that ends inside a block meets a write of that block as a whole, prepared before it: the page
/// still has the block, but the command no longer lies inside. Were it done, a growth that has cleared what
/// lies behind the end already would show the rest of it.
#[test]
fn a_write_that_a_shrink_overtakes_is_out_of_range_though_its_block_is_not() {
    let (mut written, mut refused) = (0, 0);
    for seed in 0..200 {
        let mut rig = Rig::new(seed);
        let id = rig.run(rig.engine.create_dataset("volume", 1, MIB, b"")).unwrap();
        let volume = rig.engine.volume(id);
        let watch = Watch::over(&rig.engine);
        let end = MIB / 2 + 512;
        let engine = rig.engine.clone();
        let shrink = rig.start(Duration::from_micros(200), async move { engine.resize(id, end).await });
        let write = rig.start(Duration::from_micros(200), async move {
            volume.write(MIB / 2, pattern(4096), &Default::default()).await
        });
        rig.settle();
        ended(&shrink).unwrap();
        let outcome = ended(&write);
        assert!(!watch.is_late(), "seed {seed}: written behind the end");
        let read = rig.run(rig.engine.volume(id).read(MIB / 2, Buf::zeroed(512))).unwrap();
        match outcome {
            Ok(()) => {
                assert_eq!(read[..], pattern(512)[..], "seed {seed}");
                written += 1;
            }
            Err(Error::OutOfRange { .. }) => {
                assert!(read.iter().all(|byte| *byte == 0), "seed {seed}");
                refused += 1;
            }
            Err(e) => panic!("seed {seed}: {e}"),
        }
    }
    assert!(written > 0 && refused > 0, "the two never met: {written} {refused}");
}

/// A growth clears what an earlier shrink left behind the end. Then comes a rollback to a snapshot of the
/// same size, and now it is that snapshot's last page that the growth shows, with what was left there.
/// (Simulation seed 37682.)
#[test]
fn a_growth_that_meets_a_rollback_shows_nothing_from_behind_the_end() {
    let mut met = 0;
    for seed in 0..400 {
        let mut rig = Rig::new(seed);
        let id = rig.run(rig.engine.create_dataset("volume", 1, 2 * MIB, b"")).unwrap();
        let volume = rig.engine.volume(id);
        rig.run(volume.write(0, pattern(MIB), &Default::default())).unwrap();
        let (one, other) = (rig.engine.clone(), rig.engine.clone());
        let end = MIB / 2;
        let shrink = rig.start(Duration::from_micros(200), async move { one.resize(id, end).await });
        let snapshot =
            rig.start(Duration::from_micros(2000), async move { other.snapshot(&[(id, "behind")]).await });
        rig.settle();
        ended(&shrink).unwrap();
        let behind = ended(&snapshot).unwrap()[0];
        let (one, other) = (rig.engine.clone(), rig.engine.clone());
        let growth = rig.start(Duration::from_micros(500), async move { one.resize(id, MIB).await });
        let rollback = rig.start(Duration::from_micros(500), async move { other.rollback(id, behind).await });
        rig.settle();
        ended(&growth).unwrap();
        ended(&rollback).unwrap();
        let shrunk = rig.engine.snapshots(id).iter().any(|s| s.id == behind && s.size == end);
        if shrunk && rig.engine.dataset(id).unwrap().size == MIB {
            met += 1;
            let read = rig.run(volume.read(end, Buf::zeroed((MIB - end) as usize))).unwrap();
            assert!(read.iter().all(|byte| *byte == 0), "seed {seed}");
        }
    }
    assert!(met > 0, "the three never met");
}
