//! A run: a pool is made from a seed, used and hurt in rounds, and audited after each.

use super::audit::{check_data, check_index, check_space};
use super::client::{Client, Load};
use super::ledger::Ledger;
use super::machine::Toy;
use super::pool::RULES;
use crate::elastic::Elastic;
use crate::growth::{Change, Growth};
use crate::sim::{FaultPlan, Faults, Machine, PowerLost, Rng};
use block_layer::error::IndexError;
use block_layer::format::cut::{Cut, CUT_KEY};
use block_layer::format::PoolName;
use block_layer::index::TwinIndex;
use block_layer::pool::{CreateOptions, Layout, PoolError};
use block_layer::store::{FailReason, OpenError, Parts};
use block_layer::{Config, Disk, Geometry, Store};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const MIB: u64 = 1 << 20;

/// Runs one seed; gives the hash of its steps.
///
/// # Panics
/// When a promise is broken.
#[must_use]
pub fn run(seed: u64) -> u64 {
    let mut world = World::new(seed);
    world.create();
    for round in 0..2 + world.rng.below(4) {
        world.round(round);
    }
    world.machine.digest()
}

/// Changes the members of a pool and cuts the power at each write of it in turn; each time the pool opens,
/// and the change can be made then if it was not. Gives the number of cuts.
///
/// # Panics
/// When a promise is broken.
#[must_use]
pub fn cut_every_write_of_a_change(seed: u64) -> u64 {
    for nth in 1.. {
        let mut world = World::new(seed);
        world.create();
        let changed = world.change_with_cut(nth).is_ok();
        world.power_cut();
        let opened = world.open().and_then(|opened| {
            let (store, toy) = opened.unwrap_or_else(|e| panic!("cut {nth}: does not open: {e}"));
            world.audit_opened(&store, &toy)?;
            world.machine.run(world.growth.clone().run(store.clone()))?;
            world.growth.opened(store.stats().space.capacity > world.made_with);
            world.audit_used(&store)
        });
        opened.expect("the power was cut once");
        if changed {
            return nth - 1;
        }
    }
    unreachable!("a change ends")
}

struct World {
    machine: Machine,
    rng: Rng,
    index: TwinIndex,
    /// The members from the start.
    disks: Vec<Arc<Elastic>>,
    growth: Arc<Growth>,
    config: Config,
    load: Load,
    clients: u32,
    ledger: Arc<Ledger>,
    ids: Arc<AtomicU64>,
    /// Whether everything acknowledged must be there at the next open.
    acknowledged_survive: bool,
    verifier: Option<u64>,
    /// Blocks of the data areas that the pool was made with.
    made_with: u64,
}

type Opened = (Arc<Store<Toy>>, Arc<Toy>);

impl World {
    fn new(seed: u64) -> World {
        let mut machine = Machine::new(seed);
        let mut rng = Rng::new(seed ^ 0x5704_e000);
        let large = rng.chance(0.04);
        let sector = *rng.pick(&[512, 512, 4096]);
        let sparse = rng.chance(0.3);
        let mut disk = |name: &str, more: u64| {
            let tiny = if rng.chance(0.5) { 0 } else { rng.below(24) * 128 * 1024 };
            let data = if large { 80 * MIB } else { MIB + tiny };
            let geometry = Geometry { len: 2 * MIB + data + more, sector, sparse };
            Elastic::new(machine.add_disk(name, geometry, FaultPlan::default()), 2 * MIB + data)
        };
        let count = seed % 3;
        let disks: Vec<_> = (0..=count).map(|n| disk(&format!("sim{n}"), (1 + n) << 19)).collect();
        let growth = Growth::new(match seed / 3 % 3 {
            0 => Change::Nothing,
            1 => Change::Add(disk("joins", 0)),
            _ => Change::Grow(disks[0].clone()),
        });
        let load = Load {
            keys: *rng.pick(&[3, 40, 150, 220, 400, 1000]) * if large { 20 } else { 1 },
            blocks_max: if large { 4096 } else { *rng.pick(&[1, 8, 64, 256]) },
            operations: if large { 15 } else { *rng.pick(&[10, 40, 120]) },
            deletes: *rng.pick(&[0, 5, 25]),
            flushes: *rng.pick(&[0.0, 0.01, 0.1, 0.5]),
            ballast_max: if large { 0 } else { *rng.pick(&[0, 0, 20 << 10, 60 << 10, 200 << 10]) },
            rest_us: *rng.pick(&[0, 0, 100, 20_000]),
        };
        let config = Config {
            inflight_bytes: *rng.pick(&[4096, 1 << 20, 64 << 20]),
            cache_bytes: *rng.pick(&[0, 1 << 18, 1 << 22]),
            dirty_bytes: *rng.pick(&[4 << 10, 64 << 10, 256 << 20]),
            flush_bytes: *rng.pick(&[64 << 10, 256 << 20]),
            flush_after: Duration::from_millis(*rng.pick(&[1, 100, 1000])),
            checkpoint_after: Duration::from_millis(*rng.pick(&[10, 500, 60_000])),
            reserve_bytes: *rng.pick(&[0, 64 << 10]),
            ref_entries: *rng.pick(&[1, 64, 1 << 20]),
            index_reserve_bytes: 0,
        };
        let clients = 1 + rng.below(8) as u32;
        World {
            index: TwinIndex::new(RULES),
            disks,
            growth,
            config,
            load,
            clients,
            ledger: Arc::default(),
            ids: Arc::new(AtomicU64::new(1)),
            acknowledged_survive: true,
            verifier: None,
            made_with: 0,
            machine,
            rng,
        }
    }

