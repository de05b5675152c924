//! The workload of a client: what it does next, by chance.

use super::client::{reach, Client, Flow};
use super::content::{Stamp, SECTORS};
use super::model::{Command, Model, Target, OBJECTS, SHARE};
use super::options::Trouble;
use super::rot::Place;
use snapshots::engine::{DamagedRange, EntryCondition, EntryEdit};
use snapshots::machine::op::Admin;
use snapshots::{BranchId, DatasetId, Error, ObjectId, PageNo, Session, SnapshotId};
use std::sync::Arc;
use std::time::Duration;

/// Pages of 1 MiB.
const PAGE: u64 = 1 << 20;
/// Datasets and snapshots beyond which clients rather delete some.
const MANY: usize = 10;

impl Client {
    /// Does one thing.
    pub(super) async fn step(&mut self) -> Flow {
        let model = self.history().answered().clone();
        if model.datasets.is_empty() {
            return self.create(&model).await;
        }
        if self.options.extras.steps && self.rng.chance(0.3) {
            return self.extra_step(&model).await;
        }
        match self.rng.below(100) {
            0..62 => {
                let Some(command) = self.command(&model) else { return Flow::On };
                let durable = self.rng.chance(0.15);
                self.send(command, Session::new(), durable).await
            }
            62..76 => {
                let at = self.any_target(&model);
                let Some((sector, count)) = self.range(&model, at) else { return Flow::On };
                self.read(at, sector, count).await
            }
            76..80 => self.flush().await,
            80..81 => self.fence(&model).await,
            81..82 => self.scrub().await,
            82..83 => flow(self.engine.checkpoint().await),
            83..85 => flow(self.engine.background_step().await.map(drop)),
            85..86 => self.flatten(&model).await,
            _ => self.administer(&model).await,
        }
    }

    /// A stamp that was never used.
    pub(super) fn stamps(&mut self, count: u64) -> Vec<Stamp> {
        let serial = self.history().serial();
        (0..count).map(|nth| (serial << 16) + nth + 1).collect()
    }

    pub(super) fn dataset(&mut self, model: &Model) -> DatasetId {
        let ids: Vec<DatasetId> = model.datasets.keys().copied().collect();
        // The first ones are met most: clients are to meet each other.
        let among = if self.rng.chance(0.5) { ids.len().min(2) } else { ids.len() };
        *self.rng.pick(&ids[..among])
    }

    pub(super) fn live_target(&mut self, model: &Model) -> Target {
        let dataset = self.dataset(model);
        let object = self.live_object(model, dataset);
        Target { dataset, object, snapshot: None }
    }

    pub(super) fn live_object(&mut self, model: &Model, dataset: DatasetId) -> u64 {
        match model.datasets.get(&dataset).map(|d| d.kind) {
            Some(SHARE) => OBJECTS.start() + self.rng.below(OBJECTS.count() as u64),
            _ => 0,
        }
    }

    pub(super) fn any_target(&mut self, model: &Model) -> Target {
        let live = self.live_target(model);
        let ids: Vec<&SnapshotId> = model.snapshots.keys().collect();
        if ids.is_empty() || self.rng.chance(0.7) {
            return live;
        }
        let id = **self.rng.pick(&ids);
        let snapshot = &model.snapshots[&id];
        let object = if snapshot.kind == SHARE { 1 + self.rng.below(2) } else { 0 };
        Target { dataset: snapshot.dataset, object, snapshot: Some(id) }
    }

    /// A range of sectors inside a target.
    fn range(&mut self, model: &Model, at: Target) -> Option<(u64, u64)> {
        let size = match at.object {
            0 => model.content(at)?.size / 512,
            _ => self.options.volume / 512,
        };
        if size == 0 {
            return None;
        }
        let rng = &mut self.rng;
        let place = match (self.options.wide, rng.below(4)) {
            (true, 0..3) => rng.below(size),
            (_, 0) => rng.below(size),
            // Around the border of two map pages, and in the first blocks.
            (_, 1) => (PAGE / 512 - 24 + rng.below(48)).min(size - 1),
            _ => rng.below(size.min(24 * SECTORS)),
        };
        let count = match rng.below(40) {
            0 => 1 + rng.below(4096),
            1..4 => 1 + rng.below(256),
            _ => 1 + rng.below(24),
        };
        let (place, count) = match rng.chance(0.6) {
            true => (place / SECTORS * SECTORS, count.next_multiple_of(SECTORS)),
            false => (place, count),
        };
        let count = count.min(size - place);
        (count > 0).then_some((place, count))
    }

