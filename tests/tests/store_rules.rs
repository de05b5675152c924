//! The rules of the storage model that chance tests too rarely (see docs/testing.md): each story meets the
//! one moment in which a broken rule shows.

use ashlar_tests::sim::{FaultPlan, Faults};
use ashlar_tests::store_model::{Op, Pool};
use block_layer::format::cut::{Cut, CUT_KEY};
use block_layer::index::{Batch, Index};
use block_layer::store::{CommitError, FailReason, OpenError};
use block_layer::Config;
use std::time::Duration;

fn config() -> Config {
    Config { reserve_bytes: 0, ..Config::default() }
}

/// Rule 1. While the superblocks are written that move the journal's tail, records go on being written: were
/// the ring's space theirs already, a power cut would leave a tail that points into the newer ones.
#[test]
fn the_ring_is_used_again_only_behind_a_durable_tail() {
    for (seed, cut) in (0..6).flat_map(|seed| (1..30).map(move |cut| (seed, cut))) {
        let mut pool = Pool::new(seed, 600, config());
        let store = pool.open().unwrap();
        let large = |pool: &mut Pool, key| Op { ballast: 200 << 10, ..pool.operation(key, 1) };
        for key in 0..3 {
            let op = large(&mut pool, key);
            let _ = pool.machine.run(store.commit(op)).unwrap().unwrap();
        }
        let durable = pool.machine.run(store.flush()).unwrap().unwrap().seq();
        pool.machine.sim().cut_at_write(pool.machine.sim().device_writes() + cut);
        let checkpoint = store.clone();
        pool.machine.runtime().spawn(Box::pin(async move { drop(checkpoint.checkpoint().await) }));
        for key in 3..12 {
            let (op, store) = (large(&mut pool, key), store.clone());
            pool.machine.runtime().spawn(Box::pin(async move { drop(store.commit(op).await) }));
        }
        let rest = pool.machine.runtime().sleep(Duration::from_secs(1));
        let _ = pool.machine.run(rest);
        drop(store);
        pool.cut();
        let store = pool.open().unwrap_or_else(|e| panic!("seed {seed}, cut {cut}: {e}"));
        assert!(store.visible() >= durable, "seed {seed}, cut {cut}");
        pool.check(&store);
    }
}

/// Rule 3. Three batches are under way when the first fails. What the other two have written is durable with
/// the void record, and their place in the sequence is right; only the predecessor's checksum tells that the
/// void record is not the one they followed.
#[test]
fn records_behind_a_failed_one_do_not_follow_its_void() {
    for (seed, cut) in (0..20).flat_map(|seed| (1..6).map(move |cut| (seed, cut))) {
        let mut pool = Pool::new(seed, 600, config());
        let store = pool.open().unwrap();
        pool.write(&store, 0, 1).unwrap();
        let next = pool.disk.counters().writes + 1;
        pool.disk.set_plan(FaultPlan { write: Faults::at(next), ..FaultPlan::default() });
        pool.disk.hold();
        for key in 1..=3 {
            let op = pool.operation(key, 1);
            pool.begin(&store, op);
        }
        pool.machine.sim().cut_at_write(pool.machine.sim().device_writes() + cut);
        pool.disk.release();
        let _ = pool.machine.run(pool.machine.runtime().sleep(Duration::from_secs(1)));
        drop(store);
        pool.cut();
        let store = pool.open().unwrap();
        let there = [1, 2, 3].map(|key| store.machine().has(key));
        assert!(there.is_sorted_by(|a, b| a >= b), "seed {seed}, cut {cut}: not a prefix: {there:?}");
        pool.check(&store);
    }
}

