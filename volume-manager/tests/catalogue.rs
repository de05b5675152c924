//! The catalogue on real files: what an administrator does, and what is left of it after a restart.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use std::path::Path;
use std::sync::{Arc, Mutex};
use volume_manager::border::{Border, Done, Exports};
use volume_manager::manager::{ChapRequest, DeviceRequest, HostRequest, Made, MapRequest, VolumeRequest};
use volume_manager::state::{Initiators, OsKind, StateDir, VolumeKey};
use volume_manager::{Error, IoSource, Manager, Name, PoolSettings, Secret, WriteCache};

const MIB: u64 = 1 << 20;

async fn open(dir: &Path) -> Arc<Manager> {
    let state = StateDir::open(&dir.join("state")).unwrap();
    Manager::open(state, PoolSettings::new(dir.join("state"))).await.unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn device(dir: &Path, file: &str) -> DeviceRequest {
    DeviceRequest { path: dir.join(file), size: Some(384 * MIB) }
}

fn volume(path: &str) -> VolumeRequest {
    let path = path.parse().unwrap();
    VolumeRequest { path, size: 64 * MIB, block_bytes: 512, write_cache: WriteCache::Auto }
}

fn host(host: &str, iqn: &str) -> HostRequest {
    let initiators = Initiators::Named(vec![iqn.parse().unwrap()]);
    HostRequest { name: name(host), initiators, os: OsKind::Linux, networks: vec![], portals: vec![] }
}

fn map(volume: &str, host: &str) -> MapRequest {
    MapRequest { volume: volume.parse().unwrap(), host: name(host), lun: None, read_only: false }
}

fn chap() -> ChapRequest {
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec()).unwrap();
    ChapRequest {
        user: "alice".into(),
        secret: secret("correct horse battery"),
        mutual: Some(("target".into(), secret("another secret here"))),
    }
}

/// Notes what it was told; says that `sessions` sessions reach every volume.
#[derive(Default)]
struct Recorder {
    told: Mutex<Option<Exports>>,
    sessions: Mutex<usize>,
}

impl Border for Recorder {
    fn apply(&self, exports: Exports) -> Done<'_> {
        *self.told.lock().unwrap() = Some(exports);
        Box::pin(async {})
    }
    fn sessions(&self, _: &VolumeKey) -> usize {
        *self.sessions.lock().unwrap()
    }
    fn end_sessions(&self, _: &VolumeKey) -> Done<'_> {
        *self.sessions.lock().unwrap() = 0;
        Box::pin(async {})
    }
}

impl Recorder {
    fn told(&self) -> Exports {
        self.told.lock().unwrap().clone().unwrap()
    }
}

#[tokio::test]
async fn everything_is_as_it_was_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path()).await;
    manager.create_pool(name("fast"), &[device(dir.path(), "disk")], false).await.unwrap();
    let made = manager.create_volume(&volume("fast/db")).await.unwrap();
    manager.create_host(host("web", "iqn.2026-11.com.example:web"), Some(chap())).await.unwrap();
    let lun = manager.map(&map("fast/db", "web")).await.unwrap().result;
    assert_eq!((lun.lun, lun.naa.as_str()), (0, made.naa.as_str()));
    manager.portals(&["127.0.0.1:3260".parse().unwrap()]).await.unwrap();
    let recorder = Arc::new(Recorder::default());
    manager.attach(recorder.clone()).await;
    let exports = recorder.told();
    let io = exports.volumes[0].io.clone().unwrap();
    let source = IoSource::new();
    io.write(&source, 4096, Bytes::from(vec![7; 512]), false).await.unwrap();
    io.save_reservations(b"kept").await.unwrap();
    io.flush(&source).await.unwrap();
    manager.create_snapshots(&["fast/db@monday".parse().unwrap()]).await.unwrap();
    let (id, hosts) = (manager.server_id(), manager.list_hosts());
    manager.close().await;
    drop((manager, exports, io, recorder));

    let manager = open(dir.path()).await;
    assert_eq!((manager.server_id(), manager.list_hosts()), (id, hosts));
    let view = manager.show_volume(&"fast/db".parse().unwrap()).unwrap();
    assert_eq!((view.size, view.serial, view.snapshots), (64 * MIB, made.serial, 1));
    let recorder = Arc::new(Recorder::default());
    manager.attach(recorder.clone()).await;
    let exports = recorder.told();
    assert_eq!(exports.volumes[0].reservations.as_deref(), Some(&b"kept"[..]));
    let chap = exports.hosts[0].chap.clone().unwrap();
    assert_eq!(chap.secrets.secret.expose(), b"correct horse battery");
    let read = exports.volumes[0].io.clone().unwrap().read(4096, 512).await.unwrap();
    assert!(read.iter().all(|byte| *byte == 7));
    manager.close().await;
}

