//! A share: a POSIX tree of files on a dataset's versioned key space.
//!
//! Inodes, names and cookies are small entries; a file's data is the dataset's object of its inode's number.
//! A [`Tree`] is a share of one opening of its pool; [`Share`] finds the tree of the present one.
//!
//! Invariants:
//! - every name leads to an inode, and has a cookie's entry that says the same; an inode's links are its
//!   names;
//! - behind its size a file has nothing but zeroes;
//! - a change is one commit, on condition that every entry that it rests on is as it was read; objects whose
//!   inode it replaces are held alone ([`locks`]), writes go side by side by merging ([`rule`]);
//! - numbers of inodes and cookies are never used again ([`numbers`]); an object's ctime strictly increases;
//! - what lost its last name is freed with that commit if it is small, otherwise noted and freed in the
//!   background ([`orphans`]).
//!
//! | file | subject |
//! |---|---|
//! | `types` | what a tree says and is told |
//! | `format`, `inode` | what is stored |
//! | `look`, `views` | attributes, names, listings; snapshots as directories |
//! | `plan`, `change`, `names` | changes: how one is committed, and what each is |
//! | `data`, `copy` | reading and writing files; files made by reference |
//! | `check` | a walk of everything |
//! | `attributes` | what no rollback turns back |

pub(crate) mod attributes;
mod change;
mod check;
mod copy;
mod data;
pub(crate) mod format;
#[doc(hidden)]
pub mod fuzz;
mod inode;
mod locks;
mod look;
mod names;
mod numbers;
mod orphans;
mod plan;
mod rule;
pub mod types;
mod views;

pub use check::Walked;
pub use copy::Content;
pub use rule::RULE;

use format::{encode_totals, inode_key, Damaged, FIRST, ROOT, TOTALS};
use inode::{time_of, Inode};
use rule::Reason;
use snapshots::engine::{EntryCondition, EntryEdit};
use snapshots::{DatasetId, Engine, Error, SnapshotId};
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};
use std::sync::Arc;
use types::{Attributes, Fault, Kind, ObjectRef};

/// Largest file, in bytes.
pub const FILE_MAX: u64 = 16 << 40;
/// Most names of an object that is no directory.
pub const LINKS_MAX: u32 = 65_000;
/// Most bytes of one read or write.
pub const IO_MAX: usize = 1 << 20;
const BLOCK: u64 = block_layer::BLOCK as u64;

/// A clock: nanoseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How the root shows its snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotDir {
    /// `.snapshots` is there for who asks for it, and not listed: walks of the tree do not meet it.
    #[default]
    Hidden,
    /// It is listed too.
    Visible,
    /// It is not there.
    Off,
}

/// What a tree is made of.
#[derive(Clone)]
pub struct TreeParts {
    /// The open pool.
    pub engine: Arc<Engine>,
    /// The share.
    pub dataset: DatasetId,
    /// The dataset beside it, which nobody snapshots.
    pub system: DatasetId,
    /// The clock.
    pub clock: Clock,
    /// Its file system's number.
    pub fsid: u64,
    /// Below this no number of it was ever given: see [`Tree::number_behind_all`].
    pub first_number: u64,
}

/// A share of an open pool. See the module.
pub struct Tree {
    engine: Arc<Engine>,
    dataset: DatasetId,
    system: DatasetId,
    clock: Clock,
    fsid: u64,
    first_number: u64,
    /// The last time that the clock gave.
    latest: AtomicU64,
    /// Bytes that it may take; 0 = as many as there are.
    quota: AtomicU64,
    snapshot_dir: AtomicU8,
    numbers: numbers::Numbers,
    locks: locks::Locks,
    /// Held while a directory moves: no two may move into each other.
    moving: Arc<tokio::sync::Mutex<()>>,
    /// There is something for the background.
    work: Arc<tokio::sync::Notify>,
}

/// An object that was looked up: its number, its inode, and the inode as it is stored.
#[derive(Clone, Debug)]
struct Object {
    number: u64,
    stored: Vec<u8>,
    inode: Inode,
}

impl Tree {
    /// The share that `parts` names; an empty one gets its root.
    ///
    /// # Errors
    /// The engine's.
    pub async fn open(parts: TreeParts) -> Result<Arc<Tree>, Fault> {
        let TreeParts { engine, dataset, system, clock, fsid, first_number } = parts;
        let tree = Tree {
            engine,
            dataset,
            system,
            clock,
            fsid,
            first_number: first_number.max(FIRST),
            latest: AtomicU64::new(0),
            quota: AtomicU64::new(0),
            snapshot_dir: AtomicU8::new(0),
            numbers: numbers::Numbers::default(),
            locks: locks::Locks::default(),
            moving: Arc::default(),
            work: Arc::default(),
        };
        if tree.get(None, &inode_key(ROOT)).await?.is_none() {
            tree.make_root().await?;
        }
        Ok(Arc::new(tree))
    }

