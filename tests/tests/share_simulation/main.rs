//! The simulation of shares: clients change a tree side by side, each in a directory of its own, and the
//! process dies or the power goes, at any write of the device. After each crash the tree is whole (a walk
//! agrees with all its counts), and each client finds what it was promised: all that was answered after the
//! death of the process, all that was durable after a power cut, and nothing that it never did.
//!
//! `ASHLAR_SEED=n` replays one seed; otherwise `ASHLAR_SIM_SEEDS` seeds are run.

mod client;
mod model;

use ashlar_tests::sim::{FaultPlan, Machine, Rng};
use block_layer::format::PoolName;
use block_layer::index::TwinIndex;
use block_layer::pool::{CreateOptions, Layout};
use block_layer::{Disk, Geometry};
use client::{name, Client, History};
use model::Model;
use snapshots::engine::MERGE_RULES;
use snapshots::machine::merge::EntryRule;
use snapshots::{DatasetId, Engine, EngineConfig, EngineParts};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use volume_manager::share::types::{Change, New, SetAttributes};
use volume_manager::share::{Tree, TreeParts, RULE};

const RULES: &[EntryRule] = &[RULE];
/// Operations of a client in one life.
const STEPS: u64 = 30;

struct World {
    machine: Machine,
    index: TwinIndex,
    rng: Rng,
    share: DatasetId,
    system: DatasetId,
    histories: Vec<Arc<Mutex<History>>>,
    snapshots: u64,
}

fn parts(machine: &Machine, index: &TwinIndex, rng: &mut Rng) -> EngineParts {
    let disks = machine.disks().iter().map(|disk| disk.clone() as Arc<dyn Disk>).collect();
    let mut config = EngineConfig { entry_rules: RULES, ..EngineConfig::default() };
    config.entry_cache_bytes = *rng.pick(&[0, 4 << 10, 1 << 20]);
    config.store.reserve_bytes = 256 << 10;
    config.store.cache_bytes = 1 << 20;
    config.store.dirty_bytes = *rng.pick(&[32 << 10, 256 << 20]);
    config.store.checkpoint_after = Duration::from_millis(*rng.pick(&[20, 60_000]));
    EngineParts { runtime: machine.runtime(), disks, index: Arc::new(index.clone()), config }
}

