//! The store in situations that chance meets too rarely: each test tells one story.

use ashlar_tests::sim::{FaultPlan, Faults};
use ashlar_tests::store_model::{Act, Op, Pool};
use block_layer::store::{CommitError, FailReason, OpenError};
use block_layer::{Config, Disk, Geometry, IndexError};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config { reserve_bytes: 0, ..Config::default() }
}

fn sleep(pool: &Pool, time: Duration) {
    pool.machine.run(pool.machine.runtime().sleep(time)).expect("no power cut is planned");
}

#[test]
fn deleted_space_can_be_written_at_once_however_full_the_pool() {
    let mut pool = Pool::new(1, 600, config());
    let store = pool.open().unwrap();
    for _ in 0..20 {
        pool.write(&store, 0, 600).unwrap();
        assert!(matches!(pool.write(&store, 1000, 1), Err(CommitError::NoSpace)));
        pool.commit(&store, Act::Delete { key: 0, count: 600 }).unwrap();
    }
    pool.check(&store);
}

/// Recovery checks the data above the highest mark that it finds. Were the space of a block that a flush
/// freed used before that flush is stated somewhere durable, the block's own record, flushed too, would be
/// taken for torn.
#[test]
fn space_that_a_flush_freed_is_not_used_before_the_flush_is_stated() {
    for seed in 0..120 {
        let mut pool = Pool::new(seed, 300, config());
        let store = pool.open().unwrap();
        pool.write(&store, 0, 100).unwrap();
        pool.write(&store, 0, 100).unwrap();
        let durable = pool.machine.run(store.flush()).unwrap().unwrap().seq();
        pool.machine.sim().cut_at_write(pool.machine.sim().device_writes() + 3 + seed % 6);
        let cut = pool.write_or_cut(&store, 200, 100).and_then(|()| pool.write_or_cut(&store, 400, 90));
        drop((store, cut));
        pool.cut();
        let store = pool.open().unwrap();
        assert!(store.visible() >= durable, "seed {seed}: {} of {durable}", store.visible());
        pool.check(&store);
    }
}

#[test]
fn a_pin_held_for_ever_costs_space_and_nothing_else() {
    let mut pool = Pool::new(2, 600, config());
    let store = pool.open().unwrap();
    pool.write(&store, 0, 300).unwrap();
    let pin = store.pin();
    pool.write(&store, 0, 300).unwrap();
    assert!(matches!(pool.write(&store, 0, 300), Err(CommitError::NoSpace)));
    assert_eq!(store.stats().space.quarantined, 300);
    drop(pin);
    pool.write(&store, 0, 300).unwrap();
    pool.check(&store);
}

/// Three batches are under way when the first fails. Done over, they need fewer numbers.
#[test]
fn who_waits_for_a_batch_that_is_done_over_does_not_wait_for_its_old_number() {
    let mut pool = Pool::new(12, 600, config());
    let store = pool.open().unwrap();
    pool.write(&store, 0, 1).unwrap();
    let next = pool.disk.counters().writes + 1;
    pool.disk.set_plan(FaultPlan { write: Faults::at(next), ..FaultPlan::default() });
    pool.disk.hold();
    for key in 1..=3 {
        let op = pool.operation(key, 1);
        pool.begin(&store, op);
    }
    let guarded = Op { guard: Some((3, None)), ..pool.operation(3, 1) };
    let Err(CommitError::Bounced(seq)) = pool.machine.run(store.commit(guarded)).unwrap() else {
        panic!("a newer write is ordered");
    };
    pool.disk.release();
    let begun = pool.machine.runtime().now();
    pool.machine.run(store.wait_visible(seq)).unwrap();
    assert!(pool.machine.runtime().now() - begun < SECOND / 2 && store.visible() < seq);
    assert_eq!(store.machine().len(), 4);
    pool.check(&store);
}

