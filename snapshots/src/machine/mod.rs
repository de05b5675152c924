//! The key space as a machine: what its operations mean, when their turn comes and when they are written.
//!
//! Invariants:
//! - the catalogue changes only between batches: what changes it is ordered alone;
//! - between the ordering and the application of a write its page changes are in `ordered`, so a later
//!   operation
//!   sees the newest *ordered* pointer, and a reader the newest *applied* one;
//! - the index, overlaid by the frozen and by the active generation, is the state as of the last applied
//!   commit;
//! - a cached live page is that state too; a page that is being loaded collects what is applied meanwhile.
//!
//! Read next: `op` (what there is to order), `order_io`, `order_admin`, `apply`, `mutation`.

mod apply;
mod load;
pub mod merge;
pub(crate) mod mutation;
pub mod observe;
pub mod op;
mod order_admin;
mod order_io;
mod order_reclaim;

pub(crate) use order_io::{encode_value, pieces};

use crate::catalogue::{Branch, Catalogue, Cursor, DatasetId, Live, SnapshotId};
use crate::entry_cache::EntryCache;
use crate::error::Error;
use crate::generation::{Generation, PageKey};
use crate::held::Held;
use crate::ids::{BranchId, Epoch};
use crate::map::{Page, Partial, Pointer, Slot};
use crate::pages::{Cached, PageCache, View, PAGE_BYTES};
use block_layer::alloc::Purpose;
use block_layer::index::{Batch, Index};
use block_layer::store::{Contradiction, Machine, Refusal, Tx};
use block_layer::{IndexError, Seq, BLOCK};
use merge::EntryRule;
use mutation::Mutation;
use op::{Admin, Op, Part, Reply};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use tokio::sync::oneshot;

/// The machine. Its lock is taken inside the commit lock, or alone.
pub struct Keyspace {
    state: Mutex<State>,
    observer: OnceLock<Arc<dyn observe::Observer>>,
}

/// A page that is being loaded: who waits, and what was applied to its live view since the load began.
#[derive(Default)]
pub(crate) struct Loading {
    pub(crate) waiting: Vec<oneshot::Sender<Result<(), IndexError>>>,
    pub(crate) later: Vec<(Epoch, Partial)>,
}

/// What the lock protects.
pub(crate) struct State {
    pub(crate) catalogue: Catalogue,
    pub(crate) held: BTreeMap<BranchId, Held>,
    pub(crate) active: Generation,
    pub(crate) frozen: Option<Arc<Generation>>,
    pub(crate) pages: PageCache,
    pub(crate) loading: FxHashMap<(PageKey, View), Loading>,
    /// Changes of live pages that are ordered and not applied, oldest first.
    pub(crate) ordered: FxHashMap<PageKey, Vec<(Seq, Partial)>>,
    /// When small entries were last changed, by their live key; complete for everything after `forgotten`.
    pub(crate) entry_orders: FxHashMap<Vec<u8>, Seq>,
    pub(crate) forgotten: Seq,
    /// Live small entries, as they are stored, that are ordered and not applied: the newest of each.
    ordered_entries: FxHashMap<Vec<u8>, (Seq, Option<Vec<u8>>)>,
    /// Live small entries as of the last applied commit.
    pub(crate) entry_cache: EntryCache,
    rules: &'static [EntryRule],
    pub(crate) applied: Seq,
    frozen_at: Seq,
    /// Branches whose record or space table differs from what the generations and the index have.
    dirty: BTreeSet<BranchId>,
    /// When the discards of branches last changed: a step that was prepared before may be for another one, of
    /// the same pages and epoch.
    trims_changed: BTreeMap<BranchId, Seq>,
}

impl Keyspace {
    /// Loads the catalogue from the index; blocks.
    ///
    /// `cached_pages`, `cached_entry_bytes`: the bounds of its caches; `rules`: how small entries are merged.
    ///
    /// # Errors
    /// When the index fails or is damaged.
    pub fn load(
        index: &dyn Index,
        cached_pages: usize,
        cached_entry_bytes: usize,
        rules: &'static [EntryRule],
    ) -> Result<Keyspace, Error> {
        let (catalogue, held) = load::catalogue(index)?;
        let state = State {
            catalogue,
            held,
            active: Generation::default(),
            frozen: None,
            pages: PageCache::new(cached_pages),
            loading: FxHashMap::default(),
            ordered: FxHashMap::default(),
            entry_orders: FxHashMap::default(),
            forgotten: Seq(0),
            ordered_entries: FxHashMap::default(),
            entry_cache: EntryCache::new(cached_entry_bytes),
            rules,
            applied: Seq(0),
            frozen_at: Seq(0),
            dirty: BTreeSet::new(),
            trims_changed: BTreeMap::new(),
        };
        Ok(Keyspace { state: Mutex::new(state), observer: OnceLock::new() })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the key space's lock panics")
    }
}

