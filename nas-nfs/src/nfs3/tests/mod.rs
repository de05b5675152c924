//! The procedures over a tree in memory, from the bytes of a call to those of its reply.

mod data;
mod listing;
mod names;
mod objects;
mod once;

use super::arguments::*;
use super::procedure::*;
use super::results::*;
use super::types::*;
use super::*;
use crate::access::bits;
use crate::exports::{Clients, Rule, Share, Squash};
use crate::handle::{HandleKey, ShareId};
use crate::mem::MemTree;
use crate::memory::Budget;
use crate::rpc::{AuthSys, Call, Credentials, Ends};
use crate::tree::{SetAttributes, SetTime, Time, TreeFault};
use crate::xdr::{encoded, Array, List, Payload, Reader, Xdr};
use bytes::Bytes;
use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};

const MEMORY: usize = 16 << 20;
const ROOT: u32 = 0;
const USER: u32 = 1000;
const OTHER: u32 = 2000;
const FRIEND: &str = "10.0.0.1:700";
const READER: &str = "10.0.9.1:700";
const STRANGER: &str = "192.0.2.1:700";

/// Two shares; a client of 10.0.9.0/24 can only read, others of 10/8 do all but be root.
struct World {
    program: Arc<Nfs3<MemTree>>,
    trees: [Arc<MemTree>; 2],
    keys: [HandleKey; 2],
    budget: Budget,
    last_xid: AtomicI64,
}

impl World {
    fn new() -> World {
        World::over(None)
    }

    /// The same world after a restart of the server.
    async fn restarted(&self) -> World {
        let world = World::over(Some(self.trees.clone()));
        for tree in &world.trees {
            world.program.remember(Instant::now(), tree).await.expect("it is there");
        }
        world
    }

    fn over(trees: Option<[Arc<MemTree>; 2]>) -> World {
        let clock = Arc::new(AtomicI64::new(1_000_000_000));
        let tree = |fsid| {
            let clock = Arc::clone(&clock);
            let now = move || Time { seconds: clock.fetch_add(1, Ordering::Relaxed), nanos: 5 };
            Arc::new(MemTree::new(fsid, now))
        };
        let (trees, keys) =
            (trees.unwrap_or_else(|| [tree(1), tree(2)]), [1, 2].map(|byte| HandleKey::new(&[byte; 32])));
        let network = |text: &str| Rule::new(Clients::Network(text.parse().expect("valid")));
        let rules = vec![
            Rule { squash: Squash::None, ..network("10.0.0.0/8") },
            Rule { read_only: true, squash: Squash::None, ..network("10.0.9.0/24") },
            network("10.0.8.0/24"),
        ];
        let share = |n: usize| Share {
            id: ShareId(n as u64),
            path: format!("/pool/share{n}"),
            tree: Some((Arc::clone(&trees[n]), keys[n].clone())),
            rules: rules.clone(),
        };
        let exports = Arc::new(Exports::default());
        exports.replace(vec![share(0), share(1)]);
        let (program, budget) = (Arc::new(Nfs3::new(exports)), Budget::new(MEMORY));
        World { program, trees, keys, budget, last_xid: AtomicI64::new(1) }
    }

    fn root(&self) -> Handle {
        self.root_of(0)
    }

    fn root_of(&self, share: usize) -> Handle {
        let root = self.trees[share].root();
        Handle(Bytes::copy_from_slice(&self.keys[share].seal(ShareId(share as u64), root)))
    }

    /// Calls a procedure with the bytes of its arguments.
    fn call(&self, from: &str, uid: u32, procedure: u32, arguments: Bytes) -> Answer {
        let xid = self.last_xid.fetch_add(1, Ordering::Relaxed) as u32;
        self.call_again(xid, from, uid, procedure, arguments)
    }

    fn call_again(&self, xid: u32, from: &str, uid: u32, procedure: u32, arguments: Bytes) -> Answer {
        let peer = from.parse().expect("an address");
        let user = AuthSys { stamp: 0, machine: "m".into(), uid, gid: uid, groups: Array(vec![]) };
        Arc::clone(&self.program).call(Call {
            xid,
            version: 3,
            procedure,
            credentials: Credentials::Sys(user),
            ends: Ends::new(peer, peer),
            arguments: Reader::new(arguments),
            budget: self.budget.clone(),
            now: std::time::Instant::now(),
        })
    }

    async fn ask_from<R: Xdr>(&self, from: &str, uid: u32, procedure: u32, ask: &impl Xdr) -> R {
        decoded(self.call(from, uid, procedure, encoded(ask).into()).await)
    }

    /// Asks as a user of an ordinary client.
    async fn ask<R: Xdr>(&self, uid: u32, procedure: u32, ask: &impl Xdr) -> R {
        self.ask_from(FRIEND, uid, procedure, ask).await
    }

    async fn create(&self, uid: u32, directory: &Handle, name: &'static str, how: CreateHow) -> Made_ {
        let place = place(directory, name);
        self.ask(uid, CREATE, &Create { place, how }).await
    }

