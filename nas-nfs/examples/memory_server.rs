//! A server over a tree in memory: for conformance suites, for real clients, and, with `--null`, as the
//! server without storage that benchmarks compare with.
//!
//!     memory_server [--listen ADDR:PORT] [--mount-listen ADDR:PORT] [--path /PATH] [--squash none|root|all]
//!                   [--read-only] [--null MIB] [--threads N]
//!
//! NFS and MOUNT answer on both ports. It prints one line when it is ready, and stops when its input ends.
//! With `--null` there is one file, `data`, which is all zeroes: writes to it go nowhere.

use bytes::Bytes;
use nas_nfs::exports::{Clients, Exports, Rule, Share, Squash};
use nas_nfs::handle::{HandleKey, ShareId};
use nas_nfs::mem::MemTree;
use nas_nfs::mount::MountProgram;
use nas_nfs::nfs3::Nfs3;
use nas_nfs::rpc::Programs;
use nas_nfs::server::{Config, Listener, Server};
use nas_nfs::tree::{
    Around, Attributes, Change, Changed, FileTree, Kept, Kind, Listing, Name, New, ObjectRef, ReadData,
    Record, Room, SetAttributes, Stability, Time, TreeFault, Written,
};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Memory for data on its way.
const BUDGET: usize = 256 << 20;
/// Handles stay valid over a restart of the example: there is nothing to protect.
const KEY: [u8; 32] = [7; 32];

fn main() {
    let options = Options::parse(std::env::args().skip(1));
    let workers: Vec<_> = (0..options.threads).map(|_| worker()).collect();
    workers[0].block_on(async {
        let exports = Arc::new(Exports::default());
        exports.replace(vec![share(&options).await]);
        let nfs = Arc::new(Nfs3::new(Arc::clone(&exports)));
        let programs = Programs::new(vec![nfs, Arc::new(MountProgram::new(exports))]);
        let listener = |address| Listener { address, programs: programs.clone() };
        let listeners = vec![listener(options.listen), listener(options.mount_listen)];
        let server = Server::start(Config { listeners, memory: BUDGET, workers: workers.clone() });
        let server = server.unwrap_or_else(|fault| fail(&fault.to_string()));
        server.open();
        let [nfs, mount] = server.addresses() else { fail("two listeners were asked for") };
        println!("ready {} {nfs} {mount}", options.path);
        let (end, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = end.send(());
        });
        let _ = ended.await;
        server.stop().await;
        // Whoever started it may not listen any more.
        let _ = writeln!(std::io::stdout(), "stopped, {} bytes still held", BUDGET - server.memory_free());
    });
}

fn fail(why: &str) -> ! {
    eprintln!("memory_server: {why}");
    std::process::exit(2)
}

/// A thread with a runtime of its own.
fn worker() -> tokio::runtime::Handle {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
}

struct Options {
    listen: SocketAddr,
    mount_listen: SocketAddr,
    path: String,
    squash: Squash,
    read_only: bool,
    null_mib: Option<u64>,
    threads: usize,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Options {
        let mut o = Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 2049)),
            mount_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            path: "/memory/share".into(),
            squash: Squash::None,
            read_only: false,
            null_mib: None,
            threads: 1,
        };
        while let Some(flag) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| fail(&format!("{flag} wants a value")));
            match &*flag {
                "--listen" => o.listen = parsed(&value()),
                "--mount-listen" => o.mount_listen = parsed(&value()),
                "--path" => o.path = value(),
                "--read-only" => o.read_only = true,
                "--null" => o.null_mib = Some(parsed(&value())),
                "--threads" => o.threads = parsed(&value()),
                "--squash" => {
                    o.squash = match &*value() {
                        "none" => Squash::None,
                        "root" => Squash::Root,
                        "all" => Squash::All,
                        other => fail(&format!("{other} is no squash")),
                    }
                }
                _ => fail(&format!("{flag} is no option")),
            }
        }
        o
    }
}