impl World {
    fn new(seed: u64) -> (World, Arc<Engine>) {
        let (mut machine, mut rng) = (Machine::new(seed), Rng::new(seed));
        let geometry = Geometry { len: (2 << 20) + (48 << 20), sector: 512, sparse: false };
        machine.add_disk("disk", geometry, FaultPlan::default());
        let index = TwinIndex::new(MERGE_RULES);
        let pool = PoolName::new("pool").expect("a good name");
        let options = CreateOptions { name: pool, layout: Layout { ring_len: Some(1 << 20) }, force: false };
        let made = machine.run(Engine::create(parts(&machine, &index, &mut rng), &options));
        let engine = made.expect("no power cut is planned").expect("empty disks");
        let dataset = |name: &'static str, kind| {
            let made = machine.run(engine.create_dataset(name, kind, 0, b""));
            made.expect("no power cut is planned").expect("a new name")
        };
        let (share, system) = (dataset("share", RULE.kind), dataset(".system", 255));
        let histories = (0..1 + rng.below(4)).map(|_| Arc::default()).collect();
        (World { machine, index, rng, share, system, histories, snapshots: 0 }, engine)
    }

    fn calm<F: std::future::Future>(&self, future: F) -> F::Output {
        self.machine.run(future).expect("no power cut is planned")
    }

    fn tree(&self, engine: &Arc<Engine>) -> Arc<Tree> {
        let runtime = self.machine.runtime();
        // It steps back now and then.
        let clock = Arc::new(move || 1_700_000_000_000_000_000 + runtime.now().as_nanos() as u64 % 5_000_000);
        let (dataset, system) = (self.share, self.system);
        let parts = TreeParts { engine: engine.clone(), dataset, system, clock, fsid: 7, first_number: 0 };
        self.calm(Tree::open(parts)).expect("the tree opens")
    }

    fn client(&mut self, tree: &Arc<Tree>, nth: usize) -> Client {
        let (home, history) = (name(&format!("client-{nth}")), self.histories[nth].clone());
        Client { tree: tree.clone(), home, history, rng: self.rng.fork() }
    }

    fn homes(&self, tree: &Arc<Tree>) {
        for (nth, history) in self.histories.iter().enumerate() {
            let (directory, name) = (tree.root(), name(&format!("client-{nth}")));
            let new = New::Directory(SetAttributes::default());
            self.calm(tree.change(Change::Make { directory, name, new }, None)).expect("an empty root");
            history.lock().expect("no panic").states.push(Model::default());
        }
    }

    /// One life; whether it ended with a loss of power.
    fn live(&mut self, engine: Arc<Engine>, tree: Arc<Tree>) -> bool {
        let busy = Arc::new(AtomicUsize::new(self.histories.len()));
        for nth in 0..self.histories.len() {
            let (mut client, busy) = (self.client(&tree, nth), busy.clone());
            self.machine.runtime().spawn(Box::pin(async move {
                for _ in 0..STEPS {
                    if !client.step().await {
                        break;
                    }
                }
                drop(client);
                busy.fetch_sub(1, Ordering::Relaxed);
            }));
        }
        let steps = STEPS * self.histories.len() as u64;
        match self.rng.below(3) {
            0 => {}
            _ => {
                let writes = self.machine.sim().device_writes();
                self.machine.sim().cut_at_write(writes + 1 + self.rng.below(3 * steps));
            }
        }
        let until = self.machine.runtime().now() + Duration::from_micros(self.rng.below(1500 * steps));
        let (runtime, share) = (self.machine.runtime(), self.share);
        let snapshots = self.snapshots;
        self.snapshots += 1;
        let lives = self.machine.run(async {
            let mut taken = false;
            while busy.load(Ordering::Relaxed) > 0 && runtime.now() < until {
                runtime.sleep(Duration::from_micros(200)).await;
                let _ = tree.free_some().await;
                if !std::mem::replace(&mut taken, true) {
                    let _ = engine.snapshot(&[(share, &format!("snap-{snapshots}"))]).await;
                }
            }
        });
        let cut = lives.is_err() || self.machine.sim().has_cut();
        drop((tree, engine));
        match cut {
            true => self.machine.power_cut(),
            false => self.machine.kill(),
        }
        let rng = &mut self.rng;
        self.index.power_cut(&mut |batches| rng.below(batches as u64 + 1) as usize);
        cut
    }

    fn reopen(&mut self) -> Arc<Engine> {
        self.machine.sim().restore_power();
        self.calm(self.machine.drained());
        let parts = parts(&self.machine, &self.index, &mut self.rng);
        self.calm(Engine::open(parts)).expect("the pool opens").0
    }

    /// The tree is whole, and each client finds what it may.
    fn check(&mut self, engine: &Arc<Engine>, tree: &Arc<Tree>, cut: bool) {
        self.calm(tree.check()).unwrap_or_else(|e| panic!("the tree is broken: {e}"));
        for nth in 0..self.histories.len() {
            let client = self.client(tree, nth);
            let found = self.calm(client.found()).expect("it is readable");
            let mut history = client.history.lock().expect("no panic");
            let least = if cut { history.durable } else { history.answered };
            let fits = (least..history.states.len()).find(|n| history.states[*n].shape() == found);
            let Some(fits) = fits else {
                let from = least.saturating_sub(1).min(history.ops.len());
                panic!(
                    "client {nth} finds {:?}, at least {least} of {:#?} were promised",
                    shown(&found),
                    &history.ops[from..]
                );
            };
            let now = history.states[fits].clone();
            *history = History { states: vec![now], ..History::default() };
        }
        while self.calm(tree.free_some()).expect("the pool is well") {}
        let walked = self.calm(tree.check()).unwrap_or_else(|e| panic!("after the background: {e}"));
        assert_eq!(walked.orphans, 0);
        self.calm(engine.audit()).expect("the accounts are right");
    }
}

fn shown(found: &std::collections::BTreeMap<String, (String, model::Node)>) -> Vec<String> {
    let line = |(path, (first, node)): (&String, &(String, model::Node))| match node {
        model::Node::File(content) => format!("{path} = {first}: {} bytes", content.len()),
        node => format!("{path} = {first}: {node:?}"),
    };
    found.iter().map(line).collect()
}

fn run(seed: u64) {
    let (mut world, mut engine) = World::new(seed);
    let mut tree = world.tree(&engine);
    world.homes(&tree);
    for _ in 0..1 + world.rng.below(4) {
        let cut = world.live(engine, tree);
        engine = world.reopen();
        tree = world.tree(&engine);
        world.check(&engine, &tree, cut);
    }
    drop(tree);
    world.calm(engine.close()).expect("the pool closes");
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn a_tree_stays_whole_and_keeps_what_it_promised() {
    let one = std::env::var("ASHLAR_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let (first, count) = match one {
        Some(seed) => (seed, 1),
        None => (setting("ASHLAR_SIM_FIRST", 1), setting("ASHLAR_SIM_SEEDS", 150)),
    };
    for seed in first..first + count {
        let run = std::panic::catch_unwind(|| run(seed));
        assert!(run.is_ok(), "seed {seed} failed: replay it with ASHLAR_SEED={seed}");
    }
}
