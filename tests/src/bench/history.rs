//! What snapshots and clones cost: making them, the first write behind them, and living with thousands.

use super::load::{self, Load, Places, Sample, Target, Until, Work};
use super::report::{median, Goal};
use super::rig::{self, Place};
use super::steady::{figures, random, sequential, Bench};
use super::Failure;
use snapshots::{DatasetId, Engine, EngineConfig};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Snapshots and clones that are made for one figure.
const MADE: usize = 30;
/// What "a hundred snapshots" are.
const FEW: usize = 100;

/// Waits until nothing deleted waits for its reclaim.
///
/// # Errors
/// The engine's.
pub async fn reclaimed(engine: &Engine) -> Result<(), Failure> {
    while engine.stats().dying > 0 {
        if let Some(reason) = engine.failure() {
            return Err(reason.into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Bench<'_> {
    /// Rows of making snapshots and clones of `full`, beside those of an empty volume.
    ///
    /// # Errors
    /// The engine's.
    pub async fn creation(
        &mut self,
        stage: &str,
        engine: &Arc<Engine>,
        full: DatasetId,
    ) -> Result<(), Failure> {
        let small = engine.create_dataset("small", 1, 1 << 20, b"").await?;
        let (mut snapshots, mut clones) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for n in 0..MADE {
            for (which, dataset) in [small, full].into_iter().enumerate() {
                let start = Instant::now();
                let snapshot = engine.snapshot(&[(dataset, &format!("made-{n}"))]).await?[0];
                snapshots[which].push(ms(start.elapsed()));
                let start = Instant::now();
                let clone = engine.clone_snapshot(snapshot, &format!("clone-{which}-{n}"), 1, b"").await?;
                clones[which].push(ms(start.elapsed()));
                engine.delete_dataset(clone, true).await?;
                engine.delete_snapshot(snapshot).await?;
            }
        }
        engine.delete_dataset(small, true).await?;
        reclaimed(engine).await?;
        for (name, [small, full]) in [("create snapshot", snapshots), ("create clone", clones)] {
            let (small, full) = (median(small), median(full));
            self.report.add(stage, &format!("{name}, small volume"), (small, "ms"), None, Goal::AtMost(10.0));
            let name = format!("{name}, full volume (small beside)");
            self.report.add(stage, &name, (full, "ms"), Some(small), Goal::AtMost(10.0));
        }
        Ok(())
    }

    /// Rows of the first write to each page behind a snapshot and in a clone, beside the same without.
    ///
    /// # Errors
    /// The engine's.
    pub async fn first_writes(
        &mut self,
        stage: &str,
        engine: &Arc<Engine>,
        id: DatasetId,
    ) -> Result<(), Failure> {
        let range = self.settings.volume;
        let live = Target::Volume(engine.clone(), engine.volume(id));
        self.warm(&live, range).await?;
        let (mut steady, mut behind, mut cloned) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..self.settings.rounds as u64 {
            steady.push(self.each_page(&live, range, round).await?);
            let snapshot = engine.snapshot(&[(id, "first")]).await?[0];
            behind.push(self.each_page(&live, range, round).await?);
            let clone = engine.clone_snapshot(snapshot, "first", 1, b"").await?;
            let target = Target::Volume(engine.clone(), engine.volume(clone));
            cloned.push(self.each_page(&target, range, round).await?);
            engine.delete_dataset(clone, true).await?;
            engine.delete_snapshot(snapshot).await?;
            reclaimed(engine).await?;
        }
        let steady = figures(&steady);
        for (what, samples) in [("after a snapshot", behind), ("into a clone", cloned)] {
            let ours = figures(&samples);
            let name = format!("first write to each page {what}");
            let figure = (ours.per_second, "IO/s");
            self.report.add(stage, &name, figure, Some(steady.per_second), Goal::RatioAtLeast(0.9));
            let name = format!("{name}: CPU");
            self.report.add(stage, &name, (ours.cpu_us, "us/IO"), Some(steady.cpu_us), Goal::None);
        }
        Ok(())
    }

    async fn each_page(&self, target: &Target, range: u64, round: u64) -> Result<Sample, Failure> {
        let each = Load { places: Places::EachPage, ..random(Work::Write, 32, range) };
        load::run(target, each, Until::Count(range >> 20), self.data, 300 + round).await
    }

    /// A pool with volumes that differ in their history only, side by side.
    ///
    /// # Errors
    /// The engine's.
    pub async fn histories(&mut self, place: &Place) -> Result<(), Failure> {
        let range = self.settings.small_volume;
        let engine = place.create(10 * range, EngineConfig::default()).await?;
        let mut targets = Vec::new();
        for (name, snapshots) in [("plain", 0), ("few", FEW), ("many", self.settings.snapshots)] {
            let volume = rig::full_volume(&engine, name, range, self.data).await?;
            let target = Target::Volume(engine.clone(), volume.clone());
            let start = Instant::now();
            for n in 0..snapshots {
                load::run(
                    &target,
                    Load { settle: false, ..random(Work::Write, 1, range) },
                    Until::Count(1),
                    self.data,
                    n as u64,
                )
                .await?;
                engine.snapshot(&[(volume.dataset(), &format!("s{n}"))]).await?;
            }
            if snapshots > FEW {
                let each = ms(start.elapsed()) / snapshots as f64;
                let name = format!("a write and a snapshot, mean of {snapshots}");
                self.report.add("history", &name, (each, "ms"), None, Goal::AtMost(10.0));
            }
            targets.push((format!("{snapshots} snapshots"), target));
        }
        let base = engine.find_dataset("plain")?;
        let clone = self.clone_of(&engine, base, "clone").await?;
        let clone = self.clone_of(&engine, clone, "clone of a clone").await?;
        targets.push(("clone of a clone".into(), Target::Volume(engine.clone(), engine.volume(clone))));
        engine.checkpoint().await?;
        for (name, load) in [
            ("random write 4K QD32", random(Work::Write, 32, range)),
            ("write 4K + flush QD1", random(Work::WriteFlush, 1, range)),
            ("random read 4K QD32", random(Work::Read, 32, range)),
            ("sequential read 1M", sequential(Work::Read, range)),
        ] {
            self.beside(name, load, &targets).await?;
        }
        drop(targets);
        rig::close(engine).await
    }

    async fn clone_of(
        &self,
        engine: &Arc<Engine>,
        from: DatasetId,
        name: &str,
    ) -> Result<DatasetId, Failure> {
        let snapshot = engine.snapshot(&[(from, "origin")]).await?[0];
        let clone = engine.clone_snapshot(snapshot, name, 1, b"").await?;
        let target = Target::Volume(engine.clone(), engine.volume(clone));
        rig::scatter(&target, self.settings.small_volume, 0.02, self.data).await?;
        Ok(clone)
    }

    /// One load on all targets in turn; the first is what the others are held against.
    async fn beside(&mut self, name: &str, load: Load, targets: &[(String, Target)]) -> Result<(), Failure> {
        let mut samples: Vec<Vec<Sample>> = targets.iter().map(|_| Vec::new()).collect();
        for (_, target) in targets {
            self.warm(target, load.range).await?;
        }
        for round in 0..self.settings.rounds as u64 {
            for ((_, target), samples) in targets.iter().zip(&mut samples) {
                samples
                    .push(load::run(target, load, Until::Time(self.settings.round), self.data, round).await?);
            }
        }
        let first = figures(&samples[0]);
        for ((stage, _), samples) in targets.iter().zip(&samples) {
            let ours = figures(samples);
            let figure = (ours.per_second, "IO/s");
            self.report.add(stage, name, figure, Some(first.per_second), Goal::RatioAtLeast(0.9));
            let name = format!("{name}: CPU");
            self.report.add(stage, &name, (ours.cpu_us, "us/IO"), Some(first.cpu_us), Goal::None);
        }
        Ok(())
    }
}
