//! Shares on real files: what a restart, a snapshot, a rollback and a clone leave of a tree.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use volume_manager::border::{Border, Done, Exports};
use volume_manager::manager::{DeviceRequest, ExportRequest, ShareSettings};
use volume_manager::share::types::{
    Change, Fault, FileName, Kind, New, ObjectRef, Record, SetAttributes, Stability,
};
use volume_manager::share::{SnapshotDir, Tree};
use volume_manager::state::{Clients, Squash, StateDir, VolumeKey};
use volume_manager::{Manager, PoolSettings, Share, VolumePath};

const MIB: u64 = 1 << 20;

/// Notes the shares that it is told.
#[derive(Default)]
struct Told(Mutex<Vec<(String, u64, Option<Share>)>>);

impl Border for Told {
    fn apply(&self, exports: Exports) -> Done<'_> {
        let shares = exports.shares.into_iter().map(|s| (s.path.to_string(), s.id, s.share.map(|s| s.0)));
        *self.0.lock().unwrap() = shares.collect();
        Box::pin(async {})
    }
    fn sessions(&self, _: &VolumeKey) -> usize {
        0
    }
    fn end_sessions(&self, _: &VolumeKey) -> Done<'_> {
        Box::pin(async {})
    }
}

struct Server {
    manager: Arc<Manager>,
    told: Arc<Told>,
}

impl Server {
    async fn start(dir: &Path) -> Server {
        let state = StateDir::open(&dir.join("state")).unwrap();
        let manager = Manager::open(state, PoolSettings::new(dir.join("state"))).await.unwrap();
        let told = Arc::new(Told::default());
        manager.attach(told.clone()).await;
        Server { manager, told }
    }

    /// A server with a pool and an exported share `fast/files`.
    async fn new(dir: &Path) -> Server {
        let server = Server::start(dir).await;
        let device = DeviceRequest { path: dir.join("disk"), size: Some(512 * MIB) };
        server.manager.create_pool("fast".parse().unwrap(), &[device], false).await.unwrap();
        server.manager.create_share(&path("fast/files"), &ShareSettings::default()).await.unwrap();
        server.manager.add_export(&export("fast/files")).await.unwrap();
        server
    }

    fn exported(&self, path: &str) -> (u64, Option<Share>) {
        let told = self.told.0.lock().unwrap();
        let (_, id, share) = told.iter().find(|(name, ..)| name == path).unwrap();
        (*id, share.clone())
    }

    async fn tree(&self, path: &str) -> Arc<Tree> {
        self.exported(path).1.unwrap().tree().await.unwrap()
    }
}

fn path(text: &str) -> VolumePath {
    text.parse().unwrap()
}