    async fn make_root(&self) -> Result<(), Fault> {
        let mut root = Inode::new(Kind::Directory, 1, self.now());
        (root.mode, root.parent) = (0o755, ROOT);
        let new =
            |name: Vec<u8>, value| EntryEdit { name, value: Some(value), condition: EntryCondition::Absent };
        let edits = [new(inode_key(ROOT), root.encode()), new(TOTALS.to_vec(), encode_totals(1))];
        match self.engine.edit(self.dataset, &edits, None).await {
            // Two came at once.
            Ok(()) | Err(Error::Exists(_)) => Ok(()),
            Err(e) => Err(self.fault(e)),
        }
    }

    /// The root directory of every share.
    pub const ROOT: ObjectRef = ObjectRef { view: views::LIVE, inode: ROOT, generation: 1 };

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> ObjectRef {
        Tree::ROOT
    }

    /// Changes whenever unstable writes may have been lost.
    #[must_use]
    pub fn verifier(&self) -> u64 {
        self.engine.verifier()
    }

    /// The pool that it is of.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Sets the bytes that it may take; 0 = as many as there are.
    pub fn set_quota(&self, bytes: u64) {
        self.quota.store(bytes, Ordering::Relaxed);
    }

    /// Sets how its root shows the snapshots.
    pub fn set_snapshot_dir(&self, how: SnapshotDir) {
        self.snapshot_dir.store(how as u8, Ordering::Relaxed);
    }

    fn snapshot_dir(&self) -> SnapshotDir {
        match self.snapshot_dir.load(Ordering::Relaxed) {
            0 => SnapshotDir::Hidden,
            1 => SnapshotDir::Visible,
            _ => SnapshotDir::Off,
        }
    }

    /// Nanoseconds since 1970; never less than before.
    fn now(&self) -> u64 {
        let now = (self.clock)();
        self.latest.fetch_max(now, Ordering::Relaxed).max(now)
    }

    async fn get(&self, snapshot: Option<SnapshotId>, name: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let got = self.engine.get(self.dataset, snapshot, name).await;
        got.map_err(|e| match e {
            Error::NotFound(_) if snapshot.is_some() => Fault::Stale,
            e => self.fault(e),
        })
    }

    /// An object as a view sees it; [`Fault::Stale`] if there is none.
    async fn object(&self, snapshot: Option<SnapshotId>, number: u64) -> Result<Object, Fault> {
        let stored = self.get(snapshot, &inode_key(number)).await?.ok_or(Fault::Stale)?;
        let inode = Inode::decode(&stored).map_err(|e| self.damage(e))?;
        Ok(Object { number, stored, inode })
    }

    /// The live object that a reference means.
    async fn live(&self, object: ObjectRef) -> Result<Object, Fault> {
        if object.view != views::LIVE {
            return Err(Fault::ReadOnly);
        }
        let found = self.object(None, object.inode).await?;
        match found.inode.generation == object.generation {
            true => Ok(found),
            false => Err(Fault::Stale),
        }
    }

    fn damage(&self, Damaged(what): Damaged) -> Fault {
        tracing::error!(share = self.dataset.0, "the share is damaged: {what}");
        Fault::Corrupt
    }

    fn fault(&self, error: Error) -> Fault {
        match error {
            Error::NoSpace => Fault::NoSpace,
            Error::Read(block_layer::store::ReadError::Corrupt { .. }) | Error::Damaged(_) => Fault::Corrupt,
            Error::Vetoed(reason) if reason == Reason::Stale as u32 => Fault::Stale,
            Error::Vetoed(_) => Fault::Corrupt,
            Error::NotFound(_) | Error::Closed | Error::PoolFailed(_) => Fault::Unavailable,
            error => {
                tracing::error!(share = self.dataset.0, "{error}");
                Fault::Unavailable
            }
        }
    }
}

impl Object {
    fn reference(&self, view: u64) -> ObjectRef {
        ObjectRef { view, inode: self.number, generation: self.inode.generation }
    }
}

/// An inode's attributes, in a file system.
fn attributes(inode: &Inode, fsid: u64) -> Attributes {
    let size = match inode.kind {
        Kind::Directory => inode.names,
        _ => inode.size,
    };
    Attributes {
        kind: inode.kind,
        mode: inode.mode,
        links: inode.links,
        uid: inode.uid,
        gid: inode.gid,
        size,
        used: inode.blocks * BLOCK,
        fsid,
        atime: inode.atime,
        mtime: inode.mtime,
        ctime: time_of(inode.ctime),
        change: inode.ctime,
    }
}
