//! Opening after `kill -9` with a full journal: a child process fills it and is killed.

use super::load::{self, Load, Target, Until, Work};
use super::report::Goal;
use super::rig::{self, Place};
use super::steady::{random, Bench};
use super::Failure;
use block_layer::index::{Batch, Index, IndexStats, Visit};
use block_layer::{Bytes, IndexError};
use snapshots::{Engine, EngineConfig};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The argument that makes this program the child; the directory follows.
pub const CHILD: &str = "--fill-journal";
/// The journal counts as full when it has not grown for this long, or this part of it is used.
const STILL: Duration = Duration::from_secs(3);
const FULL: f64 = 0.98;

/// An index whose writes never come to an end: no checkpoint empties the journal.
struct Stuck(Arc<dyn Index>);

impl Index for Stuck {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.0.get(key)
    }
    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), IndexError> {
        self.0.scan(from, to, visit)
    }
    fn write(&self, _: Batch) -> Result<(), IndexError> {
        loop {
            std::thread::park();
        }
    }
    fn flush(&self) -> Result<(), IndexError> {
        self.0.flush()
    }
    fn stats(&self) -> IndexStats {
        self.0.stats()
    }
}

/// The child: fills the journal of the pool in `dir`, says so, and goes on until it is killed.
///
/// # Errors
/// As the engine.
pub async fn fill_journal(
    dir: &Path,
    data: &Bytes,
    say: impl Fn(f64) + Send + 'static,
) -> Result<(), Failure> {
    let mut config = EngineConfig::default();
    // The journal is to be what fills up.
    config.store.dirty_bytes = 16 << 30;
    config.store.checkpoint_after = Duration::from_secs(3600);
    let mut parts = Place::new(dir, "kill").parts(config, false)?;
    parts.index = Arc::new(Stuck(parts.index));
    let (engine, _) = Engine::open(parts).await?;
    let target = Target::volume(&engine, "volume")?;
    let size = engine.datasets()[0].size;
    let load = Load { settle: false, ..random(Work::Write, 4, size) };
    let watched = engine.clone();
    tokio::spawn(async move {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let (used, len) = watched.stats().store.journal;
            if used != last {
                (last, since) = (used, Instant::now());
            }
            if since.elapsed() > STILL || used as f64 > FULL * len as f64 {
                return say(used as f64 / len as f64);
            }
        }
    });
    load::run(&target, load, Until::Time(Duration::from_secs(3600)), data, 7).await.map(drop)
}

impl Bench<'_> {
    /// The row of opening after the kill.
    ///
    /// # Errors
    /// The engine's, or the child's.
    pub async fn recovery(&mut self, place: &Place) -> Result<(), Failure> {
        let size = self.settings.small_volume;
        let engine = place.create((3 * size).max(5 << 30), EngineConfig::default()).await?;
        rig::full_volume(&engine, "volume", size, self.data).await?;
        rig::close(engine).await?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg(CHILD)
            .arg(&self.settings.dir)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut full = String::new();
        let out = child.stdout.take().expect("it was asked for");
        let said = BufReader::new(out).read_line(&mut full);
        // SIGKILL, by its own id.
        child.kill()?;
        child.wait()?;
        said?;
        let full: f64 = full.trim().parse().map_err(|_| "the child ended before the journal was full")?;
        let start = Instant::now();
        let engine = place.open(EngineConfig::default()).await?;
        let time = start.elapsed().as_secs_f64();
        let name = format!("open after kill -9, journal {:.0} % full", full * 100.0);
        self.report.add("recovery", &name, (time, "s"), None, Goal::AtMost(5.0));
        rig::close(engine).await
    }
}
