//! The store: ordered, atomic, durable commits of immutable blocks and of a machine's mutations.
//!
//! One store is one open pool. It owns the devices, the journal, the allocator, the block cache and the
//! index, and drives a [`Machine`], which gives commits their meaning.
//!
//! Read next: `commit` (the life of a commit), `lead`, `flush`, `checkpoint`, `failure`, `recovery`, `read`.

mod checkpoint;
mod commit;
mod failure;
mod flush;
mod grow;
mod info;
mod lead;
mod machine;
mod maintain;
mod members;
mod open;
mod read;
mod recovery;
mod space;
mod state;

pub use commit::Committed;
pub use flush::Durable;
pub use grow::MemberError;
pub use info::{DeviceInfo, PoolInfo};
pub use machine::{Contradiction, Machine, Refusal, Tx};
pub use open::{format_index, OpenError, Parts};
pub use read::{Pinned, ReadError, Wanted};

use crate::alloc::{Pins, Space};
use crate::cache::{BlockCache, CacheStats};
use crate::error::{DiskError, IndexError};
use crate::format::PoolId;
use crate::index::{Index, IndexStats};
use crate::pool::Membership;
use crate::runtime::Runtime;
use crate::units::{Seq, BLOCK};
use members::Members;
use state::State;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Most record bytes that one operation may need: the machine bounds its operations by it.
pub const LARGEST_OP_RECORD: usize = 256 << 10;

/// Budgets and intervals of a store.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bytes of data in operations that are queued or being written.
    pub inflight_bytes: usize,
    /// Bytes of clean blocks kept in memory.
    pub cache_bytes: usize,
    /// Bytes of changes that only the journal holds; a checkpoint begins at half of it.
    pub dirty_bytes: u64,
    /// Unflushed bytes after which the store flushes by itself.
    pub flush_bytes: u64,
    /// Age of the oldest unflushed commit after which the store flushes by itself.
    pub flush_after: Duration,
    /// Age of the oldest change that only the journal holds after which a checkpoint begins.
    pub checkpoint_after: Duration,
    /// Bytes of the data area that only operations that free space may use.
    pub reserve_bytes: u64,
    /// Most reference counts of shared blocks kept in memory.
    pub ref_entries: usize,
    /// Free bytes of the index's file system below which no new data is mapped.
    pub index_reserve_bytes: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            inflight_bytes: 64 << 20,
            cache_bytes: 256 << 20,
            dirty_bytes: 256 << 20,
            flush_bytes: 256 << 20,
            flush_after: Duration::from_secs(1),
            checkpoint_after: Duration::from_secs(60),
            reserve_bytes: 16 << 20,
            ref_entries: 1 << 20,
            index_reserve_bytes: 256 << 20,
        }
    }
}

impl Config {
    fn inflight_blocks(&self) -> usize {
        (self.inflight_bytes / BLOCK).max(1)
    }
}

/// Why the pool stopped acknowledging. Only reopening it goes on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FailReason {
    /// A device could not flush: what it holds of the unflushed writes is unknown.
    #[error("a flush failed: {0}")]
    Flush(DiskError),
    /// Writes failed and could not be replaced.
    #[error("writes keep failing: {0}")]
    Write(DiskError),
    /// The index could not be written.
    #[error("the index could not be written: {0}")]
    Index(IndexError),
    /// A commit did not fit the state that it was ordered by: the index is damaged, or we have a bug.
    #[error("a commit does not fit the pool's state: {0}; its index is damaged")]
    Contradiction(Contradiction),
    /// A superblock could not be written.
    #[error("the superblocks could not be written: {0}")]
    Superblock(String),
}

/// Why a commit was not done.
#[derive(Debug, thiserror::Error)]
pub enum CommitError<E> {
    /// Prepare the operation again once this sequence number is visible; nothing was done.
    #[error("the operation met a newer commit and must be prepared again")]
    Bounced(Seq),
    /// No space is left for its data; nothing was done.
    #[error("no space left in the pool")]
    NoSpace,
    /// The machine refused; nothing was done.
    #[error("the operation was refused")]
    Refused(E),
    /// The pool has failed; whether the operation was done shows after the next open.
    #[error("the pool has stopped: {0}; reopen it")]
    PoolFailed(FailReason),
    /// The pool is being closed; nothing was done.
    #[error("the pool is closed")]
    Closed,
}

impl<E> CommitError<E> {
    fn from_refusal(refusal: Refusal<E>) -> CommitError<E> {
        match refusal {
            Refusal::Bounce(seq) => CommitError::Bounced(seq),
            Refusal::Refused(e) => CommitError::Refused(e),
            Refusal::NoSpace | Refusal::NotReady => CommitError::NoSpace,
        }
    }
}

