//! What seeds from [`Extras::FROM`] on do besides: rot, full pools, devices that join and grow, and clients
//! that read small entries, list changes and race partial writes against a shrink.
//!
//! Every answer is judged as `client` does: by the states that the pool had meanwhile.

use super::check;
use super::client::{Client, Flow};
use super::content::SECTORS;
use super::model::{Command, Content, Entries, Model, Target};
use super::options::{Options, Trouble, DATA_AT, KIB, MIB};
use super::work::resize;
use crate::sim::Rng;
use snapshots::engine::{EntryCondition, EntryEdit};
use snapshots::{DatasetId, Error, Session, SnapshotId};
use std::sync::Arc;
use std::time::Duration;

/// How the devices of a pool change under load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Growing {
    /// Not at all.
    #[default]
    No,
    /// One joins.
    Joins,
    /// The first one grows.
    Grows,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    /// Whether clients do more kinds of things.
    pub steps: bool,
    /// Most bits that flip in one life of the process.
    pub rot: u64,
    /// Whether the pool is filled, emptied and filled again before clients begin.
    pub fill: bool,
    /// How the devices change.
    pub growing: Growing,
    /// Names of small entries that clients use beside the usual ones.
    pub names: u64,
}

impl Extras {
    /// The first seed that has them.
    pub const FROM: u64 = 100_000;

    /// By chance.
    pub(super) fn new(rng: &mut Rng, trouble: Trouble) -> Extras {
        let quiet = matches!(trouble, Trouble::Nothing | Trouble::Slow | Trouble::Full | Trouble::Rot);
        let rots = trouble == Trouble::Rot || (quiet && rng.chance(0.15));
        Extras {
            steps: rng.chance(0.9),
            rot: if rots { 1 + rng.below(8) } else { 0 },
            fill: rng.chance(0.4),
            growing: *rng.pick(&[Growing::No, Growing::No, Growing::Joins, Growing::Grows]),
            names: *rng.pick(&[24, 24, 700]),
        }
    }

    /// Options that suit it.
    pub(super) fn fit(self, mut options: Options, rng: &mut Rng) -> Options {
        options.extras = self;
        if self.fill {
            // To fill a pool takes as many writes as it has room for.
            let data = (MIB + rng.below(2 * MIB / 512) * 512) / 4096 * 4096;
            options.disks.iter_mut().for_each(|disk| disk.len = DATA_AT + data);
        }
        options
    }
}

impl Client {
    /// Does one of the things that only seeds with extras do.
    pub(super) async fn extra_step(&mut self, model: &Model) -> Flow {
        match self.rng.below(10) {
            0..3 => self.get(model).await,
            3..5 => self.scan(model).await,
            5..7 => self.edit_many(model).await,
            7..9 => self.changes(model).await,
            _ => self.race(model).await,
        }
    }

    /// A dataset or a snapshot of one, and a name.
    fn entries_of(&mut self, model: &Model) -> (DatasetId, Option<SnapshotId>, Vec<u8>) {
        let Target { dataset, snapshot, .. } = self.any_target(model);
        (dataset, snapshot, self.entry_name())
    }

    fn entry_name(&mut self) -> Vec<u8> {
        let number = self.rng.below(self.options.extras.names);
        // Zeroes and high bytes are escaped in keys: they must keep their order.
        match number % 5 {
            0 => vec![0, 255, (number >> 8) as u8, number as u8],
            1 => format!("entry-{number}").into_bytes(),
            _ => format!("entry-{}", number % 24).into_bytes(),
        }
    }

    async fn get(&mut self, model: &Model) -> Flow {
        let (dataset, snapshot, name) = self.entries_of(model);
        let (from, _) = self.history().bounds();
        let found = self.engine.get(dataset, snapshot, &name).await;
        let history = self.history();
        let mut states = entries(history.window(from), dataset, snapshot);
        match found {
            Ok(found) => {
                let right = states.any(|entries| entries.is_some_and(|e| e.get(&name) == found.as_ref()));
                assert!(right, "entry {name:?} of {dataset} {snapshot:?} is {found:?}");
                Flow::On
            }
            Err(error) => self.lookup_failed(&error, states.any(|entries| entries.is_none())),
        }
    }

    async fn scan(&mut self, model: &Model) -> Flow {
        let (dataset, snapshot, start) = self.entries_of(model);
        let prefix: &[u8] = if self.rng.chance(0.3) { b"entry-1" } else { b"" };
        let start = if self.rng.chance(0.5) { start } else { Vec::new() };
        let limit = *self.rng.pick(&[1, 7, 1000]);
        let (from, _) = self.history().bounds();
        let found = self.engine.scan(dataset, snapshot, prefix, &start, limit).await;
        let history = self.history();
        let states: Vec<Option<&Entries>> = entries(history.window(from), dataset, snapshot).collect();
        let found = match found {
            Ok(found) => found,
            Err(error) => return self.lookup_failed(&error, states.contains(&None)),
        };
        let states: Vec<&Entries> = states.into_iter().flatten().collect();
        assert!(found.len() <= limit && found.is_sorted_by(|a, b| a.0 < b.0), "a scan in disorder");
        for (name, value) in &found {
            let right = name.starts_with(prefix) && *name >= start;
            let known = states.iter().any(|entries| entries.get(name) == Some(value));
            assert!(right && known, "a scan of {dataset} {snapshot:?} has {name:?} = {value:?}");
        }
        // What every state has must be there, up to where the scan came.
        let end = found.last().filter(|_| found.len() == limit).map(|(name, _)| name);
        let Some((first, others)) = states.split_first() else { return Flow::On };
        let wanted = first.keys().filter(|name| name.starts_with(prefix) && **name >= start);
        for name in wanted.filter(|name| end.is_none_or(|end| *name <= end)) {
            let always = others.iter().all(|entries| entries.contains_key(name));
            let listed = found.binary_search_by(|(found, _)| found.cmp(name)).is_ok();
            assert!(listed || !always, "a scan of {dataset} {snapshot:?} misses {name:?}");
        }
        Flow::On
    }

