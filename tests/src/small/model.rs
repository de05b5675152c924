//! What commands do to volumes and snapshots, told with plain maps.
//!
//! Everything is in sectors of 512 bytes. A written sector holds its command's tag; one that was never
//! written, or was unmapped, is absent. Only the [`WINDOWS`] are ever touched: an object has its map pages
//! (1 MiB) there.

use crate::sim::Rng;
use std::collections::BTreeMap;

/// Where commands act: first sector and count. Page boundaries lie inside the second and the third.
pub(super) const WINDOWS: [(u64, u64); 3] = [(0, 32), (2032, 48), (4080, 56)];

/// Sizes of volumes, in sectors: 2 MiB + 8 KiB, then smaller ones that end inside a block.
const SIZES: [u64; 3] = [4112, 2045, 7];
/// The largest that growing makes of a volume.
const SIZE_MAX: u64 = 4128;
/// Ranges that a write fills: first sector and count.
const ZONES: [(u64, u64); 3] = [(0, 24), (2040, 24), (4090, 16)];

/// A command of a history, not yet tied to volumes and ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Op {
    Write,
    Overwrite,
    Unmap,
    Snapshot,
    DeleteSnapshot,
    Clone,
    Rollback,
    Shrink,
    Grow,
    Flush,
}

impl Op {
    /// The alphabet, with the names that a replay takes.
    pub const ALL: [(Op, &'static str); 10] = [
        (Op::Write, "write"),
        (Op::Overwrite, "overwrite"),
        (Op::Unmap, "unmap"),
        (Op::Snapshot, "snapshot"),
        (Op::DeleteSnapshot, "delete-snapshot"),
        (Op::Clone, "clone"),
        (Op::Rollback, "rollback"),
        (Op::Shrink, "shrink"),
        (Op::Grow, "grow"),
        (Op::Flush, "flush"),
    ];
}

/// A command, tied to what exists.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Action {
    Create { volume: String },
    Write { volume: String, at: u64, count: u64, tag: u8, durable: bool },
    Unmap { volume: String, at: u64, count: u64, durable: bool },
    Snapshot { volume: String, name: String },
    DeleteSnapshot { name: String },
    Clone { snapshot: String, name: String },
    Rollback { volume: String, snapshot: String },
    Resize { volume: String, size: u64 },
    Flush,
}

impl Action {
    /// Whether it, and all before it, survives the loss of power once it is answered.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        match self {
            Action::Write { durable, .. } | Action::Unmap { durable, .. } => *durable,
            _ => true,
        }
    }
}

/// The contents of a volume or of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Sectors.
    pub size: u64,
    /// Tags by sector.
    pub tags: BTreeMap<u64, u8>,
}

/// All volumes and snapshots by name; a snapshot's name is unique in the pool, and later ones sort later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Volumes.
    pub volumes: BTreeMap<String, Image>,
    /// Snapshots, with the volume of each.
    pub snapshots: BTreeMap<String, (String, Image)>,
}

impl World {
    /// Ties command number `nth` (from 1) to this world; `None` when there is nothing that it could be
    /// done to.
    #[must_use]
    pub fn tie(&self, op: Op, nth: usize, rng: &mut Rng) -> Option<Action> {
        // Drawn in any case, so that the choices of one command do not depend on those before it.
        let (zone, durable) = (*rng.pick(&ZONES), rng.chance(0.2));
        let volume = self.volumes.keys().nth(nth % self.volumes.len().max(1))?.clone();
        let size = self.volumes[&volume].size;
        let clip = |from: u64, count: u64| {
            let (start, _) = if zone.0 + from < size { zone } else { ZONES[0] };
            (start + from, count.min(size - start - from))
        };
        let newest = || self.snapshots.keys().next_back().cloned();
        Some(match op {
            Op::Write => {
                let (at, count) = clip(0, zone.1);
                Action::Write { volume, at, count, tag: nth as u8, durable }
            }
            Op::Overwrite => {
                let (at, count) = clip(3, 10);
                Action::Write { volume, at, count, tag: nth as u8, durable }
            }
            Op::Unmap => {
                let (at, count) = clip(5, 14);
                Action::Unmap { volume, at, count, durable }
            }
            Op::Snapshot => Action::Snapshot { volume, name: format!("s{nth:02}") },
            Op::DeleteSnapshot => Action::DeleteSnapshot { name: newest()? },
            Op::Clone => Action::Clone { snapshot: newest()?, name: format!("v{nth:02}") },
            Op::Rollback => {
                let own = self.snapshots.iter().rev().find(|(_, (of, _))| *of == volume);
                let (snapshot, (volume, _)) = own.or(self.snapshots.iter().next_back())?;
                Action::Rollback { volume: volume.clone(), snapshot: snapshot.clone() }
            }
            Op::Shrink => Action::Resize { volume, size: SIZES.into_iter().find(|s| *s < size)? },
            Op::Grow => {
                let larger = SIZES.into_iter().rev().find(|s| *s > size).unwrap_or(SIZE_MAX);
                (larger > size).then_some(Action::Resize { volume, size: larger })?
            }
            Op::Flush => Action::Flush,
        })
    }

    /// This world after `action`.
    #[must_use]
    pub fn after(&self, action: &Action) -> World {
        let mut world = self.clone();
        match action.clone() {
            Action::Create { volume } => {
                world.volumes.insert(volume, Image { size: SIZES[0], tags: BTreeMap::new() });
            }
            Action::Write { volume, at, count, tag, .. } => {
                world.image(&volume).tags.extend((at..at + count).map(|sector| (sector, tag)));
            }
            Action::Unmap { volume, at, count, .. } => {
                world.image(&volume).tags.retain(|sector, _| !(at..at + count).contains(sector));
            }
            Action::Snapshot { volume, name } => {
                let image = world.image(&volume).clone();
                world.snapshots.insert(name, (volume, image));
            }
            Action::DeleteSnapshot { name } => drop(world.snapshots.remove(&name)),
            Action::Clone { snapshot, name } => {
                let image = world.snapshots[&snapshot].1.clone();
                world.volumes.insert(name, image);
            }
            Action::Rollback { volume, snapshot } => {
                *world.image(&volume) = self.snapshots[&snapshot].1.clone();
            }
            Action::Resize { volume, size } => {
                let image = world.image(&volume);
                image.size = size;
                image.tags.retain(|sector, _| *sector < size);
            }
            Action::Flush => {}
        }
        world
    }

    fn image(&mut self, volume: &str) -> &mut Image {
        self.volumes.get_mut(volume).expect("commands are tied to volumes that exist")
    }
}
