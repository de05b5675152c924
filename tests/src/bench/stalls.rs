//! How long single writes take while the engine has other work: checkpoints, deletion, scrub.

use super::history::reclaimed;
use super::load::{self, Load, Sample, Target, Until, Work};
use super::report::Goal;
use super::rig;
use super::steady::{random, Bench};
use super::Failure;
use snapshots::{DatasetId, Engine};
use std::sync::Arc;
use std::time::Duration;

/// The part of a volume that is overwritten to give the deletion of a snapshot something to do.
const DELETED: f64 = 0.05;
/// Longest stall that is not the device's, in milliseconds.
const STALL_MS: f64 = 50.0;

impl Bench<'_> {
    /// Rows of single writes during each kind of other work.
    ///
    /// # Errors
    /// The engine's.
    pub async fn stalls(&mut self, stage: &str, engine: &Arc<Engine>, id: DatasetId) -> Result<(), Failure> {
        let range = self.settings.volume;
        let target = Target::Volume(engine.clone(), engine.volume(id));
        self.warm(&target, range).await?;
        let mut raw = match self.raw {
            Some(raw) => self.single_writes(raw, self.settings.rounds as u32).await?,
            None => Sample::default(),
        };
        let raw = [raw.quantile(0.5), raw.quantile(0.999), raw.quantile(1.0)];
        let mut quiet = self.single_writes(&target, self.settings.rounds as u32).await?;
        self.latency_rows(stage, "in quiet", &mut quiet, raw);

        let mut busy = Sample::default();
        for _ in 0..self.settings.rounds {
            let burst = Load { settle: false, ..random(Work::Write, 32, range) };
            load::run(&target, burst, Until::Time(self.settings.round / 2), self.data, 5).await?;
            let other = engine.clone();
            let checkpoint = tokio::spawn(async move { other.checkpoint().await });
            busy.latencies.extend(self.single_writes(&target, 1).await?.latencies);
            checkpoint.await??;
        }
        self.latency_rows(stage, "during checkpoints", &mut busy, raw);

        let snapshot = engine.snapshot(&[(id, "to be deleted")]).await?[0];
        rig::scatter(&target, range, DELETED, self.data).await?;
        engine.delete_snapshot(snapshot).await?;
        let mut busy = self.single_writes(&target, self.settings.rounds as u32).await?;
        self.latency_rows(stage, "during deletion of a snapshot", &mut busy, raw);
        reclaimed(engine).await?;

        let other = engine.clone();
        let scrub = tokio::spawn(async move { other.scrub(0).await });
        let mut busy = Sample::default();
        while !scrub.is_finished() {
            busy.latencies.extend(self.single_writes(&target, 1).await?.latencies);
        }
        scrub.await??;
        self.latency_rows(stage, "during a scrub", &mut busy, raw);
        Ok(())
    }

    async fn single_writes(&self, target: &Target, rounds: u32) -> Result<Sample, Failure> {
        let load = Load { settle: false, ..random(Work::Write, 1, self.settings.volume) };
        load::run(target, load, Until::Time(self.settings.round * rounds), self.data, 6).await
    }

    fn latency_rows(&mut self, stage: &str, when: &str, ours: &mut Sample, raw: [Duration; 3]) {
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        let [median, most] = [ours.quantile(0.5), ours.quantile(1.0)];
        let p999 = ours.quantile(0.999);
        let name = format!("write 4K QD1 {when}: median (raw)");
        self.report.add(stage, &name, (us(median), "us"), Some(us(raw[0])), Goal::None);
        let name = format!("write 4K QD1 {when}: p99.9 (median)");
        self.report.add(stage, &name, (us(p999), "us"), Some(us(median)), Goal::RatioAtMost(10.0));
        let name = format!("write 4K QD1 {when}: p99.9 (raw p99.9)");
        self.report.add(stage, &name, (us(p999), "us"), Some(us(raw[1])), Goal::None);
        let name = format!("write 4K QD1 {when}: worst (raw worst)");
        let (most, device) = (us(most) / 1e3, us(raw[2]) / 1e3);
        self.report.add(stage, &name, (most, "ms"), Some(device), Goal::AtMost(STALL_MS + device));
    }
}
