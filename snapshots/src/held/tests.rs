//! The table against explicit sets: random histories of a few blocks, every figure after each step.

use super::*;
use crate::testing::Rng;

/// A branch as plain sets. A stored block is its number and its birth epoch.
#[derive(Default)]
struct Model {
    epoch: u32,
    next: u32,
    places: [Option<(u32, Epoch)>; 6],
    snapshots: Vec<(Epoch, BTreeSet<u32>)>,
}

impl Model {
    fn live(&self) -> BTreeSet<u32> {
        self.places.iter().flatten().map(|(block, _)| *block).collect()
    }

    fn unique(&self, at: usize) -> u64 {
        let mut seen = self.live();
        for (i, (_, blocks)) in self.snapshots.iter().enumerate() {
            if i != at {
                seen.extend(blocks);
            }
        }
        self.snapshots[at].1.difference(&seen).count() as u64
    }

    fn total(&self) -> u64 {
        let mut all = self.live();
        self.snapshots.iter().for_each(|(_, blocks)| all.extend(blocks));
        all.len() as u64
    }
}

fn step(rng: &mut Rng, model: &mut Model, held: &mut Held) {
    match rng.below(10) {
        0..6 => {
            let mut deltas = Vec::new();
            for _ in 0..=rng.below(3) {
                let place = &mut model.places[rng.below(6) as usize];
                if let Some((_, birth)) = place.take() {
                    deltas.extend(Delta::die(held.interval_of(birth), 1));
                }
                if rng.below(4) != 0 {
                    model.next += 1;
                    *place = Some((model.next, Epoch(model.epoch)));
                    deltas.push(Delta::add_live(Epoch::OPEN, 1));
                }
            }
            held.apply(&deltas).unwrap();
        }
        6..8 => {
            let epoch = Epoch(model.epoch);
            model.snapshots.push((epoch, model.live()));
            model.epoch += 1 + rng.below(3) as u32;
            held.snapshot(epoch).unwrap();
        }
        _ if !model.snapshots.is_empty() => {
            let at = rng.below(model.snapshots.len() as u64) as usize;
            let freed = model.unique(at);
            let (epoch, _) = model.snapshots.remove(at);
            assert_eq!(held.merge_into_next(epoch), Ok(freed));
        }
        _ => {}
    }
}

fn compare(model: &Model, held: &Held, seed: u64) {
    assert_eq!(held.referenced_live(), model.live().len() as u64, "seed {seed}");
    assert_eq!(held.total(), model.total(), "seed {seed}");
    for (at, (epoch, blocks)) in model.snapshots.iter().enumerate() {
        assert_eq!(held.unique(*epoch), Ok(model.unique(at)), "seed {seed}, snapshot {epoch}");
        assert_eq!(held.referenced(*epoch), Ok(blocks.len() as u64), "seed {seed}, snapshot {epoch}");
    }
    assert!(held.snapshots().eq(model.snapshots.iter().map(|(epoch, _)| *epoch)));
    assert!(held.cells().all(|cell| cell.blocks > 0));
    assert_eq!(held.cells.len(), held.by_death.len());
}

#[test]
fn every_figure_agrees_with_explicit_sets() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let (mut model, mut held) = (Model { epoch: 1, ..Model::default() }, Held::default());
        for _ in 0..120 {
            step(&mut rng, &mut model, &mut held);
            compare(&model, &held, seed);
        }
        let cells: Vec<Delta> = held.cells().collect();
        let loaded = Held::load(held.snapshots(), &cells).unwrap();
        compare(&model, &loaded, seed);
        assert!(loaded.cells().eq(cells));
    }
}

#[test]
fn a_commits_changes_are_applied_whole_or_not_at_all() {
    let mut held = Held::default();
    held.add_live(Epoch::OPEN, 5).unwrap();
    held.snapshot(Epoch(3)).unwrap();
    let before: Vec<Delta> = held.cells().collect();
    let fault = held.apply(&[Delta::add_live(Epoch::OPEN, 2), Delta::add_live(Epoch(3), -6)]);
    assert!(matches!(fault, Err(HeldFault::OutOfRange { held: 5, blocks: -6, .. })));
    assert!(held.cells().eq(before));
    assert_eq!((held.referenced_live(), held.total()), (5, 5));
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut held = Held::default();
    assert_eq!(held.add_live(Epoch(3), 1), Err(HeldFault::NoInterval(Epoch(3))));
    assert_eq!(held.add_live(Epoch::LIVE, 1), Err(HeldFault::NoInterval(Epoch::LIVE)));
    for epoch in [Epoch::ZERO, Epoch::OPEN, Epoch::LIVE] {
        assert_eq!(held.snapshot(epoch), Err(HeldFault::NotNewest(epoch)));
    }
    held.snapshot(Epoch(3)).unwrap();
    assert_eq!(held.snapshot(Epoch(3)), Err(HeldFault::NotNewest(Epoch(3))));
    assert_eq!(held.unique(Epoch(4)), Err(HeldFault::NoInterval(Epoch(4))));
    assert_eq!(held.merge_into_next(Epoch::OPEN), Err(HeldFault::NoInterval(Epoch::OPEN)));
    let backwards = Delta { birth: Epoch::OPEN, death: Epoch(3), blocks: 1 };
    assert!(matches!(held.apply(&[backwards]), Err(HeldFault::DeadAtBirth { .. })));
    assert!(Held::load([Epoch(3)], &[backwards]).is_err());
    for blocks in [i64::MIN, -1, BLOCKS_MAX as i64 + 1, i64::MAX] {
        let deltas = [Delta::add_live(Epoch::OPEN, blocks), Delta::add_live(Epoch::OPEN, blocks)];
        assert!(matches!(held.apply(&deltas), Err(HeldFault::OutOfRange { held: 0, .. })));
    }
    let each = BLOCKS_MAX as i64;
    let both = [Delta::add_live(Epoch::OPEN, each), Delta::add_live(Epoch(3), each)];
    assert_eq!(held.apply(&both), Err(HeldFault::TooMany(0, 2 * each)));
    assert_eq!((held.total(), held.cells().count()), (0, 0));
}

#[test]
fn a_birth_belongs_to_the_interval_of_the_next_snapshot() {
    let held = Held::load([Epoch(3), Epoch(8)], &[]).unwrap();
    let intervals = [1, 3, 4, 8, 9].map(|birth| held.interval_of(Epoch(birth)));
    assert_eq!(intervals, [Epoch(3), Epoch(3), Epoch(8), Epoch(8), Epoch::OPEN]);
}

#[test]
fn a_block_that_dies_where_it_was_born_leaves_no_trace() {
    let mut held = Held::default();
    held.add_live(Epoch::OPEN, 4).unwrap();
    held.die(Epoch::OPEN, 4).unwrap();
    assert_eq!((held.total(), held.cells().count()), (0, 0));
}

#[test]
fn changes_of_a_commit_are_joined_cell_by_cell() {
    let mut deltas: Vec<Delta> = Delta::die(Epoch(3), 2).chain(Delta::die(Epoch(3), 1)).collect();
    deltas.extend([Delta::add_live(Epoch::OPEN, 3), Delta::add_live(Epoch::OPEN, -3)]);
    Delta::coalesce(&mut deltas);
    let died = Delta { birth: Epoch(3), death: Epoch::OPEN, blocks: 3 };
    assert_eq!(deltas, [died, Delta::add_live(Epoch(3), -3)]);
}
