//! What a commit costs: random overwrites of 4 KiB through the whole store, on a file and a RocksDB index.
//!
//! `cargo run --release --example commit_bench -- DIR [COMMITS] [DEPTH]` makes a pool in DIR, which must
//! not exist, and removes it. One thread commits; CPU is that of the whole process, kernel workers included.

use block_layer::alloc::Purpose;
use block_layer::device::{DiskOptions, FileDisk};
use block_layer::format::{space_key, PoolName};
use block_layer::index::{Batch, IndexOptions, MergeRule, RocksIndex};
use block_layer::pool::{CreateOptions, Layout};
use block_layer::runtime::TokioRuntime;
use block_layer::store::{Contradiction, Machine, Parts, Refusal, Tx};
use block_layer::{Buf, Bytes, Config, Disk, Pba, Seq, Store};
use std::cell::Cell;
use std::error::Error;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Bytes of the device file.
const DEVICE: u64 = 2 << 30;
/// Keys: 256 MiB of data.
const KEYS: usize = 1 << 16;
const RULES: &[MergeRule] = &[space_key::MERGE];

/// Keys name blocks, in an array; nothing of it reaches the index.
#[derive(Default)]
struct Slots(Mutex<Vec<Option<Pba>>>);

struct Write {
    key: usize,
    block: [(Bytes, u32); 1],
}

impl Machine for Slots {
    type Op = Write;
    type Reply = ();
    type Error = ();

    fn is_barrier(&self, _: &Write) -> bool {
        false
    }

    fn data_bytes(&self, _: &Write) -> usize {
        4096
    }

    fn order(&self, op: &mut Write, tx: &mut Tx<'_>) -> Result<(), Refusal<()>> {
        let mut runs = Vec::new();
        tx.write(&op.block, Purpose::Write, &mut runs)?;
        // Ordered and visible are not told apart here: nobody reads.
        let old = self.0.lock().expect("no panic")[op.key].replace(runs[0].at);
        old.into_iter().for_each(|old| tx.release(old));
        tx.mutate(|out| out.extend((op.key as u32).to_le_bytes()));
        Ok(())
    }

    fn apply(&self, _: Seq, _: &[u8]) -> Result<(), Contradiction> {
        Ok(())
    }

    fn discard(&self, _visible: Seq) {}

    fn dirty_bytes(&self) -> u64 {
        0
    }

    fn freeze(&self) {}

    fn write_frozen(&self, _: &mut Batch) {}

    fn drop_frozen(&self) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("usage: commit_bench DIR [COMMITS] [DEPTH]")?;
    let commits = arguments.next().map_or(Ok(400_000), |n| n.parse())?;
    let depth = arguments.next().map_or(Ok(32), |n| n.parse())?;
    let dir = Path::new(&dir);
    std::fs::create_dir(dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = tokio::task::LocalSet::new().block_on(&runtime, run(dir, commits, depth));
    std::fs::remove_dir_all(dir)?;
    result
}

async fn run(dir: &Path, commits: usize, depth: usize) -> Result<(), Box<dyn Error>> {
    let device = dir.join("device");
    FileDisk::create(&device, DEVICE)?;
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(&device, &DiskOptions::default())?);
    println!("{}: {}", disk.name(), disk.mode());
    let options = IndexOptions { rules: RULES, ..IndexOptions::default() };
    let index = RocksIndex::create(&dir.join("index"), options)?;
    let parts = Parts {
        runtime: Arc::new(TokioRuntime::new(tokio::runtime::Handle::current())),
        disks: vec![disk],
        index: Arc::new(index),
        config: Config::default(),
    };
    let options = CreateOptions { name: PoolName::new("bench")?, layout: Layout::default(), force: false };
    Store::<Slots>::create_pool(&parts, &options).await?;
    let (store, _) = Store::open(parts, Arc::new(Slots(Mutex::new(vec![None; KEYS])))).await?;
    for (name, commits) in [("fill", KEYS), ("overwrite", commits)] {
        let (cpu, start, seq) = (cpu_us()?, Instant::now(), store.visible());
        load(&store, commits, depth).await;
        let (cpu, wall, batches) = (cpu_us()? - cpu, start.elapsed(), store.visible().0 - seq.0);
        let (rate, each) = (commits as f64 / wall.as_secs_f64(), cpu as f64 / commits as f64);
        let batch = commits as f64 / batches as f64;
        println!("{name:10} {rate:8.0} commits/s  {each:6.2} us CPU each  {batch:5.1} in a record");
    }
    store.close().await?;
    Ok(())
}

/// `commits` commits by `depth` clients.
async fn load(store: &Arc<Store<Slots>>, commits: usize, depth: usize) {
    let next = Rc::new(Cell::new(0));
    let data: Bytes = Buf::copy_of(&[0x5a; 4096]).freeze();
    let clients: Vec<_> = (0..depth)
        .map(|_| {
            let (store, next, data) = (store.clone(), next.clone(), data.clone());
            tokio::task::spawn_local(async move {
                while next.get() < commits {
                    let n = next.replace(next.get() + 1);
                    let key = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 40;
                    let crc = block_layer::crc32c(&data);
                    let op = Write { key: key % KEYS, block: [(data.clone(), crc)] };
                    let _ = store.commit(op).await.expect("space and health");
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("no panic");
    }
}

/// CPU time of this process, user and kernel, in microseconds; the system counts in hundredths of a second.
fn cpu_us() -> Result<u64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    Ok((fields[11].parse::<u64>()? + fields[12].parse::<u64>()?) * 10_000)
}
