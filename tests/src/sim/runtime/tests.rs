//! The promises of the simulated runtime.

use super::*;
use crate::sim::lock;
use block_layer::runtime::unblock;
use tokio::sync::oneshot;

/// Spawns tasks that yield, sleep, block and draw; gives the order in which they said something.
fn babble(seed: u64) -> (Vec<u64>, u64) {
    let sim = SimRuntime::new(seed);
    let said = Arc::new(Mutex::new(Vec::new()));
    let (all, mut done) = tokio::sync::mpsc::unbounded_channel();
    for n in 0..20 {
        let (sim2, said, all) = (sim.clone(), said.clone(), all.clone());
        sim.spawn(Box::pin(async move {
            sim2.sleep(Duration::from_micros(sim2.random() % 50)).await;
            lock(&said).push(n);
            unblock(&sim2, || ()).await;
            lock(&said).push(n + 100);
            all.send(n).expect("the harness listens");
        }));
    }
    drop(all);
    sim.run_until(async { while done.recv().await.is_some() {} }).expect("no cut");
    let said = lock(&said).clone();
    (said, sim.digest())
}

#[test]
fn a_seed_replays_exactly_and_another_differs() {
    assert_eq!(babble(3), babble(3));
    let (order, digest) = babble(3);
    assert!((4..20).all(|seed| babble(seed).1 != digest));
    assert!((4..20).any(|seed| babble(seed).0 != order));
}

#[test]
fn runnable_tasks_are_taken_in_any_order() {
    let mut first = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let sim = SimRuntime::new(seed);
        let said = Arc::new(Mutex::new(Vec::new()));
        for n in 0..4 {
            let said = said.clone();
            sim.spawn(Box::pin(async move { lock(&said).push(n) }));
        }
        while sim.step() {}
        first.insert(lock(&said)[0]);
    }
    assert_eq!(first.len(), 4);
}

#[test]
fn time_jumps_to_the_next_timer_when_nothing_is_runnable() {
    let sim = SimRuntime::new(1);
    sim.run_until(sim.sleep(Duration::from_secs(600))).expect("no cut");
    assert!((600..601).contains(&sim.now().as_secs()), "{:?}", sim.now());
}

#[test]
fn an_abandoned_timer_does_not_move_the_clock() {
    let sim = SimRuntime::new(1);
    let mut long = sim.sleep(Duration::from_secs(1000));
    let started = sim.run_until(std::future::poll_fn(|cx| Poll::Ready(long.as_mut().poll(cx).is_pending())));
    assert_eq!(started, Ok(true));
    drop(long);
    sim.run_until(sim.sleep(Duration::from_secs(1))).expect("no cut");
    assert!(!sim.step() && sim.now() < Duration::from_secs(2));
}

#[test]
fn a_blocking_job_never_runs_inline() {
    let sim = SimRuntime::new(1);
    let ran = Arc::new(AtomicBool::new(false));
    let flag = ran.clone();
    let before = sim.now();
    sim.blocking(Box::new(move || flag.store(true, Ordering::Relaxed)));
    assert!(!ran.load(Ordering::Relaxed));
    assert!(sim.step());
    assert!(ran.load(Ordering::Relaxed) && sim.now() > before);
}

#[test]
#[should_panic(expected = "seed 77: deadlock")]
fn a_deadlock_panics_with_the_seed() {
    let _ = SimRuntime::new(77).run_until(std::future::pending::<()>());
}

#[test]
#[should_panic(expected = "seed 78: no end after")]
fn a_harness_that_waits_beside_a_ticking_timer_is_given_up() {
    let sim = SimRuntime::new(78);
    let ticker = sim.clone();
    sim.spawn(Box::pin(async move {
        loop {
            ticker.sleep(Duration::from_secs(1)).await;
        }
    }));
    let _ = sim.run_until(std::future::pending::<()>());
}

/// Tries everything that a destructor must not manage to do.
struct Clinging {
    sim: SimRuntime,
    revived: Arc<AtomicBool>,
    wake: Option<oneshot::Sender<()>>,
}

impl Drop for Clinging {
    fn drop(&mut self) {
        let (a, b) = (self.revived.clone(), self.revived.clone());
        self.sim.spawn(Box::pin(async move { a.store(true, Ordering::Relaxed) }));
        self.sim.blocking(Box::new(move || b.store(true, Ordering::Relaxed)));
        let _ = self.wake.take().expect("dropped once").send(());
    }
}

#[test]
fn a_killed_process_runs_no_more_and_a_new_one_starts_on_the_same_clock() {
    for seed in 0..20 {
        let sim = SimRuntime::new(seed);
        let revived = Arc::new(AtomicBool::new(false));
        for _ in 0..3 {
            let (send, woken) = oneshot::channel();
            let clinging = Clinging { sim: sim.clone(), revived: revived.clone(), wake: Some(send) };
            let (sim2, flag) = (sim.clone(), revived.clone());
            sim.spawn(Box::pin(async move {
                let _clinging = clinging;
                sim2.sleep(Duration::from_secs(5)).await;
                flag.store(true, Ordering::Relaxed);
            }));
            let flag = revived.clone();
            sim.spawn(Box::pin(async move {
                let _ = woken.await;
                flag.store(true, Ordering::Relaxed);
            }));
        }
        sim.run_until(sim.sleep(Duration::from_secs(1))).expect("no cut");
        sim.kill();
        assert!(sim.now() >= Duration::from_secs(1));
        sim.run_until(sim.sleep(Duration::from_secs(60))).expect("no cut");
        assert!(!revived.load(Ordering::Relaxed));
        assert!(!sim.step(), "nothing of the old process is left");
    }
}

#[test]
fn the_harness_can_kill_and_go_on_sleeping() {
    let sim = SimRuntime::new(5);
    let killed = sim.run_until(async {
        let mut sleep = sim.sleep(Duration::from_secs(2));
        std::future::poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await;
        sim.kill();
        sleep.await;
    });
    assert_eq!(killed, Ok(()));
}

#[test]
fn nothing_runs_without_power() {
    let sim = SimRuntime::new(6);
    let killer = sim.clone();
    sim.spawn(Box::pin(async move { killer.lose_power() }));
    assert_eq!(sim.run_until(std::future::pending::<()>()), Err(PowerLost));
    assert!(sim.has_cut() && !sim.step());
    sim.restore_power();
    assert_eq!(sim.run_until(async { 1 }), Ok(1));
}
