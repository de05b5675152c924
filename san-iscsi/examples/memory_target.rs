//! A target over disks in memory: for conformance suites, for real initiators, and, with `--null`, as the
//! target without storage that benchmarks compare with.
//!
//!     memory_target [--listen ADDR:PORT]... [--luns N] [--size MIB] [--ro] [--null] [--threads N] [--4k]
//!                   [--chap USER:SECRET] [--mutual USER:SECRET] [--no-write-cache] [--advertise ADDR:PORT]
//!
//! It prints one line when it is ready, and stops gracefully when its input ends.

use bytes::Bytes;
use rustc_hash::FxHashMap;
use san_iscsi::lun::{Durability, Extent, LogicalUnit, LunFault, Space};
use san_iscsi::mem::{MemLun, MemSource};
use san_iscsi::scsi::inventory::{
    BlockSize, Credentials, Device, Host, Identity, Initiators, Inventory, Login, Mapping, Naa, PortalId,
    Secret,
};
use san_iscsi::scsi::runtime::{Detached, Runtime};
use san_iscsi::scsi::Target;
use san_iscsi::server::{Config, PortalConfig, Server};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The one target.
const NAME: &str = "iqn.2026-11.io.ashlar:memory";
/// Memory for data on its way.
const BUDGET: usize = 256 << 20;

fn main() {
    let options = Options::parse(std::env::args().skip(1));
    let runtimes: Vec<_> = (0..options.threads).map(|_| worker()).collect();
    let portals = (1..).zip(&options.listen).map(|(id, listen)| PortalConfig {
        id: PortalId(id),
        listen: *listen,
        advertise: options.advertise.clone(),
    });
    let portals: Vec<PortalConfig> = portals.collect();
    let ids = portals.iter().map(|portal| portal.id).collect();
    let target = Target::new(NAME.into(), ids, Arc::new(Tokio(runtimes[0].clone())));
    runtimes[0].block_on(async {
        target.apply(inventory(&options)).await.expect("the inventory is consistent");
        let server = Server::start(&target, Config { portals, memory: BUDGET, workers: runtimes.clone() });
        let server = server.unwrap_or_else(|fault| fail(&fault.to_string()));
        server.open();
        let addresses: Vec<String> = server.addresses().iter().map(|p| p.bound.to_string()).collect();
        println!("ready {NAME} {}", addresses.join(" "));
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
    eprintln!("memory_target: {why}");
    std::process::exit(2)
}

/// A thread with a runtime of its own.
fn worker() -> tokio::runtime::Handle {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
}

struct Tokio(tokio::runtime::Handle);

impl Runtime for Tokio {
    fn spawn(&self, task: Detached) {
        self.0.spawn(task);
    }

    fn sleep(&self, time: Duration) -> Detached {
        Box::pin(async move { tokio::time::sleep(time).await })
    }
}

struct Options {
    listen: Vec<SocketAddr>,
    advertise: Vec<SocketAddr>,
    luns: u16,
    mib: u64,
    read_only: bool,
    null: bool,
    threads: usize,
    chap: Option<Login>,
    mutual: Option<Login>,
    write_cache: bool,
    block_size: BlockSize,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Options {
        let mut o = Options {
            listen: Vec::new(),
            advertise: Vec::new(),
            luns: 1,
            mib: 256,
            read_only: false,
            null: false,
            threads: 1,
            chap: None,
            mutual: None,
            write_cache: true,
            block_size: BlockSize::B512,
        };
        while let Some(flag) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| fail(&format!("{flag} wants a value")));
            match &*flag {
                "--listen" => o.listen.push(parsed(&value())),
                "--advertise" => o.advertise.push(parsed(&value())),
                "--luns" => o.luns = parsed(&value()),
                "--size" => o.mib = parsed(&value()),
                "--ro" => o.read_only = true,
                "--null" => o.null = true,
                "--threads" => o.threads = parsed(&value()),
                "--chap" => o.chap = Some(login(&value())),
                "--mutual" => o.mutual = Some(login(&value())),
                "--no-write-cache" => o.write_cache = false,
                "--4k" => o.block_size = BlockSize::B4096,
                _ => fail(&format!("{flag} is no option")),
            }
        }
        if o.listen.is_empty() {
            o.listen.push(SocketAddr::from(([127, 0, 0, 1], 3260)));
        }
        o
    }
}

fn parsed<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| fail(&format!("{text} is no valid value")))
}

fn login(text: &str) -> Login {
    let Some((user, secret)) = text.split_once(':') else { fail("a login is USER:SECRET") };
    let secret = Secret::new(secret.as_bytes().to_vec()).unwrap_or_else(|fault| fail(&fault.to_string()));
    Login { user: user.into(), secret }
}

