//! A server over a tree in memory: for conformance suites, for real clients, and, with `--null`, as the
//! server without storage that benchmarks compare with.
//!
//!     memory_server [--listen ADDR:PORT] [--mount-listen ADDR:PORT] [--path /PATH] [--squash none|root|all]
//!                   [--read-only] [--null MIB] [--threads N]
//!                   [--portmap-listen ADDR:PORT --nsm-state FILE [--file NAME]]
//!
//! NFS and MOUNT answer on both ports. It prints one line when it is ready, and stops when its input ends.
//! With `--null` there is one file, `data`, which is all zeroes: writes to it go nowhere. With
//! `--portmap-listen` it has a port mapper, a lock manager and a status monitor too, the latter two on the
//! port of MOUNT; `--file` makes an empty file that everybody may write, the same one in every life.

use bytes::Bytes;
use nas_nfs::exports::{Clients, Exports, Rule, Share, Squash};
use nas_nfs::handle::{HandleKey, ShareId};
use nas_nfs::mem::MemTree;
use nas_nfs::mount::MountProgram;
use nas_nfs::nfs3::Nfs3;
use nas_nfs::nlm::{self, Nlm};
use nas_nfs::nsm::{self, Nsm, NsmState, Saved};
use nas_nfs::portmap::{self, Portmap, Service, Transport};
use nas_nfs::rpc::{Program, Programs};
use nas_nfs::server::{Config, Listener, Server};
use nas_nfs::tree::{
    Around, Attributes, Change, Changed, FileTree, Kept, Kind, Listing, Name, New, ObjectRef, ReadData,
    Record, Room, SetAttributes, Stability, Time, TreeFault, Written,
};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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
        let mount = Arc::new(MountProgram::new(Arc::clone(&exports)));
        let mut programs: Vec<Arc<dyn Program>> = vec![nfs, mount];
        let mut listeners = Vec::new();
        if let (Some(address), Some(state)) = (options.portmap_listen, &options.nsm_state) {
            let companions = companions(&options, &exports, state.into()).await;
            programs.extend(companions.programs);
            listeners.push(Listener { address, programs: companions.portmap });
        }
        let programs = Programs::new(programs);
        let listener = |address| Listener { address, programs: programs.clone() };
        listeners.splice(0..0, [listener(options.listen), listener(options.mount_listen)]);
        let server = Server::start(Config { listeners, memory: BUDGET, workers: workers.clone() });
        let server = server.unwrap_or_else(|fault| fail(&fault.to_string()));
        server.open();
        let [nfs, mount, ..] = server.addresses() else { fail("two listeners were asked for") };
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
    portmap_listen: Option<SocketAddr>,
    nsm_state: Option<String>,
    file: Option<String>,
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
            portmap_listen: None,
            nsm_state: None,
            file: None,
        };
        while let Some(flag) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| fail(&format!("{flag} wants a value")));
            match &*flag {
                "--listen" => o.listen = parsed(&value()),
                "--mount-listen" => o.mount_listen = parsed(&value()),
                "--path" => o.path = value(),
                "--read-only" => o.read_only = true,
                "--null" => o.null_mib = Some(parsed(&value())),
                "--portmap-listen" => o.portmap_listen = Some(parsed(&value())),
                "--nsm-state" => o.nsm_state = Some(value()),
                "--file" => o.file = Some(value()),
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
    if let Some(file) = &o.file {
        let attributes = SetAttributes { mode: Some(0o666), ..SetAttributes::default() };
        let (directory, new) = (memory.root(), New::FileOnly(attributes));
        let name =
            Name::new(Bytes::copy_from_slice(file.as_bytes())).unwrap_or_else(|e| fail(&e.to_string()));
        memory.change(Change::Make { directory, name, new }, None).await.expect("the name is free");
    }
    let rules = vec![Rule { squash: o.squash, read_only: o.read_only, ..Rule::new(Clients::Any) }];
    let tree = Some((Arc::new(Tree { memory, null }), HandleKey::new(&KEY)));
    Share { id: ShareId(1), path: o.path.clone(), tree, rules }
}

/// What stands beside NFS where clients lock.
struct Companions {
    /// On MOUNT's port.
    programs: Vec<Arc<dyn Program>>,
    portmap: Programs,
}

/// Starts the lock manager and the status monitor, and what speaks UDP.
async fn companions(o: &Options, exports: &Arc<Exports<Tree>>, state: PathBuf) -> Companions {
    let started = Nlm::start(Arc::clone(exports), FileState(state), portmap::PORT, Instant::now()).await;
    let locks = started.unwrap_or_else(|error| fail(&format!("the state of locks: {error}")));
    let programs: Vec<Arc<dyn Program>> = vec![locks.clone(), Arc::new(Nsm::new(Arc::clone(&locks)))];
    let (nfs, mount) = (o.listen.port(), o.mount_listen.port());
    let service = |program, version, transport, port| Service { program, version, transport, port };
    let mut services = vec![
        service(100_003, 3, Transport::Tcp, nfs),
        service(100_005, 3, Transport::Tcp, mount),
        service(100_005, 1, Transport::Tcp, mount),
    ];
    for transport in [Transport::Tcp, Transport::Udp] {
        services.push(service(nlm::PROGRAM, nlm::VERSION, transport, mount));
        services.push(service(nsm::PROGRAM, nsm::VERSION, transport, mount));
    }
    let portmap = Programs::new(vec![Arc::new(Portmap::new(services))]);
    let at_portmap = o.portmap_listen.unwrap_or_else(|| fail("a port mapper listens somewhere"));
    for (address, programs) in
        [(o.mount_listen, Programs::new(programs.clone())), (at_portmap, portmap.clone())]
    {
        let socket = tokio::net::UdpSocket::bind(address).await;
        let socket = socket.unwrap_or_else(|error| fail(&format!("cannot listen on {address}: {error}")));
        let exports = Arc::clone(exports);
        tokio::spawn(nas_nfs::udp::serve(socket, programs, move |peer| exports.admits(peer)));
    }
    tokio::spawn(async move { locks.run().await });
    Companions { programs, portmap }
}

/// What the status monitor keeps, in a file.
struct FileState(PathBuf);

impl NsmState for FileState {
    async fn load(&self) -> std::io::Result<Saved> {
        match std::fs::read(&self.0) {
            Ok(bytes) => Saved::decode(bytes.into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Saved::default()),
            Err(error) => Err(error),
        }
    }

    async fn save(&self, saved: Saved) -> std::io::Result<()> {
        let new = self.0.with_extension("new");
        let mut file = std::fs::File::create(&new)?;
        file.write_all(&saved.encode())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.0)
    }
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
