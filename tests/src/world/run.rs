//! One seed: a machine, some lives of a process on it, a crash after each, and every check.

use super::check;
use super::client::{Client, Flow};
use super::extras::Growing;
use super::history::Recorder;
use super::model::Model;
use super::options::{Options, Trouble, MIB};
use super::rot::Rot;
use crate::elastic::Elastic;
use crate::growth::{Change, Growth};
use crate::sim::{FaultPlan, Machine, PowerLost, Rng};
use block_layer::format::PoolName;
use block_layer::index::TwinIndex;
use block_layer::pool::{CreateOptions, Layout, PoolError, Warning};
use block_layer::store::OpenError;
use block_layer::{Disk, Geometry};
use snapshots::engine::MERGE_RULES;
use snapshots::machine::op::Admin;
use snapshots::{Engine, EngineParts, Error};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// What a seed did, for the summary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Operations that got a place.
    pub ordered: u64,
    /// Crashes.
    pub crashes: u64,
    /// The whole run, step for step.
    pub digest: u64,
}

/// What opening a pool gives.
type Opened = Result<(Arc<Engine>, Vec<Warning>), Error>;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Close,
    Kill,
    PowerCut,
}

/// Clients that have not finished.
#[derive(Default)]
struct Busy {
    count: AtomicUsize,
    rest: Notify,
}

/// See the module.
pub(super) struct World {
    pub(super) options: Arc<Options>,
    pub(super) machine: Machine,
    pub(super) index: TwinIndex,
    pub(super) recorder: Recorder,
    pub(super) rng: Rng,
    pub(super) rot: Rot,
    /// The members from the start.
    disks: Vec<Arc<Elastic>>,
    pub(super) growth: Arc<Growth>,
    /// Blocks of the data areas that the pool was made with.
    made_with: u64,
    outcome: Outcome,
    verifiers: Vec<u64>,
    /// Flushes that failed so far.
    failed_flushes: u64,
}

/// Runs a seed.
///
/// # Panics
/// When a promise is broken.
#[must_use]
pub fn run(options: &Options) -> Outcome {
    let mut machine = Machine::new(options.seed);
    let growing = options.extras.growing;
    let mut disk = |name: String, geometry: Geometry, more: u64| {
        let whole = Geometry { len: geometry.len + more, ..geometry };
        Elastic::new(machine.add_disk(&name, whole, FaultPlan::default()), geometry.len)
    };
    let more = |at| if at == 0 && growing == Growing::Grows { MIB } else { 0 };
    let sizes = options.disks.iter().enumerate();
    let disks: Vec<_> = sizes.map(|(at, g)| disk(format!("disk-{at}"), *g, more(at))).collect();
    let growth = Growth::new(match growing {
        Growing::No => Change::Nothing,
        Growing::Joins => Change::Add(disk("joins".into(), options.disks[0], 0)),
        Growing::Grows => Change::Grow(disks[0].clone()),
    });
    let mut world = World {
        rot: Rot::default(),
        disks,
        growth,
        made_with: 0,
        options: Arc::new(options.clone()),
        machine,
        index: TwinIndex::new(MERGE_RULES),
        recorder: Recorder::new(Model::default()),
        rng: Rng::new(options.seed),
        outcome: Outcome::default(),
        verifiers: Vec::new(),
        failed_flushes: 0,
    };
    let mut engine = Some(world.create());
    for _ in 0..options.generations {
        let end = world.live(engine.take().expect("each life begins with an engine"));
        engine = Some(world.restart(end));
    }
    world.finish(engine.take().expect("the last one"));
    world.outcome.ordered = world.recorder.lock().ordered;
    world.outcome.digest = world.machine.digest();
    world.outcome
}

impl World {
    fn parts(&self) -> EngineParts {
        let disks = self.disks.iter().map(|disk| disk.clone() as Arc<dyn Disk>).collect();
        let (runtime, index) = (self.machine.runtime(), Arc::new(self.index.clone()));
        EngineParts { runtime, disks, index, config: self.options.config }
    }

    /// Runs something that no crash interrupts.
    pub(super) fn calm<F: Future>(&self, future: F) -> F::Output {
        self.machine.run(future).expect("no power cut is planned")
    }

    fn create(&mut self) -> Arc<Engine> {
        let name = PoolName::new("pool").expect("a name");
        let options = CreateOptions { name, layout: Layout { ring_len: Some(1 << 20) }, force: false };
        let engine = self.calm(Engine::create(self.parts(), &options)).expect("a pool is made");
        self.verifiers.push(engine.verifier());
        self.made_with = engine.stats().store.space.capacity;
        self.rot.begin_life(self.machine.sim().device_writes());
        engine.observe(Arc::new(self.recorder.clone()));
        let client = self.client(&engine);
        let size = self.options.volume;
        for name in ["first", "second"] {
            let admin = Admin::Create { name: name.into(), kind: 1, size, attributes: b"first".to_vec() };
            assert_eq!(self.calm(client.send_admin(admin)), Flow::On);
        }
        engine
    }