/// A segment is all handed out, and closes; some of it is taken back, and it is opened again.
#[test]
fn zeroes_are_never_written_over_blocks_in_flight() {
    for seed in 0..20 {
        let geometry = Geometry { len: (2 << 20) + 256 * 4096, sector: 512, sparse: true };
        let mut pool = Pool::on(seed, geometry, config());
        let store = pool.open().unwrap();
        sleep(&pool, SECOND);
        pool.disk.hold();
        let op = pool.operation(0, 250);
        pool.begin(&store, op);
        let taken_back = Op { guard: Some((0, None)), late: true, ..pool.operation(300, 6) };
        assert!(matches!(pool.machine.run(store.commit(taken_back)).unwrap(), Err(CommitError::Bounced(_))));
        let op = pool.operation(300, 1);
        pool.begin(&store, op);
        pool.disk.release();
        sleep(&pool, SECOND);
        assert_eq!(store.machine().len(), 251);
        pool.check(&store);
    }
}

#[test]
fn a_flush_that_fails_while_a_write_fails_stops_the_pool_once() {
    for seed in 0..100 {
        let mut pool = Pool::new(seed, 600, config());
        let store = pool.open().unwrap();
        pool.write(&store, 0, 1).unwrap();
        let next = pool.disk.counters().writes + 1;
        let flush = Faults::with_probability(1.0);
        pool.disk.set_plan(FaultPlan { write: Faults::at(next), flush, ..FaultPlan::default() });
        pool.disk.hold();
        for key in 1..=3 {
            let op = pool.operation(key, 1);
            pool.begin(&store, op);
        }
        let flushing = store.clone();
        pool.machine.runtime().spawn(Box::pin(async move { drop(flushing.flush().await) }));
        sleep(&pool, SECOND / 100);
        pool.disk.release();
        sleep(&pool, SECOND);
        assert!(store.failure().is_some());
        assert!(matches!(pool.write(&store, 0, 1), Err(CommitError::PoolFailed(_))));
    }
}

#[test]
fn the_reserve_is_for_those_who_may_use_it() {
    let mut pool = Pool::new(3, 600, Config { reserve_bytes: 100 * 4096, ..config() });
    let store = pool.open().unwrap();
    pool.write(&store, 0, 500).unwrap();
    assert!(matches!(pool.write(&store, 500, 1), Err(CommitError::NoSpace)));
    pool.commit(&store, Act::Share { from: 0, to: 900 }).unwrap();
    pool.commit(&store, Act::Delete { key: 0, count: 10 }).unwrap();
    pool.write(&store, 0, 9).unwrap();
    pool.check(&store);
}

#[test]
fn a_nearly_full_index_refuses_new_data_and_never_a_delete() {
    let mut pool = Pool::new(4, 600, Config { index_reserve_bytes: 10_000, ..config() });
    let store = pool.open().unwrap();
    pool.write(&store, 0, 100).unwrap();
    pool.index.set_free_bytes(9_999);
    sleep(&pool, SECOND);
    assert!(matches!(pool.write(&store, 0, 1), Err(CommitError::NoSpace)));
    pool.commit(&store, Act::Delete { key: 0, count: 50 }).unwrap();
    pool.index.set_free_bytes(50_000);
    sleep(&pool, SECOND);
    pool.write(&store, 0, 50).unwrap();
    pool.check(&store);
}

#[test]
fn an_old_copy_of_the_index_is_refused() {
    let mut pool = Pool::new(5, 600, config());
    let store = pool.open().unwrap();
    pool.write(&store, 0, 1).unwrap();
    pool.machine.run(store.checkpoint()).unwrap().unwrap();
    let old = pool.index.copy();
    pool.write(&store, 1, 1).unwrap();
    pool.machine.run(store.close()).unwrap().unwrap();
    drop(store);
    pool.machine.kill();
    let new = std::mem::replace(&mut pool.index, old);
    assert!(matches!(pool.open(), Err(OpenError::StaleIndex { .. })));
    pool.index = new;
    let store = pool.open().unwrap();
    pool.check(&store);
}