/// Rule 3. The power goes while three batches are under way, and the first does not survive. The next life
/// puts another record in its place: what the others left behind it is of a future that was given up.
#[test]
fn records_of_an_abandoned_future_are_not_replayed() {
    let mut met = 0;
    for seed in 0..150 {
        let mut pool = Pool::new(seed, 600, config());
        let store = pool.open().unwrap();
        pool.write(&store, 0, 1).unwrap();
        let _ = pool.machine.run(store.flush()).unwrap().unwrap();
        pool.disk.hold();
        for key in 1..=3 {
            let op = pool.operation(key, 1);
            pool.begin(&store, op);
        }
        pool.disk.release();
        pool.machine.run(pool.machine.runtime().sleep(Duration::from_micros(300))).unwrap();
        drop(store);
        pool.cut();
        let store = pool.open().unwrap();
        if store.machine().has(1) {
            continue;
        }
        met += 1;
        pool.write(&store, 10, 1).unwrap();
        drop(store);
        pool.machine.kill();
        pool.machine.run(pool.machine.drained()).unwrap();
        let store = pool.open().unwrap();
        let there = [1, 2, 3, 10].map(|key| store.machine().has(key));
        assert_eq!(there, [false, false, false, true], "seed {seed}");
        pool.check(&store);
    }
    assert!(met > 20, "the story is hardly ever met: {met}");
}

/// Rule 12. An index says whose it is, and as of which opening of the pool.
#[test]
fn an_index_of_another_pool_or_of_a_later_opening_is_refused() {
    let mut pool = Pool::new(1, 600, config());
    let store = pool.open().unwrap();
    pool.write(&store, 0, 1).unwrap();
    pool.machine.run(store.close()).unwrap().unwrap();
    drop(store);
    pool.machine.kill();
    let cut = Cut::decode(&pool.index.get(CUT_KEY).unwrap().unwrap()).unwrap();
    let claim = |cut: &Cut| {
        let mut batch = Batch::default();
        batch.put(CUT_KEY, cut.encode());
        pool.index.write(batch).unwrap();
        pool.open().map(drop)
    };
    let foreign = claim(&Cut { pool: [7; 16], ..cut.clone() });
    assert!(matches!(foreign, Err(OpenError::ForeignIndex { .. })), "{foreign:?}");
    let later = claim(&Cut { incarnation: cut.incarnation + 9, ..cut.clone() });
    assert!(matches!(later, Err(OpenError::StaleDevices { .. })), "{later:?}");
    claim(&cut).unwrap();
}

/// Rule 4. The device says that a write failed, though all of it landed. Done over, the operation finds no
/// space and is refused: its first record must not come back in its void's place.
#[test]
fn what_found_no_space_when_done_over_stays_undone() {
    for seed in 0..200 {
        let mut pool = Pool::new(seed, 300, config());
        let store = pool.open().unwrap();
        pool.write(&store, 0, 290).unwrap();
        let _ = pool.machine.run(store.flush()).unwrap().unwrap();
        let next = pool.disk.counters().writes + 1;
        pool.disk.set_plan(FaultPlan { write: Faults::at(next), ..FaultPlan::default() });
        assert!(matches!(pool.write(&store, 290, 8), Err(CommitError::NoSpace)), "seed {seed}");
        drop(store);
        pool.cut();
        let store = pool.open().unwrap();
        assert_eq!(store.machine().len(), 290, "seed {seed}: what was refused is there");
        pool.check(&store);
    }
}

/// Rule 4. A second flush would succeed, and what the first has lost would be called durable.
#[test]
fn a_flush_that_failed_is_not_tried_again() {
    let mut pool = Pool::new(1, 600, config());
    let store = pool.open().unwrap();
    pool.write(&store, 0, 5).unwrap();
    let next = pool.disk.counters().flushes + 1;
    pool.disk.set_plan(FaultPlan { flush: Faults::at(next), ..FaultPlan::default() });
    let flushed = pool.machine.run(store.flush()).unwrap();
    assert!(matches!(flushed, Err(CommitError::PoolFailed(FailReason::Flush(_)))));
    assert!(matches!(pool.write(&store, 5, 1), Err(CommitError::PoolFailed(_))));
}
