//! Operations as they are queued, and what they answer.
//!
//! Two sorts: [`IoOp`]s, ordered many to a batch, and [`Admin`] operations, each ordered alone (a barrier),
//! so that the catalogue never changes between the ordering and the application of anything.

use crate::catalogue::{Cursor, DatasetId, SnapshotId};
use crate::generation::PageKey;
use crate::ids::{BranchId, Epoch, ObjectId, PageNo};
use crate::map::{Page, Partial, Pointer};
use crate::session::Session;
use crate::touched::Touched;
use block_layer::{Bytes, Seq};

/// A queued operation.
#[derive(Debug)]
pub enum Op {
    /// Data and small entries of one dataset, atomically.
    Io(IoOp),
    /// Everything else.
    Admin(Admin),
}

/// Changes of one dataset that are committed as one.
#[derive(Debug)]
pub struct IoOp {
    /// The dataset.
    pub dataset: DatasetId,
    /// The branch that it was prepared against.
    pub branch: BranchId,
    /// Whose it is.
    pub session: Option<Session>,
    /// Whether it only frees space, and may use the reserve for what it has to write.
    pub frees: bool,
    /// Where in the dataset it may lie.
    pub reach: Reach,
    /// The changes, in order; later ones see earlier ones.
    pub parts: Vec<Part>,
}

/// Where an operation may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Inside the dataset: up to this byte of object 0, which the end may have come short of since.
    Inside(u64),
    /// Anywhere: it changes no content.
    Anywhere,
    /// Behind the dataset's end, which must be at this byte: it clears what a shrink left there.
    Behind(u64),
}

impl Default for Reach {
    /// Nowhere in object 0.
    fn default() -> Reach {
        Reach::Inside(0)
    }
}

/// One change.
#[derive(Debug)]
pub enum Part {
    /// Writes whole blocks.
    Write {
        /// The object.
        object: ObjectId,
        /// The first block.
        block: u64,
        /// Data and CRC-32C of each block.
        blocks: Vec<(Bytes, u32)>,
    },
    /// Unmaps whole blocks.
    Unmap {
        /// The object.
        object: ObjectId,
        /// The first block.
        block: u64,
        /// How many.
        count: u64,
    },
    /// Maps whole blocks to those of another place of the pool, by reference.
    Share {
        /// The object.
        object: ObjectId,
        /// The first block.
        block: u64,
        /// Where the pointers were found.
        from: Source,
        /// The pointers, `None` = a hole.
        pointers: Vec<Option<Pointer>>,
    },
    /// Bounces the operation unless these blocks still have these pointers, as of everything ordered.
    Expect {
        /// The object.
        object: ObjectId,
        /// The first block.
        block: u64,
        /// The pointers, `None` = a hole.
        pointers: Vec<Option<Pointer>>,
    },
    /// Sets or removes a small entry.
    Entry(EntryChange),
    /// Changes a small entry by the rule of the dataset's kind.
    Merge(EntryMerging),
    /// Sets or removes a small entry of another dataset, whose live side must be this branch.
    Beside(DatasetId, BranchId, EntryChange),
}

impl Part {
    /// Blocks of data that it writes.
    pub(super) fn written_blocks(&self) -> usize {
        match self {
            Part::Write { blocks, .. } => blocks.len(),
            _ => 0,
        }
    }
}

/// A change of a small entry.
#[derive(Debug)]
pub struct EntryChange {
    /// Its name in the dataset's key space.
    pub name: Vec<u8>,
    /// The new value; `None` removes it.
    pub value: Option<Vec<u8>>,
    /// The version it replaces, as of `as_of`.
    pub old: Option<OldEntry>,
    /// Everything up to here was looked at when `old` was read.
    pub as_of: Seq,
}

/// A change of a small entry whose outcome follows from what it is when its turn comes: see
/// [`super::merge`].
#[derive(Debug)]
pub struct EntryMerging {
    /// Its name in the dataset's key space.
    pub name: Vec<u8>,
    /// What the rule is to do.
    pub operand: Vec<u8>,
    /// The branch's own version, as of `as_of`.
    pub old: Option<OldEntry>,
    /// What the origin has, when the branch has none of its own.
    pub inherited: Option<Vec<u8>>,
    /// Everything up to here was looked at when they were read.
    pub as_of: Seq,
}

/// What a merge met and what it made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// The value before; `None` = there was none.
    pub before: Option<Vec<u8>>,
    /// The value after.
    pub after: Option<Vec<u8>>,
}

/// The live version of an entry, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldEntry {
    /// The epoch in which it was set.
    pub birth: Epoch,
    /// Its value; `None` = it hides the origin's.
    pub value: Option<Vec<u8>>,
}

/// Where shared pointers come from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// A dataset's live side, from this block on: it must still reach so far, and its pointers must still be
    /// the newest ordered.
    Live {
        /// The dataset.
        dataset: DatasetId,
        /// The branch that was its live side.
        branch: BranchId,
        /// The object.
        object: ObjectId,
        /// The first block.
        block: u64,
    },
    /// A snapshot: it must still be whole.
    Snapshot(SnapshotId),
}

