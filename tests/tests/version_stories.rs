//! Versions, snapshots, resizes and rollbacks in situations that chance meets rarely: each test tells one
//! story.
//!
//! The simulation has found every one of these bugs, and so has shown that the story was needed.
#![allow(clippy::unwrap_used)] // all of it is a test

use ashlar_tests::stage::{ended, Stage};
use snapshots::engine::{EntryCondition, EntryEdit, Volume};
use snapshots::{DatasetId, Error, ObjectId, SnapshotId};
use std::time::Duration;

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 4096;
/// Blocks that one map page maps.
const PAGE: u64 = 256;
const SOON: Duration = Duration::from_millis(1);

fn create(stage: &Stage, name: &str, size: u64) -> (DatasetId, Volume) {
    let id = stage.run(stage.engine.create_dataset(name, 1, size, b"")).unwrap();
    (id, stage.engine.volume(id))
}

fn snapshot(stage: &Stage, id: DatasetId, name: &str) -> SnapshotId {
    stage.run(stage.engine.snapshot(&[(id, name)])).unwrap()[0]
}

fn checkpoint(stage: &Stage) {
    stage.run(stage.engine.checkpoint()).unwrap();
}

/// A page in memory stands for a snapshot, and for what was cloned from it, only while nothing was written
/// there since; a discard changes a page without writing it.
#[test]
fn a_snapshot_and_its_clone_never_see_what_came_after_it() {
    let stage = Stage::new(1, &[4000]);
    let (id, volume) = create(&stage, "volume", 3 * MIB);
    for page in 0..3 {
        stage.write(&volume, page * PAGE, &[7; 4]);
    }
    let kept = snapshot(&stage, id, "kept");
    stage.write(&volume, 0, &[9; 2]);
    stage.run(stage.engine.resize(id, 2 * MIB)).unwrap();
    stage.run(stage.engine.resize(id, 3 * MIB)).unwrap();
    assert_eq!(stage.tags(&volume, 2 * PAGE, 4), [0; 4]);
    let clone = stage.run(stage.engine.clone_snapshot(kept, "clone", 1, b"")).unwrap();
    let clone = stage.engine.volume(clone);
    for round in 0..2 {
        for page in 0..3 {
            assert_eq!(stage.tags(&clone, page * PAGE + 2, 2), [7; 2], "page {page}, round {round}");
            stage.write(&clone, page * PAGE, &[5]);
            assert_eq!(stage.tags(&clone, page * PAGE, 2), [5, 7], "page {page}, round {round}");
            assert_eq!(stage.tags(&volume.at(kept), page * PAGE, 4), [7; 4], "page {page}, round {round}");
        }
        assert_eq!(stage.tags(&volume, 0, 4), [9, 9, 7, 7]);
        checkpoint(&stage);
    }
    stage.audit();
}

/// A flatten copies a page in one commit of many pieces. Each piece found its space by itself: the first ones
/// used up a segment, which closed; the next found none open; all was taken back, and the same began again
/// with the other segment, for ever. (Simulation seed 5087 did not end.)
#[test]
fn a_flatten_that_does_not_fit_says_so_however_often_it_is_tried() {
    // Room is left on both disks, and not enough on the two together.
    let stage = Stage::new(1, &[PAGE, PAGE]);
    let (_, ballast) = create(&stage, "ballast", MIB);
    stage.write(&ballast, 0, &[2; 100]);
    let (id, volume) = create(&stage, "origin", MIB);
    stage.write(&volume, 0, &[1; PAGE as usize]);
    stage.write(&ballast, 100, &[2; 20]);
    stage.run(ballast.write_zeroes(0, 100 * BLOCK, &Default::default())).unwrap();
    let origin = snapshot(&stage, id, "origin");
    let clone = stage.run(stage.engine.clone_snapshot(origin, "clone", 1, b"")).unwrap();
    for _ in 0..4 {
        let flattened = stage.run(stage.engine.flatten(clone, |_, _| true));
        assert!(matches!(flattened, Err(Error::NoSpace)), "{flattened:?}");
    }
    assert_eq!(stage.tags(&stage.engine.volume(clone), 0, 256), [1; PAGE as usize]);
    stage.run(ballast.write_zeroes(100 * BLOCK, 20 * BLOCK, &Default::default())).unwrap();
    stage.run(stage.engine.flatten(clone, |_, _| true)).unwrap();
    stage.audit();
}