fn parsed<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| fail(&format!("{text} is no valid value")))
}

/// The one share, for everybody.
async fn share(o: &Options) -> Share<Tree> {
    let memory = MemTree::new(1, || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
        Time { seconds: now.as_secs() as i64, nanos: now.subsec_nanos() }
    });
    let mut null = None;
    if let Some(mib) = o.null_mib {
        let attributes = SetAttributes { size: Some(mib << 20), ..SetAttributes::default() };
        let (directory, new) = (memory.root(), New::FileOnly(attributes));
        let name = Name::new(Bytes::from_static(b"data")).expect("a name");
        let made = memory.change(Change::Make { directory, name, new }, None).await;
        null = made.expect("the tree is empty").object.map(|(object, _)| object);
    }
    let rules = vec![Rule { squash: o.squash, read_only: o.read_only, ..Rule::new(Clients::Any) }];
    let tree = Some((Arc::new(Tree { memory, null }), HandleKey::new(&KEY)));
    Share { id: ShareId(1), path: o.path.clone(), tree, rules }
}

static ZEROES: [u8; 1 << 20] = [0; 1 << 20];

/// A tree in memory, in which one file may be nothing but its attributes.
struct Tree {
    memory: MemTree,
    null: Option<ObjectRef>,
}

impl FileTree for Tree {
    fn root(&self) -> ObjectRef {
        self.memory.root()
    }

    fn verifier(&self) -> u64 {
        self.memory.verifier()
    }

    async fn room(&self) -> Result<Room, TreeFault> {
        self.memory.room().await
    }

    async fn attributes(&self, object: ObjectRef) -> Result<Attributes, TreeFault> {
        self.memory.attributes(object).await
    }

    async fn lookup(&self, directory: ObjectRef, name: &Name) -> Result<(ObjectRef, Attributes), TreeFault> {
        self.memory.lookup(directory, name).await
    }

    async fn parent(&self, directory: ObjectRef) -> Result<ObjectRef, TreeFault> {
        self.memory.parent(directory).await
    }

    async fn read_link(&self, link: ObjectRef) -> Result<(Bytes, Attributes), TreeFault> {
        self.memory.read_link(link).await
    }

    async fn list(
        &self,
        directory: ObjectRef,
        cookie: u64,
        verifier: u64,
        limit: usize,
        attributes: bool,
    ) -> Result<Listing, TreeFault> {
        self.memory.list(directory, cookie, verifier, limit, attributes).await
    }

    async fn change(&self, change: Change, record: Option<Record<'_>>) -> Result<Changed, TreeFault> {
        self.memory.change(change, record).await
    }

    async fn kept(&self) -> Result<Vec<Kept>, TreeFault> {
        self.memory.kept().await
    }

    async fn read(&self, file: ObjectRef, offset: u64, len: u32) -> Result<ReadData, TreeFault> {
        if self.null != Some(file) {
            return self.memory.read(file, offset, len).await;
        }
        let attributes = self.memory.attributes(file).await?;
        debug_assert_eq!(attributes.kind, Kind::Regular);
        let there = attributes.size.saturating_sub(offset);
        let data = Bytes::from_static(&ZEROES[..there.min(len.into()).min(1 << 20) as usize]);
        Ok(ReadData { end: there <= len.into(), data, attributes })
    }

    async fn write(
        &self,
        file: ObjectRef,
        offset: u64,
        data: Bytes,
        stability: Stability,
        clear_ids: bool,
    ) -> Result<Written, TreeFault> {
        if self.null != Some(file) {
            return self.memory.write(file, offset, data, stability, clear_ids).await;
        }
        let before = self.memory.attributes(file).await?;
        Ok(Written { file: Around { before, after: before }, stability })
    }

    async fn commit(&self, file: ObjectRef) -> Result<Around, TreeFault> {
        self.memory.commit(file).await
    }
}
