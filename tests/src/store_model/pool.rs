//! A simulated pool for tests that tell one story each.

use super::ledger::Ledger;
use super::machine::{tag, Toy};
use super::op::{content, Act, Op};
use crate::sim::{FaultPlan, Machine, PowerLost, SimDisk};
use block_layer::alloc::Purpose;
use block_layer::format::{space_key, PoolName};
use block_layer::index::{MergeRule, TwinIndex};
use block_layer::pool::{CreateOptions, Layout};
use block_layer::store::{CommitError, OpenError, Parts};
use block_layer::{Config, Disk, Geometry, Seq, Store};
use std::sync::Arc;
use std::time::Duration;

/// How the values of the index are merged.
pub(super) const RULES: &[MergeRule] = &[space_key::MERGE];

/// A pool of one disk.
pub struct Pool {
    /// The computer.
    pub machine: Machine,
    /// Its disk.
    pub disk: Arc<SimDisk>,
    /// Its index.
    pub index: TwinIndex,
    /// Its budgets.
    pub config: Config,
    next: u64,
}

impl Pool {
    /// A new pool with `blocks` blocks of data and a ring of 1 MiB.
    #[must_use]
    pub fn new(seed: u64, blocks: u64, config: Config) -> Pool {
        Pool::on(seed, Geometry { len: (2 << 20) + blocks * 4096, sector: 512, sparse: false }, config)
    }

    /// A new pool on such a disk.
    ///
    /// # Panics
    /// When the disk is too small.
    #[must_use]
    pub fn on(seed: u64, geometry: Geometry, config: Config) -> Pool {
        let mut machine = Machine::new(seed);
        let disk = machine.add_disk("sim0", geometry, FaultPlan::default());
        let pool = Pool { machine, disk, index: TwinIndex::new(RULES), config, next: 1 };
        let name = PoolName::new("sim").expect("a good name");
        let options = CreateOptions { name, layout: Layout { ring_len: Some(1 << 20) }, force: false };
        let parts = pool.parts();
        let made = pool.machine.run(async { Store::<Toy>::create_pool(&parts, &options).await });
        made.expect("no power cut is planned").expect("an empty disk");
        pool
    }

    fn parts(&self) -> Parts {
        Parts {
            runtime: self.machine.runtime(),
            disks: vec![self.disk.clone() as Arc<dyn Disk>],
            index: Arc::new(self.index.clone()),
            config: self.config,
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// As [`Store::open`].
    ///
    /// # Panics
    /// When the power goes away.
    pub fn open(&self) -> Result<Arc<Store<Toy>>, OpenError> {
        let parts = self.parts();
        let opened = self.machine.run(async move {
            let toy = Arc::new(Toy::load(&*parts.index, Arc::new(Ledger::default()))?);
            let (store, _warnings) = Store::open(parts, toy.clone()).await?;
            toy.go_live();
            Ok(store)
        });
        opened.expect("no power cut is planned")
    }

    /// Writes `count` blocks to the keys from `key` on.
    ///
    /// # Errors
    /// As [`Store::commit`].
    ///
    /// # Panics
    /// When the power goes away.
    pub fn write(
        &mut self,
        store: &Arc<Store<Toy>>,
        key: u32,
        count: usize,
    ) -> Result<Seq, CommitError<&'static str>> {
        let blocks = (0..count).map(|nth| content(tag(self.next, nth))).collect();
        self.commit(store, Act::Write { key, blocks, purpose: Purpose::Write })
    }

    /// Commits `act`.
    ///
    /// # Errors
    /// As [`Store::commit`].
    ///
    /// # Panics
    /// When the power goes away.
    pub fn commit(&mut self, store: &Arc<Store<Toy>>, act: Act) -> Result<Seq, CommitError<&'static str>> {
        self.next += 1;
        let op = Op { id: self.next - 1, barrier: false, guard: None, late: false, act, ballast: 0 };
        let done = self.machine.run(store.commit(op)).expect("no power cut is planned")?;
        Ok(done.seq())
    }

    /// As [`Pool::write`], with the power going away in between: `Err` when it did.
    ///
    /// # Errors
    /// [`PowerLost`]; then [`Pool::cut`] is due.
    pub fn write_or_cut(&mut self, store: &Arc<Store<Toy>>, key: u32, count: usize) -> Result<(), PowerLost> {
        let op = self.operation(key, count);
        self.machine.run(store.commit(op)).map(drop)
    }

    /// A write of `count` blocks to the keys from `key` on, to be committed.
    pub fn operation(&mut self, key: u32, count: usize) -> Op {
        let blocks = (0..count).map(|nth| content(tag(self.next, nth))).collect();
        let act = Act::Write { key, blocks, purpose: Purpose::Write };
        self.next += 1;
        Op { id: self.next - 1, barrier: false, guard: None, late: false, act, ballast: 0 }
    }

    /// Begins to commit `op`, and runs on for a while that is too short for a disk that hangs.
    ///
    /// # Panics
    /// When the power goes away.
    pub fn begin(&self, store: &Arc<Store<Toy>>, op: Op) {
        let store = store.clone();
        self.machine.runtime().spawn(Box::pin(async move { drop(store.commit(op).await) }));
        let pause = self.machine.runtime().sleep(Duration::from_millis(2));
        self.machine.run(pause).expect("no power cut is planned");
    }

    /// The power goes away and comes back.
    pub fn cut(&self) {
        self.machine.power_cut();
        self.index.power_cut(&mut |unflushed| unflushed / 2);
    }

    /// Whether everything visible is readable and what was written, and the figures are right.
    ///
    /// # Panics
    /// When not.
    pub fn check(&self, store: &Store<Toy>) {
        super::audit::check_space(store);
        self.machine.run(super::audit::check_data(store)).expect("no power cut is planned");
    }
}
