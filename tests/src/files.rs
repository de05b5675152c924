//! A place for pools on real files, and engines on them: RocksDB, tokio, and whatever drives a file here.

use crate::sim::Rng;
use block_layer::device::FileDisk;
use block_layer::format::PoolName;
use block_layer::pool::{CreateOptions, Layout};
use block_layer::runtime::TokioRuntime;
use block_layer::{Buf, Bytes};
use snapshots::engine::PoolFiles;
use snapshots::{Engine, EngineConfig, EngineParts};
use std::error::Error;
use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// Bytes of the volumes that [`fill`] makes.
pub const SIZE: u64 = 8 * MIB;
const NOTHING_ELSE: &str = "a test's own files do as they are told";

/// What can go wrong, in words.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A directory with devices and indexes, removed at the end.
pub struct Place(PathBuf);

impl Place {
    /// An empty one, for the test of this name.
    #[must_use]
    pub fn new(test: &str) -> Place {
        let dir = std::env::temp_dir().join(format!("ashlar-{test}-{}", std::process::id()));
        // It is there only if a test of the same process number died.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect(NOTHING_ELSE);
        Place(dir)
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The named devices and the index of that name.
    #[must_use]
    pub fn pool(&self, devices: &[&str], index: &str) -> PoolFiles {
        let mut files = PoolFiles::new(devices.iter().map(|d| self.path(d)).collect(), self.path(index));
        files.patience = Duration::ZERO;
        files
    }

    /// Makes a pool of new devices of these sizes and puts something in it; it is closed again.
    pub async fn make(&self, devices: &[(&str, u64)], index: &str) -> PoolFiles {
        for (name, len) in devices {
            FileDisk::create(&self.path(name), *len).expect(NOTHING_ELSE);
        }
        let files = self.pool(&devices.iter().map(|(name, _)| *name).collect::<Vec<_>>(), index);
        let engine = create(&files, false).await.expect("it is made of new files");
        fill(&engine, 1).await.expect("there is room");
        engine.close().await.expect("it works");
        files
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a test on tokio.
pub fn on_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the system has what tokio needs").block_on(test);
}

/// Opens devices and index, now.
///
/// # Errors
/// What stands in the way.
pub fn parts(files: &PoolFiles, new: bool) -> Outcome<EngineParts> {
    let (disks, index) = if new { files.open_new(&mut |_| {})? } else { files.open(&mut |_| {})? };
    let mut config = EngineConfig::default();
    config.store.reserve_bytes = 64 << 10;
    config.store.index_reserve_bytes = 1 << 20;
    let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
    Ok(EngineParts { runtime, disks, index, config })
}

/// Opens devices and index. What a closed engine had may still be in use for a moment.
///
/// # Errors
/// What stands in the way.
pub async fn parts_when_free(files: &PoolFiles, new: bool) -> Outcome<EngineParts> {
    for _ in 0..500 {
        match parts(files, new) {
            Err(e) if e.to_string().contains("in use") => tokio::time::sleep(Duration::from_millis(10)).await,
            parts => return parts,
        }
    }
    parts(files, new)
}

/// Makes a pool of devices that are there, with a small journal.
///
/// # Errors
/// What stands in the way.
pub async fn create(files: &PoolFiles, force: bool) -> Outcome<Arc<Engine>> {
    let layout = Layout { ring_len: Some(MIB) };
    let options = CreateOptions { name: PoolName::new("files")?, layout, force };
    Ok(Engine::create(parts_when_free(files, true).await?, &options).await?)
}

/// Opens a pool; what there is to warn of comes with it.
///
/// # Errors
/// What stands in the way.
pub async fn open(files: &PoolFiles) -> Outcome<(Arc<Engine>, Vec<String>)> {
    let (engine, warnings) = Engine::open(parts_when_free(files, false).await?).await?;
    Ok((engine, warnings.iter().map(ToString::to_string).collect()))
}

/// The text of the error that opening gives; it must name all of `names`.
///
/// # Panics
/// When it opens, or does not name one.
pub async fn refused(files: &PoolFiles, names: &[&str]) -> String {
    let text = match open(files).await {
        Ok(_) => panic!("it opens"),
        Err(e) => e.to_string(),
    };
    names.iter().for_each(|name| assert!(text.contains(name), "no {name:?} in: {text}"));
    text
}

/// Bytes that differ from seed to seed.
#[must_use]
pub fn noise(seed: u64, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    Rng::new(seed).fill(&mut bytes);
    Bytes::from(bytes)
}

/// A volume with a snapshot and a clone of it, all different.
///
/// # Errors
/// What the engine answers.
pub async fn fill(engine: &Arc<Engine>, seed: u64) -> Result<(), snapshots::Error> {
    let volume = engine.volume(engine.create_dataset("volume", 1, SIZE, b"").await?);
    volume.write(512, noise(seed, 2 << 20), &Default::default()).await?;
    let snapshot = engine.snapshot(&[(volume.dataset(), "snapshot")]).await?[0];
    volume.write(MIB, noise(seed + 1, 300 << 10), &Default::default()).await?;
    let clone = engine.volume(engine.clone_snapshot(snapshot, "clone", 1, b"").await?);
    clone.write(5 * MIB, noise(seed + 2, 1 << 20), &Default::default()).await?;
    engine.flush().await.map(drop)
}

/// Holds what [`fill`] wrote against what is there, and audits the pool.
///
/// # Panics
/// When something differs.
///
/// # Errors
/// What the engine answers.
pub async fn check(engine: &Arc<Engine>, seed: u64) -> Outcome<()> {
    let overlay = |image: &mut Vec<u8>, at: u64, data: Bytes| {
        image[at as usize..at as usize + data.len()].copy_from_slice(&data);
    };
    let mut old = vec![0; SIZE as usize];
    overlay(&mut old, 512, noise(seed, 2 << 20));
    let (mut new, mut cloned) = (old.clone(), old.clone());
    overlay(&mut new, MIB, noise(seed + 1, 300 << 10));
    overlay(&mut cloned, 5 * MIB, noise(seed + 2, 1 << 20));
    let volume = engine.volume(engine.find_dataset("volume")?);
    let snapshot = volume.at(engine.find_snapshot(volume.dataset(), "snapshot")?);
    let clone = engine.volume(engine.find_dataset("clone")?);
    for (what, volume, image) in
        [("volume", volume, new), ("snapshot", snapshot, old), ("clone", clone, cloned)]
    {
        let read = volume.read(0, Buf::zeroed(SIZE as usize)).await?;
        assert!(read[..] == image[..], "the {what} differs");
    }
    engine.audit().await?;
    Ok(())
}
