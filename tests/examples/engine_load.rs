//! One load on an engine, a fixed number of times: for profilers, and to compare builds by CPU.
//!
//! `engine_load DIR prepare` makes a pool with a full volume of `SIZE` MiB (1024), whose map is scattered by
//! `SCATTER` overwrites of each block (1); `engine_load DIR LOAD COUNT` opens it and does one of: `write`,
//! `read`, `flush`, `sequential`, with a warm map or, as `cold-write` and `cold-read`, with 256 pages of it;
//! `clone` writes to each page of new clones; `deletion` and `scrub` write one by one meanwhile. It prints
//! the CPU time of each, that of the calling thread, and the batches.

use ashlar_tests::bench::load::{self, random_data, Load, Places, Target, Until, Work};
use ashlar_tests::bench::rig::{self, Place};
use ashlar_tests::bench::steady::{random, sequential};
use ashlar_tests::bench::{history, process, Failure};
use snapshots::{Engine, EngineConfig};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, what, rest @ ..] = &args[..] else { return Err("usage: engine_load DIR LOAD COUNT".into()) };
    let range = (number("SIZE", 1024.0)? as u64) << 20;
    let place = Place::new(dir.as_ref(), "load");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if what == "prepare" {
            return prepare(&place, range).await;
        }
        let count: u64 = rest.first().ok_or("how many is missing")?.parse()?;
        let pages = if what.starts_with("cold") { 0 } else { EngineConfig::default().page_cache_bytes };
        let engine = place.open(EngineConfig { page_cache_bytes: pages, ..EngineConfig::default() }).await?;
        let target = Target::volume(&engine, "volume")?;
        let data = random_data();
        let each = Load { places: Places::EachPage, ..random(Work::Read, 32, range) };
        load::run(&target, each, Until::Count(range >> 20), &data, 4).await?;
        let load = match what.trim_start_matches("cold-") {
            "write" => random(Work::Write, 32, range),
            "read" => random(Work::Read, 32, range),
            "flush" => random(Work::WriteFlush, 1, range),
            "sequential" => sequential(Work::Write, range),
            "clone" => return clones(&engine, range, count).await,
            busy => return beside(busy, &engine, range).await,
        };
        measured(what, &engine, &target, load, count).await?;
        drop(target);
        rig::close(engine).await
    })
}

fn number(name: &str, usual: f64) -> Result<f64, Failure> {
    std::env::var(name).map_or(Ok(usual), |text| Ok(text.parse()?))
}

async fn prepare(place: &Place, range: u64) -> Result<(), Failure> {
    let data = random_data();
    let engine = place.create(range / 4 * 5 + range / 32, EngineConfig::default()).await?;
    rig::full_volume(&engine, "volume", range, &data).await?;
    let target = Target::volume(&engine, "volume")?;
    rig::scatter(&target, range, number("SCATTER", 1.0)?, &data).await?;
    drop(target);
    rig::close(engine).await
}

/// Does `load` and says what it took.
async fn measured(
    name: &str,
    engine: &Arc<Engine>,
    target: &Target,
    load: Load,
    count: u64,
) -> Result<(), Failure> {
    let (thread, batches) = (process::thread_cpu(), engine.stats().store.visible.0);
    let sample = load::run(target, load, Until::Count(count), &random_data(), 7).await?;
    let thread = (process::thread_cpu() - thread).as_secs_f64() * 1e6 / count as f64;
    let batches = engine.stats().store.visible.0 - batches;
    println!(
        "{name}: {:.0}/s, CPU {:.2} us, of this thread {thread:.2} us, {:.1} a batch",
        sample.per_second(),
        sample.cpu_us(),
        count as f64 / batches.max(1) as f64
    );
    Ok(())
}

/// Writes to each page of `count` clones, one after the other.
async fn clones(engine: &Arc<Engine>, range: u64, count: u64) -> Result<(), Failure> {
    let id = engine.find_dataset("volume")?;
    for _ in 0..count {
        let snapshot = engine.snapshot(&[(id, "first")]).await?[0];
        let each = Load { places: Places::EachPage, settle: false, ..random(Work::Write, 32, range) };
        let live = Target::Volume(engine.clone(), engine.volume(id));
        measured("first writes behind a snapshot", engine, &live, each, range >> 20).await?;
        engine.checkpoint().await?;
        let clone = engine.clone_snapshot(snapshot, "first", 1, b"").await?;
        let target = Target::Volume(engine.clone(), engine.volume(clone));
        measured("first writes into a clone", engine, &target, each, range >> 20).await?;
        engine.delete_dataset(clone, true).await?;
        engine.delete_snapshot(snapshot).await?;
        history::reclaimed(engine).await?;
    }
    Ok(())
}

/// Single writes while a snapshot is reclaimed, or a scrub runs.
async fn beside(busy: &str, engine: &Arc<Engine>, range: u64) -> Result<(), Failure> {
    let id = engine.find_dataset("volume")?;
    let target = Target::Volume(engine.clone(), engine.volume(id));
    let data = random_data();
    let single = Load { settle: false, ..random(Work::Write, 1, range) };
    let until = Until::Time(Duration::from_secs(1));
    let quantiles = |name: &str, mut sample: load::Sample| {
        let us = |share| sample.quantile(share).as_secs_f64() * 1e6;
        let [median, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(us);
        println!("{name}: median {median:.0} us, p99 {p99:.0}, p99.9 {p999:.0}, most {most:.0}");
    };
    quantiles("in quiet", load::run(&target, single, until, &data, 6).await?);
    let began = Instant::now();
    let other = engine.clone();
    let work = match busy {
        "deletion" => {
            let snapshot = engine.snapshot(&[(id, "to be deleted")]).await?[0];
            rig::scatter(&target, range, 0.05, &data).await?;
            engine.delete_snapshot(snapshot).await?;
            tokio::spawn(async move { history::reclaimed(&other).await })
        }
        "scrub" => tokio::spawn(async move { other.scrub(0).await.map(drop).map_err(Failure::from) }),
        _ => return Err(format!("no load is called {busy}").into()),
    };
    while !work.is_finished() && began.elapsed() < Duration::from_secs(20) {
        quantiles(busy, load::run(&target, single, until, &data, 6).await?);
    }
    Ok(())
}
