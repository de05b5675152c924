//! The life of a pool on real files: made of several devices, given more, made larger, written meanwhile,
//! deleted; and what it says of itself.

#![allow(clippy::unwrap_used)] // all of it is a test

use ashlar_tests::files::{check, create, fill, noise, on_runtime, open, parts_when_free, refused, Place};
use block_layer::device::FileDisk;
use block_layer::format::{Ordinal, PoolId};
use block_layer::pool::{assemble, Layout};
use block_layer::{Bytes, Disk, BLOCK};
use snapshots::{Engine, Error, Volume};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

const MIB: u64 = 1 << 20;
const LAYOUT: Layout = Layout { ring_len: Some(MIB) };

/// The text of an error that names all of `names`.
fn says<T>(result: Result<T, Error>, names: &[&str]) {
    let text = result.map(drop).unwrap_err().to_string();
    names.iter().for_each(|name| assert!(text.contains(name), "no {name:?} in: {text}"));
}

/// Fills a volume until there is no space left; gives how much went in.
async fn fill_up(volume: &Volume) -> u64 {
    let mut at = 0;
    loop {
        match volume.write(at, noise(at, 64 << 10), &Default::default()).await {
            Ok(()) => at += 64 << 10,
            Err(Error::NoSpace) => return at,
            Err(e) => panic!("{e}"),
        }
    }
}

async fn same(volume: &Volume, upto: u64) {
    for at in (0..upto).step_by(64 << 10) {
        let data = volume.read(at, block_layer::Buf::zeroed(64 << 10)).await.unwrap();
        assert!(data[..] == noise(at, 64 << 10)[..], "it differs at {at}");
    }
}

#[test]
fn a_device_is_added_to_a_full_pool_that_is_being_written() {
    on_runtime(async {
        let place = Place::new("life-add");
        let files = place.make(&[("a", 8 * MIB)], "index").await;
        let (engine, _) = open(&files).await.unwrap();
        let volume = engine.volume(engine.create_dataset("big", 1, 64 * MIB, b"").await.unwrap());
        let full = fill_up(&volume).await;
        let before = engine.pool();
        assert_eq!((before.capacity, before.devices.len()), (6 * MIB, 1));
        FileDisk::create(&place.path("b"), 12 * MIB).unwrap();
        let disk = files.open_device(&place.path("b")).unwrap();
        // Whoever writes meanwhile is refused or served, and nothing between.
        let meanwhile = tokio::spawn({
            let volume = volume.clone();
            async move { fill_up(&volume).await }
        });
        engine.add_device(disk, LAYOUT, false).await.unwrap();
        meanwhile.await.unwrap();
        let upto = fill_up(&volume).await;
        let pool = engine.pool();
        assert_eq!((pool.capacity, pool.devices.len()), (16 * MIB, 2));
        assert!(upto >= full + 9 * MIB, "{upto} bytes in all, {full} before");
        assert_eq!(pool.allocated + pool.free, pool.capacity);
        same(&volume, upto).await;
        check(&engine, 1).await.unwrap();
        engine.close().await.unwrap();
        drop((engine, volume));

        refused(&files, &["device 1", "pool files is missing", "attach it"]).await;
        let (engine, _) = open(&place.pool(&["b", "a"], "index")).await.unwrap();
        same(&engine.volume(engine.find_dataset("big").unwrap()), upto).await;
        check(&engine, 1).await.unwrap();
    });
}