/// Operations that are ordered alone.
#[derive(Debug)]
pub enum Admin {
    /// Makes an empty dataset.
    Create {
        /// Its name.
        name: String,
        /// Its kind.
        kind: u8,
        /// Its size in bytes.
        size: u64,
        /// Its attributes.
        attributes: Vec<u8>,
    },
    /// Renames a dataset.
    Rename(DatasetId, String),
    /// Sets a dataset's attributes.
    SetAttributes(DatasetId, Vec<u8>),
    /// Changes a dataset's size; what lies beyond a smaller one is discarded.
    Resize {
        /// The dataset.
        dataset: DatasetId,
        /// The branch that it must have: behind its end all is clear.
        branch: BranchId,
        /// The size that it must have.
        from: u64,
        /// The size that it gets.
        to: u64,
    },
    /// Removes a dataset, with its snapshots if they are allowed to go.
    Delete {
        /// The dataset.
        dataset: DatasetId,
        /// Whether its snapshots go with it.
        snapshots: bool,
    },
    /// Snapshots of several datasets at one instant.
    Snapshot(Vec<(DatasetId, String)>),
    /// Removes a snapshot from view.
    DeleteSnapshot(SnapshotId),
    /// Renames a snapshot.
    RenameSnapshot(SnapshotId, String),
    /// Makes a dataset's live side what a snapshot of it is.
    Rollback(DatasetId, SnapshotId),
    /// Makes a dataset that starts as a snapshot.
    Clone {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The new dataset's name.
        name: String,
        /// The new dataset's kind.
        kind: u8,
        /// The new dataset's attributes.
        attributes: Vec<u8>,
    },
    /// Discards whole pages of a dataset's object: a range tombstone.
    Discard(DatasetId, ObjectId, PageNo, PageNo),
    /// Data and small entries as in [`Op::Io`], and the pages of an object in `from..to` discarded with them.
    Cut {
        /// The changes; none touches the pages.
        io: IoOp,
        /// The object.
        object: ObjectId,
        /// The first page.
        from: PageNo,
        /// One past the last.
        to: PageNo,
    },
    /// Background: some pages of a view are reclaimed.
    Reclaim(ReclaimStep),
    /// Background: nothing is left of a view.
    ReclaimDone(Dead),
    /// Background: some discarded pages are worked off.
    WorkOff(WorkOffStep),
    /// Background: the live side of a branch has no pointer of its origin any more.
    Flattened(BranchId),
    /// Background: a page of a deep branch is written out in full.
    Materialize(PageKey),
    /// Background: a batch of dead small entries is removed.
    ReclaimEntries {
        /// The view they belonged to.
        dead: Dead,
        /// Index entries to set or remove.
        changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    },
}

/// A view that is being reclaimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dead {
    /// A deleted snapshot.
    Snapshot(SnapshotId),
    /// The live side of a branch that no dataset has any more.
    Live(BranchId),
}

impl Dead {
    /// The branch.
    #[must_use]
    pub fn branch(self) -> BranchId {
        match self {
            Dead::Snapshot(id) => id.branch,
            Dead::Live(branch) => branch,
        }
    }
}

/// The neighbours of a dying view in its branch: they are what may still see its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between {
    /// The snapshot before; [`Epoch::ZERO`] if none.
    pub before: Epoch,
    /// The view itself: a snapshot's epoch, or the open epoch of a live side.
    pub epoch: Epoch,
    /// What comes after.
    pub next: Next,
}

/// What comes after a dying view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Nothing,
    /// A snapshot.
    Snapshot(Epoch),
    /// The live side, whose open epoch this is.
    Live(Epoch),
}

/// Some pages of a dying view.
#[derive(Debug)]
pub struct ReclaimStep {
    /// The view.
    pub dead: Dead,
    /// Its neighbours when the step was prepared.
    pub between: Between,
    /// Where the step begins.
    pub from: Cursor,
    /// Where the next one begins.
    pub to: Cursor,
    /// The pages that may hold blocks that only the dying view sees.
    pub pages: Vec<DyingPage>,
    /// Pages that the live side, coming next, had not touched when the step was prepared.
    pub untouched: Vec<PageKey>,
    /// Everything up to here was looked at then.
    pub as_of: Seq,
    /// A group of touched pages that is finished with this step.
    pub group: Option<(ObjectId, u64, Touched)>,
}

/// A page of a dying view.
#[derive(Debug)]
pub struct DyingPage {
    /// The page.
    pub key: PageKey,
    /// As the dying view sees it.
    pub page: Box<Page>,
    /// As the next view sees it: `None` when nothing comes after, or the live side, which is looked at then.
    pub next: Option<Box<Page>>,
    /// Versions to remove, by epoch.
    pub drop: Vec<Epoch>,
    /// What the version at this epoch takes over from them.
    pub fold: Option<(Epoch, Partial)>,
}

/// Some discarded pages.
#[derive(Debug)]
pub struct WorkOffStep {
    /// The branch.
    pub branch: BranchId,
    /// The object.
    pub object: ObjectId,
    /// The epoch of the discard.
    pub epoch: Epoch,
    /// The first page.
    pub from: PageNo,
    /// The page where the next step begins.
    pub to: PageNo,
    /// What was applied when the discard was found.
    pub as_of: Seq,
    /// The mapped pages among them, as they were before the discard.
    pub pages: Vec<(PageKey, Box<Page>)>,
}

/// What an operation answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The new dataset.
    Dataset(DatasetId),
    /// The new snapshots, in the order asked for.
    Snapshots(Vec<SnapshotId>),
    /// It is done, and this became of the merged entries, in their order.
    Merged(Vec<Merged>),
}