    /// A new file that belongs to user 1000.
    async fn file(&self, name: &'static str) -> Handle {
        let how = CreateHow::Guarded(owned(0o644));
        self.create(ROOT, &self.root(), name, how).await.expect("it is made").object.expect("told")
    }

    /// A new directory that belongs to user 1000.
    async fn folder(&self, name: &'static str) -> Handle {
        let ask = MkDir { place: place(&self.root(), name), wanted: owned(0o755) };
        let made: Made_ = self.ask(ROOT, MKDIR, &ask).await;
        made.expect("it is made").object.expect("told")
    }

    async fn attributes(&self, object: &Handle) -> FileAttributes {
        let known: Result<Known, Failure<()>> = self.ask(ROOT, GETATTR, object).await;
        known.expect("it is there").attributes
    }

    async fn write(&self, file: &Handle, offset: u64, data: &[u8], stable: StableHow) -> WriteDone {
        let written: Result<WriteDone, Failure<Wcc>> =
            self.ask(USER, WRITE, &write(file, offset, data, stable)).await;
        written.expect("it is written")
    }
}

type Made_ = Result<Made, Failure<Wcc>>;
type Changed_ = Result<Wcc, Failure<Wcc>>;

fn decoded<R: Xdr>(outcome: Outcome) -> R {
    let Outcome::Done(results) = outcome else { panic!("{outcome:?}") };
    let mut reader = Reader::new(results.output.into_bytes().into());
    let value = R::get(&mut reader).expect("results as the RFC has them");
    assert_eq!(reader.left(), 0, "and nothing behind them");
    value
}

fn status<T, F>(result: Result<T, Failure<F>>) -> Option<Status> {
    result.err().map(|failure| failure.status)
}

fn place(directory: &Handle, name: &'static str) -> DirectoryName {
    DirectoryName { directory: directory.clone(), name: Bytes::from_static(name.as_bytes()) }
}

fn owned(mode: u32) -> Wanted {
    let (mode, uid, gid) = (Some(mode), Some(USER), Some(USER));
    Wanted(SetAttributes { mode, uid, gid, ..SetAttributes::default() })
}

fn write(file: &Handle, offset: u64, data: &[u8], stable: StableHow) -> Write {
    let data = Payload(Bytes::copy_from_slice(data));
    Write { file: file.clone(), offset, count: data.0.len() as u32, stable, data }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test);
}

/// Arguments of every procedure that has any, by its number.
fn samples(of: &Handle) -> Vec<(u32, Vec<u8>)> {
    let (place, wanted) = (place(of, "name"), owned(0o640));
    let time = SetTime::To(Time { seconds: 5, nanos: 6 });
    let all =
        Wanted(SetAttributes { size: Some(7), atime: Some(time), mtime: Some(SetTime::Now), ..wanted.0 });
    let guard = Some(Time { seconds: 1, nanos: 2 });
    let create = |how| encoded(&Create { place: place.clone(), how });
    let node = |node| encoded(&MkNod { place: place.clone(), node });
    let object = of.clone();
    let (directory, cookie, verifier, count) = (of.clone(), 3, 4, 5000);
    vec![
        (GETATTR, encoded(of)),
        (SETATTR, encoded(&SetAttr { object: object.clone(), wanted: all, guard })),
        (LOOKUP, encoded(&place)),
        (ACCESS, encoded(&Access { object: object.clone(), access: 0x3f })),
        (READLINK, encoded(of)),
        (READ, encoded(&Read { file: of.clone(), offset: 1, count: 2 })),
        (WRITE, encoded(&write(of, 9, b"some data", StableHow::DataSync))),
        (CREATE, create(CreateHow::Unchecked(all))),
        (CREATE, create(CreateHow::Guarded(wanted))),
        (CREATE, create(CreateHow::Exclusive(*b"verifier"))),
        (MKDIR, encoded(&MkDir { place: place.clone(), wanted })),
        (SYMLINK, encoded(&Symlink { place: place.clone(), wanted, target: "target".into() })),
        (MKNOD, node(Node::Of(crate::tree::Kind::Fifo, wanted))),
        (MKNOD, node(Node::Of(crate::tree::Kind::Block(8, 1), wanted))),
        (REMOVE, encoded(&place)),
        (RMDIR, encoded(&place)),
        (RENAME, encoded(&Rename { from: place.clone(), to: place.clone() })),
        (LINK, encoded(&Link { object, place: place.clone() })),
        (READDIR, encoded(&ReadDir { directory: directory.clone(), cookie, verifier, count })),
        (READDIRPLUS, encoded(&ReadDirPlus { directory, cookie, verifier, names: 99, count })),
        (FSSTAT, encoded(of)),
        (FSINFO, encoded(of)),
        (PATHCONF, encoded(of)),
        (COMMIT, encoded(&Commit { file: of.clone(), offset: 0, count: 0 })),
    ]
}

