//! Every release opens the pools of all earlier ones (design rule 13): an image of each format is kept.
//!
//! An image is a pool as a crash left it: two devices and the index, with a part that is checkpointed and a
//! part that only the journal has. `ASHLAR_REGENERATE_GOLDEN=1` makes the newest image anew: a change of
//! format gets a new file beside the old ones, and a line in [`IMAGES`].
#![allow(clippy::unwrap_used)] // all of it is a test

use ashlar_tests::files::{create, on_runtime, open, Place};
use ashlar_tests::packed::{pack, unpack};
use block_layer::device::FileDisk;
use block_layer::{Buf, Bytes, BLOCK};
use snapshots::engine::{EntryCondition, EntryEdit};
use snapshots::{Engine, ObjectId, Volume};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MIB: u64 = 1 << 20;
/// The images, one of each format, the newest last.
const IMAGES: &[&str] = &["pool-v1.bin"];

fn image(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

/// A block that tells its tag, mostly zeroes.
fn block(tag: u8) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..24].fill(tag);
    block[BLOCK - 1] = tag;
    block
}

async fn write(volume: &Volume, first: u64, tag: u8, count: usize) {
    let data = Bytes::from(block(tag).repeat(count));
    volume.write(first * BLOCK as u64, data, &Default::default()).await.unwrap();
}