#[test]
fn a_rotten_record_below_the_flushed_mark_is_damage_and_not_the_logs_end() {
    let mut pool = Pool::new(6, 600, config());
    let store = pool.open().unwrap();
    let first = pool.disk.log().len();
    for key in 0..10 {
        pool.write(&store, key, 1).unwrap();
    }
    let _ = pool.machine.run(store.flush()).unwrap().unwrap();
    pool.write(&store, 10, 1).unwrap();
    drop(store);
    pool.machine.kill();
    let ring = |at: u64| (1 << 20..2 << 20).contains(&at);
    let record = pool.disk.log()[first..].iter().filter(|w| ring(w.at)).nth(4).copied().unwrap();
    pool.disk.flip_bit(record.at + 100, 3);
    assert!(matches!(pool.open(), Err(OpenError::JournalDamaged { .. })));
    pool.disk.flip_bit(record.at + 100, 3);
    let store = pool.open().unwrap();
    pool.check(&store);
}

#[test]
fn a_device_that_fails_every_write_stops_the_pool_and_closing_says_so() {
    let mut pool = Pool::new(7, 600, config());
    let store = pool.open().unwrap();
    pool.write(&store, 0, 5).unwrap();
    pool.disk.set_plan(FaultPlan { write: Faults::with_probability(1.0), ..FaultPlan::default() });
    assert!(matches!(pool.write(&store, 0, 5), Err(CommitError::PoolFailed(_))));
    assert!(matches!(pool.machine.run(store.close()).unwrap(), Err(FailReason::Write(_))));
    let verifier = store.verifier();
    pool.disk.set_plan(FaultPlan::default());
    drop(store);
    pool.machine.kill();
    let store = pool.open().unwrap();
    assert_ne!(store.verifier(), verifier);
    assert_eq!(store.stats().space.allocated, 5);
    pool.check(&store);
}

#[test]
fn a_closed_pool_replays_nothing_and_refuses_work() {
    let mut pool = Pool::new(8, 600, config());
    let store = pool.open().unwrap();
    let last = pool.write(&store, 0, 5).unwrap();
    pool.machine.run(store.close()).unwrap().unwrap();
    assert!(matches!(pool.write(&store, 0, 1), Err(CommitError::Closed)));
    assert_eq!((store.stats().journal.0, store.stats().flushed), (0, last));
    drop(store);
    pool.machine.kill();
    let store = pool.open().unwrap();
    assert_eq!(store.visible(), last);
    pool.check(&store);
}

#[test]
fn a_deleted_pool_is_one_no_more() {
    let mut pool = Pool::new(9, 600, config());
    let store = pool.open().unwrap();
    pool.write(&store, 0, 5).unwrap();
    pool.machine.run(store.delete()).unwrap().unwrap();
    drop(store);
    pool.machine.power_cut();
    assert!(matches!(pool.open(), Err(OpenError::Pool(_))));
}

#[test]
fn an_idle_pool_comes_to_rest_with_everything_flushed_and_reusable() {
    let mut pool = Pool::new(10, 600, config());
    let store = pool.open().unwrap();
    pool.write(&store, 0, 300).unwrap();
    pool.write(&store, 0, 300).unwrap();
    sleep(&pool, 5 * SECOND);
    assert_eq!((store.stats().flushed, store.stats().space.quarantined), (store.visible(), 0));
    let writes = pool.disk.counters().writes;
    sleep(&pool, 50 * SECOND);
    assert_eq!(pool.disk.counters().writes, writes, "an idle pool writes nothing");
    assert_eq!(pool.disk.name(), "sim0");
}

#[test]
fn an_index_that_fails_stops_the_pool_and_loses_nothing() {
    let mut pool = Pool::new(11, 600, config());
    let store = pool.open().unwrap();
    pool.write(&store, 0, 5).unwrap();
    pool.index.fail_next_write();
    let failed = pool.machine.run(store.checkpoint()).unwrap();
    assert!(matches!(failed, Err(FailReason::Index(IndexError::Backend(_)))));
    assert!(matches!(pool.write(&store, 0, 1), Err(CommitError::PoolFailed(_))));
    drop(store);
    pool.machine.kill();
    let store = pool.open().unwrap();
    assert_eq!(store.stats().space.allocated, 5);
    pool.check(&store);
}