/// A shrink clears what it left in the last page after it, and was cut off. A snapshot of the small volume
/// shares those blocks with the large one that came before, and no difference was listed there.
/// (Simulation seed 8620.)
#[test]
fn a_larger_state_differs_from_a_smaller_one_behind_its_end() {
    let mut uncleared = 0;
    for cut in 1..=6 {
        let mut stage = Stage::new(cut, &[2000]);
        let (id, volume) = create(&stage, "volume", MIB);
        stage.write(&volume, 0, &[7; 32]);
        let large = snapshot(&stage, id, "large");
        let sim = stage.machine.sim();
        sim.cut_at_write(sim.device_writes() + cut);
        let resized = stage.machine.run(stage.engine.resize(id, 15 * BLOCK + 512));
        if resized.is_ok() {
            break;
        }
        stage.power_cut();
        let volume = stage.engine.volume(id);
        if stage.engine.dataset(id).unwrap().size == MIB {
            continue;
        }
        uncleared += 1;
        let small = snapshot(&stage, id, "small");
        let behind: Vec<u64> = (15..32).collect();
        assert_eq!(stage.changed(&volume.at(large), &volume.at(small)), behind, "cut {cut}");
        assert_eq!(stage.changed(&volume.at(small), &volume.at(large)), [] as [u64; 0], "cut {cut}");
        stage.run(stage.engine.rollback(id, large)).unwrap();
        assert_eq!(stage.changed(&volume, &volume.at(small)), behind, "cut {cut}");
        stage.write(&volume, 40, &[1]);
        stage.run(volume.write_zeroes(15 * BLOCK, 10 * BLOCK, &Default::default())).unwrap();
        let mapped: Vec<u64> = (15..16).chain(25..32).chain([40]).collect();
        assert_eq!(stage.changed(&volume, &volume.at(small)), mapped, "cut {cut}");
    }
    assert!(uncleared > 0, "no cut came between the shrink and its clearing");
}

/// A growth clears the last page of the smaller size before it. A rollback between the two, to a snapshot of
/// the same size whose own last page was never cleared, brought old blocks to light.
/// (Simulation seeds 41312 and 54129.)
#[test]
fn a_growth_that_a_rollback_meets_shows_zeroes() {
    let mut met = 0;
    for seed in 0..300 {
        let mut stage = Stage::new(seed, &[2000]);
        let (id, volume) = create(&stage, "volume", MIB);
        stage.write(&volume, 0, &[7; 32]);
        let (engine, runtime) = (stage.engine.clone(), stage.machine.runtime());
        let taken = stage.start(SOON, async move {
            // As soon as it is small, before the shrink has cleared what it left.
            while engine.dataset(id).unwrap().size == MIB {
                runtime.sleep(Duration::from_micros(5)).await;
            }
            engine.snapshot(&[(id, "small")]).await
        });
        let engine = stage.engine.clone();
        let shrunk = stage.start(SOON, async move { engine.resize(id, 16 * BLOCK).await });
        stage.settle();
        ended(&shrunk).unwrap();
        let small = ended(&taken).unwrap()[0];
        let engine = stage.engine.clone();
        let rolled = stage.start(SOON, async move { engine.rollback(id, small).await });
        let engine = stage.engine.clone();
        let grown = stage.start(SOON, async move { engine.resize(id, MIB).await });
        stage.settle();
        ended(&rolled).unwrap();
        ended(&grown).unwrap();
        if stage.engine.dataset(id).unwrap().size == MIB {
            met += 1;
            assert_eq!(stage.tags(&volume, 0, 32), [[7; 16], [0; 16]].concat(), "seed {seed}");
        }
    }
    assert!(met > 0, "the growth never came last");
}