    pub(super) fn client(&mut self, engine: &Arc<Engine>) -> Client {
        Client {
            engine: engine.clone(),
            recorder: self.recorder.clone(),
            options: self.options.clone(),
            rot: self.rot.clone(),
            rng: self.rng.fork(),
            runtime: self.machine.runtime(),
        }
    }

    /// One life of the process, from the clients' first command to its end.
    fn live(&mut self, engine: Arc<Engine>) -> End {
        if self.prepare(&engine).is_err() {
            return self.end(engine, End::PowerCut);
        }
        let busy = Arc::new(Busy::default());
        busy.count.store(self.options.clients as usize, Ordering::Relaxed);
        for _ in 0..self.options.clients {
            let (mut client, busy) = (self.client(&engine), busy.clone());
            let commands = self.options.commands;
            self.machine.runtime().spawn(Box::pin(async move {
                for _ in 0..commands {
                    if client.step().await == Flow::Stop {
                        break;
                    }
                }
                drop(client);
                busy.count.fetch_sub(1, Ordering::Relaxed);
                busy.rest.notify_waiters();
            }));
        }
        self.trouble();
        let commands = self.options.clients * self.options.commands;
        let (end, soon) = match self.rng.below(8) {
            0 => (End::Close, None),
            1 => (End::Kill, None),
            2 | 3 => (End::Kill, Some(Duration::from_micros(self.rng.below(400 * commands)))),
            4 => (End::PowerCut, None),
            _ => {
                let writes = self.machine.sim().device_writes();
                self.machine.sim().cut_at_write(writes + 1 + self.rng.below(3 * commands));
                (End::PowerCut, None)
            }
        };
        let limit = soon.map(|time| self.machine.runtime().sleep(time));
        let _lost = self.machine.run(async {
            match limit {
                Some(limit) => either(busy.wait(), limit).await,
                None => busy.wait().await,
            }
        });
        let end = if self.machine.sim().has_cut() || self.rest(&engine, busy.is_over()).is_err() {
            End::PowerCut
        } else {
            end
        };
        self.end(engine, end)
    }

    fn trouble(&mut self) {
        for disk in self.machine.disks() {
            disk.set_plan(self.options.plan(&mut self.rng));
        }
        match self.options.trouble {
            Trouble::IndexErrors if self.rng.chance(0.5) => self.index.fail_next_write(),
            Trouble::IndexErrors => self.index.fail_next_flush(),
            Trouble::IndexFull => self.index.set_free_bytes(self.rng.below(64 << 10)),
            _ => {}
        }
    }

    fn end(&mut self, engine: Arc<Engine>, end: End) -> End {
        let mut end = end;
        if end == End::Close {
            end = match self.machine.run(engine.close()) {
                Ok(Ok(())) => End::Close,
                Ok(Err(_)) => End::Kill,
                Err(_) => End::PowerCut,
            };
        }
        // A flush that failed may have lost what was answered, even if the process did not live to hear of
        // it: only what was flushed counts.
        let failed_flushes = self.machine.disks().iter().map(|disk| disk.counters().failed_flushes).sum();
        let lost = std::mem::replace(&mut self.failed_flushes, failed_flushes) < failed_flushes;
        if lost && end == End::Kill {
            end = End::PowerCut;
        }
        drop(engine);
        match end {
            End::PowerCut => self.machine.power_cut(),
            End::Close | End::Kill => self.machine.kill(),
        }
        self.calm_disks();
        let rng = &mut self.rng;
        self.index.power_cut(&mut |batches| rng.below(batches as u64 + 1) as usize);
        self.outcome.crashes += 1;
        end
    }

    /// The disks behave again.
    pub(super) fn calm_disks(&mut self) {
        for disk in self.machine.disks() {
            disk.set_plan(FaultPlan::default());
        }
        self.index.set_free_bytes(u64::MAX);
    }

