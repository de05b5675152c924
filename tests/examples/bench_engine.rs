//! `make bench-engine`: the engine against the file it would live on, in turn, in one run.
//!
//! `cargo run --release --example bench_engine -- RESULT.json`. Settings come from the environment: `DIR`
//! for the data files (three volumes' worth; removed afterwards), `ROUNDS`, `SECS` of a round, `SIZE` of the
//! volume in MiB, `SNAPSHOTS`, `QUICK=1` for small ones of all, `ONLY` one stage, `ROW` a part of a name.

use ashlar_tests::bench::load::{random_data, Target};
use ashlar_tests::bench::report::{self, Goal, Report};
use ashlar_tests::bench::rig::{self, Place, Raw};
use ashlar_tests::bench::steady::Bench;
use ashlar_tests::bench::{process, recovery, Failure, Settings};
use snapshots::EngineConfig;
use std::path::PathBuf;
use std::time::Duration;

fn main() -> Result<(), Failure> {
    let result = std::env::args().nth(1).ok_or("usage: bench_engine RESULT.json")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if result == recovery::CHILD {
        let dir = std::env::args().nth(2).ok_or("a directory is missing")?;
        let filled = std::env::args().nth(3).ok_or("how full the journal is to be is missing")?.parse()?;
        let say = |full| println!("{full}");
        return runtime.block_on(recovery::fill_journal(dir.as_ref(), &random_data(), filled, say));
    }
    let settings = settings()?;
    std::fs::create_dir_all(&settings.dir)?;
    println!("{}", report::head());
    let mut report = Report::new(|row| println!("{}", row.line()));
    let ended = runtime.block_on(stages(&settings, &mut report));
    let facts = [
        ("volume", format!("{} MiB", settings.volume >> 20)),
        ("rounds", format!("{} of {:?}", settings.rounds, settings.round)),
        ("processors", std::thread::available_parallelism()?.to_string()),
    ];
    std::fs::write(&result, report.json(&facts))?;
    // Only if it is empty: the directory may have been there before.
    let _ = std::fs::remove_dir(&settings.dir);
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
        dir,
        rounds: number("ROUNDS", 5, 3)? as usize,
        round: Duration::from_secs_f64(number("SECS", 2, 1)?),
        volume,
        small_volume: volume / 8,
        cached: (512 << 20).min(volume / 2),
        snapshots: number("SNAPSHOTS", 10_000, 1_000)? as usize,
        only: std::env::var("ONLY").ok().filter(|only| !only.is_empty()),
        row: std::env::var("ROW").ok().filter(|row| !row.is_empty()),
    })
}

async fn stages(settings: &Settings, report: &mut Report) -> Result<(), Failure> {
    let data = random_data();
    let beside = ["fresh", "aged"].iter().any(|stage| settings.wants(stage));
    let raw = if beside { Some(Raw::create(settings, &data).await?) } else { None };
    let mut bench = Bench { settings, data: &data, raw: raw.as_ref().map(|raw| &raw.target), report };
    if beside {
        let place = Place::new(&settings.dir, "main");
        let ended = main_pool(&mut bench, &place).await;
        place.remove();
        ended?;
    }
    if settings.wants("history") {
        let place = Place::new(&settings.dir, "history");
        let ended = bench.histories(&place).await;
        place.remove();
        ended?;
    }
    if settings.wants("recovery") {
        let place = Place::new(&settings.dir, "kill");
        let ended = bench.recovery(&place).await;
        place.remove();
        ended?;
    }
    Ok(())
}

/// The pool that the volume fills to four fifths: all rows fresh, then aged.
async fn main_pool(bench: &mut Bench<'_>, place: &Place) -> Result<(), Failure> {
    let len = bench.settings.volume;
    let file = len / 4 * 5 + len / 32;
    let engine = place.create(file, EngineConfig::default()).await?;
    rig::full_volume(&engine, "volume", len, bench.data).await?;
    let tib = (1u64 << 40) as f64 / len as f64 / (1u64 << 20) as f64;
    let index = engine.stats().store.index.disk_bytes as f64 * tib;
    bench.report.add("fresh", "index per mapped TiB, sequential", (index, "MiB"), None, Goal::AtMost(1100.0));
    rig::close(engine).await?;
    stage(bench, place, "fresh").await?;
    if bench.settings.wants("aged") {
        age(bench, place).await?;
        stage(bench, place, "aged").await?;
    }
    Ok(())
}

async fn stage(bench: &mut Bench<'_>, place: &Place, stage: &str) -> Result<(), Failure> {
    let len = bench.settings.volume;
    if !bench.settings.wants(stage) {
        return Ok(());
    }
    let engine = place.open(EngineConfig::default()).await?;
    bench.warm_rows(stage, &Target::volume(&engine, "volume")?, len).await?;
    if bench.settings.row.is_none() {
        let id = engine.find_dataset("volume")?;
        bench.first_writes(stage, &engine, id).await?;
        bench.creation(stage, &engine, id).await?;
        bench.stalls(stage, &engine, id).await?;
    }
    rig::close(engine).await?;
    let engine = place.open(EngineConfig { page_cache_bytes: 0, ..EngineConfig::default() }).await?;
    bench.cold_rows(stage, &Target::volume(&engine, "volume")?, len).await?;
    rig::close(engine).await?;
    let mut config = EngineConfig::default();
    config.store.cache_bytes = 2 * bench.settings.cached as usize;
    let engine = place.open(config).await?;
    bench.cached_row(stage, &Target::volume(&engine, "volume")?, len).await?;
    rig::close(engine).await
}

/// Overwrites the volume three times at random, and says what that wrote.
async fn age(bench: &mut Bench<'_>, place: &Place) -> Result<(), Failure> {
    let len = bench.settings.volume;
    let engine = place.open(EngineConfig::default()).await?;
    let target = Target::volume(&engine, "volume")?;
    rig::scatter(&target, len, 1.5, bench.data).await?;
    let before = process::written();
    rig::scatter(&target, len, 1.5, bench.data).await?;
    drop(target);
    let factor = (process::written() - before) as f64 / (len as f64 * 1.5);
    bench.report.add("aged", "device bytes per guest byte", (factor, "B/B"), None, Goal::AtMost(2.0));
    let tib = (1u64 << 40) as f64 / len as f64 / (1u64 << 20) as f64;
    let index = engine.stats().store.index;
    let name = "index per mapped TiB, random, behind the load";
    bench.report.add("aged", name, (index.disk_bytes as f64 * tib, "MiB"), None, Goal::None);
    let mib = |bytes: u64| (bytes as f64 / (1 << 20) as f64, "MiB");
    bench.report.add("aged", "memory of the index", mib(index.memory_bytes), None, Goal::AtMost(256.0));
    let resident = mib(process::resident());
    bench.report.add("aged", "resident memory of the process", resident, None, Goal::None);
    rig::close(engine).await?;
    let index = place.compacted_index()? as f64 * tib;
    let name = "index per mapped TiB, random, compacted";
    bench.report.add("aged", name, (index, "MiB"), None, Goal::AtMost(8192.0));
    Ok(())
}