#[test]
fn arguments_that_end_early_are_garbage_and_change_nothing() {
    run(async {
        let world = World::new();
        for (procedure, arguments) in samples(&world.root()) {
            for len in 0..arguments.len() {
                let cut = Bytes::copy_from_slice(&arguments[..len]);
                let outcome = world.call(FRIEND, ROOT, procedure, cut).await;
                assert_eq!(outcome, Outcome::GarbageArguments, "procedure {procedure}, {len} bytes");
            }
            let outcome = world.call(FRIEND, ROOT, procedure, arguments.into()).await;
            assert!(matches!(outcome, Outcome::Done(_)), "procedure {procedure}: {outcome:?}");
        }
        assert_eq!(world.call(FRIEND, ROOT, 22, Bytes::new()).await, Outcome::ProcedureUnavailable);
        assert_eq!(world.call(FRIEND, ROOT, NULL, Bytes::new()).await, Outcome::done(&()));
    });
}

/// P6: whoever has no rule is told nothing but that there is nothing.
#[test]
fn strangers_and_forgers_get_nowhere() {
    run(async {
        let world = World::new();
        let mut forged = world.root().0.to_vec();
        *forged.last_mut().expect("a handle") ^= 1;
        let forged = Handle(forged.into());
        for (from, handle, expected) in [
            (STRANGER, world.root(), Status::Stale),
            (STRANGER, forged.clone(), Status::Stale),
            (FRIEND, forged, Status::BadHandle),
            (FRIEND, Handle(Bytes::new()), Status::BadHandle),
        ] {
            for (procedure, arguments) in samples(&handle) {
                let outcome = world.call(from, ROOT, procedure, arguments.into()).await;
                let Outcome::Done(results) = outcome else { panic!("{outcome:?}") };
                let bytes = results.output.into_bytes();
                assert_eq!(bytes[..4], (expected as u32).to_be_bytes(), "procedure {procedure} from {from}");
                assert!(bytes[4..].iter().all(|byte| *byte == 0), "no attributes are told");
            }
        }
    });
}

#[test]
fn nothing_is_changed_where_all_is_read_only() {
    run(async {
        let world = World::new();
        let file = world.file("f").await;
        let before = (world.attributes(&world.root()).await, world.attributes(&file).await);
        for (procedure, arguments) in samples(&file).into_iter().chain(samples(&world.root())) {
            let changes = matches!(procedure, SETATTR | WRITE..=LINK | COMMIT);
            let outcome = world.call(READER, ROOT, procedure, arguments.into()).await;
            let Outcome::Done(results) = outcome else { panic!("{outcome:?}") };
            let status = results.output.into_bytes()[..4].to_vec();
            assert_eq!(status == (Status::RoFs as u32).to_be_bytes(), changes, "procedure {procedure}");
        }
        assert_eq!((world.attributes(&world.root()).await, world.attributes(&file).await), before);
        let ask = Access { object: world.root(), access: 0x3f };
        let told: Result<Accessible, Failure<PostAttributes>> =
            world.ask_from(READER, ROOT, ACCESS, &ask).await;
        assert_eq!(told.expect("told").access, bits::READ | bits::LOOKUP);
    });
}

/// Protocol rule 5: JUKEBOX, never STALE and never IO.
#[test]
fn a_pool_that_is_away_is_waited_for() {
    run(async {
        let world = World::new();
        let (file, link) = (world.file("f").await, world.root());
        world.trees[0].set_unavailable(true);
        for (procedure, arguments) in samples(&file).into_iter().chain(samples(&link)) {
            let outcome = world.call(FRIEND, ROOT, procedure, arguments.into()).await;
            let Outcome::Done(results) = outcome else { panic!("{outcome:?}") };
            let status = results.output.into_bytes()[..4].to_vec();
            assert_eq!(status, (Status::JukeBox as u32).to_be_bytes(), "procedure {procedure}");
        }
    });
}

#[test]
fn what_the_server_can_is_told_as_the_rules_say() {
    run(async {
        let world = World::new();
        let info: Result<FsInfo, Failure<PostAttributes>> = world.ask(USER, FSINFO, &world.root()).await;
        let info = info.expect("told");
        assert_eq!((info.read_max, info.write_max, info.file_max), (1 << 20, 1 << 20, 16 << 40));
        assert_eq!((info.properties, info.names_preferred), (0x1b, 65_536));
        let names: Result<PathConf, Failure<PostAttributes>> = world.ask(USER, PATHCONF, &world.root()).await;
        let names = names.expect("told");
        let flags =
            [names.no_truncation, names.chown_restricted, names.case_insensitive, names.case_preserving];
        assert_eq!((flags, names.name_max), ([true, true, false, true], 255));
        let space: Result<FsStat, Failure<PostAttributes>> = world.ask(USER, FSSTAT, &world.root()).await;
        let space = space.expect("told");
        assert!(space.total_bytes >= space.free_bytes && space.free_bytes > 0 && space.total_files > 0);
        assert!(space.attributes.is_some());
    });
}