impl Machine for Keyspace {
    type Op = Op;
    type Reply = Reply;
    type Error = Error;

    fn is_barrier(&self, op: &Op) -> bool {
        matches!(op, Op::Admin(_))
    }

    fn data_bytes(&self, op: &Op) -> usize {
        let (Op::Io(io) | Op::Admin(Admin::Cut { io, .. })) = op else { return 0 };
        io.parts.iter().map(Part::written_blocks).sum::<usize>() * BLOCK
    }

    fn order(&self, op: &mut Op, tx: &mut Tx<'_>) -> Result<Reply, Refusal<Error>> {
        let mut state = self.lock();
        let reply = match op {
            Op::Io(io) => state.order_io(io, tx),
            Op::Admin(Admin::Reclaim(step)) => state.order_reclaim(step, tx),
            Op::Admin(Admin::WorkOff(step)) => state.order_work_off(step, tx),
            Op::Admin(Admin::Cut { io, object, from, to }) => state.order_cut(io, *object, (*from, *to), tx),
            Op::Admin(admin) => {
                if matches!(admin, Admin::Create { .. } | Admin::Clone { .. } | Admin::Snapshot(_)) {
                    tx.check_index(Purpose::Write)?;
                }
                let (reply, mutations) = state.order_admin(admin)?;
                tx.mutate(|out| mutations.iter().for_each(|m| m.encode(out)));
                Ok(reply)
            }
        }?;
        if let Some(observer) = self.observer.get() {
            observer.ordered(tx.seq, op, &reply);
        }
        Ok(reply)
    }

    fn apply(&self, seq: Seq, body: &[u8]) -> Result<(), Contradiction> {
        let mut state = self.lock();
        let mut wrong = None;
        let mut visit = |mutation: Mutation| {
            if wrong.is_none() {
                wrong = state.apply(seq, mutation).err();
            }
        };
        let decoded = mutation::each(body, &mut visit);
        state.applied = seq;
        match (decoded, wrong) {
            (Err(e), _) => Err(Contradiction(format!("record {seq}: {e}"))),
            (_, Some(e)) => Err(Contradiction(format!("record {seq}: {e}"))),
            _ => Ok(()),
        }
    }

    fn discard(&self, visible: Seq) {
        let mut state = self.lock();
        state.ordered.clear();
        state.ordered_entries.clear();
        let applied = state.applied;
        state.entry_orders.values_mut().for_each(|seq| *seq = (*seq).min(applied));
        if let Some(observer) = self.observer.get() {
            observer.discarded(visible);
        }
    }

    fn dirty_bytes(&self) -> u64 {
        let state = self.lock();
        state.active.bytes() + state.frozen.as_ref().map_or(0, |frozen| frozen.bytes())
    }

    fn freeze(&self) {
        let mut state = self.lock();
        assert!(state.frozen.is_none(), "one checkpoint at a time");
        state.write_dirty();
        state.frozen = Some(Arc::new(std::mem::take(&mut state.active)));
        state.frozen_at = state.applied;
    }

    fn write_frozen(&self, batch: &mut Batch) {
        let frozen = self.lock().frozen.clone();
        frozen.expect("a checkpoint is under way").write(batch);
    }

    fn drop_frozen(&self) {
        let mut state = self.lock();
        state.frozen = None;
        let cut = state.frozen_at;
        state.forgotten = cut;
        state.entry_orders.retain(|_, seq| *seq > cut);
    }
}

/// A live page as it is after everything that is ordered.
pub(crate) struct Newest<'a> {
    ordered: &'a [(Seq, Partial)],
    page: &'a Page,
}

impl Newest<'_> {
    /// The pointer of a slot; `None` is a hole.
    pub(crate) fn get(&self, slot: u8) -> Option<Pointer> {
        for (_, partial) in self.ordered.iter().rev() {
            match partial.get(slot) {
                Slot::Unset => {}
                Slot::Hole => return None,
                Slot::Data(pointer) => return Some(pointer),
            }
        }
        self.page.get(slot)
    }
}

