//! Every history of up to three commands, cut at every device write, by loss of power and by `kill -9`.
//!
//! `ASHLAR_HISTORY_LEN` makes them longer (a sample of [`SAMPLE`] histories when there are too many),
//! `ASHLAR_HISTORY_SEED` changes everything that is left to chance, and `ASHLAR_HISTORY` = a case as a
//! failure prints it runs that one alone.

use ashlar_tests::sim::Rng;
use ashlar_tests::small::{judge, last_writes, Case, Cut, Op, Prologue};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

/// Most histories of one length that are run.
const SAMPLE: usize = 3000;
/// Cases that are told of when many fail.
const TOLD: usize = 10;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |v| v.parse().expect("a number"))
}

/// Every history of `len` commands that can be done, or a sample of them.
fn histories(len: usize, seed: u64) -> Vec<Case> {
    let mut all = vec![Vec::new()];
    for _ in 0..len {
        all = all.iter().flat_map(|h: &Vec<Op>| Op::ALL.map(|(op, _)| [&h[..], &[op]].concat())).collect();
    }
    let case = |prologue, ops: &[Op]| {
        let seed = Case::own_seed(prologue, ops, seed);
        Case { prologue, ops: ops.to_vec(), seed, cut: Cut::End }
    };
    let both = all.iter().flat_map(|ops| [case(Prologue::Empty, ops), case(Prologue::Used, ops)]);
    let mut cases: Vec<Case> = both.filter(|case| case.actions().is_some()).collect();
    let mut rng = Rng::new(seed);
    while cases.len() > SAMPLE {
        let at = rng.below(cases.len() as u64) as usize;
        cases.swap_remove(at);
    }
    cases
}

/// Runs one case; what is wrong, panics included.
fn run(case: &Case) -> Result<(), String> {
    let judged = catch_unwind(AssertUnwindSafe(|| judge(case))).unwrap_or_else(|_| Err("it panicked".into()));
    judged.map_err(|e| format!("ASHLAR_HISTORY='{case}': {e}"))
}

/// Runs a history, cut everywhere since its last command began; counts the runs.
fn cut_everywhere(history: &Case, runs: &AtomicUsize) -> Vec<String> {
    let writes = match catch_unwind(AssertUnwindSafe(|| last_writes(history))) {
        Ok(Ok(writes)) => writes,
        Ok(Err(e)) => return vec![format!("ASHLAR_HISTORY='{history}', uncut: {e}")],
        Err(_) => return vec![format!("ASHLAR_HISTORY='{history}', uncut: it panicked")],
    };
    let cuts = writes.flat_map(|at| [Cut::Power(at), Cut::Kill(at)]).chain([Cut::End]);
    let cases = cuts.map(|cut| Case { cut, ..history.clone() });
    cases
        .filter_map(|case| {
            runs.fetch_add(1, Ordering::Relaxed);
            run(&case).err()
        })
        .collect()
}

/// Cases that failed once, and why.
const ONCE: &[&str] = &[
    // A reclaim met a commit that was ordered behind it while it was in flight, by the old catalogue.
    "used:delete-snapshot,grow,overwrite;seed=32045348325;end",
    // Two worked off one discard; the slower one's step was taken for the next discard of the same pages, and
    // freed its blocks again.
    "used:shrink,grow,shrink;seed=457084126533;end",
];

#[test]
fn cases_that_failed_once_do_not_fail_again() {
    for text in ONCE {
        run(&text.parse().expect("a case")).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn every_small_history_survives_every_cut() {
    if let Ok(text) = std::env::var("ASHLAR_HISTORY") {
        let case: Case = text.parse().expect("a case as a failure prints it");
        return run(&case).unwrap_or_else(|e| panic!("{e}\n{:#?}", case.actions()));
    }
    let (len, seed) = (number("ASHLAR_HISTORY_LEN", 3), number("ASHLAR_HISTORY_SEED", 1));
    let cases: Vec<Case> = (0..=len as usize).flat_map(|len| histories(len, seed)).collect();
    let (next, runs, failures) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let failed = cut_everywhere(case, &runs);
                    failures.lock().expect("no holder panics").extend(failed);
                }
            });
        }
    });
    println!("{} histories, {} runs", cases.len(), runs.into_inner());
    let failures = failures.into_inner().expect("no holder panics");
    let told = failures.iter().take(TOLD).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(failures.is_empty(), "{} cases fail:\n{told}", failures.len());
}