/// Figures of a store.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// The data area, in blocks.
    pub space: Space,
    /// The block cache.
    pub cache: CacheStats,
    /// The index.
    pub index: IndexStats,
    /// Bytes of the journal in use, and in all.
    pub journal: (u64, u64),
    /// Bytes of changes that only the journal holds.
    pub dirty_bytes: u64,
    /// The bound of them, beyond which writers wait.
    pub dirty_limit_bytes: u64,
    /// Bytes of operations queued or being written.
    pub inflight_bytes: u64,
    /// The bound of them, beyond which writers wait.
    pub inflight_limit_bytes: u64,
    /// The last visible commit.
    pub visible: Seq,
    /// The last commit known durable.
    pub flushed: Seq,
}

/// An open pool. See the module.
pub struct Store<M: Machine> {
    runtime: Arc<dyn Runtime>,
    index: Arc<dyn Index>,
    machine: Arc<M>,
    config: Config,
    pool: PoolId,
    incarnation: AtomicU64,
    ring_len: u64,
    members: RwLock<Arc<Members>>,
    membership: Mutex<Membership>,
    cache: BlockCache,
    pins: Pins,
    state: Mutex<State<M>>,
    /// The last visible sequence number, for pins.
    applied: AtomicU64,
    /// Rung whenever something that a leader may wait for has moved.
    progress: Notify,
    budget: Arc<Semaphore>,
    /// Held while devices are flushed or superblocks written.
    flushing: tokio::sync::Mutex<()>,
    checkpointing: tokio::sync::Mutex<()>,
    /// Held while a member joins or grows.
    joining: tokio::sync::Mutex<()>,
    /// Wakes the task that checkpoints.
    checkpoint_wanted: Notify,
    /// Wakes the task that opens segments.
    open_wanted: Notify,
    verifier: u64,
}

impl<M: Machine> Store<M> {
    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Arc<M> {
        &self.machine
    }

    /// The index, for what the machine keeps in it.
    #[must_use]
    pub fn index(&self) -> &Arc<dyn Index> {
        &self.index
    }

    /// The runtime.
    #[must_use]
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    /// A value that differs after every open: acknowledged, unflushed writes may be gone when it changed.
    #[must_use]
    pub fn verifier(&self) -> u64 {
        self.verifier
    }

    /// Why the pool has stopped, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<FailReason> {
        self.lock().running().err()
    }

    /// Whether the index's file system is nearly full: nothing that makes the index larger is taken.
    #[must_use]
    pub fn is_index_full(&self) -> bool {
        self.lock().index_full
    }

    /// Waits until `seq` is visible, or the pool has stopped, or nothing that was ordered is left to become
    /// visible: a batch that is done over may end with a lower number.
    pub async fn wait_visible(&self, seq: Seq) {
        self.wait_until(|state| state.visible() >= seq || state.is_settled()).await;
    }

    /// Waits until `reached`, or the pool has stopped.
    async fn wait_until(&self, mut reached: impl FnMut(&State<M>) -> bool + Send) {
        loop {
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            {
                let state = self.lock();
                if reached(&state) || !state.is_running() {
                    return;
                }
            }
            progress.await;
        }
    }

    /// The last visible commit.
    #[must_use]
    pub fn visible(&self) -> Seq {
        Seq(self.applied.load(std::sync::atomic::Ordering::Acquire))
    }

    /// Waits until everything that is ordered now is visible: what was taken out of the queue before this
    /// call has no later effect.
    pub async fn drain(&self) {
        let mut target = None;
        self.wait_until(|state| {
            // After a failed write everything is ordered anew, under other numbers.
            if state.redoing || state.queue.front().is_some_and(|q| q.taken_back) {
                target = None;
                return false;
            }
            let last = state.inflight.back().map_or(state.visible(), |b| b.batch.seq);
            let known = target.filter(|(redone, _)| *redone == state.redone);
            let (_, last) = *target.insert(known.unwrap_or((state.redone, last)));
            state.visible() >= last
        })
        .await;
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let index = self.index.stats();
        let state = self.lock();
        let free = self.budget.available_permits();
        Stats {
            space: self.space_of(&state),
            cache: self.cache.stats(),
            index,
            journal: (state.ring.used(), state.ring.len()),
            dirty_bytes: self.machine.dirty_bytes() + state.alloc.dirty_bytes(),
            dirty_limit_bytes: self.config.dirty_bytes,
            inflight_limit_bytes: (self.config.inflight_blocks() * BLOCK) as u64,
            inflight_bytes: (self.config.inflight_blocks().saturating_sub(free) * BLOCK) as u64,
            visible: state.visible(),
            flushed: state.flushed,
        }
    }

    /// The pool.
    #[must_use]
    pub fn id(&self) -> PoolId {
        self.pool
    }

    fn pool_id(&self) -> [u8; 16] {
        self.pool.0
    }

    fn incarnation(&self) -> u64 {
        self.incarnation.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn space(&self) -> Space {
        self.space_of(&self.lock())
    }

    /// The allocator counts whole segments; what a partial one lacks is no capacity.
    fn space_of(&self, state: &State<M>) -> Space {
        let space = state.alloc.space();
        let capacity = self.members().capacity();
        Space { capacity, allocated: capacity - space.free, ..space }
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().expect("no holder of the commit lock panics")
    }
}
