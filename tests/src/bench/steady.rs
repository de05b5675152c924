//! The rows of a volume in a steady state: reads and writes, beside the raw file.

use super::load::{self, Load, Places, Sample, Target, Until, Work};
use super::report::{median, Goal, Report};
use super::{Failure, Settings};
use block_layer::Bytes;

/// Medians of one load on one target.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// How many a second.
    pub per_second: f64,
    /// CPU microseconds of each.
    pub cpu_us: f64,
}

/// What the rows share.
pub struct Bench<'a> {
    /// How much.
    pub settings: &'a Settings,
    /// What is written.
    pub data: &'a Bytes,
    /// The raw file; without it rows have no peer.
    pub raw: Option<&'a Target>,
    /// Where rows go.
    pub report: &'a mut Report,
}

/// A load of 4 KiB each, at random.
#[must_use]
pub fn random(work: Work, depth: usize, range: u64) -> Load {
    Load { work, places: Places::Random, len: 4096, depth, range, settle: true }
}

/// A load of 1 MiB each, in order.
#[must_use]
pub fn sequential(work: Work, range: u64) -> Load {
    Load { work, places: Places::Sequential, len: 1 << 20, depth: 4, range, settle: true }
}

impl Bench<'_> {
    /// Both take turns, for all rounds; the raw one's figures are none when there is no raw file.
    ///
    /// # Errors
    /// The targets'.
    pub async fn turns(
        &mut self,
        load: Load,
        engine: &Target,
    ) -> Result<(Figures, Option<Figures>), Failure> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..self.settings.rounds as u64 {
            ours.push(self.round(engine, load, round).await?);
            if let Some(raw) = self.raw {
                theirs.push(self.round(raw, load, round).await?);
            }
        }
        Ok((figures(&ours), (!theirs.is_empty()).then(|| figures(&theirs))))
    }

    async fn round(&self, target: &Target, load: Load, round: u64) -> Result<Sample, Failure> {
        load::run(target, load, Until::Time(self.settings.round), self.data, 100 + round).await
    }

    /// A row of I/Os a second, and one of CPU for each.
    ///
    /// # Errors
    /// The target's.
    pub async fn rate(
        &mut self,
        stage: &str,
        name: &str,
        load: Load,
        target: &Target,
        (rate, cpu): (Goal, Goal),
    ) -> Result<(), Failure> {
        if !self.settings.wants_row(name) {
            return Ok(());
        }
        let (ours, raw) = self.turns(load, target).await?;
        self.report.add(stage, name, (ours.per_second, "IO/s"), raw.map(|raw| raw.per_second), rate);
        let name = format!("{name}: CPU");
        self.report.add(stage, &name, (ours.cpu_us, "us/IO"), raw.map(|raw| raw.cpu_us), cpu);
        Ok(())
    }

    /// The rows that need the whole map in memory.
    ///
    /// # Errors
    /// The target's.
    pub async fn warm_rows(&mut self, stage: &str, target: &Target, range: u64) -> Result<(), Failure> {
        self.warm(target, range).await?;
        // In order first: what random writes scatter is never read in order again.
        let goals = (Goal::RatioAtLeast(0.9), Goal::None);
        self.rate(stage, "sequential write 1M", sequential(Work::Write, range), target, goals).await?;
        self.rate(stage, "sequential read 1M", sequential(Work::Read, range), target, goals).await?;
        self.flush_row(stage, target, range).await?;
        let write = (Goal::RatioAtLeast(1.0), Goal::AtMost(15.0));
        self.rate(stage, "random write 4K QD32, warm map", random(Work::Write, 32, range), target, write)
            .await?;
        let name = "random read 4K QD32 uncached, warm map";
        self.rate(stage, name, random(Work::Read, 32, range), target, goals).await?;
        Ok(())
    }

    /// The rows that find next to nothing of the map in memory.
    ///
    /// # Errors
    /// The target's.
    pub async fn cold_rows(&mut self, stage: &str, target: &Target, range: u64) -> Result<(), Failure> {
        let goals = (Goal::None, Goal::AtMost(45.0));
        self.rate(stage, "random write 4K QD32, cold map", random(Work::Write, 32, range), target, goals)
            .await?;
        let goals = (Goal::RatioAtLeast(0.5), Goal::None);
        let name = "random read 4K QD32 uncached, cold map";
        self.rate(stage, name, random(Work::Read, 32, range), target, goals).await?;
        Ok(())
    }

    /// Writes that are flushed one by one: held against the raw file by their time.
    async fn flush_row(&mut self, stage: &str, target: &Target, range: u64) -> Result<(), Failure> {
        let name = "write 4K + flush QD1: time";
        if !self.settings.wants_row(name) {
            return Ok(());
        }
        let (ours, raw) = self.turns(random(Work::WriteFlush, 1, range), target).await?;
        let us = |f: Figures| 1e6 / f.per_second;
        self.report.add(stage, name, (us(ours), "us"), raw.map(us), Goal::RatioAtMost(1.3));
        Ok(())
    }

    /// Reads that all find their block in memory, one at a time on one core.
    ///
    /// # Errors
    /// The target's.
    pub async fn cached_row(&mut self, stage: &str, target: &Target, range: u64) -> Result<(), Failure> {
        let range = range.min(self.settings.cached);
        let fill = Load { len: 64 << 10, ..sequential(Work::Read, range) };
        for _ in 0..2 {
            load::run(target, fill, Until::Count(range >> 16), self.data, 3).await?;
        }
        let raw = self.raw.take();
        let goals = (Goal::AtLeast(500_000.0), Goal::None);
        self.rate(stage, "random read 4K cached, one core", random(Work::Read, 1, range), target, goals)
            .await?;
        self.raw = raw;
        Ok(())
    }

    /// Brings every map page into memory.
    ///
    /// # Errors
    /// The target's.
    pub async fn warm(&self, target: &Target, range: u64) -> Result<(), Failure> {
        let each = Load { places: Places::EachPage, ..random(Work::Read, 32, range) };
        load::run(target, each, Until::Count(range >> 20), self.data, 4).await.map(drop)
    }
}

/// The medians of some samples.
#[must_use]
pub fn figures(samples: &[Sample]) -> Figures {
    Figures {
        per_second: median(samples.iter().map(Sample::per_second).collect()),
        cpu_us: median(samples.iter().map(Sample::cpu_us).collect()),
    }
}