/// LUNs 0 and up; with `--ro` one more, which is read-only.
fn inventory(o: &Options) -> Inventory<Unit> {
    let count = o.luns + u16::from(o.read_only);
    let unit = || match o.null {
        true => Unit::Null(o.mib << 20, Bytes::from_static(&ZEROES)),
        false => Unit::Memory(Arc::new(MemLun::new(o.mib << 20))),
    };
    let naa = |lun: u16| {
        let mut naa = [0x60, 0x5a, 0x51, 0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        naa[14..].copy_from_slice(&lun.to_be_bytes());
        Naa(naa)
    };
    let device = |lun: u16| Device {
        identity: Identity {
            naa: naa(lun),
            serial: format!("MEM{lun:05}"),
            vendor: "ASHLAR".into(),
            product: "MEMORY".into(),
            revision: "1".into(),
        },
        unit: Some(Arc::new(unit())),
        block_size: o.block_size,
        content: 0,
        saved_reservations: Bytes::new(),
    };
    let mapping =
        |lun: u16| Mapping { device: naa(lun), read_only: lun >= o.luns, write_cache: o.write_cache };
    let luns: FxHashMap<u16, Mapping> = (0..count).map(|lun| (lun, mapping(lun))).collect();
    let credentials = o.chap.clone().map(|initiator| Credentials { initiator, target: o.mutual.clone() });
    let host = Host {
        name: "any".into(),
        initiators: Initiators::Any,
        networks: Vec::new(),
        portals: Vec::new(),
        credentials,
        luns,
    };
    Inventory { devices: (0..count).map(device).collect(), hosts: vec![host] }
}

static ZEROES: [u8; 16 << 20] = [0; 16 << 20];

/// A disk in memory, or none: reads give zeroes, and writes go nowhere.
enum Unit {
    Memory(Arc<MemLun>),
    Null(u64, Bytes),
}

impl LogicalUnit for Unit {
    type Source = MemSource;

    fn source(&self) -> MemSource {
        match self {
            Unit::Memory(disk) => disk.source(),
            Unit::Null(..) => MemSource::default(),
        }
    }

    async fn fence(&self, source: &MemSource) {
        if let Unit::Memory(disk) = self {
            disk.fence(source).await;
        }
    }

    fn len(&self) -> u64 {
        match self {
            Unit::Memory(disk) => disk.len(),
            Unit::Null(len, _) => *len,
        }
    }

    fn space(&self) -> Space {
        match self {
            Unit::Memory(disk) => disk.space(),
            Unit::Null(..) => Space::default(),
        }
    }

    async fn read(&self, offset: u64, len: u64) -> Result<Bytes, LunFault> {
        match self {
            Unit::Memory(disk) => disk.read(offset, len).await,
            Unit::Null(_, zeroes) => Ok(zeroes.slice(..len as usize)),
        }
    }

    async fn write(
        &self,
        source: &MemSource,
        offset: u64,
        data: Bytes,
        durability: Durability,
    ) -> Result<(), LunFault> {
        match self {
            Unit::Memory(disk) => disk.write(source, offset, data, durability).await,
            Unit::Null(..) => Ok(()),
        }
    }

    async fn flush(&self, source: &MemSource) -> Result<(), LunFault> {
        match self {
            Unit::Memory(disk) => disk.flush(source).await,
            Unit::Null(..) => Ok(()),
        }
    }

    async fn write_zeroes(
        &self,
        source: &MemSource,
        offset: u64,
        len: u64,
        durability: Durability,
    ) -> Result<(), LunFault> {
        match self {
            Unit::Memory(disk) => disk.write_zeroes(source, offset, len, durability).await,
            Unit::Null(..) => Ok(()),
        }
    }

    async fn write_same(
        &self,
        source: &MemSource,
        offset: u64,
        len: u64,
        pattern: Bytes,
        durability: Durability,
    ) -> Result<(), LunFault> {
        match self {
            Unit::Memory(disk) => disk.write_same(source, offset, len, pattern, durability).await,
            Unit::Null(..) => Ok(()),
        }
    }

    async fn compare_and_write(
        &self,
        source: &MemSource,
        offset: u64,
        expected: Bytes,
        data: Bytes,
    ) -> Result<(), LunFault> {
        match self {
            Unit::Memory(disk) => disk.compare_and_write(source, offset, expected, data).await,
            Unit::Null(..) => Ok(()),
        }
    }

    async fn extents(&self, offset: u64, len: u64, limit: usize) -> Result<Vec<Extent>, LunFault> {
        match self {
            Unit::Memory(disk) => disk.extents(offset, len, limit).await,
            Unit::Null(..) => Ok(vec![Extent { offset, len, mapped: true }]),
        }
    }

    async fn copy_from(
        &self,
        source: &MemSource,
        offset: u64,
        from: &Self,
        from_offset: u64,
        len: u64,
    ) -> Result<(), LunFault> {
        match (self, from) {
            (Unit::Memory(disk), Unit::Memory(from)) => {
                disk.copy_from(source, offset, from, from_offset, len).await
            }
            _ => Ok(()),
        }
    }

    async fn save_reservations(&self, state: Bytes) -> Result<(), LunFault> {
        match self {
            Unit::Memory(disk) => disk.save_reservations(state).await,
            Unit::Null(..) => Ok(()),
        }
    }
}
