//! Opening after `kill -9`, with a full journal and amid writes at full speed: a child process is killed.

use super::load::{self, Load, Target, Until, Work};
use super::report::Goal;
use super::rig::{self, Place};
use super::steady::{random, Bench};
use super::Failure;
use block_layer::index::{Batch, Index, IndexStats, Lookup, Visit};
use block_layer::{Bytes, IndexError};
use snapshots::{Engine, EngineConfig};
use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The argument that makes this program the child; the directory follows, and how full the journal is to be.
pub const CHILD: &str = "--fill-journal";
/// The journal counts as full when it has not grown for this long.
const STILL: Duration = Duration::from_secs(3);
/// How full the journal is when the child is killed: before the throttle slows the writes down, so that as
/// much as can be is not flushed; and full.
const FILLED: [f64; 2] = [0.45, 0.95];
/// The pool's file, at least: on one of 4 GiB the ring has its usual size.
const FILE_MIN: u64 = 5 << 30;
/// How long the writes of a killed process may take to drain.
const DRAIN: Duration = Duration::from_secs(30);

/// Many to a batch: the throttle, which waits before each batch, would else need minutes for the rest.
const DEPTH: usize = 256;

/// An index whose writes never come to an end: no checkpoint empties the journal.
struct Stuck(Arc<dyn Index>);

impl Index for Stuck {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.0.get(key)
    }
    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), IndexError> {
        self.0.scan(from, to, visit)
    }
    fn lookup(&self, ranges: &[Range<Vec<u8>>], visit: Lookup<'_>) -> Result<(), IndexError> {
        self.0.lookup(ranges, visit)
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

/// The child: fills the journal of the pool in `dir` up to `filled`, says so, and goes on until it is killed.
///
/// # Errors
/// As the engine.
pub async fn fill_journal(
    dir: &Path,
    data: &Bytes,
    filled: f64,
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
    let load = Load { settle: false, ..random(Work::Write, DEPTH, size) };
    let watched = engine.clone();
    tokio::spawn(async move {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let (used, len) = watched.stats().store.journal;
            if used != last {
                (last, since) = (used, Instant::now());
            }
            if since.elapsed() > STILL || used as f64 > filled * len as f64 {
                return say(used as f64 / len as f64);
            }
        }
    });
    load::run(&target, load, Until::Time(Duration::from_secs(3600)), data, 7).await.map(drop)
}

impl Bench<'_> {
    /// The rows of opening after a kill.
    ///
    /// # Errors
    /// The engine's, or the child's.
    pub async fn recovery(&mut self, place: &Place) -> Result<(), Failure> {
        let size = self.settings.small_volume;
        let engine = place.create(FILE_MIN.max(5 * size), EngineConfig::default()).await?;
        rig::full_volume(&engine, "volume", size, self.data).await?;
        rig::close(engine).await?;
        for filled in FILLED {
            let full = self.killed(filled)?;
            let (drained, time, engine) = reopened(place).await?;
            self.report.add("recovery", "device free after kill -9", (drained, "s"), None, Goal::None);
            let ring = engine.stats().store.journal.1 >> 20;
            let name = format!("open after kill -9, {ring} MiB journal {:.0} % full", full * 100.0);
            self.report.add("recovery", &name, (time, "s"), None, Goal::AtMost(5.0));
            rig::close(engine).await?;
        }
        Ok(())
    }

    /// Has a child fill the journal and kills it; how full the journal was.
    fn killed(&self, filled: f64) -> Result<f64, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(CHILD)
            .arg(&self.settings.dir)
            .arg(filled.to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut full = String::new();
        let out = child.stdout.take().expect("it was asked for");
        let said = BufReader::new(out).read_line(&mut full);
        // SIGKILL, by its own id.
        child.kill()?;
        child.wait()?;
        said?;
        Ok(full.trim().parse().map_err(|_| "the child ended before the journal was full")?)
    }
}

/// Opens the engine of a killed process: how long its last writes took to drain, and the open, in seconds.
async fn reopened(place: &Place) -> Result<(f64, f64, Arc<Engine>), Failure> {
    let killed = Instant::now();
    loop {
        let start = Instant::now();
        match place.open(EngineConfig::default()).await {
            Ok(engine) => {
                let time = start.elapsed().as_secs_f64();
                return Ok((killed.elapsed().as_secs_f64() - time, time, engine));
            }
            // The lock goes when the kernel has done the last write of the dead.
            Err(_) if killed.elapsed() < DRAIN => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(e) => return Err(e),
        }
    }
}
