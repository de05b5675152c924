//! A load: what is done, how much of it at a time, and for how long; and what came of it.

use super::{process, Failure};
use crate::sim::Rng;
use block_layer::device::FileDisk;
use block_layer::{Buf, Bytes, Disk};
use snapshots::{Engine, Volume};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Writes, each followed by a flush.
    WriteFlush,
}

/// Where it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// Anywhere, uniformly.
    Random,
    /// One after the other.
    Sequential,
    /// Once in each MiB, in no order: one block of each map page.
    EachPage,
}

/// A load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What is done.
    pub work: Work,
    /// Where.
    pub places: Places,
    /// Bytes each time.
    pub len: usize,
    /// How many at a time.
    pub depth: usize,
    /// Bytes of the target that are used, from its start.
    pub range: u64,
    /// Whether a checkpoint behind it belongs to it.
    pub settle: bool,
}

/// When a load ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this time.
    Time(Duration),
    /// After so many.
    Count(u64),
}

/// What is loaded.
#[derive(Clone)]
pub enum Target {
    /// The file itself.
    Raw(Arc<FileDisk>),
    /// A volume of an engine.
    Volume(Arc<Engine>, Volume),
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// How many were done.
    pub count: u64,
    /// How long it took, the last flush included.
    pub wall: Duration,
    /// CPU time of the process meanwhile, and of the checkpoint behind it.
    pub cpu: Duration,
    /// What each took, in no order; only kept for loads one at a time.
    pub latencies: Vec<Duration>,
}

impl Sample {
    /// How many a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.wall.as_secs_f64()
    }

    /// CPU microseconds of each.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count.max(1) as f64
    }

    /// The latency that this share of them did not exceed; sorts.
    pub fn quantile(&mut self, share: f64) -> Duration {
        self.latencies.sort_unstable();
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * share) as usize).copied().unwrap_or_default()
    }
}

/// Bytes that look random, to be written: slices of it, so that making data costs nothing in the loop.
#[must_use]
pub fn random_data() -> Bytes {
    let mut rng = Rng::new(0x000D_A7A0);
    let mut data = Buf::zeroed(32 << 20);
    data.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&rng.next().to_le_bytes()));
    data.freeze()
}

impl Target {
    /// A dataset's block data.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn volume(engine: &Arc<Engine>, name: &str) -> Result<Target, Failure> {
        Ok(Target::Volume(engine.clone(), engine.volume(engine.find_dataset(name)?)))
    }

    async fn read(&self, at: u64, buf: Buf) -> Result<Buf, Failure> {
        match self {
            Target::Raw(disk) => Ok(disk.read(at, buf).await?),
            Target::Volume(_, volume) => Ok(volume.read(at, buf).await?),
        }
    }

    async fn write(&self, at: u64, data: Bytes) -> Result<(), Failure> {
        match self {
            Target::Raw(disk) => Ok(disk.write(at, vec![data]).await?),
            Target::Volume(_, volume) => Ok(volume.write(at, data, &Default::default()).await?),
        }
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// The device's or the engine's.
    pub async fn flush(&self) -> Result<(), Failure> {
        match self {
            Target::Raw(disk) => Ok(disk.flush().await?),
            Target::Volume(engine, _) => {
                let _durable = engine.flush().await?;
                Ok(())
            }
        }
    }

    /// What a load leaves to be done later is done now, so that its CPU time counts.
    async fn settle(&self) -> Result<(), Failure> {
        match self {
            Target::Raw(_) => Ok(()),
            Target::Volume(engine, _) => Ok(engine.checkpoint().await?),
        }
    }
}

/// What the workers of a load share.
struct Run {
    load: Load,
    until: Until,
    start: Instant,
    data: Bytes,
    begun: Cell<u64>,
    done: Cell<u64>,
    latencies: RefCell<Vec<Duration>>,
    /// The pages in the order in which [`Places::EachPage`] goes through them.
    pages: Vec<u32>,
}

impl Run {
    /// The number of the next one, while there is a next one.
    fn next(&self) -> Option<u64> {
        let n = self.begun.get();
        let more = match self.until {
            Until::Count(count) => n < count,
            // The clock is looked at every eighth time: a cached read takes little longer than the look.
            Until::Time(time) => n % 8 != 0 || self.start.elapsed() < time,
        };
        self.begun.set(n + 1);
        more.then_some(n)
    }

    fn place(&self, n: u64, rng: &mut Rng) -> u64 {
        let len = self.load.len as u64;
        match self.load.places {
            Places::Random => rng.below(self.load.range / len) * len,
            Places::Sequential => n % (self.load.range / len) * len,
            Places::EachPage => {
                let page = u64::from(self.pages[n as usize % self.pages.len()]);
                (page << 20) + rng.below((1 << 20) / len) * len
            }
        }
    }
}

/// Does `load` on `target`. `seed` decides the places.
///
/// # Errors
/// The first one of the target.
pub async fn run(
    target: &Target,
    load: Load,
    until: Until,
    data: &Bytes,
    seed: u64,
) -> Result<Sample, Failure> {
    let mut rng = Rng::new(seed);
    let cpu = process::cpu();
    let run = Rc::new(Run {
        load,
        until,
        start: Instant::now(),
        data: data.clone(),
        begun: Cell::new(0),
        done: Cell::new(0),
        latencies: RefCell::default(),
        pages: if load.places == Places::EachPage {
            shuffled(load.range >> 20, &mut rng)
        } else {
            Vec::new()
        },
    });
    let local = tokio::task::LocalSet::new();
    let workers: Vec<_> =
        (0..load.depth).map(|_| local.spawn_local(work(target.clone(), run.clone(), rng.fork()))).collect();
    let joined = async {
        for worker in workers {
            worker.await??;
        }
        Ok::<(), Failure>(())
    };
    local.run_until(joined).await?;
    if load.work != Work::Read {
        target.flush().await?;
    }
    let wall = run.start.elapsed();
    if load.work != Work::Read && load.settle {
        target.settle().await?;
    }
    Ok(Sample { count: run.done.get(), wall, cpu: process::cpu() - cpu, latencies: run.latencies.take() })
}

fn shuffled(pages: u64, rng: &mut Rng) -> Vec<u32> {
    let mut order: Vec<u32> = (0..pages as u32).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, rng.below(last as u64 + 1) as usize);
    }
    order
}

async fn work(target: Target, run: Rc<Run>, mut rng: Rng) -> Result<(), Failure> {
    let Load { work, len, depth, .. } = run.load;
    let mut buf = Some(Buf::zeroed(len));
    while let Some(n) = run.next() {
        let at = run.place(n, &mut rng);
        let start = (depth == 1).then(Instant::now);
        match work {
            Work::Read => buf = Some(target.read(at, buf.take().expect("it came back")).await?),
            Work::Write | Work::WriteFlush => {
                let from = rng.below(((run.data.len() - len) / 4096 + 1) as u64) as usize * 4096;
                target.write(at, run.data.slice(from..from + len)).await?;
            }
        }
        if work == Work::WriteFlush {
            target.flush().await?;
        }
        if let Some(start) = start {
            run.latencies.borrow_mut().push(start.elapsed());
        }
        run.done.set(run.done.get() + 1);
        // Cached reads never wait: the engine's own tasks on this thread must have their turn.
        if n % 64 == 63 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