    /// A command for what `model` has.
    pub(super) fn command(&mut self, model: &Model) -> Option<Command> {
        let at = self.live_target(model);
        let (sector, count) = self.range(model, at)?;
        Some(match self.rng.below(100) {
            0..52 => Command::Write { at, sector, stamps: self.stamps(count) },
            52..64 => Command::Zero { at, sector, count },
            64..68 => {
                let pattern = *self.rng.pick(&[1, 2, 8]);
                let count = count.next_multiple_of(pattern);
                let pattern = self.stamps(pattern);
                Command::Same { at, sector, count, pattern }
            }
            68..76 => {
                let count = count.min(64);
                let mut expected = model.stamps(at, sector, count)?;
                if self.rng.chance(0.1) {
                    expected[(count - 1) as usize] ^= 1;
                }
                Command::Compare { at, sector, expected, stamps: self.stamps(count) }
            }
            76..84 => {
                let from = if self.rng.chance(0.3) { at } else { self.any_target(model) };
                self.clone_command(model, at, from, (sector, count))?
            }
            84..92 => self.summing(model, at, sector, count),
            _ => {
                let dataset = self.dataset(model);
                Command::Edit { dataset, edits: self.edits(model, dataset) }
            }
        })
    }

    fn clone_command(
        &mut self,
        model: &Model,
        at: Target,
        from: Target,
        (sector, count): (u64, u64),
    ) -> Option<Command> {
        let (source, _) = self.range(model, from)?;
        // Only whole blocks: what lies behind the end of a volume is nobody's business.
        let whole = |at: Target| match at.object {
            0 => model.content(at).map_or(0, |c| c.size / 4096),
            _ => u64::MAX,
        };
        let (block, from_block) = (sector / SECTORS, source / SECTORS);
        let most = whole(at).saturating_sub(block).min(whole(from).saturating_sub(from_block));
        let count = count.div_ceil(SECTORS).min(most);
        (count > 0).then_some(Command::Clone { at, block, from, from_block, count })
    }

    pub(super) fn edits(&mut self, model: &Model, dataset: DatasetId) -> Vec<EntryEdit> {
        let entries = model.datasets[&dataset].content.entries.clone();
        let mut edits: Vec<EntryEdit> = Vec::new();
        for _ in 0..1 + self.rng.below(3) {
            let name = format!("entry-{}", self.rng.below(24)).into_bytes();
            if edits.iter().any(|edit| edit.name == name) {
                continue;
            }
            let current = entries.get(&name).cloned();
            let value = (!self.rng.chance(0.3)).then(|| {
                let serial = self.history().serial();
                format!("value-{serial}").into_bytes()
            });
            let condition = match (self.rng.below(4), current) {
                (0, Some(value)) => EntryCondition::Is(value),
                (0, None) => EntryCondition::Absent,
                _ => EntryCondition::Any,
            };
            edits.push(EntryEdit { name, value, condition });
        }
        edits
    }

    /// Sends some commands of one session at once and fences it.
    async fn fence(&mut self, model: &Model) -> Flow {
        let session = Session::new();
        let (mut numbers, mut ranges) = (Vec::new(), Vec::new());
        for _ in 0..1 + self.rng.below(4) {
            let Some(command) = self.command(model) else { continue };
            let (number, (from, _)) = {
                let mut history = self.history();
                (history.send(command.clone()), history.bounds())
            };
            numbers.push(number);
            ranges.extend(reach(&command));
            let (me, session) = (self.clone(), session.numbered(number));
            let task = async move {
                me.send_numbered(&command, session, from, false).await;
            };
            self.runtime.spawn(Box::pin(task));
        }
        self.runtime.sleep(Duration::from_micros(self.rng.below(3_000))).await;
        self.engine.fence(&session).await;
        let stopped = self.engine.failure().is_some();
        numbers.into_iter().for_each(|number| self.history().fence(number, stopped));
        for (at, sector, count) in ranges.into_iter().filter(|_| self.options.extras.steps) {
            if self.read(at, sector, count).await == Flow::Stop {
                return Flow::Stop;
            }
        }
        Flow::On
    }