    /// Opens the pool again, perhaps with crashes on the way, and checks everything.
    fn restart(&mut self, end: End) -> Arc<Engine> {
        let mut end = end;
        let engine = loop {
            self.calm(self.machine.drained());
            if self.rng.chance(0.15) {
                let writes = self.machine.sim().device_writes();
                self.machine.sim().cut_at_write(writes + 1 + self.rng.below(8));
            }
            match self.open() {
                Ok(Ok((engine, _warnings))) => break engine,
                Ok(Err(e)) => panic!("the pool does not open: {e}; {:#?}", self.recorder.lock().tail(12)),
                Err(_) => self.outcome.crashes += 1,
            }
            self.machine.power_cut();
            let rng = &mut self.rng;
            self.index.power_cut(&mut |batches| rng.below(batches as u64 + 1) as usize);
            // What only the death of the process had to spare is in the hands of this cut.
            end = End::PowerCut;
        };
        // A cut that was planned for the opening and has not come does not come later.
        self.machine.sim().restore_power();
        self.growth.opened(engine.stats().store.space.capacity > self.made_with);
        let verifier = engine.verifier();
        assert!(!self.verifiers.contains(&verifier), "the verifier is an old one");
        self.verifiers.push(verifier);
        self.compare(&engine, end);
        engine.observe(Arc::new(self.recorder.clone()));
        engine
    }

    /// Opens the pool with the devices that it may have.
    fn open(&self) -> Result<Opened, PowerLost> {
        let Some((joins, is_member)) = self.growth.device() else {
            return self.machine.run(Engine::open(self.parts()));
        };
        let mut parts = self.parts();
        parts.disks.push(joins);
        match self.machine.run(Engine::open(parts))? {
            // It was not prepared before the end came.
            Err(Error::Open(e)) if !is_member && is_unprepared(&e) => {
                self.machine.run(Engine::open(self.parts()))
            }
            opened => Ok(opened),
        }
    }

    /// The pool must be as the model was after some prefix of the commit order that has all that was
    /// promised.
    fn compare(&mut self, engine: &Arc<Engine>, end: End) {
        let found = self.calm(check::everything(engine)).expect("everything is readable after a crash");
        let mut history = self.recorder.lock();
        let survivors = match self.rot.is_fresh() {
            // To a recovery, rot above the flushed mark is where the journal was torn.
            true => history.prefixes(0),
            false => history.survivors(end == End::PowerCut),
        };
        let len = survivors.iter().copied().find(|len| found.is(history.state(*len), &self.rot));
        let Some(len) = len else {
            let near = survivors.iter().map(|len| (history.state(*len).differences(&found.model), *len));
            let near = near.min_by_key(|(differences, _)| differences.len());
            let tail = history.tail(40);
            panic!("{end:?}: what was found is none of {survivors:?}: the nearest is {near:#?}; {tail:#?}");
        };
        history.restart(len);
        let state = history.now().clone();
        drop(history);
        self.rot.begin_life(self.machine.sim().device_writes());
        self.calm(check::listings(engine, &state, &found.damaged))
            .expect("everything is readable after a crash");
        self.calm(check::audit(engine));
        if self.options.extras.rot > 0 {
            self.calm(check::scrub(engine, &state, &found.damaged)).expect("a scrub");
        }
    }

    /// The last checks: the background comes to an end, the accounts are right, and all space comes back.
    fn finish(&mut self, engine: Arc<Engine>) {
        self.calm(settle(&engine));
        self.calm(check::audit(&engine));
        let found = self.calm(check::everything(&engine)).expect("readable");
        let model = self.recorder.lock().now().clone();
        assert!(found.is(&model, &self.rot), "the background changed data: {:#?}", {
            model.differences(&found.model)
        });
        if self.options.trouble != Trouble::ReadErrors {
            self.calm(check::scrub(&engine, &model, &found.damaged)).expect("a scrub");
        }
        let client = self.client(&engine);
        for id in model.datasets.keys() {
            let admin = Admin::Delete { dataset: *id, snapshots: true };
            assert_eq!(self.calm(client.send_admin(admin)), Flow::On);
        }
        self.calm(settle(&engine));
        self.calm(check::audit(&engine));
        assert_eq!(engine.stats().store.space.allocated, 0, "space is lost");
        self.calm(engine.close()).expect("the pool closes");
    }
}

/// Lets the background come to its end.
pub(super) async fn settle(engine: &Arc<Engine>) {
    while engine.background_step().await.expect("the pool is well") {}
}

/// Whether a device that was to join has no good superblock yet.
fn is_unprepared(error: &OpenError) -> bool {
    matches!(error, OpenError::Pool(PoolError::NoSuperblock { .. } | PoolError::Damaged { .. }))
}

impl Busy {
    fn is_over(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    async fn wait(&self) {
        loop {
            let rest = self.rest.notified();
            if self.is_over() {
                return;
            }
            rest.await;
        }
    }
}

/// Ends when one of two has ended.
async fn either(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    std::future::poll_fn(|cx| match a.as_mut().poll(cx).is_ready() || b.as_mut().poll(cx).is_ready() {
        true => std::task::Poll::Ready(()),
        false => std::task::Poll::Pending,
    })
    .await;
}
