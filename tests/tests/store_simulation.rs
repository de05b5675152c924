//! The store against power cuts, kills and failing devices: many seeds, each one exact run.
//!
//! `ASHLAR_SEED=n` runs one seed and prints its hash; `ASHLAR_SIM_SEEDS=n` sets how many are run, from
//! `ASHLAR_SIM_FIRST=n` on.

use ashlar_tests::store_model::{cut_every_write_of_a_change, run};

const SEEDS: u64 = 600;

#[test]
fn commits_survive_what_they_must() {
    if let Some(seed) = number("ASHLAR_SEED") {
        eprintln!("seed {seed}: {:016x}", run(seed));
        return;
    }
    let first = number("ASHLAR_SIM_FIRST").unwrap_or(0);
    let seeds = number("ASHLAR_SIM_SEEDS").unwrap_or(SEEDS);
    for seed in first..first + seeds {
        let _ = run(seed);
    }
}

#[test]
fn a_seed_is_one_exact_run() {
    for seed in 0..5 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

#[test]
fn a_device_joins_or_grows_wholly_or_not_at_all_at_every_power_cut() {
    // Of nine seeds three change nothing, three add a device, and three grow one.
    for seed in (0..36).filter(|seed| seed / 3 % 3 > 0) {
        assert!(cut_every_write_of_a_change(seed) >= 2, "seed {seed}: a change writes");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().expect("a number"))
}