fn name(text: &str) -> FileName {
    FileName::new(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn export(share: &str) -> ExportRequest {
    ExportRequest {
        share: path(share),
        clients: Clients::Any,
        read_only: false,
        squash: Squash::Root,
        anonymous_uid: None,
        anonymous_gid: None,
        secure_port: false,
    }
}

async fn make(tree: &Tree, directory: ObjectRef, text: &str, new: New) -> ObjectRef {
    let change = Change::Make { directory, name: name(text), new };
    tree.change(change, None).await.unwrap().object.unwrap().0
}

async fn file(tree: &Tree, text: &str) -> ObjectRef {
    make(tree, tree.root(), text, New::FileOnly(SetAttributes::default())).await
}

async fn write(tree: &Tree, file: ObjectRef, offset: u64, byte: u8, len: usize) {
    let data = Bytes::from(vec![byte; len]);
    tree.write(file, offset, data, Stability::File, false).await.unwrap();
}

async fn read(tree: &Tree, file: ObjectRef, offset: u64, len: u32) -> Vec<u8> {
    tree.read(file, offset, len).await.unwrap().data.to_vec()
}

async fn remove(tree: &Tree, text: &str) {
    let change = Change::Remove { directory: tree.root(), name: name(text) };
    tree.change(change, None).await.unwrap();
}

async fn resize(tree: &Tree, object: ObjectRef, size: u64) {
    let attributes = SetAttributes { size: Some(size), ..SetAttributes::default() };
    tree.change(Change::Set { object, attributes, guard: None }, None).await.unwrap();
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_no_number_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(dir.path()).await;
    let (id, _) = server.exported("fast/files");
    let tree = server.tree("fast/files").await;
    let kept = file(&tree, "kept").await;
    write(&tree, kept, 5000, 7, 10_000).await;
    let encode = |_: &_| b"answer".to_vec();
    let record = Record { client: [3; 16], slot: 9, encode: &encode };
    let (directory, new) = (tree.root(), New::Directory(SetAttributes::default()));
    tree.change(Change::Make { directory, name: name("d"), new }, Some(record)).await.unwrap();
    let gone = file(&tree, "gone").await;
    remove(&tree, "gone").await;
    let verifier = tree.verifier();
    server.manager.close().await;
    drop((server, tree));

    let server = Server::start(dir.path()).await;
    assert_eq!(server.exported("fast/files").0, id);
    let tree = server.tree("fast/files").await;
    assert_ne!(tree.verifier(), verifier);
    assert_eq!(read(&tree, kept, 4999, 3).await, [0, 7, 7]);
    assert_eq!(tree.attributes(gone).await, Err(Fault::Stale));
    let answers = tree.kept().await.unwrap();
    assert_eq!((answers[0].client, answers[0].slot, &answers[0].bytes[..]), ([3; 16], 9, &b"answer"[..]));
    assert!(file(&tree, "new").await.inode > gone.inode);
    assert_eq!(tree.check().await.unwrap().inodes, 4);
    server.manager.close().await;
}

#[tokio::test]
async fn snapshots_are_directories_and_a_rollback_keeps_handles_and_turns_no_number_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(dir.path()).await;
    let tree = server.tree("fast/files").await;
    let old = file(&tree, "old").await;
    write(&tree, old, 0, 1, 5000).await;
    let monday = "fast/files@monday".parse().unwrap();
    server.manager.create_snapshots(std::slice::from_ref(&monday)).await.unwrap();
    write(&tree, old, 0, 2, 5000).await;
    let new = file(&tree, "new").await;
    let listing = tree.list(tree.root(), 0, 0, 10, false).await.unwrap();

    let (snapshots, _) = tree.lookup(tree.root(), &name(".snapshots")).await.unwrap();
    let names = tree.list(snapshots, 0, 0, 10, true).await.unwrap();
    assert_eq!(names.entries.iter().map(|e| &e.name[..]).collect::<Vec<_>>(), [b"monday"]);
    let root = names.entries[0].object;
    let (was, attributes) = tree.lookup(root, &name("old")).await.unwrap();
    assert_eq!(read(&tree, was, 0, 1).await, [1]);
    assert_ne!(attributes.fsid, tree.attributes(old).await.unwrap().fsid);
    assert_eq!(tree.lookup(root, &name("new")).await.unwrap_err(), Fault::NotFound);
    assert_eq!(tree.parent(root).await.unwrap(), snapshots);
    assert_eq!(tree.parent(snapshots).await.unwrap(), tree.root());
    let denied = tree.write(was, 0, Bytes::from_static(b"x"), Stability::File, false).await;
    assert_eq!(denied.unwrap_err(), Fault::ReadOnly);
    let change = Change::Remove { directory: root, name: name("old") };
    assert_eq!(tree.change(change, None).await.unwrap_err(), Fault::ReadOnly);

    server.manager.rollback(&monday, false).await.unwrap();
    assert_eq!(read(&tree, old, 0, 1).await, [1]);
    assert_eq!(tree.attributes(new).await, Err(Fault::Stale));
    let (cookie, verifier) = (listing.entries[0].cookie, listing.verifier);
    assert_eq!(tree.list(tree.root(), cookie, verifier, 10, false).await.unwrap_err(), Fault::BadCookie);
    assert!(file(&tree, "again").await.inode > new.inode);
    let off = ShareSettings { snapshot_dir: Some(SnapshotDir::Off), quota: None };
    server.manager.set_share(&path("fast/files"), &off).await.unwrap();
    assert_eq!(tree.lookup(tree.root(), &name(".snapshots")).await.unwrap_err(), Fault::NotFound);
    tree.check().await.unwrap();
    server.manager.close().await;
}

#[tokio::test]
async fn a_clone_of_a_share_goes_its_own_way() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(dir.path()).await;
    let tree = server.tree("fast/files").await;
    let ours = file(&tree, "image").await;
    write(&tree, ours, 0, 1, 3 * MIB as usize / 4).await;
    let golden = "fast/files@golden".parse().unwrap();
    server.manager.create_snapshots(std::slice::from_ref(&golden)).await.unwrap();
    let later = file(&tree, "later").await;
    server.manager.clone_snapshot(&golden, &path("fast/copy")).await.unwrap();
    server.manager.add_export(&export("fast/copy")).await.unwrap();
    let copy = server.tree("fast/copy").await;
    assert_ne!(server.exported("fast/copy").0, server.exported("fast/files").0);
    let (theirs, _) = copy.lookup(copy.root(), &name("image")).await.unwrap();
    write(&copy, theirs, 10, 2, 1).await;
    assert_eq!(read(&copy, theirs, 9, 3).await, [1, 2, 1]);
    assert_eq!(read(&tree, ours, 9, 3).await, [1, 1, 1]);
    assert!(file(&copy, "new").await.inode > later.inode);
    remove(&copy, "image").await;
    tree.check().await.unwrap();
    copy.check().await.unwrap();
    server.manager.close().await;
}

