//! Pools on real files: RocksDB, tokio, and each way to drive a device. What goes wrong with devices and
//! index directories is an error that names the device (or the pool) and the remedy.

#![allow(clippy::unwrap_used)] // all of it is a test

use ashlar_tests::files::{check, create, fill, noise, on_runtime, open, parts, parts_when_free, refused};
use ashlar_tests::files::{Outcome, Place};
use block_layer::device::{Backend, Direct, DiskOptions, FileDisk};
use block_layer::format::superblock::{SLOT_OFFSETS, SUPERBLOCK_LEN};
use block_layer::{Buf, BLOCK};
use snapshots::engine::PoolFiles;
use snapshots::Engine;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

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
                check(&engine, 1).await.unwrap();
                // What this mode writes, the next one reads.
                for name in ["clone", "volume"] {
                    engine.delete_dataset(engine.find_dataset(name).unwrap(), true).await.unwrap();
                }
                while engine.background_step().await.unwrap() {}
                assert_eq!(engine.stats().store.space.allocated, 0);
                fill(&engine, 1).await.unwrap();
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
        check(&open(&place.pool(&["c", "a"], "index")).await.unwrap().0, 1).await.unwrap();
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
        check(&open(&files).await.unwrap().0, 1).await.unwrap();
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
            check(&engine, 1).await.unwrap();
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
