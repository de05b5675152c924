//! Pools on real files: RocksDB, tokio, and each way to drive a device. What goes wrong with devices and
//! index directories is an error that names the device (or the pool) and the remedy.

use ashlar_tests::sim::Rng;
use block_layer::device::{Backend, Direct, DiskOptions, FileDisk};
use block_layer::format::superblock::{SLOT_OFFSETS, SUPERBLOCK_LEN};
use block_layer::format::PoolName;
use block_layer::pool::{CreateOptions, Layout};
use block_layer::runtime::TokioRuntime;
use block_layer::{Buf, Bytes, BLOCK};
use snapshots::engine::PoolFiles;
use snapshots::{Engine, EngineConfig, EngineParts};
use std::error::Error;
use std::fs::{self, File};
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 8 * MIB;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A directory with devices and indexes, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let dir = std::env::temp_dir().join(format!("ashlar-pool-files-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Place(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The named devices and the index of that name.
    fn pool(&self, devices: &[&str], index: &str) -> PoolFiles {
        let mut files = PoolFiles::new(devices.iter().map(|d| self.path(d)).collect(), self.path(index));
        files.patience = Duration::ZERO;
        files
    }

    /// Makes a pool of new devices of these sizes and puts something in it; it is closed again.
    async fn make(&self, devices: &[(&str, u64)], index: &str) -> PoolFiles {
        for (name, len) in devices {
            FileDisk::create(&self.path(name), *len).unwrap();
        }
        let files = self.pool(&devices.iter().map(|(name, _)| *name).collect::<Vec<_>>(), index);
        let engine = create(&files, false).await.unwrap();
        fill(&engine, 1).await;
        engine.close().await.unwrap();
        files
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn on_runtime(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn parts(files: &PoolFiles, new: bool) -> Outcome<EngineParts> {
    let (disks, index) = if new { files.open_new(&mut |_| {})? } else { files.open(&mut |_| {})? };
    let mut config = EngineConfig::default();
    config.store.reserve_bytes = 64 << 10;
    config.store.index_reserve_bytes = 1 << 20;
    let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
    Ok(EngineParts { runtime, disks, index, config })
}

async fn create(files: &PoolFiles, force: bool) -> Outcome<Arc<Engine>> {
    let layout = Layout { ring_len: Some(MIB) };
    let options = CreateOptions { name: PoolName::new("files")?, layout, force };
    Ok(Engine::create(parts_when_free(files, true).await?, &options).await?)
}

/// Opens devices and index. What a closed engine had may still be in use for a moment.
async fn parts_when_free(files: &PoolFiles, new: bool) -> Outcome<EngineParts> {
    let busy = |e: &Box<dyn Error>| e.to_string().contains("in use");
    for _ in 0..500 {
        match parts(files, new) {
            Err(e) if busy(&e) => tokio::time::sleep(Duration::from_millis(10)).await,
            parts => return parts,
        }
    }
    parts(files, new)
}

/// Opens a pool; what there is to warn of comes with it.
async fn open(files: &PoolFiles) -> Outcome<(Arc<Engine>, Vec<String>)> {
    let (engine, warnings) = Engine::open(parts_when_free(files, false).await?).await?;
    Ok((engine, warnings.iter().map(ToString::to_string).collect()))
}

/// The text of the error that opening gives; it must name all of `names`.
async fn refused(files: &PoolFiles, names: &[&str]) -> String {
    let text = match open(files).await {
        Ok(_) => panic!("it opens"),
        Err(e) => e.to_string(),
    };
    names.iter().for_each(|name| assert!(text.contains(name), "no {name:?} in: {text}"));
    text
}

fn noise(seed: u64, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    Rng::new(seed).fill(&mut bytes);
    Bytes::from(bytes)
}

/// A volume with a snapshot and a clone of it, all different.
async fn fill(engine: &Arc<Engine>, seed: u64) {
    let volume = engine.volume(engine.create_dataset("volume", 1, SIZE, b"").await.unwrap());
    volume.write(512, noise(seed, 2 << 20), &Default::default()).await.unwrap();
    let snapshot = engine.snapshot(&[(volume.dataset(), "snapshot")]).await.unwrap()[0];
    volume.write(MIB, noise(seed + 1, 300 << 10), &Default::default()).await.unwrap();
    let clone = engine.volume(engine.clone_snapshot(snapshot, "clone", 1, b"").await.unwrap());
    clone.write(5 * MIB, noise(seed + 2, 1 << 20), &Default::default()).await.unwrap();
    let _durable = engine.flush().await.unwrap();
}

async fn check(engine: &Arc<Engine>, seed: u64) {
    let overlay = |image: &mut Vec<u8>, at: u64, data: Bytes| {
        image[at as usize..at as usize + data.len()].copy_from_slice(&data);
    };
    let mut old = vec![0; SIZE as usize];
    overlay(&mut old, 512, noise(seed, 2 << 20));
    let (mut new, mut cloned) = (old.clone(), old.clone());
    overlay(&mut new, MIB, noise(seed + 1, 300 << 10));
    overlay(&mut cloned, 5 * MIB, noise(seed + 2, 1 << 20));
    let volume = engine.volume(engine.find_dataset("volume").unwrap());
    let snapshot = volume.at(engine.find_snapshot(volume.dataset(), "snapshot").unwrap());
    let clone = engine.volume(engine.find_dataset("clone").unwrap());
    for (what, volume, image) in
        [("volume", volume, new), ("snapshot", snapshot, old), ("clone", clone, cloned)]
    {
        let read = volume.read(0, Buf::zeroed(SIZE as usize)).await.unwrap();
        assert!(read[..] == image[..], "the {what} differs");
    }
    engine.audit().await.unwrap();
}

/// Writes zeroes over copy `nth` of a device's superblock.
fn damage(device: &Path, nth: usize) {
    let file = File::options().write(true).open(device).unwrap();
    file.write_all_at(&[0x5a; 100], SLOT_OFFSETS[nth] + 200).unwrap();
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_pool_on_devices_of_mixed_sizes_is_the_same_in_every_mode() {
    on_runtime(async {
        let place = Place::new("modes");
        let mut files =
            place.make(&[("small", 5 * MIB), ("large", 24 * MIB + 512), ("middle", 9 * MIB)], "index").await;
        let mut modes = Vec::new();
        for backend in [Backend::Auto, Backend::Threads] {
            for direct in [Direct::Auto, Direct::Buffered] {
                files.disk = DiskOptions { backend, direct };
                let opened = parts_when_free(&files, false).await.unwrap();
                let mode = opened.disks[0].mode();
                assert_eq!(
                    mode.contains("threads"),
                    backend == Backend::Threads || !mode.contains("io_uring")
                );
                assert!(direct != Direct::Buffered || mode.contains("buffered"), "{mode}");
                modes.push(mode);
                let (engine, warnings) = Engine::open(opened).await.unwrap();
                assert!(warnings.is_empty(), "{warnings:?}");
                check(&engine, 1).await;
                // What this mode writes, the next one reads.
                for name in ["clone", "volume"] {
                    engine.delete_dataset(engine.find_dataset(name).unwrap(), true).await.unwrap();
                }
                while engine.background_step().await.unwrap() {}
                assert_eq!(engine.stats().store.space.allocated, 0);
                fill(&engine, 1).await;
                engine.close().await.unwrap();
            }
        }
        assert_ne!(modes[2], modes[3], "threads say how they reach the device");
    });
}

#[test]
fn a_device_that_is_missing_is_named_with_what_was_found() {
    on_runtime(async {
        let place = Place::new("missing");
        place.make(&[("a", 12 * MIB), ("b", 6 * MIB)], "index").await;
        refused(&place.pool(&["b"], "index"), &["device 0", "pool files is missing", "/b", "attach it"])
            .await;
        refused(&place.pool(&["a"], "index"), &["device 1", "pool files is missing", "/a", "attach it"])
            .await;
        fs::rename(place.path("b"), place.path("c")).unwrap();
        refused(&place.pool(&["a", "b"], "index"), &["/b: no such file", "check the path"]).await;
        check(&open(&place.pool(&["c", "a"], "index")).await.unwrap().0, 1).await;
    });
}

#[test]
fn a_foreign_device_an_empty_one_and_a_copy_are_refused() {
    on_runtime(async {
        let place = Place::new("foreign");
        place.make(&[("a", 12 * MIB)], "index").await;
        place.make(&[("other", 12 * MIB)], "other-index").await;
        refused(&place.pool(&["a", "other"], "index"), &["/other belongs to pool files", "leave it out"])
            .await;
        FileDisk::create(&place.path("empty"), 5 * MIB).unwrap();
        refused(
            &place.pool(&["a", "empty"], "index"),
            &["/empty holds no Ashlar superblock", "leave the device out"],
        )
        .await;
        fs::copy(place.path("a"), place.path("copy")).unwrap();
        refused(
            &place.pool(&["a", "copy"], "index"),
            &["/a and ", "/copy are the same device", "leave one out"],
        )
        .await;
        std::os::unix::fs::symlink(place.path("empty"), place.path("alias-of-empty")).unwrap();
        let twice = parts(&place.pool(&["empty", "alias-of-empty"], "index"), false)
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(
            twice.contains("/alias-of-empty: in use") && twice.contains("name each device once"),
            "{twice}"
        );
    });
}

#[test]
fn a_pool_that_is_open_is_busy_and_free_again_when_it_is_closed() {
    on_runtime(async {
        let place = Place::new("busy");
        let files = place.make(&[("a", 12 * MIB)], "index").await;
        let (engine, _) = open(&files).await.unwrap();
        let error = parts(&files, false).map(drop).unwrap_err().to_string();
        assert!(error.contains("/a: in use by another process: stop that process"), "{error}");
        engine.close().await.unwrap();
        drop(engine);
        check(&open(&files).await.unwrap().0, 1).await;
    });
}

#[test]
fn one_damaged_superblock_is_a_warning_and_both_are_an_error() {
    on_runtime(async {
        let place = Place::new("superblock");
        let files = place.make(&[("a", 12 * MIB), ("b", 6 * MIB)], "index").await;
        for nth in [0, 1] {
            damage(&place.path("b"), nth);
            let (engine, warnings) = open(&files).await.unwrap();
            let [warning] = &warnings[..] else { panic!("{warnings:?}") };
            assert!(
                warning.contains("/b: the superblock copy") && warning.contains("rewritten"),
                "{warning}"
            );
            check(&engine, 1).await;
            engine.checkpoint().await.unwrap();
            engine.close().await.unwrap();
        }
        [0, 1].iter().for_each(|nth| damage(&place.path("b"), *nth));
        refused(&files, &["/b: both superblock copies are bad", "restore the device"]).await;
    });
}

#[test]
fn a_newer_format_is_left_to_a_newer_release() {
    on_runtime(async {
        let place = Place::new("newer");
        let files = place.make(&[("a", 12 * MIB)], "index").await;
        let device = File::options().read(true).write(true).open(place.path("a")).unwrap();
        for at in SLOT_OFFSETS {
            let mut copy = [0; SUPERBLOCK_LEN];
            device.read_exact_at(&mut copy, at).unwrap();
            copy[12..14].copy_from_slice(&u16::MAX.to_le_bytes());
            let crc = crc32c::crc32c(&copy[12..]);
            copy[8..12].copy_from_slice(&crc.to_le_bytes());
            device.write_all_at(&copy, at).unwrap();
        }
        refused(&files, &["/a cannot be opened", "65535", "update Ashlar"]).await;
    });
}

#[test]
fn only_the_pools_own_index_of_its_own_time_opens_it() {
    on_runtime(async {
        let place = Place::new("index");
        let files = place.make(&[("a", 12 * MIB)], "index").await;
        place.make(&[("other", 12 * MIB)], "other-index").await;
        let index = |name: &str| PoolFiles { index: place.path(name), ..files.clone() };
        refused(&index("other-index"), &["does not belong to pool", "own index directory"]).await;
        refused(&index("nowhere"), &["/nowhere holds no index", "own index directory"]).await;
        fs::create_dir(place.path("empty-dir")).unwrap();
        refused(&index("empty-dir"), &["/empty-dir holds no index", "own index directory"]).await;
        copy_dir(&place.path("index"), &place.path("old-copy"));
        let (engine, _) = open(&files).await.unwrap();
        let volume = engine.volume(engine.find_dataset("volume").unwrap());
        volume.write(0, noise(9, BLOCK), &Default::default()).await.unwrap();
        engine.close().await.unwrap();
        drop((engine, volume));
        drop(open(&files).await.unwrap());
        refused(&index("old-copy"), &["older than the pool", "restore the index directory"]).await;
        let (engine, _) = open(&files).await.unwrap();
        let volume = engine.volume(engine.find_dataset("volume").unwrap());
        assert_eq!(volume.read(0, Buf::zeroed(BLOCK)).await.unwrap()[..], noise(9, BLOCK)[..]);
    });
}

#[test]
fn a_pool_is_made_of_empty_devices_and_an_empty_directory_only() {
    on_runtime(async {
        let place = Place::new("create");
        let files = place.make(&[("a", 12 * MIB)], "index").await;
        let text = |result: Outcome<Arc<Engine>>| result.map(drop).unwrap_err().to_string();
        let with = |index: &str| PoolFiles { index: place.path(index), ..files.clone() };
        let error = text(create(&files, false).await);
        assert!(error.contains("/index is not empty") && error.contains("empty directory"), "{error}");
        let error = text(create(&with("new"), false).await);
        assert!(
            error.contains("/a holds a device of Ashlar pool files") && error.contains("force"),
            "{error}"
        );
        fs::write(place.path("tiny"), vec![0; MIB as usize]).unwrap();
        let error = text(create(&place.pool(&["tiny"], "new-2"), false).await);
        assert!(error.contains("/tiny: 1048576 bytes are too few") && error.contains("larger"), "{error}");
        let engine = create(&with("forced"), true).await.unwrap();
        assert!(engine.datasets().is_empty());
    });
}

#[test]
fn a_device_that_was_cut_short_is_refused_and_one_that_grew_is_not() {
    on_runtime(async {
        let place = Place::new("length");
        let files = place.make(&[("a", 12 * MIB), ("b", 6 * MIB)], "index").await;
        let device = File::options().write(true).open(place.path("b")).unwrap();
        device.set_len(6 * MIB - 4096).unwrap();
        refused(&files, &["/b has 6287360 bytes", "uses 6291456", "restore its size"]).await;
        device.set_len(7 * MIB).unwrap();
        open(&files).await.unwrap();
    });
}