/// A rollback between a shrink and the clearing of its last page: what was cleared was content again.
/// (Simulation seeds 257, 306, 926.)
#[test]
fn a_shrink_that_a_rollback_meets_clears_no_content() {
    let mut rolled_last = 0;
    for seed in 0..300 {
        let mut stage = Stage::new(seed, &[2000]);
        let (id, volume) = create(&stage, "volume", MIB);
        stage.write(&volume, 0, &[7; 32]);
        let large = snapshot(&stage, id, "large");
        let engine = stage.engine.clone();
        let rolled = stage.start(SOON, async move { engine.rollback(id, large).await });
        let engine = stage.engine.clone();
        let shrunk = stage.start(SOON, async move { engine.resize(id, 16 * BLOCK + 512).await });
        stage.settle();
        ended(&rolled).unwrap();
        ended(&shrunk).unwrap();
        assert_eq!(stage.tags(&volume.at(large), 0, 32), [7; 32], "seed {seed}");
        if stage.engine.dataset(id).unwrap().size == MIB {
            rolled_last += 1;
            assert_eq!(stage.tags(&volume, 0, 32), [7; 32], "seed {seed}");
        }
    }
    assert!(rolled_last > 0, "the rollback never came last");
}

/// An edit looks entries up, while a rollback gives the dataset another branch and the old one's entries are
/// reclaimed: they seemed never to have been there. (Simulation seed 42444.)
#[test]
fn an_edit_that_a_rollback_meets_still_finds_its_entries() {
    for seed in 0..300 {
        let mut stage = Stage::new(seed, &[2000]);
        let (id, _) = create(&stage, "share", 0);
        let edit =
            |nth: u8, condition| EntryEdit { name: vec![b'n', nth], value: Some(vec![nth]), condition };
        let all: Vec<EntryEdit> = (0..8).map(|nth| edit(nth, EntryCondition::Any)).collect();
        stage.run(stage.engine.edit(id, &all, None)).unwrap();
        let point = snapshot(&stage, id, "point");
        checkpoint(&stage);
        let engine = stage.engine.clone();
        let rolled = stage.start(SOON, async move {
            engine.rollback(id, point).await?;
            while engine.background_step().await? {}
            Ok::<(), Error>(())
        });
        let engine = stage.engine.clone();
        let again: Vec<EntryEdit> = (0..8).map(|nth| edit(nth, EntryCondition::Is(vec![nth]))).collect();
        let looked = stage.start(2 * SOON, async move {
            engine.edit(id, &again, None).await?;
            let got = engine.get(id, None, &[b'n', 7]).await?;
            Ok::<_, Error>((got, engine.scan(id, None, b"n", b"", 100).await?.len()))
        });
        stage.settle();
        ended(&rolled).unwrap();
        assert_eq!(ended(&looked).unwrap(), (Some(vec![7]), 8), "seed {seed}");
    }
}

/// Reclaim completed an older version of a page, while the newer ones were in the index only. The complete
/// one was taken for the page. (Kill test, any seed.)
#[test]
fn a_page_is_more_than_the_version_that_a_reclaim_completed() {
    let mut stage = Stage::new(2, &[2000]);
    let (id, volume) = create(&stage, "volume", MIB);
    stage.write(&volume, 0, &[1; PAGE as usize]);
    let first = snapshot(&stage, id, "first");
    stage.write(&volume, 0, &[2]);
    let second = snapshot(&stage, id, "second");
    stage.write(&volume, 1, &[3]);
    let third = snapshot(&stage, id, "third");
    stage.write(&volume, 2, &[4]);
    drop(volume);
    stage.restart();
    let volume = stage.engine.volume(id);
    stage.run(stage.engine.delete_snapshot(first)).unwrap();
    stage.work_off();
    assert_eq!(stage.tags(&volume, 0, 4), [2, 3, 4, 1]);
    assert_eq!(stage.tags(&volume.at(third), 0, 4), [2, 3, 1, 1]);
    assert_eq!(stage.tags(&volume.at(second), 0, 4), [2, 1, 1, 1]);
    stage.audit();
}

