//! MOUNT, from the arguments of a call to the bytes of its reply.

use super::*;
use crate::exports::{Clients, Rule, Share};
use crate::handle::{HandleKey, ShareId};
use crate::mem::MemTree;
use crate::memory::Budget;
use crate::rpc::{Credentials, Ends};
use crate::tree::{Change, New, SetAttributes, Time};
use crate::xdr::encoded;

const FRIEND: &str = "10.0.0.1:700";
const STRANGER: &str = "192.0.2.1:700";

struct World {
    program: Arc<MountProgram<MemTree>>,
    tree: Arc<MemTree>,
    folder: ObjectRef,
}

fn key() -> HandleKey {
    HandleKey::new(&[1; 32])
}

fn name(text: &'static str) -> Name {
    Name::new(Bytes::from_static(text.as_bytes())).expect("a name")
}

async fn world() -> World {
    let tree = Arc::new(MemTree::new(1, Time::default));
    let (directory, set) = (tree.root(), SetAttributes::default());
    let make = |name, new| tree.change(Change::Make { directory, name, new }, None);
    make(name("file"), New::FileOnly(set)).await.expect("it is made");
    let folder = make(name("folder"), New::Directory(set)).await.expect("it is made").object.expect("told").0;
    let rules = vec![Rule::new(Clients::Network("10.0.0.0/8".parse().expect("valid")))];
    let share =
        |id, path: &str, tree| Share { id: ShareId(id), path: path.into(), tree, rules: rules.clone() };
    let exports = Arc::new(Exports::default());
    let there = Some((Arc::clone(&tree), key()));
    exports.replace(vec![share(1, "/pool/share", there), share(2, "/pool/away", None)]);
    World { program: Arc::new(MountProgram::new(exports)), tree, folder }
}

impl World {
    async fn call(&self, from: &str, version: u32, procedure: u32, path: &str) -> Outcome {
        let peer = from.parse().expect("an address");
        let call = Call {
            xid: 1,
            version,
            procedure,
            credentials: Credentials::None,
            ends: Ends::new(peer, peer),
            arguments: Reader::new(encoded(&Bytes::copy_from_slice(path.as_bytes())).into()),
            budget: Budget::new(1 << 20),
            now: std::time::Instant::now(),
        };
        Arc::clone(&self.program).call(call).await
    }

    async fn ask<R: Xdr>(&self, from: &str, procedure: u32, path: &str) -> R {
        let outcome = self.call(from, 3, procedure, path).await;
        let Outcome::Done(results) = outcome else { panic!("{outcome:?}") };
        R::get(&mut Reader::new(results.output.into_bytes().into())).expect("results as the RFC has them")
    }

    async fn mount(&self, from: &str, path: &str) -> Result<Mounted, MountStatus> {
        self.ask::<MountResult>(from, procedure::MNT, path).await.0
    }

    async fn dump(&self, from: &str) -> Vec<Bytes> {
        let List(mounts) = self.ask::<List<Mount>>(from, procedure::DUMP, "").await;
        mounts.into_iter().map(|mount| mount.path).collect()
    }
}

fn run(test: impl std::future::Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(test);
}

#[test]
fn a_path_is_mounted_by_who_may() {
    run(async {
        let world = world().await;
        let handle = |object| Handle(Bytes::copy_from_slice(&key().seal(ShareId(1), object)));
        let mounted = world.mount(FRIEND, "/pool/share").await.expect("a share");
        assert_eq!((mounted.handle, mounted.flavors.0), (handle(world.tree.root()), vec![1, 0]));
        let below = world.mount(FRIEND, "/pool/share/folder").await.expect("a directory");
        assert_eq!(below.handle, handle(world.folder));
        for (path, expected) in [
            ("/pool/share/file", MountStatus::NotDir),
            ("/pool/share/none", MountStatus::NoEnt),
            ("/pool/share/file/x", MountStatus::NotDir),
            ("/pool", MountStatus::NoEnt),
            ("pool/share", MountStatus::NoEnt),
            ("", MountStatus::NoEnt),
            ("/pool/away", MountStatus::ServerFault),
            (&"/x".repeat(513), MountStatus::NameTooLong),
        ] {
            assert_eq!(world.mount(FRIEND, path).await, Err(expected), "{path}");
        }
    });
}

/// P6: for who has no rule, what is there and what is not are the same.
#[test]
fn a_stranger_learns_nothing() {
    run(async {
        let world = world().await;
        for path in ["/pool/share", "/pool/share/folder", "/pool/away", "/none"] {
            assert_eq!(world.mount(STRANGER, path).await, Err(MountStatus::NoEnt), "{path}");
        }
        world.mount(FRIEND, "/pool/share").await.expect("a share");
        assert!(world.dump(STRANGER).await.is_empty());
        assert!(world.ask::<List<Export>>(STRANGER, procedure::EXPORT, "").await.0.is_empty());
        let List(exports): List<Export> = world.ask(FRIEND, procedure::EXPORT, "").await;
        let clients = |text: &'static str| List(vec![Bytes::from_static(text.as_bytes())]);
        let line = |path: &'static str| Export { path: path.into(), clients: clients("10.0.0.0/8") };
        assert_eq!(exports, [line("/pool/share"), line("/pool/away")]);
    });
}

#[test]
fn mounts_are_remembered_until_they_are_taken_back() {
    run(async {
        let world = world().await;
        for path in ["/pool/share", "/pool/share/folder", "/pool/share"] {
            world.mount(FRIEND, path).await.expect("it is there");
        }
        assert_eq!(world.dump(FRIEND).await, ["/pool/share/folder", "/pool/share"]);
        world.ask::<()>(STRANGER, procedure::UMNTALL, "").await;
        world.ask::<()>(FRIEND, procedure::UMNT, "/pool/share").await;
        assert_eq!(world.dump(FRIEND).await, ["/pool/share/folder"]);
        world.ask::<()>(FRIEND, procedure::UMNTALL, "").await;
        assert!(world.dump(FRIEND).await.is_empty());
        for n in 0..MOUNTS + 10 {
            world
                .mount(&format!("10.1.{}.{}:9", n / 256, n % 256), "/pool/share")
                .await
                .expect("it is there");
        }
        assert_eq!(world.program.mounts().len(), MOUNTS);
    });
}

#[test]
fn older_versions_list_and_mount_nothing() {
    run(async {
        let world = world().await;
        for version in [1, 2] {
            let outcome = world.call(FRIEND, version, procedure::MNT, "/pool/share").await;
            assert_eq!(outcome, Outcome::done(&13_u32), "mode EACCES, as the old versions have it");
            let outcome = world.call(FRIEND, version, procedure::EXPORT, "").await;
            assert!(matches!(outcome, Outcome::Done(results) if results.output.bytes.len() > 50));
        }
        assert_eq!(world.call(FRIEND, 3, 6, "").await, Outcome::ProcedureUnavailable);
    });
}
