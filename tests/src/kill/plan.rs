//! Which command is next: by the seed and by what is free now.

use super::model::World;
use super::{Command, VOLUME_SECTORS};
use crate::sim::Rng;

/// Volumes: no more, and (but at the beginning) no less.
const VOLUMES: std::ops::RangeInclusive<usize> = 3..=6;
/// Snapshots of all volumes together.
const SNAPSHOTS: usize = 10;
/// Tries to find a free range.
const TRIES: usize = 8;

/// The next data command; `None` when chance finds no free range.
pub(super) fn data(rng: &mut Rng, world: &World) -> Option<Command> {
    let volumes: Vec<&String> = world.volumes.keys().collect();
    if volumes.is_empty() {
        return None;
    }
    if rng.chance(0.04) {
        return Some(Command::Flush);
    }
    for _ in 0..TRIES {
        let volume = (*rng.pick(&volumes)).clone();
        let (at, count) = range(rng);
        if !world.is_free(&volume, at, count) {
            continue;
        }
        return Some(match rng.below(100) {
            0..=9 => Command::Read { volume, snapshot: None, at, count },
            10..=19 => Command::Zero { volume, at, count },
            20..=29 => Command::Write { volume, at, count, durable: true },
            _ => Command::Write { volume, at, count, durable: false },
        });
    }
    None
}

/// A range of sectors: often in the same few blocks, so that commands meet in them.
fn range(rng: &mut Rng) -> (u64, u64) {
    let space = if rng.chance(0.3) { 256 } else { VOLUME_SECTORS };
    match rng.below(10) {
        0..=3 => {
            let at = rng.below(space / 8) * 8;
            (at, 8 * (1 + rng.below(4).min((space - at) / 8 - 1)))
        }
        4..=7 => {
            let at = rng.below(space);
            (at, 1 + rng.below((space - at).min(20)))
        }
        _ => {
            let at = rng.below(VOLUME_SECTORS);
            (at, 1 + rng.below((VOLUME_SECTORS - at).min(600)))
        }
    }
}

/// The next administrative command, if it can be sent now; otherwise the world may be told to drain a volume.
pub(super) fn admin(rng: &mut Rng, world: &mut World, id: u64) -> Option<Command> {
    if let Some(volume) = world.draining.clone() {
        return world.is_idle(&volume).then(|| exclusive(rng, world, volume));
    }
    let volumes: Vec<String> = world.volumes.keys().cloned().collect();
    if volumes.len() < *VOLUMES.start() {
        return Some(Command::Create(format!("v{id}")));
    }
    let all = world.volumes.iter();
    let snapshots: Vec<(String, String)> =
        all.flat_map(|(volume, v)| v.snapshots.keys().map(|name| (volume.clone(), name.clone()))).collect();
    let volume = rng.pick(&volumes).clone();
    match rng.below(10) {
        0..=3 if snapshots.len() < SNAPSHOTS => {
            let other = rng.pick(&volumes).clone();
            let mut items = vec![(volume.clone(), format!("s{id}"))];
            if other != volume && rng.chance(0.4) {
                items.push((other, format!("s{id}")));
            }
            Some(Command::Snapshot(items))
        }
        4 if volumes.len() < *VOLUMES.end() && !snapshots.is_empty() => {
            let (volume, name) = rng.pick(&snapshots).clone();
            Some(Command::Clone(volume, name, format!("c{id}")))
        }
        5..=7 if snapshots.len() > 2 => {
            let (volume, name) = rng.pick(&snapshots).clone();
            Some(Command::DeleteSnapshot(volume, name))
        }
        8..=9 => {
            world.draining = Some(volume);
            None
        }
        _ => None,
    }
}

/// What is done to a volume that nothing else is done to.
fn exclusive(rng: &mut Rng, world: &World, volume: String) -> Command {
    let names: Vec<&String> = world.volumes[&volume].snapshots.keys().collect();
    match names.is_empty() || rng.chance(0.3) {
        true => Command::Delete(volume),
        false => Command::Rollback(volume, (*rng.pick(&names)).clone()),
    }
}