/// A page whose versions have piled up is written out whole, in memory: the journal does not know. A fold
/// left out what the target had in memory, and a replay missed what the fold had dropped. (Simulation.)
#[test]
fn a_fold_into_a_page_that_has_piled_up_survives_a_crash() {
    let expected: Vec<u8> = (1..=12).collect();
    for gone in 0..12 {
        let mut stage = Stage::new(3, &[2000]);
        let (id, volume) = create(&stage, "volume", MIB);
        let write = |nth: u64| {
            stage.write(&volume, nth, &[nth as u8 + 1]);
            snapshot(&stage, id, &format!("at-{nth}"))
        };
        let taken: Vec<SnapshotId> = (0..12).map(write).collect();
        stage.run(stage.engine.delete_snapshot(taken[gone])).unwrap();
        stage.work_off();
        assert_eq!(stage.tags(&volume, 0, 12), expected);
        drop(volume);
        stage.restart();
        assert_eq!(stage.tags(&stage.engine.volume(id), 0, 12), expected, "without snapshot {gone}");
        stage.audit();
    }
}

/// The last snapshot of a deleted volume was done before its live side: the branch went, and the live side's
/// blocks stayed allocated for ever. (Kill test.)
#[test]
fn a_deleted_volume_gives_all_back_whatever_is_reclaimed_first() {
    for steps in 0..8 {
        let stage = Stage::new(steps, &[4000]);
        let (id, volume) = create(&stage, "volume", 8 * MIB);
        for page in 0..4 {
            stage.write(&volume, page * PAGE, &[1; 4]);
        }
        let only = snapshot(&stage, id, "only");
        for page in 0..4 {
            stage.write(&volume, page * PAGE + 2, &[2; 4]);
        }
        stage.run(stage.engine.delete_snapshot(only)).unwrap();
        for _ in 0..steps {
            stage.run(stage.engine.background_step()).unwrap();
        }
        stage.run(stage.engine.delete_dataset(id, true)).unwrap();
        stage.work_off();
        stage.audit();
        assert_eq!(stage.engine.stats().store.space.allocated, 0, "after {steps} steps");
    }
}

/// A diff reads touched pages from the index, then from memory. A checkpoint that ended between the two had
/// taken some from the one to the other: neither had them. The moment is short: this test alone has not met
/// it, the simulation has.
#[test]
fn a_diff_that_a_checkpoint_meets_misses_nothing() {
    for seed in 0..200 {
        let mut stage = Stage::new(seed, &[4000]);
        let (id, volume) = create(&stage, "volume", 16 * MIB);
        stage.write(&volume, 0, &[1]);
        let first = snapshot(&stage, id, "first");
        for page in 0..8 {
            stage.write(&volume, page * PAGE, &[2]);
        }
        let engine = stage.engine.clone();
        let written = stage.start(SOON, async move { engine.checkpoint().await });
        let (new, old) = (volume.clone(), volume.at(first));
        let listed = stage.start(2 * SOON, async move { new.changed_since(Some(&old), 0, usize::MAX).await });
        stage.settle();
        ended(&written).unwrap();
        let found: Vec<u64> = ended(&listed).unwrap().iter().map(|range| range.offset).collect();
        assert_eq!(found, (0..8).map(|page| page * MIB).collect::<Vec<_>>(), "seed {seed}");
    }
}

