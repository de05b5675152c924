//! `make bench-san`: Ashlar's target against Debian's `tgt` and a target without storage, in turn, in one
//! run.
//!
//! `bench_san RESULT.json`. Settings come from the environment: `DIR` for the data files (six volumes'
//! worth), `KEEP=1` leaves them there for the next run, `ROUNDS`, `SECS` of a round, `SIZE` of the volume in
//! MiB, `LUNS`, `SNAPSHOTS`, `QUICK=1` for small ones of all, `ONLY` a part of a row's name.

use ashlar_tests::bench::report::{self, Report};
use ashlar_tests::bench::Failure;
use ashlar_tests::bench_san::{many, rows::Bench, Settings};
use std::path::PathBuf;
use std::time::Duration;

fn main() -> Result<(), Failure> {
    let result = std::env::args().nth(1).ok_or("usage: bench_san RESULT.json")?;
    let settings = settings()?;
    std::fs::create_dir_all(&settings.dir)?;
    let ended = measure(&settings, &result);
    if !settings.keep {
        for made in ["raw", "tgt.img", "tgt.log", "tgt.sock", "tgt.sock.lock"] {
            let _ = std::fs::remove_file(settings.dir.join(made));
        }
        for made in ["ashlar", "many"] {
            let _ = std::fs::remove_dir_all(settings.dir.join(made));
        }
        // Only if it is empty: the directory may have been there before.
        let _ = std::fs::remove_dir(&settings.dir);
    }
    ended
}

fn measure(settings: &Settings, result: &str) -> Result<(), Failure> {
    let bench = Bench::start(settings)?;
    println!("{}", report::head());
    let mut report = Report::new(|row| println!("{}", row.line()));
    let ended = bench.run(&mut report).and_then(|()| many::run(settings, &bench, &mut report));
    let facts = [
        ("volume", format!("{} MiB, fully written", settings.volume >> 20)),
        ("cached", format!("the first {} MiB of it, warmed", settings.cached >> 20)),
        ("rounds", format!("{} of {:?}, in turn; medians", settings.rounds, settings.round)),
        ("processors", std::thread::available_parallelism()?.to_string()),
        ("committed", "Ashlar's write cache on: survives the death of the process".into()),
        ("durable", "on stable media: survives loss of power".into()),
        ("page cache", "tgt as shipped: survives the death of the process, not loss of power".into()),
    ];
    std::fs::write(result, report.json(&facts))?;
    ended
}

fn settings() -> Result<Settings, Failure> {
    let quick = std::env::var("QUICK").is_ok_and(|q| q == "1");
    let number = |name: &str, usual: u64, quickly: u64| match std::env::var(name) {
        Ok(text) if !text.is_empty() => text.parse::<f64>().map_err(|e| format!("{name}: {e}")),
        _ => Ok(if quick { quickly } else { usual } as f64),
    };
    let dir =
        std::env::var_os("DIR").map_or_else(|| std::env::temp_dir().join("ashlar-bench"), PathBuf::from);
    let volume = (number("SIZE", 8 << 10, 1 << 10)? as u64) << 20;
    Ok(Settings {
        dir: std::path::absolute(dir)?,
        keep: std::env::var("KEEP").is_ok_and(|keep| keep == "1"),
        rounds: number("ROUNDS", 5, 3)? as usize,
        round: Duration::from_secs_f64(number("SECS", 20, 2)?),
        volume,
        cached: (512 << 20).min(volume / 2),
        luns: number("LUNS", 1_000, 100)? as usize,
        snapshots: number("SNAPSHOTS", 10_000, 1_000)? as usize,
        only: std::env::var("ONLY").ok().filter(|only| !only.is_empty()),
    })
}