#[test]
fn only_an_empty_device_that_is_not_in_use_joins() {
    on_runtime(async {
        let place = Place::new("life-refused");
        let files = place.make(&[("a", 12 * MIB)], "index").await;
        place.make(&[("other", 12 * MIB)], "other-index").await;
        let (engine, _) = open(&files).await.unwrap();
        let busy = files.open_device(&place.path("a")).map(drop).unwrap_err().to_string();
        assert!(busy.contains("/a: in use"), "{busy}");
        let own = engine.add_device(Arc::new(Again(place.path("a").display().to_string())), LAYOUT, true);
        says(own.await, &["/a is already a member of pool files", "choose another"]);
        let other = || files.open_device(&place.path("other")).unwrap();
        let foreign = engine.add_device(other(), LAYOUT, false).await;
        says(foreign, &["/other holds a device of Ashlar pool files", "force"]);
        FileDisk::create(&place.path("tiny"), MIB).unwrap();
        let tiny = engine.add_device(files.open_device(&place.path("tiny")).unwrap(), LAYOUT, false);
        says(tiny.await, &["/tiny: 1048576 bytes are too few", "larger"]);
        assert_eq!(engine.pool().devices.len(), 1);
        engine.add_device(other(), LAYOUT, true).await.unwrap();
        assert_eq!(engine.pool().devices.len(), 2);
        check(&engine, 1).await.unwrap();
    });
}

/// A second way to a device that is a member already: only its name counts.
struct Again(String);

impl Disk for Again {
    fn name(&self) -> &str {
        &self.0
    }
    fn geometry(&self) -> block_layer::Geometry {
        block_layer::Geometry { len: 12 * MIB, sector: 512, sparse: true }
    }
    fn mode(&self) -> &'static str {
        "not at all"
    }
    fn read(&self, _: u64, _: block_layer::Buf) -> block_layer::Io<block_layer::Buf> {
        unreachable!("it is refused by its name")
    }
    fn write(&self, _: u64, _: Vec<Bytes>) -> block_layer::Io<()> {
        unreachable!("it is refused by its name")
    }
    fn flush(&self) -> block_layer::Io<()> {
        unreachable!("it is refused by its name")
    }
}

#[test]
fn a_device_grows_in_use_by_us_or_by_others() {
    on_runtime(async {
        let place = Place::new("life-grow");
        let files = place.make(&[("a", 8 * MIB), ("b", 6 * MIB)], "index").await;
        let (engine, _) = open(&files).await.unwrap();
        let volume = engine.volume(engine.create_dataset("big", 1, 64 * MIB, b"").await.unwrap());
        let full = fill_up(&volume).await;
        engine.grow_device(Ordinal(0), 12 * MIB).await.unwrap();
        assert_eq!(place.path("a").metadata().unwrap().len(), 12 * MIB);
        let second = fill_up(&volume).await;
        assert!(second >= full + 7 * MIB / 2, "{second} after {full}");
        File::options().write(true).open(place.path("b")).unwrap().set_len(10 * MIB).unwrap();
        engine.grow_device(Ordinal(1), 0).await.unwrap();
        let upto = fill_up(&volume).await;
        assert!(upto >= second + 7 * MIB / 2, "{upto} after {second}");
        let pool = engine.pool();
        assert_eq!(pool.capacity, 18 * MIB);
        assert_eq!(pool.devices.iter().map(|d| d.used).collect::<Vec<_>>(), [12 * MIB, 10 * MIB]);
        says(
            engine.grow_device(Ordinal(1), 0).await,
            &["/b cannot grow from 10485760", "enlarge the device"],
        );
        says(engine.grow_device(Ordinal(7), 0).await, &["pool files has no device 7"]);
        engine.close().await.unwrap();
        drop((engine, volume));
        let (engine, _) = open(&files).await.unwrap();
        assert_eq!(engine.pool().capacity, 18 * MIB);
        same(&engine.volume(engine.find_dataset("big").unwrap()), upto).await;
        check(&engine, 1).await.unwrap();
    });
}