    async fn edit_many(&mut self, model: &Model) -> Flow {
        let dataset = self.any_target(model).dataset;
        let mut edits: Vec<EntryEdit> = Vec::new();
        for _ in 0..1 + self.rng.below(48) {
            let name = self.entry_name();
            if edits.iter().any(|edit| edit.name == name) {
                continue;
            }
            let len = *self.rng.pick(&[0, 8, 8, 200, 3000]);
            let serial = self.history().serial();
            let value = (!self.rng.chance(0.3)).then(|| serial.to_string().into_bytes().repeat(1 + len / 8));
            edits.push(EntryEdit { name, value, condition: EntryCondition::Any });
        }
        self.send(Command::Edit { dataset, edits }, Session::new(), false).await
    }

    /// Lists what changed between two snapshots, or since one, while others work.
    async fn changes(&mut self, model: &Model) -> Flow {
        let dataset = self.any_target(model).dataset;
        let own: Vec<SnapshotId> =
            model.snapshots.iter().filter(|(_, s)| s.dataset == dataset).map(|(id, _)| *id).collect();
        if own.is_empty() {
            return Flow::On;
        }
        let old = *self.rng.pick(&own);
        let new = self.rng.chance(0.5).then(|| *self.rng.pick(&own));
        let object = self.live_object(model, dataset);
        let target = |snapshot| Target { dataset, object, snapshot };
        let (now, then) = (target(new), target(Some(old)));
        let (from, _) = self.history().bounds();
        let ranges = self.volume(now).changed_since(Some(&self.volume(then)), 0, usize::MAX).await;
        let history = self.history();
        let window = history.window(from);
        let pair = |model: &Arc<Model>| Some((model.content(now)?.clone(), model.content(then)?.clone()));
        match ranges {
            Ok(ranges) => {
                let pairs: Vec<(Arc<Content>, Arc<Content>)> = window.iter().filter_map(pair).collect();
                let mut always: Option<Vec<u64>> = None;
                for (now, then) in &pairs {
                    let missing = check::unlisted(&ranges, (now, then), object);
                    match &mut always {
                        None => always = Some(missing),
                        Some(always) => always.retain(|block| missing.contains(block)),
                    }
                }
                let always = always.unwrap_or_default();
                let sizes: Vec<_> = pairs.iter().map(|(now, then)| (now.size, then.size)).collect();
                assert!(
                    always.is_empty(),
                    "{now:?} differs from {then:?} (bytes: {sizes:?}) in {always:?}, but: {ranges:?}"
                );
                Flow::On
            }
            Err(error) => self.lookup_failed(&error, window.iter().any(|model| pair(model).is_none())),
        }
    }

    /// Judges an error of something that changes nothing; `gone`: whether what it looked at went away.
    fn lookup_failed(&self, error: &Error, gone: bool) -> Flow {
        let just = match error {
            Error::PoolFailed(_) | Error::Closed => return Flow::Stop,
            Error::NotFound(_) => gone,
            Error::Index(_) => self.options.trouble == Trouble::IndexErrors,
            _ => false,
        };
        assert!(just, "a lookup failed without a reason: {error:?}");
        Flow::On
    }

    /// Partial writes around the end of a dataset, while it shrinks and grows again.
    async fn race(&mut self, model: &Model) -> Flow {
        let at = self.live_target(model);
        let size = model.datasets[&at.dataset].content.size;
        if at.object != 0 || size < 64 * KIB {
            return Flow::On;
        }
        let edge = self.rng.below(size.min(MIB) / 512);
        for _ in 0..1 + self.rng.below(4) {
            let sector = (edge + self.rng.below(2 * SECTORS)).saturating_sub(SECTORS);
            let count = (1 + self.rng.below(2 * SECTORS)).min((size / 512).saturating_sub(sector));
            if count == 0 {
                continue;
            }
            let command = match self.rng.chance(0.7) {
                true => Command::Write { at, sector, stamps: self.stamps(count) },
                false => Command::Zero { at, sector, count },
            };
            let (me, rest) = (self.clone(), Duration::from_micros(self.rng.below(1_000)));
            self.runtime.spawn(Box::pin(async move {
                me.runtime.sleep(rest).await;
                me.send(command, Session::new(), false).await;
            }));
        }
        for to in [(edge * 512).max(512), size] {
            if !self.history().answered().datasets.contains_key(&at.dataset) {
                return Flow::On;
            }
            if self.send_admin(resize(at.dataset, to)).await == Flow::Stop {
                return Flow::Stop;
            }
        }
        Flow::On
    }
}

/// The entries of a dataset or a snapshot in each state, where it exists.
fn entries(
    window: &[Arc<Model>],
    dataset: DatasetId,
    snapshot: Option<SnapshotId>,
) -> impl Iterator<Item = Option<&Entries>> {
    let at = Target { dataset, object: 0, snapshot };
    window.iter().map(move |model| model.content(at).map(|content| &*content.entries))
}
