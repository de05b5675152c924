//! The simulation: thousands of seeds of the whole engine against a model (design §5, issue 2).
//!
//! `ASHLAR_SEED=n` replays one seed; otherwise `ASHLAR_SIM_SEEDS` seeds are run from `ASHLAR_SIM_FIRST` on,
//! and as many from 100,000 on, on two threads. A seed is one exact run, on any machine.

use ashlar_tests::world::{run, Extras, Options, Outcome};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
        Err(_) => default,
    }
}

/// Runs a seed; `None` when it broke a promise, which is on stderr then.
fn run_seed(seed: u64) -> Option<Outcome> {
    let options = Options::new(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(&options))).ok();
    if outcome.is_none() {
        eprintln!("seed {seed} failed: {options:?}\nreplay it with ASHLAR_SEED={seed}");
    }
    outcome
}

/// Seeds that once failed: each has shown a bug of its own.
const MENDED: [u64; 22] = [
    73, 3166, 3456, 5087, 7266, 8620, 10_339, 11_883, 16_345, 17_613, 17_683, 17_970, 18_375, 20_660, 37_682,
    41_312, 42_444, 54_129, 100_264, 100_310, 100_644, 108_950,
];

#[test]
fn what_was_mended_stays_so() {
    let failed: Vec<u64> = MENDED.into_iter().filter(|seed| run_seed(*seed).is_none()).collect();
    assert!(failed.is_empty(), "seeds {failed:?} failed");
}

#[test]
fn every_seed_keeps_every_promise() {
    if std::env::var_os("ASHLAR_SEED").is_some() {
        let seed = setting("ASHLAR_SEED", 1);
        let outcome = run_seed(seed);
        println!("seed {seed}: {outcome:?}");
        return assert!(outcome.is_some(), "seed {seed} failed");
    }
    run_seeds(setting("ASHLAR_SIM_FIRST", 1), setting("ASHLAR_SIM_SEEDS", 500));
}

/// Full pools, rot, devices that join and grow: see `ashlar_tests::world::Extras`.
#[test]
fn every_seed_with_extras_keeps_every_promise() {
    if std::env::var_os("ASHLAR_SEED").is_none() {
        run_seeds(Extras::FROM, setting("ASHLAR_SIM_SEEDS", 500));
    }
}

/// Runs seeds on two threads, and tells which failed.
fn run_seeds(first: u64, count: u64) {
    let end = first + count;
    let (next, failed) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let (ordered, crashes) = (AtomicU64::new(0), AtomicU64::new(0));
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end || failed.lock().expect("no holder panics").len() >= 20 {
                    return;
                }
                match run_seed(seed) {
                    Some(outcome) => {
                        ordered.fetch_add(outcome.ordered, Ordering::Relaxed);
                        crashes.fetch_add(outcome.crashes, Ordering::Relaxed);
                    }
                    None => failed.lock().expect("no holder panics").push(seed),
                }
            });
        }
    });
    let (ordered, crashes) = (ordered.into_inner(), crashes.into_inner());
    let failed = failed.into_inner().expect("no holder panics");
    println!("seeds {first}..{end}: {ordered} operations, {crashes} crashes, {:.1?}", begun.elapsed());
    assert!(failed.is_empty(), "seeds {failed:?} failed");
}

#[test]
fn a_seed_is_one_exact_run() {
    for seed in [3, 8] {
        let outcomes = [0, 1].map(|_| run(&Options::new(seed)));
        assert_eq!(outcomes[0].digest, outcomes[1].digest, "seed {seed}");
    }
}
