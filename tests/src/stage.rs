//! A pool on simulated disks, for tests that tell one story of the engine each.
//!
//! Contents are told by tags: a block of a test holds one byte again and again, and 0 is a hole.

use crate::sim::{FaultPlan, Machine, Rng};
use block_layer::format::PoolName;
use block_layer::index::TwinIndex;
use block_layer::pool::{CreateOptions, Layout};
use block_layer::{Buf, Disk, Geometry, BLOCK};
use snapshots::engine::{Budget, Volume, MERGE_RULES};
use snapshots::{Engine, EngineConfig, EngineParts};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bytes of a disk that are not for data: superblocks and ring.
const HEAD: u64 = 2 << 20;

/// A machine with an open pool, all of whose choices come from a seed.
pub struct Stage {
    /// The computer.
    pub machine: Machine,
    /// The open pool.
    pub engine: Arc<Engine>,
    /// Chance for the story.
    pub rng: Rng,
    index: TwinIndex,
}

/// What a task that was started has answered, once it has ended.
pub type Output<T> = Arc<Mutex<Option<T>>>;

impl Stage {
    /// A new pool on disks with so many blocks for data each. Its background only works when it is told to.
    ///
    /// # Panics
    /// When a disk is too small.
    #[must_use]
    pub fn new(seed: u64, disks: &[u64]) -> Stage {
        let mut machine = Machine::new(seed);
        for (nth, blocks) in disks.iter().enumerate() {
            let geometry = Geometry { len: HEAD + blocks * BLOCK as u64, sector: 512, sparse: false };
            machine.add_disk(&format!("disk-{nth}"), geometry, FaultPlan::default());
        }
        let index = TwinIndex::new(MERGE_RULES);
        let name = PoolName::new("pool").expect("a good name");
        let options = CreateOptions { name, layout: Layout { ring_len: Some(1 << 20) }, force: false };
        let made = machine.run(Engine::create(parts(&machine, &index), &options));
        let engine = made.expect("no power cut is planned").expect("empty disks");
        Stage { machine, engine, rng: Rng::new(seed), index }
    }

    /// Runs `future` to its end.
    ///
    /// # Panics
    /// When the power goes away.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.machine.run(future).expect("no power cut is planned")
    }

    /// Starts `future` some time within the next `within`.
    pub fn start<T: Send + 'static>(
        &mut self,
        within: Duration,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Output<T> {
        let output = Output::default();
        let (runtime, slot) = (self.machine.runtime(), output.clone());
        let delay = Duration::from_nanos(self.rng.below(within.as_nanos() as u64));
        self.machine.runtime().spawn(Box::pin(async move {
            runtime.sleep(delay).await;
            let ended = future.await;
            *slot.lock().expect("nobody panics with it") = Some(ended);
        }));
        output
    }

    /// Sleeps until everything that was started has ended.
    pub fn settle(&self) {
        self.run(self.machine.runtime().sleep(Duration::from_secs(5)));
    }

    /// Kills the process and opens the pool again.
    pub fn restart(&mut self) {
        self.machine.kill();
        self.machine.sim().restore_power();
        self.reopen();
    }

    /// The power goes away and comes back, and the pool is opened again.
    pub fn power_cut(&mut self) {
        self.machine.power_cut();
        self.reopen();
    }

    fn reopen(&mut self) {
        self.run(self.machine.drained());
        let rng = &mut self.rng;
        self.index.power_cut(&mut |batches| rng.below(batches as u64 + 1) as usize);
        let opened = self.run(Engine::open(parts(&self.machine, &self.index)));
        self.engine = opened.expect("the pool opens").0;
    }

    /// Does all that is left for the background.
    ///
    /// # Panics
    /// When it fails.
    pub fn work_off(&self) {
        self.run(async { while self.engine.background_step().await.expect("the pool is well") {} });
    }

    /// Writes consecutive blocks, one for each tag.
    ///
    /// # Panics
    /// When it fails.
    pub fn write(&self, volume: &Volume, block: u64, tags: &[u8]) {
        let data = Buf::copy_of(&tags.iter().flat_map(|tag| [*tag; BLOCK]).collect::<Vec<u8>>()).freeze();
        self.run(volume.write(block * BLOCK as u64, data, &Default::default())).expect("there is room");
    }

    /// Flips a bit in the block of this tag.
    ///
    /// # Panics
    /// When there is none.
    pub fn damage(&self, tag: u8) {
        let mut found = vec![0; BLOCK];
        for disk in self.machine.disks() {
            for at in (HEAD..disk.geometry().len).step_by(BLOCK) {
                disk.peek(at, &mut found);
                if found.iter().all(|byte| *byte == tag) {
                    return disk.flip_bit(at + 77, 3);
                }
            }
        }
        panic!("no block is of tag {tag}");
    }

    /// The tags of consecutive blocks.
    ///
    /// # Panics
    /// When one is not readable, or not of one byte.
    #[must_use]
    pub fn tags(&self, volume: &Volume, block: u64, count: usize) -> Vec<u8> {
        let read = self.run(volume.read(block * BLOCK as u64, Buf::zeroed(count * BLOCK)));
        let read = read.expect("it is readable");
        let tag = |block: &[u8]| {
            assert!(block.iter().all(|byte| *byte == block[0]), "a block is mixed");
            block[0]
        };
        read.chunks(BLOCK).map(tag).collect()
    }

    /// The blocks in which a state differs from another.
    ///
    /// # Panics
    /// When it cannot be told.
    #[must_use]
    pub fn changed(&self, new: &Volume, old: &Volume) -> Vec<u64> {
        let ranges = self.run(new.changed_since(Some(old), 0, usize::MAX)).expect("both exist");
        let block = BLOCK as u64;
        ranges.iter().flat_map(|r| r.offset / block..(r.offset + r.len).div_ceil(block)).collect()
    }

    /// Checks the accounts by a full walk.
    ///
    /// # Panics
    /// When one is wrong.
    pub fn audit(&self) {
        self.run(self.engine.audit()).expect("the accounts are right");
    }
}

fn parts(machine: &Machine, index: &TwinIndex) -> EngineParts {
    let disks = machine.disks().iter().map(|disk| disk.clone() as Arc<dyn Disk>).collect();
    let mut config = EngineConfig::default();
    config.store.reserve_bytes = 0;
    config.store.cache_bytes = 1 << 20;
    // One step when something wakes it, and the next one not in this story.
    config.background = Budget { step_pages: 1, pause: Duration::from_secs(1 << 20) };
    EngineParts { runtime: machine.runtime(), disks, index: Arc::new(index.clone()), config }
}

/// What a task answered.
///
/// # Panics
/// When it has not ended.
pub fn ended<T>(output: &Output<T>) -> T {
    output.lock().expect("nobody panics with it").take().expect("it has ended")
}