#[tokio::test]
async fn what_was_cut_off_reads_as_zeroes_when_the_file_grows_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(dir.path()).await;
    let tree = server.tree("fast/files").await;
    let file = file(&tree, "file").await;
    for mib in 0..40 {
        write(&tree, file, mib * MIB, 9, MIB as usize).await;
    }
    for cut in [39 * MIB + 100, 18 * MIB + 5, MIB + 4097, 4096, 1, 0] {
        resize(&tree, file, cut).await;
        resize(&tree, file, 41 * MIB).await;
        if cut > 0 {
            assert_eq!(read(&tree, file, cut - 1, 1).await, [9], "{cut}");
        }
        for at in [cut, cut + 4096, cut + MIB, 40 * MIB] {
            assert!(read(&tree, file, at, 8192).await.iter().all(|byte| *byte == 0), "{cut}: {at}");
        }
        resize(&tree, file, cut).await;
        let used = tree.attributes(file).await.unwrap().used;
        assert_eq!(used, cut.next_multiple_of(4096), "{cut}");
    }
    // A write far behind the end leaves a hole.
    write(&tree, file, 30 * MIB + 1, 5, 1).await;
    let found = tree.attributes(file).await.unwrap();
    assert_eq!((found.size, found.used), (30 * MIB + 2, 4096));
    tree.check().await.unwrap();
    server.manager.close().await;
}

#[tokio::test]
async fn a_large_file_is_freed_behind_the_answer_and_the_quota_holds() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(dir.path()).await;
    let quota = ShareSettings { quota: Some(64 * MIB), snapshot_dir: None };
    server.manager.set_share(&path("fast/files"), &quota).await.unwrap();
    let tree = server.tree("fast/files").await;
    let large = file(&tree, "large").await;
    let data = Bytes::from(vec![1; MIB as usize]);
    let mut written = 0;
    let fault = loop {
        let at = written * MIB;
        match tree.write(large, at, data.clone(), Stability::Unstable, false).await {
            Ok(_) => written += 1,
            Err(fault) => break fault,
        }
    };
    assert_eq!((fault, written), (Fault::Quota, 64));
    // What takes no more space can be done.
    tree.write(large, 0, data.clone(), Stability::File, false).await.unwrap();
    let room = tree.room().await.unwrap();
    assert_eq!((room.total, room.free, room.inodes), (64 * MIB, 0, 2));
    remove(&tree, "large").await;
    let until = Instant::now() + Duration::from_secs(30);
    while tree.check().await.unwrap().orphans > 0 || tree.room().await.unwrap().free < 64 * MIB {
        assert!(Instant::now() < until, "the file is not freed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.manager.close().await;
}

#[tokio::test]
async fn writes_to_one_file_go_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(dir.path()).await;
    let tree = server.tree("fast/files").await;
    let file = file(&tree, "file").await;
    let tasks: Vec<_> = (0..64_u64)
        .map(|nth| {
            let tree = tree.clone();
            tokio::spawn(async move {
                let data = Bytes::from(vec![nth as u8 + 1; 4096]);
                tree.write(file, nth * 4096, data, Stability::Unstable, false).await.unwrap().file
            })
        })
        .collect();
    let mut changes = Vec::new();
    for task in tasks {
        let around = task.await.unwrap();
        assert!(around.before.change < around.after.change);
        changes.push((around.before.change, around.after.change));
    }
    // Each began where another ended: they have an order.
    changes.sort_unstable();
    assert!(changes.windows(2).all(|pair| pair[0].1 == pair[1].0), "{changes:?}");
    let found = tree.attributes(file).await.unwrap();
    assert_eq!((found.size, found.used), (64 * 4096, 64 * 4096));
    tree.check().await.unwrap();
    server.manager.close().await;
}

