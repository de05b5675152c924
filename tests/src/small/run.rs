//! How a case is run and judged.
//!
//! A run makes a pool on a simulated disk, does the commands one after the other, and is cut. Then the
//! pool is opened again (in one case of four it is cut once more while it opens), and must hold a world of
//! the model that has everything that was promised: all that was answered after a kill, all that was
//! durable after a loss of power. Its accounts must hold, before and after the background work; deleting
//! everything must free everything.

use super::case::{Case, Cut};
use super::model::{Action, Image, World, WINDOWS};
use crate::sim::{FaultPlan, Machine, Rng};
use block_layer::format::PoolName;
use block_layer::index::TwinIndex;
use block_layer::pool::{CreateOptions, Layout};
use block_layer::{Buf, Bytes, Disk, Geometry, Runtime, SECTOR};
use snapshots::engine::{WriteOptions, MERGE_RULES};
use snapshots::{Engine, EngineConfig, EngineParts, SnapshotId, Volume};
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// What the pool is left to itself for, after the last command: more than its own flushes and marks take.
const TAIL: Duration = Duration::from_millis(1500);
/// Second cuts come at one of the first writes of an opening.
const OPENING_WRITES: u64 = 6;

struct Rig {
    machine: Machine,
    index: TwinIndex,
    rng: Rng,
}

impl Rig {
    fn new(seed: u64) -> Rig {
        let mut machine = Machine::new(seed);
        let geometry = Geometry { len: 64 << 20, sector: 512, sparse: false };
        machine.add_disk("disk-a", geometry, FaultPlan::default());
        Rig { machine, index: TwinIndex::new(MERGE_RULES), rng: Rng::new(seed ^ 0xc07) }
    }

    fn parts(&self) -> EngineParts {
        let disks = self.machine.disks().iter().map(|d| d.clone() as Arc<dyn Disk>).collect();
        let mut config = EngineConfig::default();
        config.store.reserve_bytes = 64 << 10;
        config.store.cache_bytes = 1 << 20;
        EngineParts { runtime: self.machine.runtime(), disks, index: Arc::new(self.index.clone()), config }
    }

    /// Ends the process as the case says.
    fn cut(&mut self, power: bool) {
        if power {
            self.machine.power_cut();
        } else {
            self.machine.kill();
            self.machine.sim().restore_power();
            self.machine.run(self.machine.drained()).expect("no cut is planned");
        }
        // What the index has not flushed lies in the memory of the process: a kill takes it too.
        let rng = &mut self.rng;
        self.index.power_cut(&mut |batches| rng.below(batches as u64 + 1) as usize);
    }

    /// Opens the pool, cut once more now and then.
    fn reopen(&mut self, power: bool) -> Result<Arc<Engine>, String> {
        if self.rng.chance(0.25) {
            let sim = self.machine.sim();
            sim.cut_at_write(sim.device_writes() + 1 + self.rng.below(OPENING_WRITES));
            let opened = self.machine.run(Engine::open(self.parts()));
            if let Ok(Err(e)) = opened {
                return Err(format!("the pool does not open: {e}"));
            }
            self.cut(power);
        }
        match self.machine.run(Engine::open(self.parts())) {
            Ok(Ok((engine, _))) => Ok(engine),
            Ok(Err(e)) => Err(format!("the pool does not open: {e}")),
            Err(lost) => Err(lost.to_string()),
        }
    }
}

/// The device writes at which the last command of a case, and what follows it, can be cut.
///
/// # Errors
/// What an uncut run does wrong.
pub fn last_writes(case: &Case) -> Result<Range<u64>, String> {
    let rig = Rig::new(case.seed);
    let actions = case.actions().ok_or("the history does not fit")?;
    let first = Cell::new(0);
    live(&rig, &actions, &Cell::new(0), &first)?;
    Ok(first.get() + 1..rig.machine.sim().device_writes() + 1)
}

/// Runs a case and judges what it leaves.
///
/// # Errors
/// What is wrong.
pub fn judge(case: &Case) -> Result<(), String> {
    let actions = case.actions().ok_or("the history does not fit")?;
    let mut worlds = vec![World::default()];
    for action in &actions {
        worlds.push(worlds.last().expect("it begins with one").after(action));
    }
    let mut rig = Rig::new(case.seed);
    if let Cut::Power(at) | Cut::Kill(at) = case.cut {
        rig.machine.sim().cut_at_write(at);
    }
    let answered = Cell::new(0);
    live(&rig, &actions, &answered, &Cell::new(0))?;
    let answered = answered.get();
    let power = matches!(case.cut, Cut::Power(_));
    let promised = if power {
        actions[..answered].iter().rposition(Action::is_durable).map_or(0, |last| last + 1)
    } else {
        answered
    };
    let begun = (answered + 1).min(actions.len());
    rig.cut(power);
    let engine = rig.reopen(power)?;
    rig.machine.run(inspect(engine, &worlds[promised..=begun])).map_err(|lost| lost.to_string())?
}

/// Makes the pool, does the actions, and leaves the pool to itself for a while; ends early at the cut.
fn live(rig: &Rig, actions: &[Action], answered: &Cell<usize>, last_from: &Cell<u64>) -> Result<(), String> {
    let name = PoolName::new("p").map_err(|e| e.to_string())?;
    let options = CreateOptions { name, layout: Layout { ring_len: Some(1 << 20) }, force: false };
    let (parts, runtime, sim) = (rig.parts(), rig.machine.runtime(), rig.machine.sim());
    let run = rig.machine.run(async {
        let engine = Engine::create(parts, &options).await.map_err(|e| format!("create: {e}"))?;
        for action in actions {
            last_from.set(sim.device_writes());
            perform(&engine, action).await.map_err(|e| format!("{action:?}: {e}"))?;
            answered.set(answered.get() + 1);
        }
        rest(&engine, &*runtime).await
    });
    run.unwrap_or(Ok(()))
}

