//! The child: opens the pool, or makes it, and does what comes in on stdin, on two threads.
//!
//! An answer is written after the engine's and before anything else is done for that client.

use super::{pattern, Command, Setup, VOLUME_SECTORS};
use block_layer::device::{Backend, Direct, DiskOptions, FileDisk};
use block_layer::format::PoolName;
use block_layer::pool::{CreateOptions, Layout};
use block_layer::runtime::TokioRuntime;
use block_layer::{Buf, SECTOR};
use snapshots::engine::{PoolFiles, WriteOptions};
use snapshots::{DatasetId, Engine, EngineConfig, EngineParts, SnapshotId, Volume};
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

/// Bytes of each device: two segments and some.
const DEVICE_BYTES: u64 = 160 << 20;
/// Bytes of the journal's ring: small, so that it goes round often.
const RING_BYTES: u64 = 2 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the child until stdin ends or it is killed.
///
/// # Errors
/// The pool could not be opened or made; the parent has been told.
pub fn run(setup: &Setup) -> Result<(), Failure> {
    let threads: Vec<Runtime> =
        (0..2).map(|_| Builder::new_current_thread().enable_all().build()).collect::<Result<_, _>>()?;
    let begun = Instant::now();
    let home = threads[0].handle().clone();
    let engine = match threads[0].block_on(open(setup, home)) {
        Ok(engine) => engine,
        Err(e) => {
            answer(0, &Err(e));
            return Ok(());
        }
    };
    answer(0, &Ok(begun.elapsed().as_millis().to_string()));
    let mut lines = Vec::new();
    for thread in threads {
        let (send, receive) = mpsc::unbounded_channel();
        let engine = engine.clone();
        lines.push(send);
        std::thread::spawn(move || thread.block_on(serve(engine, receive)));
    }
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (id, command) = line.split_once(' ').ok_or("a line has an ID and a command")?;
        let command = Command::parse(command).ok_or("the command is known")?;
        let id: u64 = id.parse()?;
        lines[id as usize % 2].send((id, command))?;
    }
    Ok(())
}

async fn open(setup: &Setup, home: tokio::runtime::Handle) -> Result<Arc<Engine>, Failure> {
    let mut config = EngineConfig { page_cache_bytes: 2 << 20, ..EngineConfig::default() };
    config.store.reserve_bytes = 1 << 20;
    config.store.cache_bytes = 4 << 20;
    config.store.dirty_bytes = setup.dirty_kib << 10;
    config.store.flush_after = Duration::from_millis(setup.flush_ms);
    config.store.index_reserve_bytes = 1 << 20;
    let paths = (0..setup.devices).map(|n| setup.dir.join(format!("device-{n}"))).collect();
    let mut files = PoolFiles::new(paths, setup.dir.join("index"));
    files.disk = match setup.mode.as_str() {
        "threads" => DiskOptions { backend: Backend::Threads, direct: Direct::Auto },
        "buffered" => DiskOptions { backend: Backend::Threads, direct: Direct::Buffered },
        _ => DiskOptions::default(),
    };
    let mut waiting = |path: &Path| eprintln!("waiting for {}, which is in use", path.display());
    let new = !files.index.exists();
    let opened = match new {
        false => files.open(&mut waiting)?,
        true => {
            files.devices.iter().try_for_each(|path| FileDisk::create(path, DEVICE_BYTES))?;
            files.open_new(&mut waiting)?
        }
    };
    let (disks, index) = opened;
    let parts = EngineParts { runtime: Arc::new(TokioRuntime::new(home)), disks, index, config };
    if new {
        let layout = Layout { ring_len: Some(RING_BYTES) };
        let name = PoolName::new("kill")?;
        return Ok(Engine::create(parts, &CreateOptions { name, layout, force: false }).await?);
    }
    let (engine, warnings) = Engine::open(parts).await?;
    warnings.iter().for_each(|warning| eprintln!("{warning}"));
    Ok(engine)
}

async fn serve(engine: Arc<Engine>, mut lines: mpsc::UnboundedReceiver<(u64, Command)>) {
    while let Some((id, command)) = lines.recv().await {
        let engine = engine.clone();
        drop(tokio::spawn(async move { answer(id, &perform(&engine, id, command).await) }));
    }
}