#[tokio::test]
async fn files_and_volumes_are_cloned_by_reference() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(dir.path()).await;
    let tree = server.tree("fast/files").await;
    let image = file(&tree, "image").await;
    write(&tree, image, 0, 1, MIB as usize).await;
    write(&tree, image, 40 * MIB, 2, 5000).await;
    let clone = |from: &str, to: &str| {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let manager = server.manager.clone();
        async move { manager.clone_file(&from, &to).await }
    };
    assert_eq!(clone("fast/files/image", "fast/files/vm").await.unwrap(), 40 * MIB + 5000);
    let (vm, attributes) = tree.lookup(tree.root(), &name("vm")).await.unwrap();
    assert_eq!((attributes.kind, attributes.size), (Kind::Regular, 40 * MIB + 5000));
    assert_eq!(attributes.used, tree.attributes(image).await.unwrap().used);
    write(&tree, vm, 0, 7, 1).await;
    assert_eq!((read(&tree, vm, 0, 2).await, read(&tree, image, 0, 2).await), (vec![7, 1], vec![1, 1]));
    assert_eq!(read(&tree, vm, 40 * MIB - 1, 2).await, [0, 2]);

    clone("fast/files/vm", "fast/disk").await.unwrap();
    let disk = server.manager.show_volume(&path("fast/disk")).unwrap();
    assert_eq!(disk.size, (40 * MIB + 5000).next_multiple_of(4096));
    clone("fast/disk", "fast/files/back").await.unwrap();
    let (back, _) = tree.lookup(tree.root(), &name("back")).await.unwrap();
    assert_eq!(read(&tree, back, 0, 2).await, [7, 1]);

    assert_eq!(clone("fast/files/vm", "fast/files/image").await.unwrap_err().code(), "exists");
    assert_eq!(clone("fast/files/none", "fast/files/x").await.unwrap_err().code(), "not-found");
    assert_eq!(clone("fast/files/vm", "fast/disk").await.unwrap_err().code(), "exists");
    tree.check().await.unwrap();
    server.manager.close().await;
}

#[tokio::test]
async fn a_share_in_use_is_not_deleted_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(dir.path()).await;
    let files = path("fast/files");
    assert_eq!(server.manager.delete_share(&files, false, false).await.unwrap_err().code(), "in-use");
    assert_eq!(server.manager.show_volume(&files).unwrap_err().code(), "not-found");
    assert_eq!(server.manager.add_export(&export("fast/files")).await.unwrap_err().code(), "exists");
    let renamed = server.manager.rename_share(&files, &"images".parse().unwrap()).await.unwrap();
    assert_eq!(server.told.0.lock().unwrap()[0].0, "fast/images");
    server.manager.remove_export(&renamed.path, &Clients::Any).await.unwrap();
    assert_eq!(server.manager.list_exports(None), []);
    server.manager.delete_share(&renamed.path, false, false).await.unwrap();
    assert_eq!(server.manager.list_shares(None), []);
    server.manager.close().await;
}