async fn rest(engine: &Arc<Engine>, runtime: &dyn Runtime) -> Result<(), String> {
    runtime.sleep(TAIL).await;
    engine.checkpoint().await.map_err(|e| format!("checkpoint: {e}"))
}

async fn perform(engine: &Arc<Engine>, action: &Action) -> Result<(), snapshots::Error> {
    let volume = |name: &str| engine.find_dataset(name).map(|id| engine.volume(id));
    let bytes = |sectors: u64| sectors * SECTOR as u64;
    let options = |durable: bool| WriteOptions { durable, ..WriteOptions::default() };
    match action {
        Action::Create { volume } => {
            let size = World::default().after(action).volumes[volume].size;
            engine.create_dataset(volume, 1, bytes(size), b"").await.map(drop)
        }
        Action::Write { volume: to, at, count, tag, durable } => {
            let data = Bytes::from((*at..at + count).flat_map(|s| sector(s, *tag)).collect::<Vec<u8>>());
            volume(to)?.write(bytes(*at), data, &options(*durable)).await
        }
        Action::Unmap { volume: of, at, count, durable } => {
            volume(of)?.write_zeroes(bytes(*at), bytes(*count), &options(*durable)).await
        }
        Action::Snapshot { volume: of, name } => {
            engine.snapshot(&[(volume(of)?.dataset(), name)]).await.map(drop)
        }
        Action::DeleteSnapshot { name } => engine.delete_snapshot(find(engine, name)?).await,
        Action::Clone { snapshot, name } => {
            engine.clone_snapshot(find(engine, snapshot)?, name, 1, b"").await.map(drop)
        }
        Action::Rollback { volume: to, snapshot } => {
            engine.rollback(volume(to)?.dataset(), find(engine, snapshot)?).await
        }
        Action::Resize { volume: of, size } => engine.resize(volume(of)?.dataset(), bytes(*size)).await,
        Action::Flush => engine.flush().await.map(drop),
    }
}

fn find(engine: &Engine, snapshot: &str) -> Result<SnapshotId, snapshots::Error> {
    let found = engine.datasets().into_iter().find_map(|d| engine.find_snapshot(d.id, snapshot).ok());
    found.ok_or_else(|| snapshots::Error::NotFound(snapshot.to_owned()))
}

/// What a sector with `tag` holds.
fn sector(sector: u64, tag: u8) -> [u8; SECTOR] {
    let mut bytes = [tag ^ (sector as u8).rotate_left(3); SECTOR];
    bytes[..8].copy_from_slice(&(sector << 8 | u64::from(tag)).to_le_bytes());
    bytes
}

/// Holds a reopened pool to the worlds that it may be in, to its own accounts, and to giving everything back.
async fn inspect(engine: Arc<Engine>, allowed: &[World]) -> Result<(), String> {
    let found = observe(&engine).await?;
    if !allowed.contains(&found) {
        return Err(format!("found {found:?}\nallowed {allowed:#?}"));
    }
    audit(&engine, "after opening").await?;
    work_off(&engine).await?;
    audit(&engine, "after the background work").await?;
    let later = observe(&engine).await?;
    if later != found {
        return Err(format!("the background work made {later:?}\nof {found:?}"));
    }
    for dataset in engine.datasets() {
        engine.delete_dataset(dataset.id, true).await.map_err(|e| format!("delete: {e}"))?;
    }
    work_off(&engine).await?;
    audit(&engine, "when all is deleted").await?;
    match engine.stats().store.space.allocated {
        0 => engine.close().await.map_err(|e| format!("close: {e}")),
        left => Err(format!("{left} blocks are left when all is deleted")),
    }
}

async fn work_off(engine: &Engine) -> Result<(), String> {
    while engine.background_step().await.map_err(|e| format!("background: {e}"))? {}
    Ok(())
}

/// An audit during which the background went on says nothing when it fails: another one will.
async fn audit(engine: &Engine, when: &str) -> Result<(), String> {
    loop {
        let before = engine.stats().store.visible;
        match engine.audit().await {
            Err(e) if engine.stats().store.visible == before => return Err(format!("audit {when}: {e}")),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
}

async fn observe(engine: &Arc<Engine>) -> Result<World, String> {
    let mut world = World::default();
    for dataset in engine.datasets() {
        let volume = engine.volume(dataset.id);
        world.volumes.insert(dataset.name.clone(), image(&volume, dataset.size).await?);
        for snapshot in engine.snapshots(dataset.id) {
            let image = image(&volume.at(snapshot.id), snapshot.size).await?;
            world.snapshots.insert(snapshot.name, (dataset.name.clone(), image));
        }
    }
    Ok(world)
}

async fn image(volume: &Volume, size: u64) -> Result<Image, String> {
    let mut image = Image { size: size / SECTOR as u64, ..Image::default() };
    for (first, count) in WINDOWS {
        let end = (first + count).min(image.size);
        if first >= end {
            continue;
        }
        let (at, len) = (first * SECTOR as u64, (end - first) as usize * SECTOR);
        let data = volume.read(at, Buf::zeroed(len)).await.map_err(|e| format!("read at {at}: {e}"))?;
        for (nth, bytes) in (first..end).zip(data.chunks_exact(SECTOR)) {
            if bytes.iter().any(|byte| *byte != 0) {
                if bytes != sector(nth, bytes[0]) {
                    return Err(format!(
                        "sector {nth} of {} reads as garbage: {:?}",
                        volume.dataset().0,
                        &bytes[..16]
                    ));
                }
                image.tags.insert(nth, bytes[0]);
            }
        }
    }
    Ok(image)
}