fn answer(id: u64, result: &Result<String, Failure>) {
    let line = match result {
        Ok(payload) => format!("{id} ok {payload}\n"),
        Err(e) => format!("{id} err {}\n", e.to_string().replace('\n', " ")),
    };
    // One call, so that a line is there wholly or not at all; a parent that is gone needs no answer.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

async fn perform(engine: &Arc<Engine>, id: u64, command: Command) -> Result<String, Failure> {
    match command {
        Command::Write { volume, at, count, durable } => {
            let mut buf = Buf::zeroed(count as usize * SECTOR);
            pattern::fill(&mut buf, at, id);
            let options = WriteOptions { session: None, durable };
            find(engine, &volume)?.write(at * SECTOR as u64, buf.freeze(), &options).await?;
        }
        Command::Zero { volume, at, count } => {
            let (offset, len) = (at * SECTOR as u64, count * SECTOR as u64);
            find(engine, &volume)?.write_zeroes(offset, len, &WriteOptions::default()).await?;
        }
        Command::Flush => {
            let _durable = engine.flush().await?;
        }
        Command::Read { volume, snapshot, at, count } => {
            return read(engine, &volume, snapshot.as_deref(), at, count).await;
        }
        Command::List => return Ok(list(engine)),
        Command::Audit => {
            while engine.background_step().await? {}
            engine.audit().await?;
        }
        command => administer(engine, command).await?,
    }
    Ok(String::new())
}

async fn administer(engine: &Arc<Engine>, command: Command) -> Result<(), Failure> {
    match command {
        Command::Create(volume) => {
            engine.create_dataset(&volume, 1, VOLUME_SECTORS * SECTOR as u64, b"").await?;
        }
        Command::Snapshot(items) => {
            let ids: Vec<DatasetId> =
                items.iter().map(|(volume, _)| engine.find_dataset(volume)).collect::<Result<_, _>>()?;
            let items: Vec<_> = ids.into_iter().zip(items.iter().map(|(_, name)| name.as_str())).collect();
            engine.snapshot(&items).await?;
        }
        Command::DeleteSnapshot(volume, name) => {
            engine.delete_snapshot(find_snapshot(engine, &volume, &name)?).await?;
        }
        Command::Clone(volume, name, new) => {
            engine.clone_snapshot(find_snapshot(engine, &volume, &name)?, &new, 1, b"").await?;
        }
        Command::Delete(volume) => engine.delete_dataset(engine.find_dataset(&volume)?, true).await?,
        Command::Rollback(volume, name) => {
            let snapshot = find_snapshot(engine, &volume, &name)?;
            engine.rollback(engine.find_dataset(&volume)?, snapshot).await?;
        }
        other => return Err(format!("{} is no administration", other.line()).into()),
    }
    Ok(())
}

fn find(engine: &Arc<Engine>, volume: &str) -> Result<Volume, Failure> {
    Ok(engine.volume(engine.find_dataset(volume)?))
}

fn find_snapshot(engine: &Arc<Engine>, volume: &str, name: &str) -> Result<SnapshotId, Failure> {
    Ok(engine.find_snapshot(engine.find_dataset(volume)?, name)?)
}

async fn read(
    engine: &Arc<Engine>,
    volume: &str,
    snapshot: Option<&str>,
    at: u64,
    count: u64,
) -> Result<String, Failure> {
    let live = find(engine, volume)?;
    let from = match snapshot {
        Some(name) => live.at(find_snapshot(engine, volume, name)?),
        None => live,
    };
    let data = from.read(at * SECTOR as u64, Buf::zeroed(count as usize * SECTOR)).await?;
    let tags: Vec<u64> =
        data.chunks_exact(SECTOR).zip(at..).map(|(sector, at)| pattern::tag_of(sector, at)).collect();
    Ok(pattern::runs(&tags))
}

/// `VOLUME:SNAPSHOT:SNAPSHOT VOLUME`
fn list(engine: &Arc<Engine>) -> String {
    let line = |info: snapshots::engine::DatasetInfo| {
        let names = engine.snapshots(info.id).into_iter().map(|s| format!(":{}", s.name));
        format!("{}{}", info.name, names.collect::<String>())
    };
    engine.datasets().into_iter().map(line).collect::<Vec<_>>().join(" ")
}