    async fn scrub(&mut self) -> Flow {
        let (from, _) = self.history().bounds();
        match self.engine.scrub(0).await {
            Ok(report) => {
                let history = self.history();
                let may = self.options.trouble.hurts_reads() && self.options.trouble != Trouble::Rot;
                let wrong = report.damaged.iter().find(|range| !self.is_rot(range, history.window(from)));
                assert!(may || wrong.is_none(), "a scrub found damage: {wrong:?}");
                Flow::On
            }
            Err(Error::InUse { .. }) => Flow::On,
            Err(error) => flow(Err(error)),
        }
    }

    /// Whether damage that a scrub reports is where a bit flipped.
    fn is_rot(&self, range: &DamagedRange, window: &[Arc<Model>]) -> bool {
        let (Some(dataset), object) = (range.dataset, range.object.0) else { return self.rot.has_struck() };
        let place = Place { dataset, snapshot: range.snapshot, object, block: range.offset / 4096 };
        let at = Target { dataset, object, snapshot: range.snapshot };
        // Nobody can say what a snapshot without a name, or a dataset's end that was cut off, holds.
        let hidden = window.iter().any(|model| match model.content(at) {
            Some(content) => object == 0 && content.size <= range.offset,
            None => true,
        });
        let explained = window.iter().any(|model| place.may_be_damaged(model, &self.rot));
        explained || (hidden && self.rot.has_struck())
    }

    async fn flatten(&mut self, model: &Model) -> Flow {
        let dataset = self.dataset(model);
        match self.engine.flatten(dataset, |_, _| true).await {
            Ok(()) | Err(Error::NotFound(_) | Error::NoSpace | Error::Read(_)) => Flow::On,
            Err(error) => flow(Err(error)),
        }
    }

    /// Sends an administrative operation.
    async fn administer(&mut self, model: &Model) -> Flow {
        let crowded = model.datasets.len() + model.snapshots.len() > MANY;
        let dataset = self.dataset(model);
        let snapshots: Vec<SnapshotId> = model.snapshots.keys().copied().collect();
        let any = (!snapshots.is_empty()).then(|| *self.rng.pick(&snapshots));
        let own: Vec<SnapshotId> =
            model.snapshots.iter().filter(|(_, s)| s.dataset == dataset).map(|(id, _)| *id).collect();
        let admin = match (self.rng.below(100), any) {
            (0..5, _) if !crowded => return self.create(model).await,
            (5..30, _) if !crowded => {
                let mut items = vec![(dataset, self.name("snap"))];
                let other = self.dataset(model);
                if other != dataset && self.rng.chance(0.4) {
                    items.push((other, self.name("snap")));
                }
                Admin::Snapshot(items)
            }
            (30..45, Some(snapshot)) if !crowded => {
                let (kind, attributes) = (model.snapshots[&snapshot].kind, Vec::new());
                Admin::Clone { snapshot, name: self.name("clone"), kind, attributes }
            }
            (45..50, _) => Admin::Rename(dataset, self.name("renamed")),
            (50..53, Some(id)) => Admin::RenameSnapshot(id, self.name("renamed")),
            (53..63, _) if !own.is_empty() => Admin::Rollback(dataset, *self.rng.pick(&own)),
            (63..75, _) if model.datasets[&dataset].content.size > 0 => {
                let size = self.size();
                resize(dataset, size)
            }
            (75..83, _) => {
                let object = self.live_target(model).object;
                let pages = (self.options.volume / PAGE).max(1);
                let first = self.rng.below(pages);
                let count = 1 + self.rng.below(pages - first);
                Admin::Discard(dataset, ObjectId(object), PageNo(first), PageNo(first + count))
            }
            (83..86, _) => Admin::SetAttributes(dataset, self.name("attributes").into_bytes()),
            (86..89, _) => Admin::Delete { dataset, snapshots: self.rng.chance(0.8) },
            (_, Some(id)) => Admin::DeleteSnapshot(id),
            _ => return Flow::On,
        };
        self.send_admin(admin).await
    }