#[test]
fn the_devices_of_a_deleted_pool_are_free_for_another() {
    on_runtime(async {
        let place = Place::new("life-delete");
        let files = place.make(&[("a", 12 * MIB), ("b", 6 * MIB)], "index").await;
        let (engine, _) = open(&files).await.unwrap();
        assert!(files.remove_index().unwrap_err().to_string().contains("in use"));
        engine.delete().await.unwrap();
        says(engine.create_dataset("late", 1, MIB, b"").await, &["the pool is closed"]);
        drop(engine);
        refused(&files, &["/a holds no Ashlar superblock"]).await;
        files.remove_index().unwrap();
        assert!(!place.path("index").exists());
        let engine = create(&files, false).await.unwrap();
        assert!(engine.datasets().is_empty());
        fill(&engine, 2).await.unwrap();
        check(&engine, 2).await.unwrap();
    });
}

#[test]
fn a_pool_tells_its_space_its_devices_and_what_they_promise() {
    on_runtime(async {
        let place = Place::new("life-info");
        let files = place.make(&[("a", 8 * MIB), ("b", 6 * MIB)], "index").await;
        let (engine, _) = open(&files).await.unwrap();
        let pool = engine.pool();
        assert_eq!((pool.name.as_str(), pool.incarnation), ("files", 3));
        assert_eq!((pool.capacity, pool.reserve), (10 * MIB, 64 << 10));
        // 2 MiB and a sector, 300 KiB beside a snapshot, 1 MiB in a clone.
        let data = (2 * MIB / BLOCK as u64 + 1) * BLOCK as u64 + (300 << 10) + MIB;
        assert_eq!((pool.allocated, pool.free), (data, 10 * MIB - data));
        let [a, b] = &pool.devices[..] else { panic!("{pool:?}") };
        assert_eq!((a.len, a.used, a.capacity, a.journal), (8 * MIB, 8 * MIB, 6 * MIB, MIB));
        assert_eq!((b.len, b.used, b.capacity, b.journal), (6 * MIB, 6 * MIB, 4 * MIB, 0));
        assert!(Path::new(&a.name) == place.path("a") && !a.mode.is_empty());
        assert!(pool.unused.is_empty());
        let stats = engine.stats();
        assert_eq!((stats.datasets, stats.snapshots), (2, 1));
        assert_eq!(stats.store.space.allocated * BLOCK as u64, data);
        for (name, referenced, unique) in
            [("volume", 2 * MIB + 4096, 300 << 10), ("clone", 3 * MIB + 4096, MIB)]
        {
            let info = engine.dataset(engine.find_dataset(name).unwrap()).unwrap();
            assert_eq!((info.referenced, info.unique), (referenced, unique), "{name}");
        }
        let snapshot = &engine.snapshots(engine.find_dataset("volume").unwrap())[0];
        assert_eq!((snapshot.referenced, snapshot.clones), (2 * MIB + 4096, 1));
    });
}

/// A crash between the two halves of an addition leaves a device that says it would join.
#[test]
fn a_device_whose_addition_was_never_committed_is_no_member_and_no_harm() {
    on_runtime(async {
        let place = Place::new("life-half");
        let files = place.make(&[("a", 12 * MIB)], "index").await;
        FileDisk::create(&place.path("b"), 12 * MIB).unwrap();
        let both = place.pool(&["a", "b"], "index");
        {
            let disks = parts_when_free(&both, false).await.unwrap().disks;
            let members = assemble(&disks[..1], None::<PoolId>).await.unwrap().members;
            let joining = members.plan_add(disks[1].clone(), LAYOUT, &mut || 7).unwrap();
            drop(joining.format(false).await.unwrap());
        }
        let (engine, _) = open(&both).await.unwrap();
        let pool = engine.pool();
        assert_eq!((pool.devices.len(), pool.unused.len()), (1, 1));
        assert!(pool.unused[0].ends_with("/b"));
        engine.close().await.unwrap();
        drop(engine);
        let (engine, _): (Arc<Engine>, _) = open(&files).await.unwrap();
        engine.add_device(files.open_device(&place.path("b")).unwrap(), LAYOUT, false).await.unwrap();
        assert_eq!(engine.pool().devices.len(), 2);
        engine.close().await.unwrap();
        drop(engine);
        check(&open(&both).await.unwrap().0, 1).await.unwrap();
    });
}