#[tokio::test]
async fn what_is_refused_says_why_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path()).await;
    let missing = DeviceRequest { path: dir.path().join("none"), size: None };
    let error = manager.create_pool(name("fast"), &[missing], false).await.unwrap_err();
    assert!(error.to_string().contains("none does not exist"), "{error}");
    // The second device is too small: the first one's new file goes again.
    let small = DeviceRequest { path: dir.path().join("small"), size: Some(MIB) };
    let devices = [device(dir.path(), "disk"), small];
    let error = manager.create_pool(name("fast"), &devices, false).await.unwrap_err();
    assert!(error.to_string().contains("too few"), "{error}");
    assert!(!dir.path().join("disk").exists() && !dir.path().join("small").exists());
    assert!(manager.list_pools().is_empty());
    manager.create_pool(name("fast"), &devices[..1], false).await.unwrap();
    let error = manager.create_pool(name("fast"), &devices[..1], false).await.unwrap_err();
    assert_eq!(error.code(), "exists");
    let odd = VolumeRequest { size: MIB + 1, ..volume("fast/db") };
    let error = manager.create_volume(&odd).await.unwrap_err();
    assert!(error.to_string().contains("1052672"), "{error}");
    assert_eq!(manager.create_volume(&volume("slow/db")).await.unwrap_err().code(), "not-found");
    manager.create_host(host("a", "iqn.2026-11.com.example:a"), None).await.unwrap();
    let error = manager.create_host(host("b", "iqn.2026-11.com.example:a"), None).await.unwrap_err();
    assert!(error.to_string().contains("is host a already"), "{error}");
    manager.close().await;
}

#[tokio::test]
async fn numbers_are_the_lowest_free_and_mistakes_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path()).await;
    manager.create_pool(name("fast"), &[device(dir.path(), "disk")], false).await.unwrap();
    for path in ["fast/a", "fast/b", "fast/c"] {
        manager.create_volume(&volume(path)).await.unwrap();
    }
    let made = manager.create_host(host("one", "iqn.2026-11.com.example:1"), None).await.unwrap();
    assert!(made.warnings[0].contains("unprotected"), "{:?}", made.warnings);
    let esxi = HostRequest { os: OsKind::Esxi, ..host("two", "iqn.2026-11.com.example:2") };
    manager.create_host(esxi, None).await.unwrap();
    for (path, number) in [("fast/a", 0), ("fast/b", 1)] {
        assert_eq!(manager.map(&map(path, "one")).await.unwrap().result.lun, number);
    }
    manager.unmap(&"fast/a".parse().unwrap(), &name("one")).await.unwrap();
    assert_eq!(manager.map(&map("fast/c", "one")).await.unwrap().result.lun, 0);
    assert_eq!(manager.map(&map("fast/c", "one")).await.unwrap_err().code(), "exists");
    let second = manager.map(&map("fast/b", "two")).await.unwrap();
    assert_eq!(second.warnings.len(), 2, "{:?}", second.warnings);
    assert_eq!(manager.delete_host(&name("one"), false).await.unwrap_err().code(), "in-use");
    manager.delete_host(&name("one"), true).await.unwrap();
    assert_eq!(manager.list_luns(None).unwrap().len(), 1);
    manager.close().await;
}

