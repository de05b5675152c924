//! The lines between parent and child. Names hold no space; numbers are decimal.
//!
//! A command is `ID WORD ARGUMENTS`, its answer `ID ok PAYLOAD` or `ID err REASON`, in any order. Before all
//! of them the child says `0 ok MILLISECONDS` (its open took) or `0 err REASON`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A command. The tag of what it writes is its ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes a volume of [`super::VOLUME_SECTORS`].
    Create(String),
    /// Writes `count` sectors from `at` on.
    Write {
        /// The volume.
        volume: String,
        /// The first sector.
        at: u64,
        /// Sectors.
        count: u64,
        /// Whether it is to be durable when answered.
        durable: bool,
    },
    /// Writes zeroes over `count` sectors from `at` on: whole blocks are unmapped.
    Zero {
        /// The volume.
        volume: String,
        /// The first sector.
        at: u64,
        /// Sectors.
        count: u64,
    },
    /// Flushes.
    Flush,
    /// Takes snapshots, all at one instant: (volume, name).
    Snapshot(Vec<(String, String)>),
    /// Deletes a snapshot.
    DeleteSnapshot(String, String),
    /// Clones a snapshot of a volume to a new volume.
    Clone(String, String, String),
    /// Deletes a volume and its snapshots.
    Delete(String),
    /// Rolls a volume back to a snapshot.
    Rollback(String, String),
    /// Reads sectors: the answer is their tags.
    Read {
        /// The volume.
        volume: String,
        /// A snapshot of it, or its live side.
        snapshot: Option<String>,
        /// The first sector.
        at: u64,
        /// Sectors.
        count: u64,
    },
    /// Tells the names of all volumes and snapshots.
    List,
    /// Finishes the background work, and walks everything.
    Audit,
}

/// Volumes with their snapshots.
pub type Listing = BTreeMap<String, BTreeSet<String>>;

impl Command {
    /// Its line, without the ID.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Command::Create(volume) => format!("create {volume}"),
            Command::Write { volume, at, count, durable } => format!("write {volume} {at} {count} {durable}"),
            Command::Zero { volume, at, count } => format!("zero {volume} {at} {count}"),
            Command::Flush => "flush".into(),
            Command::Snapshot(items) => {
                let items = items.iter().map(|(volume, name)| format!(" {volume} {name}"));
                format!("snapshot{}", items.collect::<String>())
            }
            Command::DeleteSnapshot(volume, name) => format!("unsnapshot {volume} {name}"),
            Command::Clone(volume, name, new) => format!("clone {volume} {name} {new}"),
            Command::Delete(volume) => format!("delete {volume}"),
            Command::Rollback(volume, name) => format!("rollback {volume} {name}"),
            Command::Read { volume, snapshot, at, count } => {
                format!("read {volume} {} {at} {count}", snapshot.as_deref().unwrap_or("-"))
            }
            Command::List => "list".into(),
            Command::Audit => "audit".into(),
        }
    }

    /// The inverse of [`Command::line`]; `None` when the line is none of its.
    #[must_use]
    pub fn parse(line: &str) -> Option<Command> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = |at: usize| words.get(at).map(|w| (*w).to_owned());
        let number = |at: usize| words.get(at)?.parse::<u64>().ok();
        Some(match *words.first()? {
            "create" => Command::Create(name(1)?),
            "write" => {
                let durable = words.get(4)?.parse().ok()?;
                Command::Write { volume: name(1)?, at: number(2)?, count: number(3)?, durable }
            }
            "zero" => Command::Zero { volume: name(1)?, at: number(2)?, count: number(3)? },
            "flush" => Command::Flush,
            "snapshot" => {
                let items = words[1..].chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
                Command::Snapshot(items.collect())
            }
            "unsnapshot" => Command::DeleteSnapshot(name(1)?, name(2)?),
            "clone" => Command::Clone(name(1)?, name(2)?, name(3)?),
            "delete" => Command::Delete(name(1)?),
            "rollback" => Command::Rollback(name(1)?, name(2)?),
            "read" => {
                let snapshot = name(2).filter(|name| name != "-");
                Command::Read { volume: name(1)?, snapshot, at: number(3)?, count: number(4)? }
            }
            "list" => Command::List,
            "audit" => Command::Audit,
            _ => return None,
        })
    }
}

/// How the child opens its pool.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The folder of everything.
    pub dir: PathBuf,
    /// Data devices: files of 160 MiB.
    pub devices: usize,
    /// `uring`, `threads` or `buffered`.
    pub mode: String,
    /// Bytes of changes that only the journal holds; small, so that there are many checkpoints.
    pub dirty_kib: u64,
    /// Milliseconds after which the engine flushes by itself.
    pub flush_ms: u64,
}

impl Setup {
    /// As arguments of the child.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let dir = self.dir.display().to_string();
        let (dirty, flush) = (self.dirty_kib.to_string(), self.flush_ms.to_string());
        vec![dir, self.devices.to_string(), self.mode.clone(), dirty, flush]
    }

    /// The inverse of [`Setup::arguments`].
    #[must_use]
    pub fn parse(arguments: &[String]) -> Option<Setup> {
        let [dir, devices, mode, dirty_kib, flush_ms] = arguments else { return None };
        Some(Setup {
            dir: dir.into(),
            devices: devices.parse().ok()?,
            mode: mode.clone(),
            dirty_kib: dirty_kib.parse().ok()?,
            flush_ms: flush_ms.parse().ok()?,
        })
    }
}