    fn parts(&self) -> Parts {
        Parts {
            runtime: self.machine.runtime(),
            disks: self.disks.iter().map(|d| d.clone() as Arc<dyn Disk>).collect(),
            index: Arc::new(self.index.clone()),
            config: self.config,
        }
    }

    fn create(&mut self) {
        let name = PoolName::new("sim").expect("a good name");
        let options = CreateOptions { name, layout: Layout { ring_len: Some(MIB) }, force: true };
        let parts = self.parts();
        let done = self.machine.run(async {
            Store::<Toy>::create_pool(&parts, &options).await.expect("no fault");
        });
        done.expect("no power cut is planned");
        self.made_with = self.disks.iter().map(|d| (d.geometry().len - 2 * MIB) / 4096).sum();
    }

    /// Opens, audits, works, and ends in some way.
    fn round(&mut self, round: u64) {
        if self.rng.chance(0.4) {
            let reach = *self.rng.pick(&[8, 60, 400, 2000]);
            let cut = self.machine.sim().device_writes() + 1 + self.rng.below(reach);
            self.machine.sim().cut_at_write(cut);
        }
        if self.opened_and_used(round).is_err() {
            self.power_cut();
        }
    }

    fn opened_and_used(&mut self, round: u64) -> Result<(), PowerLost> {
        let (store, toy) = self.open()?.unwrap_or_else(|e| panic!("round {round}: does not open: {e}"));
        self.audit_opened(&store, &toy)?;
        self.plan_faults();
        let failing = self.rng.chance(0.05);
        self.start_growth(&store);
        let done = self.start_clients(&store);
        if self.rng.chance(0.35) {
            let life = Duration::from_micros(self.rng.below(200_000));
            self.machine.run(self.machine.runtime().sleep(life))?;
            self.index_fails(failing);
            let life = Duration::from_micros(self.rng.below(50_000));
            self.machine.run(self.machine.runtime().sleep(life))?;
            self.stop(store, toy);
            return Ok(());
        }
        self.index_fails(failing);
        if self.rng.chance(0.15) {
            let life = Duration::from_micros(self.rng.below(50_000));
            self.machine.run(self.machine.runtime().sleep(life))?;
            self.close(&store)?;
        }
        self.machine.run(done.notified())?;
        self.calm();
        if store.failure().is_some() {
            self.stop(store, toy);
            return Ok(());
        }
        if self.rng.chance(0.5) {
            self.audit_used(&store)?;
        }
        match self.rng.below(3) {
            0 => self.close(&store)?,
            1 => {
                let rest = Duration::from_millis(self.rng.below(3000));
                self.machine.run(self.machine.runtime().sleep(rest))?;
            }
            _ => {}
        }
        self.stop(store, toy);
        Ok(())
    }

    fn change_with_cut(&mut self, nth: u64) -> Result<(), PowerLost> {
        let (store, _) = self.open()?.expect("a new pool opens");
        let done = self.start_clients(&store);
        self.machine.run(done.notified())?;
        let cut = self.machine.sim().device_writes() + nth;
        self.machine.sim().cut_at_write(cut);
        // Its cut may be older than the change, and its superblocks newer.
        let checkpoint = store.clone();
        self.machine.runtime().spawn(Box::pin(async move { drop(checkpoint.checkpoint().await) }));
        self.machine.run(self.growth.clone().run(store))
    }

    fn close(&mut self, store: &Arc<Store<Toy>>) -> Result<(), PowerLost> {
        if self.machine.run(store.close())?.is_ok() {
            self.ledger.durable(store.visible());
            assert_eq!(store.stats().journal.0, 0, "a closed pool has nothing to replay");
        }
        Ok(())
    }

    /// The process ends, by a kill or by the loss of power.
    fn stop(&mut self, store: Arc<Store<Toy>>, toy: Arc<Toy>) {
        drop((store, toy));
        if self.rng.chance(0.5) {
            return self.power_cut();
        }
        self.machine.kill();
        self.calm();
        if self.rng.chance(0.5) {
            self.machine.disks().iter().for_each(|d| d.drain());
        } else if self.machine.run(self.machine.drained()).is_err() {
            self.power_cut();
        }
    }

    fn power_cut(&mut self) {
        self.machine.power_cut();
        self.calm();
        let rng = &mut self.rng;
        self.index.power_cut(&mut |unflushed| rng.below(unflushed as u64 + 1) as usize);
        self.acknowledged_survive = false;
    }