/// The same for reclaim, as rarely: pages that it does not see are never given back.
#[test]
fn a_reclaim_that_a_checkpoint_meets_leaves_nothing() {
    for seed in 0..100 {
        let mut stage = Stage::new(seed, &[4000]);
        let (id, volume) = create(&stage, "volume", 16 * MIB);
        for page in 0..8 {
            stage.write(&volume, page * PAGE, &[1]);
        }
        let first = snapshot(&stage, id, "first");
        for page in 0..8 {
            stage.write(&volume, page * PAGE, &[2]);
        }
        let engine = stage.engine.clone();
        let written = stage.start(SOON, async move { engine.checkpoint().await });
        let engine = stage.engine.clone();
        let reclaimed = stage.start(SOON, async move {
            engine.delete_snapshot(first).await?;
            while engine.background_step().await? {}
            Ok::<(), Error>(())
        });
        stage.settle();
        ended(&written).unwrap();
        ended(&reclaimed).unwrap();
        stage.audit();
        assert_eq!(stage.engine.stats().store.space.allocated, 8, "seed {seed}");
    }
}

/// A flatten copied the volume's own data and forgot entries and other objects; a share's never ended.
/// (Simulation seed 44.)
#[test]
fn a_flattened_share_has_all_that_its_origin_had() {
    let stage = Stage::new(4, &[2000]);
    let share = stage.run(stage.engine.create_dataset("share", 2, 0, b"")).unwrap();
    let edit = |name: &[u8]| EntryEdit {
        name: name.into(),
        value: Some(b"value".to_vec()),
        condition: EntryCondition::Any,
    };
    stage.run(stage.engine.edit(share, &[edit(b"a"), edit(b"b")], None)).unwrap();
    stage.write(&stage.engine.object(share, ObjectId(2)), 5, &[9; 3]);
    let point = snapshot(&stage, share, "point");
    let clone = stage.run(stage.engine.clone_snapshot(point, "clone", 2, b"")).unwrap();
    stage.run(stage.engine.flatten(clone, |_, _| true)).unwrap();
    stage.run(stage.engine.delete_dataset(share, true)).unwrap();
    stage.work_off();
    stage.audit();
    assert_eq!(stage.engine.dataset(clone).unwrap().origin, None);
    assert_eq!(stage.tags(&stage.engine.object(clone, ObjectId(2)), 4, 5), [0, 9, 9, 9, 0]);
    let entries = stage.run(stage.engine.scan(clone, None, b"", b"", 10)).unwrap();
    assert_eq!(entries, [(b"a".to_vec(), b"value".to_vec()), (b"b".to_vec(), b"value".to_vec())]);
}

/// It panicked. (Simulation seed 8.)
#[test]
fn a_state_does_not_differ_from_itself() {
    let stage = Stage::new(5, &[2000]);
    let (id, volume) = create(&stage, "volume", MIB);
    stage.write(&volume, 0, &[1]);
    let point = snapshot(&stage, id, "point");
    assert_eq!(stage.changed(&volume, &volume), [] as [u64; 0]);
    assert_eq!(stage.changed(&volume.at(point), &volume.at(point)), [] as [u64; 0]);
    assert_eq!(stage.changed(&volume, &volume.at(point)), [] as [u64; 0]);
}

/// The rest of the last block behind a new end is cleared, which needs the block. It could not be read, and
/// the shrink, which had taken effect, was answered with that error.
#[test]
fn a_shrink_over_a_rotten_block_is_done_and_a_growth_over_it_is_not() {
    let stage = Stage::new(1, &[4000]);
    let (id, volume) = create(&stage, "volume", 2 * MIB);
    stage.write(&volume, 0, &[7, 8, 9]);
    stage.damage(8);
    let size = || stage.engine.dataset(id).unwrap().size;
    stage.run(stage.engine.resize(id, BLOCK + 512)).unwrap();
    assert_eq!(size(), BLOCK + 512);
    let grown = stage.run(stage.engine.resize(id, 2 * MIB));
    assert!(matches!(grown, Err(Error::Read(_))), "{grown:?}");
    assert_eq!((size(), stage.tags(&volume, 0, 1)), (BLOCK + 512, vec![7]));
    // Without the rotten block it grows.
    stage.run(stage.engine.resize(id, BLOCK)).unwrap();
    stage.run(stage.engine.resize(id, 2 * MIB)).unwrap();
    assert_eq!(stage.tags(&volume, 0, 4), [7, 0, 0, 0]);
    stage.audit();
}
