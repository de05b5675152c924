//! The rows of the table: which load, on whom, against what.

use super::generator::{self, Endpoint, Load};
use super::histogram::Histogram;
use super::servers::{self, Ashlar, Server, CACHED, UNCACHED};
use super::Settings;
use crate::bench::load::{self, Places, Target, Until, Work};
use crate::bench::report::{median, Goal, Report};
use crate::bench::{process, rig, Failure};
use block_layer::device::{DiskOptions, FileDisk};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A volume's worth of writes more than once over, and its history until that is reclaimed.
const POOL_FACTOR: u64 = 2;
/// What a pool needs besides.
const POOL_SPARE: u64 = 1 << 30;

/// All that is measured.
pub struct Bench {
    settings: Settings,
    data: Bytes,
    runtime: tokio::runtime::Runtime,
    ashlar: Server,
    tgt: Server,
    null: Server,
    raw: Target,
}

/// Who does a load.
enum Party<'a> {
    San(&'a Server, Endpoint),
    /// The file system's file itself; with a flush behind each write if so.
    Raw(&'a Target, bool),
}

/// What one does with a load: medians of the rounds.
pub(super) struct Figures {
    /// Commands a second.
    pub(super) rate: f64,
    /// Microseconds of CPU of the server for each.
    cpu: f64,
    /// Median and 99th percentile, in microseconds.
    latency: f64,
    p99: f64,
    /// The slowest session's share of the mean.
    fairness: f64,
}

/// A load of one kind on the whole volume.
fn load(settings: &Settings, write: bool, random: bool, len: usize, depth: usize) -> Load {
    Load { write, random, len, depth, range: settings.volume, flush_every: None }
}

impl Bench {
    /// Starts everybody, with full volumes and files.
    ///
    /// # Errors
    /// Somebody does not start.
    pub fn start(settings: &Settings) -> Result<Bench, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let data = load::random_data();
        let file = |name: &str| -> Result<Target, Failure> {
            let path = settings.dir.join(name);
            let full = path.exists();
            if !full {
                FileDisk::create(&path, settings.volume)?;
            }
            let target = Target::Raw(Arc::new(FileDisk::open(&path, &DiskOptions::default())?));
            if !full {
                runtime.block_on(rig::fill(&target, settings.volume, &data))?;
            }
            Ok(target)
        };
        let raw = file("raw")?;
        drop(file("tgt.img")?);
        let tgt = servers::tgt(settings, &settings.dir.join("tgt.img"))?;
        let null = servers::null(settings)?;
        let place = Ashlar::new(settings, "ashlar");
        let is_new = !settings.dir.join("ashlar/full").exists();
        let (ashlar, _) = place.start()?;
        if is_new {
            place.furnish(POOL_FACTOR * settings.volume + POOL_SPARE, settings.volume)?;
            generator::sweep(&ashlar.endpoint(CACHED), settings.volume, Some(&data))?;
            std::fs::write(settings.dir.join("ashlar/full"), "")?;
        }
        Ok(Bench { settings: settings.clone(), data, runtime, ashlar, tgt, null, raw })
    }

    /// All rows that are wanted.
    ///
    /// # Errors
    /// A server fails.
    pub fn run(&self, report: &mut Report) -> Result<(), Failure> {
        // What only reads comes first: random writes scatter what lay in order.
        self.reads(report)?;
        self.sessions(report)?;
        self.sequential(report)?;
        self.latency(report)?;
        self.writes(report)?;
        self.flushes(report)
    }

    /// A load on the part of the volume that is warmed: twice, since a cache may keep what was asked for
    /// again only.
    fn cached(&self, load: Load) -> Result<Load, Failure> {
        for server in [&self.ashlar, &self.tgt, &self.ashlar] {
            generator::sweep(&server.endpoint(CACHED), self.settings.cached, None)?;
        }
        Ok(Load { range: self.settings.cached, ..load })
    }

    /// Ashlar, tgt and the null target.
    fn three(&self) -> [Party<'_>; 3] {
        [&self.ashlar, &self.tgt, &self.null].map(|server| Party::San(server, server.endpoint(CACHED)))
    }

    fn reads(&self, report: &mut Report) -> Result<(), Failure> {
        let s = &self.settings;
        if s.wants("random read 4K QD32 cached") {
            let load = self.cached(load(s, false, true, 4096, 32))?;
            let three = self.measure(&self.three(), load)?;
            against(report, "random read 4K QD32 cached", "", &three, (3.0, true), Some(0.25));
        }
        if s.wants("random read 64K QD16 cached") {
            let load = self.cached(load(s, false, true, 64 << 10, 16))?;
            let three = self.measure(&self.three(), load)?;
            against(report, "random read 64K QD16 cached", "", &three, (1.5, false), None);
        }
        if s.wants("sequential read 1M QD8 cached") {
            let load = self.cached(load(s, false, false, 1 << 20, 8))?;
            let three = self.measure(&self.three(), load)?;
            against(report, "sequential read 1M QD8 cached", "", &three, (2.0, true), None);
        }
        Ok(())
    }

    fn writes(&self, report: &mut Report) -> Result<(), Failure> {
        let (s, durability) = (&self.settings, "committed | page cache");
        if s.wants("random write 64K QD16") {
            let three = self.measure(&self.three(), load(s, true, true, 64 << 10, 16))?;
            against(report, "random write 64K QD16", durability, &three, (2.0, false), None);
        }
        if s.wants("random write 4K QD32") {
            let load = load(s, true, true, 4096, 32);
            let [a, b, c] = self.three();
            let four = self.measure(&[a, b, c, Party::Raw(&self.raw, false)], load)?;
            let name = "random write 4K QD32";
            against(report, name, durability, &four, (3.0, true), Some(1.0 / 3.0));
            let raw = Some(four[3].rate);
            let figure = (four[0].rate, "IO/s");
            report.add("committed | raw", name, figure, raw, Goal::RatioAtLeast(1.0));
        }
        Ok(())
    }

    fn flushes(&self, report: &mut Report) -> Result<(), Failure> {
        let s = &self.settings;
        let name = "random write 4K QD32, a flush every 32";
        let uncached = "random write 4K QD32, write cache off";
        if !s.wants(name) && !s.wants(uncached) {
            return Ok(());
        }
        let every = Load { flush_every: Some(32), ..load(s, true, true, 4096, 32) };
        let [ashlar, tgt, null] = self.three();
        let three = self.measure(&[ashlar, tgt, null], every)?;
        against(report, name, "durable at flush, both", &three, (2.0, false), None);
        let off = [Party::San(&self.ashlar, self.ashlar.endpoint(UNCACHED))];
        let off = self.measure(&off, load(s, true, true, 4096, 32))?;
        let (figure, peer) = ((off[0].rate, "IO/s"), Some(three[1].rate));
        report.add("durable | at flush", uncached, figure, peer, Goal::RatioAtLeast(2.0));
        report.add("durable", &format!("{uncached}: CPU"), (off[0].cpu, "us"), None, Goal::None);
        Ok(())
    }

    /// By the disk's own measure.
    fn sequential(&self, report: &mut Report) -> Result<(), Failure> {
        let s = &self.settings;
        for (name, write) in [("sequential read 1M QD8 uncached", false), ("sequential write 1M QD8", true)] {
            if s.wants(name) {
                let ashlar = Party::San(&self.ashlar, self.ashlar.endpoint(CACHED));
                let parties = [ashlar, Party::Raw(&self.raw, false)];
                let two = self.measure(&parties, load(s, write, false, 1 << 20, 8))?;
                let (figure, peer) = ((two[0].rate, "MiB/s"), Some(two[1].rate));
                report.add("ashlar | raw", name, figure, peer, Goal::RatioAtLeast(0.9));
                report.add("ashlar", &format!("{name}: CPU"), (two[0].cpu, "us"), None, Goal::None);
            }
        }
        Ok(())
    }

    fn latency(&self, report: &mut Report) -> Result<(), Failure> {
        let s = &self.settings;
        let name = "read 4K QD1 cached: median";
        if s.wants(name) {
            let load = self.cached(load(s, false, true, 4096, 1))?;
            let three = self.measure(&self.three(), load)?;
            let (figure, peer) = ((three[0].latency, "us"), Some(three[1].latency));
            report.add("ashlar | tgt", name, figure, peer, Goal::RatioAtMost(0.7));
            tails(report, "read 4K QD1 cached", &three);
        }
        for (name, initiator, durable) in [
            ("write 4K QD1: median", CACHED, false),
            ("write 4K QD1, write cache off: median", UNCACHED, true),
        ] {
            if s.wants(name) {
                let ashlar = Party::San(&self.ashlar, self.ashlar.endpoint(initiator));
                let null = Party::San(&self.null, self.null.endpoint(CACHED));
                let parties = [ashlar, null, Party::Raw(&self.raw, durable)];
                let three = self.measure(&parties, load(s, true, true, 4096, 1))?;
                let limit = Some(three[2].latency + 1.2 * three[1].latency);
                let figure = (three[0].latency, "us");
                let stage = if durable { "durable | raw+sync, net" } else { "committed | raw, net" };
                report.add(stage, name, figure, limit, Goal::RatioAtMost(1.0));
                tails(report, name, &three);
            }
        }
        Ok(())
    }

    fn sessions(&self, report: &mut Report) -> Result<(), Failure> {
        let name = "4 sessions on 2 portals";
        if !self.settings.wants(name) {
            return Ok(());
        }
        let one = self.ashlar.endpoint(CACHED);
        let [first, second] = &self.ashlar.portals[..] else { return Err("two portals".into()) };
        let portals = [first, first, second, second].map(Clone::clone).to_vec();
        let four = Endpoint { portals, ..one.clone() };
        let load = self.cached(load(&self.settings, false, true, 4096, 32))?;
        let alone = self.measure(&[Party::San(&self.ashlar, one)], load)?;
        let shared = self.measure(&[Party::San(&self.ashlar, four)], Load { depth: 8, ..load })?;
        let (figure, peer) = ((shared[0].rate, "IO/s"), Some(alone[0].rate));
        report.add("four | one", &format!("{name}, reads 4K"), figure, peer, Goal::RatioAtLeast(1.0));
        let figure = (shared[0].fairness, "of mean");
        report.add("slowest session", name, figure, None, Goal::AtLeast(0.5));
        Ok(())
    }

    /// A random read of 4 KiB from what is cached, by two servers in turn.
    pub(super) fn compare(&self, many: &Server) -> Result<(f64, f64), Failure> {
        let parties = [many, &self.ashlar].map(|server| Party::San(server, server.endpoint(CACHED)));
        let load = self.cached(load(&self.settings, false, true, 4096, 32))?;
        let two = self.measure(&parties, load)?;
        Ok((two[0].rate, two[1].rate))
    }

    /// Everybody's medians: they take turns.
    fn measure(&self, parties: &[Party<'_>], load: Load) -> Result<Vec<Figures>, Failure> {
        let mut samples: Vec<Vec<Figures>> = parties.iter().map(|_| Vec::new()).collect();
        for round in 0..self.settings.rounds {
            for (party, samples) in parties.iter().zip(&mut samples) {
                samples.push(self.sample(party, load, round as u64 + 1)?);
            }
        }
        let middle = |samples: &[Figures], of: fn(&Figures) -> f64| median(samples.iter().map(of).collect());
        Ok(samples
            .iter()
            .map(|samples| Figures {
                rate: middle(samples, |f| f.rate),
                cpu: middle(samples, |f| f.cpu),
                latency: middle(samples, |f| f.latency),
                p99: middle(samples, |f| f.p99),
                fairness: middle(samples, |f| f.fairness),
            })
            .collect())
    }

    fn sample(&self, party: &Party<'_>, load: Load, seed: u64) -> Result<Figures, Failure> {
        let time = self.settings.round;
        match party {
            Party::San(server, endpoint) => {
                let before = process::cpu_of(server.pid());
                let outcome = generator::run(endpoint, load, time, &self.data, seed)?;
                let cpu = process::cpu_of(server.pid()).saturating_sub(before);
                let slowest = outcome.sessions.iter().min().copied().unwrap_or(0);
                let mean = outcome.count as f64 / outcome.sessions.len() as f64;
                let fairness = slowest as f64 / mean.max(1.0);
                Ok(figures(outcome.count, outcome.wall, cpu, &outcome.latency, fairness))
            }
            Party::Raw(target, durable) => {
                let work = match (load.write, durable) {
                    (false, _) => Work::Read,
                    (true, false) => Work::Write,
                    (true, true) => Work::WriteFlush,
                };
                let places = if load.random { Places::Random } else { Places::Sequential };
                let Load { len, depth, range, .. } = load;
                let load = load::Load { work, places, len, depth, range, settle: false };
                let sample = load::run(target, load, Until::Time(time), &self.data, seed);
                let sample = self.runtime.block_on(sample)?;
                let mut latency = Histogram::default();
                sample.latencies.iter().for_each(|time| latency.add(*time));
                Ok(figures(sample.count, sample.wall, sample.cpu, &latency, 1.0))
            }
        }
    }
}

fn figures(count: u64, wall: Duration, cpu: Duration, latency: &Histogram, fairness: f64) -> Figures {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    Figures {
        rate: count as f64 / wall.as_secs_f64(),
        cpu: us(cpu) / count.max(1) as f64,
        latency: us(latency.quantile(0.5)),
        p99: us(latency.quantile(0.99)),
        fairness,
    }
}

/// Ashlar against tgt, with the client's limit beside it: `times` tgt's rate, or nine tenths of the limit
/// where that counts; and a share of its CPU.
fn against(
    report: &mut Report,
    name: &str,
    durability: &str,
    figures: &[Figures],
    (times, limit): (f64, bool),
    share: Option<f64>,
) {
    let [ashlar, tgt, null, ..] = figures else { return };
    let goal = match limit {
        true => Goal::Either { times, limit: 0.9 * null.rate },
        false => Goal::RatioAtLeast(times),
    };
    let stage = if durability.is_empty() { "ashlar | tgt" } else { durability };
    report.add(stage, name, (ashlar.rate, "IO/s"), Some(tgt.rate), goal);
    let goal = share.map_or(Goal::None, Goal::RatioAtMost);
    report.add("ashlar | tgt", &format!("{name}: CPU"), (ashlar.cpu, "us"), Some(tgt.cpu), goal);
    report.add("client limit", name, (null.rate, "IO/s"), None, Goal::None);
    report.add("client limit", &format!("{name}: CPU"), (null.cpu, "us"), None, Goal::None);
}

/// What is published beside medians.
fn tails(report: &mut Report, name: &str, figures: &[Figures]) {
    let beside = if figures.len() == 3 { figures[1].p99 } else { 0.0 };
    let name = name.trim_end_matches(": median");
    report.add("ashlar | second", &format!("{name}: p99"), (figures[0].p99, "us"), Some(beside), Goal::None);
}