/// A dataset, a snapshot of it if not the live side, and runs of (first block, blocks, tag): holes elsewhere.
type Content = (&'static str, Option<&'static str>, &'static [(u64, u64, u8)]);

/// What is in the image.
const CONTENT: &[Content] = &[
    ("volume", None, &[(1, 3, 1), (4, 8, 2), (20, 2, 4), (100, 2, 1)]),
    ("volume", Some("early"), &[(0, 8, 1)]),
    ("volume", Some("late"), &[(0, 4, 1), (4, 8, 2), (20, 2, 4), (100, 2, 1)]),
    ("clone", None, &[(0, 2, 1), (2, 2, 3), (4, 4, 1)]),
];

fn put(name: &str, value: Option<&[u8]>) -> EntryEdit {
    EntryEdit {
        name: name.as_bytes().to_vec(),
        value: value.map(<[u8]>::to_vec),
        condition: EntryCondition::Any,
    }
}

/// Makes what [`CONTENT`] says, one half before a checkpoint and one behind it.
async fn fill(engine: &Arc<Engine>) {
    let options = Default::default();
    let volume = engine.volume(engine.create_dataset("volume", 1, 2 * MIB, b"its attributes").await.unwrap());
    let share = engine.create_dataset("share", 2, 0, b"").await.unwrap();
    write(&volume, 0, 1, 8).await;
    engine.edit(share, &[put("kept", Some(b"one")), put("gone", Some(b"two"))], None).await.unwrap();
    let early = engine.snapshot(&[(volume.dataset(), "early"), (share, "early")]).await.unwrap()[0];
    write(&volume, 4, 2, 8).await;
    let clone = engine.volume(engine.clone_snapshot(early, "clone", 1, b"").await.unwrap());
    write(&clone, 2, 3, 2).await;
    volume.clone_range(100 * BLOCK as u64, &volume, 0, 2 * BLOCK as u64, &options).await.unwrap();
    write(&volume, 300, 9, 4).await;
    engine.checkpoint().await.unwrap();

    engine.edit(share, &[put("gone", None), put("new", Some(b"three"))], None).await.unwrap();
    write(&volume, 20, 4, 2).await;
    engine.discard(volume.dataset(), ObjectId(0), 1, 1).await.unwrap();
    engine.snapshot(&[(volume.dataset(), "late")]).await.unwrap();
    volume.write_zeroes(0, BLOCK as u64, &options).await.unwrap();
    let _durable = engine.flush().await.unwrap();
}

async fn check(engine: &Arc<Engine>) {
    for (dataset, snapshot, runs) in CONTENT {
        let mut volume = engine.volume(engine.find_dataset(dataset).unwrap());
        if let Some(name) = snapshot {
            volume = volume.at(engine.find_snapshot(volume.dataset(), name).unwrap());
        }
        let mut expected = vec![0; 2 * MIB as usize];
        for (first, count, tag) in *runs {
            let run = block(*tag).repeat(*count as usize);
            expected[*first as usize * BLOCK..][..run.len()].copy_from_slice(&run);
        }
        let read = volume.read(0, Buf::zeroed(expected.len())).await.unwrap();
        assert!(read[..] == expected[..], "{dataset}@{snapshot:?} differs");
    }
    let share = engine.find_dataset("share").unwrap();
    let early = engine.find_snapshot(share, "early").unwrap();
    for (name, then, now) in
        [("kept", Some("one"), Some("one")), ("gone", Some("two"), None), ("new", None, Some("three"))]
    {
        for (snapshot, value) in [(Some(early), then), (None, now)] {
            let found = engine.get(share, snapshot, name.as_bytes()).await.unwrap();
            assert_eq!(found.as_deref(), value.map(str::as_bytes), "{name} in {snapshot:?}");
        }
    }
    let id = engine.find_dataset("volume").unwrap();
    assert_eq!(engine.dataset(id).unwrap().attributes, b"its attributes");
    engine.audit().await.unwrap();
    let scrubbed = engine.scrub(0).await.unwrap();
    assert_eq!(scrubbed.damaged_blocks, 0, "{scrubbed:?}");
}

/// Makes a pool and packs its files as they are while it is open.
async fn make(place: &Place) -> Vec<u8> {
    let devices = [("a", 5 * MIB), ("b", 4 * MIB)];
    for (name, len) in devices {
        FileDisk::create(&place.path(name), len).unwrap();
    }
    let engine = create(&place.pool(&["a", "b"], "index"), false).await.unwrap();
    fill(&engine).await;
    check(&engine).await;
    let _durable = engine.flush().await.unwrap();
    let mut packed = Vec::new();
    devices.iter().for_each(|(name, _)| pack(&place.path(name), name, &mut packed).unwrap());
    let mut files: Vec<_> =
        std::fs::read_dir(place.path("index")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort_unstable();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        // What RocksDB writes for people, and its lock.
        if !["LOG", "LOCK", "OPTIONS"].iter().any(|other| name.starts_with(other)) {
            pack(&path, &format!("index/{name}"), &mut packed).unwrap();
        }
    }
    packed
}

#[test]
fn images_of_all_earlier_formats_open_and_are_written_on() {
    if std::env::var_os("ASHLAR_REGENERATE_GOLDEN").is_some() {
        let newest = image(IMAGES.last().unwrap());
        on_runtime(async { std::fs::write(newest, make(&Place::new("image-new")).await).unwrap() });
    }
    for name in IMAGES {
        let place = Place::new(&format!("image-{name}"));
        unpack(&std::fs::read(image(name)).unwrap(), &place.path("")).unwrap();
        let files = place.pool(&["a", "b"], "index");
        on_runtime(async {
            let (engine, warnings) = open(&files).await.unwrap();
            assert!(warnings.is_empty(), "{name}: {warnings:?}");
            check(&engine).await;
            let volume = engine.volume(engine.find_dataset("clone").unwrap());
            write(&volume, 200, 7, 1).await;
            engine.close().await.unwrap();
            drop((volume, engine));
            let (engine, _) = open(&files).await.unwrap();
            let volume = engine.volume(engine.find_dataset("clone").unwrap());
            let read = volume.read(200 * BLOCK as u64, Buf::zeroed(BLOCK)).await.unwrap();
            assert_eq!(read[..], block(7)[..], "{name}");
            volume.write_zeroes(200 * BLOCK as u64, BLOCK as u64, &Default::default()).await.unwrap();
            check(&engine).await;
            engine.close().await.unwrap();
        });
    }
}
