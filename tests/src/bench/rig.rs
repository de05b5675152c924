//! The rig: the raw file, and engines on files beside it.

use super::load::{self, Load, Places, Target, Until, Work};
use super::{Failure, Settings};
use block_layer::device::{DiskOptions, FileDisk};
use block_layer::format::PoolName;
use block_layer::index::{Index, IndexOptions, RocksIndex};
use block_layer::pool::{CreateOptions, Layout};
use block_layer::runtime::TokioRuntime;
use block_layer::Bytes;
use snapshots::engine::MERGE_RULES;
use snapshots::{Engine, EngineConfig, EngineParts, Volume};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where an engine keeps its files.
#[derive(Clone, Debug)]
pub struct Place {
    disk: PathBuf,
    index: PathBuf,
}

impl Place {
    /// The place of this name in `dir`.
    #[must_use]
    pub fn new(dir: &Path, name: &str) -> Place {
        Place { disk: dir.join(format!("{name}.pool")), index: dir.join(format!("{name}.index")) }
    }

    /// Removes what is there.
    pub fn remove(&self) {
        // What was never made need not go.
        let _ = std::fs::remove_file(&self.disk);
        let _ = std::fs::remove_dir_all(&self.index);
    }

    /// The parts of the engine there; `fresh` makes its index.
    ///
    /// # Errors
    /// What the file system or the index says.
    pub fn parts(&self, config: EngineConfig, fresh: bool) -> Result<EngineParts, Failure> {
        let disk = FileDisk::open(&self.disk, &DiskOptions::default())?;
        let options = IndexOptions { rules: MERGE_RULES, ..IndexOptions::default() };
        let index = if fresh {
            RocksIndex::create(&self.index, options)?
        } else {
            RocksIndex::open(&self.index, options)?
        };
        let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
        Ok(EngineParts {
            runtime,
            disks: vec![Arc::new(disk)],
            index: Arc::new(index) as Arc<dyn Index>,
            config,
        })
    }

    /// Bytes of the index once compactions have done what they can. The engine is closed.
    ///
    /// # Errors
    /// As the index.
    pub fn compacted_index(&self) -> Result<u64, Failure> {
        let options = IndexOptions { rules: MERGE_RULES, ..IndexOptions::default() };
        let index = RocksIndex::open(&self.index, options)?;
        index.compact();
        Ok(index.stats().disk_bytes)
    }

    /// Makes an engine there on a file of `len` bytes.
    ///
    /// # Errors
    /// As the engine.
    pub async fn create(&self, len: u64, config: EngineConfig) -> Result<Arc<Engine>, Failure> {
        self.remove();
        FileDisk::create(&self.disk, len)?;
        let options =
            CreateOptions { name: PoolName::new("bench")?, layout: Layout::default(), force: false };
        Ok(Engine::create(self.parts(config, true)?, &options).await?)
    }

    /// Opens the engine there.
    ///
    /// # Errors
    /// As the engine.
    pub async fn open(&self, config: EngineConfig) -> Result<Arc<Engine>, Failure> {
        Ok(Engine::open(self.parts(config, false)?).await?.0)
    }
}

/// Closes an engine and waits until its files are free.
///
/// # Errors
/// As the engine.
pub async fn close(engine: Arc<Engine>) -> Result<(), Failure> {
    engine.close().await?;
    let watch = Arc::downgrade(&engine);
    drop(engine);
    while watch.upgrade().is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // The store's own tasks let go of it when they look up next.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    Ok(())
}

/// The raw file, of the volume's size, fully written.
pub struct Raw {
    path: PathBuf,
    /// The file as a target.
    pub target: Target,
}

impl Raw {
    /// Makes it.
    ///
    /// # Errors
    /// What the device says.
    pub async fn create(settings: &Settings, data: &Bytes) -> Result<Raw, Failure> {
        let path = settings.dir.join("raw");
        let _ = std::fs::remove_file(&path);
        FileDisk::create(&path, settings.volume)?;
        let target = Target::Raw(Arc::new(FileDisk::open(&path, &DiskOptions::default())?));
        fill(&target, settings.volume, data).await?;
        Ok(Raw { path, target })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Writes a target full from its start, in order, and flushes it.
///
/// # Errors
/// The target's.
pub async fn fill(target: &Target, len: u64, data: &Bytes) -> Result<(), Failure> {
    let load = Load {
        work: Work::Write,
        places: Places::Sequential,
        len: 1 << 20,
        depth: 8,
        range: len,
        settle: true,
    };
    load::run(target, load, Until::Count(len >> 20), data, 1).await.map(drop)
}

/// Writes each block of a target `times` times on average, at random.
///
/// # Errors
/// The target's.
pub async fn scatter(target: &Target, len: u64, times: f64, data: &Bytes) -> Result<(), Failure> {
    let load =
        Load { work: Work::Write, places: Places::Random, len: 4096, depth: 32, range: len, settle: true };
    let count = (len as f64 / 4096.0 * times) as u64;
    load::run(target, load, Until::Count(count), data, 2).await.map(drop)
}

/// A new volume of `len` bytes, written full.
///
/// # Errors
/// As the engine.
pub async fn full_volume(
    engine: &Arc<Engine>,
    name: &str,
    len: u64,
    data: &Bytes,
) -> Result<Volume, Failure> {
    let id = engine.create_dataset(name, 1, len, b"").await?;
    let volume = engine.volume(id);
    fill(&Target::Volume(engine.clone(), volume.clone()), len, data).await?;
    Ok(volume)
}