    async fn create(&mut self, _model: &Model) -> Flow {
        let (kind, size) = match self.rng.chance(0.3) {
            true => (SHARE, 0),
            false => (1, self.size()),
        };
        let name = self.name("dataset");
        self.send_admin(Admin::Create { name, kind, size, attributes: Vec::new() }).await
    }

    /// A size of a volume.
    fn size(&mut self) -> u64 {
        let most = self.options.volume;
        let size = 512 * (1 + self.rng.below(most / 512));
        match self.rng.below(4) {
            0 => most,
            1 => size,
            2 => size.next_multiple_of(PAGE),
            _ => size.next_multiple_of(4096),
        }
    }

    fn name(&mut self, what: &str) -> String {
        format!("{what}-{}", self.history().serial())
    }

    /// Sends an administrative operation and judges its answer.
    pub(super) async fn send_admin(&self, admin: Admin) -> Flow {
        let (from, _) = self.history().bounds();
        let result = self.call_admin(&admin).await;
        let mut history = self.history();
        match result {
            Ok(()) => history.administered(&admin, from),
            Err(Error::PoolFailed(_) | Error::Closed) => return Flow::Stop,
            Err(error) => {
                // The operation was chosen so that it fits the state: something else must have changed it.
                let alone = history.window(from).len() == 1;
                let refused = match (&admin, &error) {
                    (Admin::Delete { snapshots: false, .. }, Error::InUse { .. }) => true,
                    (_, Error::Index(_)) => self.options.trouble == Trouble::IndexErrors,
                    (_, Error::Read(_)) => self.options.trouble.hurts_reads() || self.rot.has_struck(),
                    (_, Error::NoSpace) => true,
                    _ => false,
                };
                assert!(refused || !alone, "{admin:?} failed without a reason: {error:?}");
            }
        }
        Flow::On
    }

    async fn call_admin(&self, admin: &Admin) -> Result<(), Error> {
        let engine: &Arc<snapshots::Engine> = &self.engine;
        match admin {
            Admin::Create { name, kind, size, attributes } => {
                engine.create_dataset(name, *kind, *size, attributes).await.map(drop)
            }
            Admin::Clone { snapshot, name, kind, attributes } => {
                engine.clone_snapshot(*snapshot, name, *kind, attributes).await.map(drop)
            }
            Admin::Snapshot(items) => {
                let items: Vec<(DatasetId, &str)> = items.iter().map(|(id, n)| (*id, n.as_str())).collect();
                engine.snapshot(&items).await.map(drop)
            }
            Admin::Rename(id, name) => engine.rename_dataset(*id, name).await,
            Admin::SetAttributes(id, attributes) => engine.set_attributes(*id, attributes).await,
            Admin::Resize { dataset, to, .. } => engine.resize(*dataset, *to).await,
            Admin::Delete { dataset, snapshots } => engine.delete_dataset(*dataset, *snapshots).await,
            Admin::DeleteSnapshot(id) => engine.delete_snapshot(*id).await,
            Admin::RenameSnapshot(id, name) => engine.rename_snapshot(*id, name).await,
            Admin::Rollback(dataset, id) => engine.rollback(*dataset, *id).await,
            Admin::Discard(dataset, object, from, to) => {
                engine.discard(*dataset, *object, from.0, to.0 - from.0).await
            }
            other => unreachable!("{other:?} is not for users"),
        }
    }
}

/// A resize, as a user asks for it: what it starts from is the engine's affair.
pub(super) fn resize(dataset: DatasetId, to: u64) -> Admin {
    Admin::Resize { dataset, branch: BranchId(0), from: 0, to }
}

/// What an answer without consequences says about going on.
fn flow(result: Result<(), Error>) -> Flow {
    match result {
        Err(Error::PoolFailed(_) | Error::Closed) => Flow::Stop,
        _ => Flow::On,
    }
}