    fn calm(&mut self) {
        self.machine.disks().iter().for_each(|d| d.set_plan(FaultPlan::default()));
    }

    fn plan_faults(&mut self) {
        for disk in self.machine.disks() {
            let mut plan = FaultPlan::default();
            if self.rng.chance(0.3) {
                plan.write = Faults::with_probability(*self.rng.pick(&[0.001, 0.01, 0.1]));
            }
            if self.rng.chance(0.12) {
                plan.flush = Faults::with_probability(*self.rng.pick(&[0.05, 0.3]));
                self.acknowledged_survive = false;
            }
            if self.rng.chance(0.2) {
                plan.slow = 0.3;
            }
            disk.set_plan(plan);
        }
    }

    fn index_fails(&mut self, failing: bool) {
        if failing {
            [TwinIndex::fail_next_get, TwinIndex::fail_next_write, TwinIndex::fail_next_flush]
                [self.rng.below(3) as usize](&self.index);
        }
    }

    fn open(&mut self) -> Result<Result<Opened, OpenError>, PowerLost> {
        let opened = self.open_once()?;
        // A failure that was armed and not met hits the open, which may be repeated.
        match opened {
            Err(OpenError::Index(IndexError::Backend(_)) | OpenError::Failed(FailReason::Index(_))) => {
                self.machine.kill();
                self.open_once()
            }
            opened => Ok(opened),
        }
    }

    fn open_once(&mut self) -> Result<Result<Opened, OpenError>, PowerLost> {
        let Some((joins, is_member)) = self.growth.device() else { return self.open_with(self.parts()) };
        let mut parts = self.parts();
        parts.disks.push(joins);
        match self.open_with(parts)? {
            // It was not prepared before the end came.
            Err(OpenError::Pool(PoolError::NoSuperblock { .. } | PoolError::Damaged { .. }))
                if !is_member =>
            {
                self.open_with(self.parts())
            }
            opened => Ok(opened),
        }
    }

    fn open_with(&self, parts: Parts) -> Result<Result<Opened, OpenError>, PowerLost> {
        let ledger = self.ledger.clone();
        self.machine.run(async move {
            let cut = parts.index.get(CUT_KEY)?.and_then(|cut| Cut::decode(&cut)).expect("a header");
            ledger.opening(cut.seq);
            let toy = Arc::new(Toy::load(&*parts.index, ledger)?);
            let (store, _warnings) = Store::open(parts, toy.clone()).await?;
            toy.go_live();
            Ok((store, toy))
        })
    }

    fn audit_opened(&mut self, store: &Arc<Store<Toy>>, toy: &Toy) -> Result<(), PowerLost> {
        let expected = self.ledger.reopened(store.visible(), self.acknowledged_survive);
        self.acknowledged_survive = true;
        let found = toy.visible();
        let wrong = expected.keys().chain(found.keys()).find(|key| expected.get(key) != found.get(key));
        let pair = wrong.map(|key| (key, expected.get(key), found.get(key)));
        assert_eq!(pair, None, "not a prefix of the commits (P3): key, expected, found");
        assert_ne!(
            self.verifier.replace(store.verifier()),
            Some(store.verifier()),
            "the verifier is the same"
        );
        self.growth.opened(store.stats().space.capacity > self.made_with);
        check_index(store, &self.index);
        check_space(store);
        self.machine.run(check_data(store))
    }

    fn audit_used(&mut self, store: &Arc<Store<Toy>>) -> Result<(), PowerLost> {
        let checkpointed = self.machine.run(async {
            // Twice: a device may have joined while the first was under way.
            store.checkpoint().await.is_ok() && store.checkpoint().await.is_ok()
        })?;
        if checkpointed {
            check_index(store, &self.index);
            check_space(store);
            self.machine.run(check_data(store))?;
        }
        Ok(())
    }

    fn start_growth(&mut self, store: &Arc<Store<Toy>>) {
        if self.rng.chance(0.4) {
            let (growth, store) = (self.growth.clone(), store.clone());
            let wait = self.machine.runtime().sleep(Duration::from_micros(self.rng.below(30_000)));
            self.machine.runtime().spawn(Box::pin(async move {
                wait.await;
                growth.run(store).await;
            }));
        }
    }

    fn start_clients(&mut self, store: &Arc<Store<Toy>>) -> Arc<Notify> {
        let done = Arc::new(Notify::new());
        let left = Arc::new(AtomicU32::new(self.clients));
        for _ in 0..self.clients {
            let client = Client {
                store: store.clone(),
                ledger: self.ledger.clone(),
                ids: self.ids.clone(),
                rng: self.rng.fork(),
                load: self.load.clone(),
            };
            let (done, left) = (done.clone(), left.clone());
            self.machine.runtime().spawn(Box::pin(async move {
                client.run().await;
                if left.fetch_sub(1, Relaxed) == 1 {
                    done.notify_one();
                }
            }));
        }
        done
    }
}