impl State {
    /// Puts the records of the branches that commits changed in passing into the active generation.
    fn write_dirty(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            let Some(branch) = self.catalogue.branches.get(&id) else { continue };
            let value = load::encode(branch);
            self.active.put(load::branch_key(id), Some(value));
            if let Some(held) = self.held.get(&id) {
                let cells: Vec<_> = held.cells().collect();
                self.active.put(load::held_key(id), Some(load::encode(&cells)));
            }
        }
    }

    /// The dataset's live branch.
    pub(crate) fn live_branch(&self, dataset: DatasetId) -> Result<&Branch, Error> {
        let dataset = self.catalogue.datasets.get(&dataset).ok_or_else(|| not_found(dataset))?;
        Ok(&self.catalogue.branches[&dataset.branch])
    }

    /// Whether nothing of a view is reclaimed: what its pages say is true.
    pub(crate) fn is_whole(&self, branch: BranchId, view: View) -> bool {
        match view {
            View::Live => self.catalogue.branches.get(&branch).is_some_and(|b| b.live == Live::Yes),
            View::At(epoch) => {
                let snapshot = self.catalogue.snapshots.get(&SnapshotId { branch, epoch });
                snapshot.is_some_and(|s| s.reclaim.is_none())
            }
        }
    }

    /// A cached page that says what a branch held at the end of `epoch`: that view's own, or the live one if
    /// nothing was written there since.
    pub(crate) fn cached_at(&mut self, key: PageKey, epoch: Epoch) -> Option<&Cached> {
        let own = View::At(epoch);
        if self.pages.get(key, own).is_some() {
            return self.pages.get(key, own).map(|cached| &*cached);
        }
        // What a discard hides from the live side is still there at the epoch.
        if self.is_discarded(key) || !self.is_whole(key.branch, View::Live) {
            return None;
        }
        self.pages.get(key, View::Live).map(|cached| &*cached).filter(|cached| cached.newest <= epoch)
    }

    /// Whether a view still holds a page: its reclaim has not passed it.
    pub(crate) fn holds(&self, key: PageKey, view: View) -> bool {
        let at = Cursor { object: key.object, page: key.page };
        match view {
            View::Live => self.is_whole(key.branch, view),
            View::At(epoch) => {
                let snapshot = self.catalogue.snapshots.get(&SnapshotId { branch: key.branch, epoch });
                snapshot.is_some_and(|s| s.reclaim.is_none_or(|cursor| cursor <= at))
            }
        }
    }

    /// The newest snapshot of a branch that still holds a page: one being reclaimed holds those that its
    /// cursor has not passed (design rule 7). [`Epoch::ZERO`] when none does.
    pub(crate) fn holder(&self, branch: BranchId, key: PageKey) -> Epoch {
        let at = Cursor { object: key.object, page: key.page };
        let mut snapshots = self.catalogue.snapshots_of(branch).rev();
        snapshots.find(|s| s.reclaim.is_none_or(|cursor| cursor <= at)).map_or(Epoch::ZERO, |s| s.id.epoch)
    }

    /// The newest snapshot of a branch that still holds small entries: those being reclaimed do until their
    /// pages are done.
    pub(crate) fn entry_holder(&self, branch: BranchId) -> Epoch {
        let done = Some(Cursor::END);
        let mut snapshots = self.catalogue.snapshots_of(branch).rev();
        snapshots.find(|s| s.reclaim != done).map_or(Epoch::ZERO, |s| s.id.epoch)
    }

    /// The newest ordered pointers of a live page, `None` when the page is not in memory.
    pub(crate) fn newest(&self, key: PageKey) -> Option<Newest<'_>> {
        let page = &self.pages.peek(key, View::Live)?.page;
        Some(Newest { ordered: self.ordered.get(&key).map_or(&[], |changes| changes), page })
    }

    /// The last sequence that is ordered for a page and not applied; 0 when there is none.
    pub(crate) fn ordered_seq(&self, key: PageKey) -> Seq {
        self.ordered.get(&key).and_then(|changes| changes.last()).map_or(Seq(0), |(seq, _)| *seq)
    }

    /// Whether a pending discard hides a page's old pointers: it must be worked off before it is written.
    pub(crate) fn is_discarded(&self, key: PageKey) -> bool {
        let branch = self.catalogue.branches.get(&key.branch);
        branch.is_some_and(|b| b.trims.iter().any(|trim| trim.covers(key.object, key.page)))
    }

    /// Bytes that cached pages take.
    pub(crate) fn page_bytes(&self) -> u64 {
        self.pages.len() as u64 * PAGE_BYTES
    }
}

/// The error for a dataset that is not there.
pub(crate) fn not_found(dataset: DatasetId) -> Error {
    Error::NotFound(format!("dataset {dataset}"))
}

/// The error for a snapshot that is not there.
pub(crate) fn no_snapshot(id: SnapshotId) -> Error {
    Error::NotFound(format!("snapshot {} of branch {}", id.epoch, id.branch.0))
}
