//! The store against power cuts, kills and failing devices: many seeds, each one exact run.
//!
//! `ASHLAR_SEED=n` runs one seed and prints its hash; `ASHLAR_SIM_SEEDS=n` sets how many are run, from
//! `ASHLAR_SIM_FIRST=n` on.

use ashlar_tests::store_model::run;

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

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().expect("a number"))
}