#[tokio::test]
async fn a_volume_in_use_is_not_shrunk_rolled_back_or_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path()).await;
    manager.create_pool(name("fast"), &[device(dir.path(), "disk")], false).await.unwrap();
    manager.create_volume(&volume("fast/db")).await.unwrap();
    let snapshot = "fast/db@monday".parse().unwrap();
    manager.create_snapshots(std::slice::from_ref(&snapshot)).await.unwrap();
    let recorder = Arc::new(Recorder::default());
    manager.attach(recorder.clone()).await;
    *recorder.sessions.lock().unwrap() = 2;
    let path = "fast/db".parse().unwrap();
    let refused = [
        manager.resize_volume(&path, 32 * MIB, false).await.unwrap_err(),
        manager.rollback(&snapshot, false).await.unwrap_err(),
        manager.delete_volume(&path, true, false).await.unwrap_err(),
    ];
    assert!(refused.iter().all(|e| matches!(e, Error::InUse { .. })), "{refused:?}");
    manager.resize_volume(&path, 128 * MIB, false).await.unwrap();
    assert_eq!(manager.delete_volume(&path, false, true).await.unwrap_err().code(), "in-use");
    manager.delete_volume(&path, true, true).await.unwrap();
    assert!(manager.list_volumes(None).is_empty());
    manager.delete_pool(&name("fast"), false).await.unwrap();
    assert!(manager.list_pools().is_empty());
    manager.close().await;
}

#[tokio::test]
async fn a_clone_is_another_volume_with_the_same_content() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path()).await;
    manager.create_pool(name("fast"), &[device(dir.path(), "disk")], false).await.unwrap();
    let golden = manager.create_volume(&volume("fast/golden")).await.unwrap();
    let snapshot = "fast/golden@v1".parse().unwrap();
    manager.create_snapshots(std::slice::from_ref(&snapshot)).await.unwrap();
    let made = manager.clone_snapshot(&snapshot, &"fast/vm1".parse().unwrap()).await.unwrap();
    let Made::Volume(clone) = made else { panic!("{made:?}") };
    assert_ne!(clone.naa, golden.naa);
    assert_eq!((clone.size, clone.origin), (golden.size, Some(snapshot.clone())));
    let renamed = manager.rename_volume(&"fast/vm1".parse().unwrap(), &name("vm2")).await.unwrap();
    assert_eq!(renamed.naa, clone.naa);
    manager.delete_snapshot(&snapshot).await.unwrap();
    assert_eq!(manager.show_volume(&renamed.path).unwrap().origin, None);
    manager.close().await;
}

#[tokio::test]
async fn a_pool_that_does_not_open_is_listed_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path()).await;
    for pool in ["good", "bad"] {
        manager.create_pool(name(pool), &[device(dir.path(), pool)], false).await.unwrap();
    }
    manager.create_volume(&volume("bad/db")).await.unwrap();
    manager.create_host(host("web", "iqn.2026-11.com.example:web"), None).await.unwrap();
    manager.map(&map("bad/db", "web")).await.unwrap();
    manager.close().await;
    drop(manager);
    std::fs::rename(dir.path().join("bad"), dir.path().join("away")).unwrap();
    let manager = open(dir.path()).await;
    let pools = manager.list_pools();
    assert_eq!(pools[1].health, "online");
    assert!(pools[0].health.contains("bad"), "{}", pools[0].health);
    // Its volume is still given, under its identity, without I/O.
    let recorder = Arc::new(Recorder::default());
    manager.attach(recorder.clone()).await;
    assert!(recorder.told().volumes[0].io.is_none());
    assert!(recorder.told().volumes[0].naa.to_string().starts_with("602a51a"));
    assert_eq!(manager.create_volume(&volume("bad/x")).await.unwrap_err().code(), "pool-failed");
    manager.close().await;
}

#[tokio::test]
async fn a_device_added_is_known_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path()).await;
    let before = manager.create_pool(name("fast"), &[device(dir.path(), "one")], false).await.unwrap();
    let after = manager.add_device(&name("fast"), &device(dir.path(), "two"), false).await.unwrap();
    assert!(after.capacity > before.capacity && after.devices.len() == 2);
    manager.close().await;
    drop(manager);
    let manager = open(dir.path()).await;
    assert_eq!(manager.show_pool(&name("fast")).unwrap().capacity, after.capacity);
    manager.close().await;
}
