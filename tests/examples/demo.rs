//! `make demo`: the storage engine at work on a real file. A pool, a volume, a snapshot, a clone; then the
//! program kills a child of its own (SIGKILL) in the middle of its writing, opens the pool again and looks.

use block_layer::device::FileDisk;
use block_layer::format::PoolName;
use block_layer::pool::{CreateOptions, Layout};
use block_layer::runtime::TokioRuntime;
use block_layer::Buf;
use snapshots::engine::{PoolFiles, WriteOptions};
use snapshots::{Engine, EngineConfig, EngineParts};
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::{Builder, Handle, Runtime};

const MIB: u64 = 1 << 20;
/// Bytes of the device.
const DEVICE: u64 = 320 * MIB;
/// Bytes of the volume, and of each write of the child.
const VOLUME: u64 = 64 * MIB;
const PIECE: u64 = 64 << 10;
/// Acknowledged writes after which the child is killed.
const ENOUGH: u64 = 300;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    if let Some(dir) = std::env::args().nth(1) {
        let runtime = runtime()?;
        let home = runtime.handle().clone();
        return runtime.block_on(write_until_killed(Path::new(&dir), home));
    }
    let dir = std::env::temp_dir().join(format!("ashlar-demo-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    let result = show(&dir);
    std::fs::remove_dir_all(&dir)?;
    result
}

fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Each part has a runtime of its own: what the engine had running, and its lock, goes with it.
fn show(dir: &Path) -> Outcome<()> {
    let before = runtime()?;
    let home = before.handle().clone();
    before.block_on(fill(dir, home))?;
    drop(before);
    let acknowledged = kill_a_writer(dir)?;
    println!(
        "4. A second process wrote to db and was killed (SIGKILL) after {acknowledged} acknowledgements."
    );
    let after = runtime()?;
    let home = after.handle().clone();
    after.block_on(look(dir, home, acknowledged))
}

/// The pool's parts: one file as its device, a directory as its index.
fn parts(dir: &Path, new: bool, home: Handle) -> Outcome<EngineParts> {
    let files = PoolFiles::new(vec![dir.join("device")], dir.join("index"));
    let mut waiting =
        |path: &Path| println!("  (waiting until the last writes to {} have ended)", name(path));
    let (disks, index) = if new { files.open_new(&mut waiting)? } else { files.open(&mut waiting)? };
    Ok(EngineParts {
        runtime: Arc::new(TokioRuntime::new(home)),
        disks,
        index,
        config: EngineConfig::default(),
    })
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn piece(tag: u64, len: u64) -> Buf {
    let mut buf = Buf::zeroed(len as usize);
    buf.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&tag.to_le_bytes()));
    buf
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MIB as f64)
}

async fn fill(dir: &Path, home: Handle) -> Outcome<()> {
    FileDisk::create(&dir.join("device"), DEVICE)?;
    let layout = Layout { ring_len: None };
    let options = CreateOptions { name: PoolName::new("demo")?, layout, force: false };
    let engine = Engine::create(parts(dir, true, home.clone())?, &options).await?;
    println!("1. A pool on a file of {}: {} free.", mib(DEVICE), mib(free(&engine)));
    let volume = engine.volume(engine.create_dataset("db", 0, VOLUME, b"").await?);
    let plain = WriteOptions::default();
    for at in (0..32 * MIB).step_by(MIB as usize) {
        volume.write(at, piece(1, MIB).freeze(), &plain).await?;
    }
    println!("2. Volume db of {}, thin: 32 MiB written, {} free.", mib(VOLUME), mib(free(&engine)));
    let begun = Instant::now();
    let monday = engine.snapshot(&[(volume.dataset(), "monday")]).await?[0];
    let copy = engine.volume(engine.clone_snapshot(monday, "db-copy", 0, b"").await?);
    println!("3. Snapshot db@monday and its clone db-copy: {:.1} ms.", begun.elapsed().as_secs_f64() * 1e3);
    copy.write(0, piece(2, MIB).freeze(), &plain).await?;
    let shared = engine.dataset(copy.dataset())?;
    let (sees, own) = (mib(shared.referenced), mib(shared.unique));
    println!("   1 MiB written to the clone: it sees {sees}, and only {own} of it is its own.");
    engine.close().await?;
    Ok(())
}

async fn look(dir: &Path, home: Handle, acknowledged: u64) -> Outcome<()> {
    let begun = Instant::now();
    let (engine, _) = Engine::open(parts(dir, false, home)?).await?;
    println!("5. The pool is open again after {:.0} ms.", begun.elapsed().as_secs_f64() * 1e3);
    let volume = engine.volume(engine.find_dataset("db")?);
    let monday = engine.find_snapshot(volume.dataset(), "monday")?;
    for nth in 0..acknowledged {
        let found = volume.read(nth * PIECE, Buf::zeroed(PIECE as usize)).await?;
        assert_eq!(found[..], piece(100 + nth, PIECE)[..], "an acknowledged write is lost");
    }
    let old = volume.at(monday).read(0, Buf::zeroed(MIB as usize)).await?;
    assert_eq!(old[..], piece(1, MIB)[..], "the snapshot has changed");
    engine.audit().await?;
    println!("   All {acknowledged} acknowledged writes are there, the snapshot is unchanged, and a walk of");
    println!("   everything agrees with the accounts: {} allocated.", mib(allocated(&engine)));
    engine.close().await?;
    Ok(())
}

fn free(engine: &Engine) -> u64 {
    let space = engine.stats().store.space;
    (space.capacity - space.allocated) * block_layer::BLOCK as u64
}

fn allocated(engine: &Engine) -> u64 {
    engine.stats().store.space.allocated * block_layer::BLOCK as u64
}

/// Starts the writer, counts what it says was acknowledged, and kills it by its own number.
fn kill_a_writer(dir: &Path) -> Outcome<u64> {
    let mut child = Command::new(std::env::current_exe()?).arg(dir).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stdout.take().ok_or("the child has a pipe")?).lines();
    let mut acknowledged = 0;
    for line in lines.map_while(Result::ok).filter(|line| line == "acknowledged") {
        drop(line);
        acknowledged += 1;
        if acknowledged == ENOUGH {
            child.kill()?;
        }
    }
    child.wait()?;
    Ok(acknowledged)
}

/// The child: writes piece after piece, and says so after each acknowledgement.
async fn write_until_killed(dir: &Path, home: Handle) -> Outcome<()> {
    let (engine, _) = Engine::open(parts(dir, false, home)?).await?;
    let volume = engine.volume(engine.find_dataset("db")?);
    for nth in 0..VOLUME / PIECE {
        let data = piece(100 + nth, PIECE).freeze();
        volume.write(nth * PIECE, data, &WriteOptions::default()).await?;
        println!("acknowledged");
    }
    Ok(())
}
