//! Opening a pool: assemble its devices, read the index's cut, replay the journal, take a new incarnation.

use super::machine::{Contradiction, Machine};
use super::members::{fresh_summary, grow, Members};
use super::recovery::{Journal, Recovery};
use super::state::{Health, Leading, State};
use super::{Config, FailReason, Store};
use crate::alloc::{decode_summary, AllocConfig, Allocator, Pins, Record, Summary, GROUP};
use crate::cache::BlockCache;
use crate::device::Disk;
use crate::error::{DiskError, IndexError};
use crate::format::cut::{Cut, Sizes, CUT_KEY};
use crate::format::{space_key, JournalMark, PoolId};
use crate::index::{Batch, Index};
use crate::journal::{Chain, Place, Ring};
use crate::pool::{assemble, Membership, PoolError, Warning};
use crate::runtime::{unblock, Runtime};
use crate::units::{Seq, BLOCK};
use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::{Notify, Semaphore};

/// Fewest reference counts in memory: an operation needs those of all segments that it touches at once, or it
/// would be prepared again for ever.
const REF_ENTRIES_MIN: usize = 1 << 16;

/// What a pool is opened from.
pub struct Parts {
    /// The runtime.
    pub runtime: Arc<dyn Runtime>,
    /// Its devices, locked by whoever opened them.
    pub disks: Vec<Arc<dyn Disk>>,
    /// Its index.
    pub index: Arc<dyn Index>,
    /// Budgets.
    pub config: Config,
}

/// Why a pool does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The devices do not make a pool.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A device failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index failed or is damaged.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index is another pool's, or none at all.
    #[error(
        "the index does not belong to pool {pool}: it holds {found}; give the pool's own index directory"
    )]
    ForeignIndex {
        /// The pool.
        pool: PoolId,
        /// What the index says.
        found: String,
    },
    /// The index is an old copy.
    #[error(
        "the index is older than the pool: it ends at record {found}, the journal begins at {tail}; \
             restore the index directory that belongs to these devices"
    )]
    StaleIndex {
        /// The index's last record.
        found: Seq,
        /// The first record that the journal still has.
        tail: Seq,
    },
    /// The devices are an old copy.
    #[error(
        "the devices are older than the index: they are at opening {devices}, the index at {index}; \
             restore the devices that belong to this index"
    )]
    StaleDevices {
        /// The opening that wrote the index.
        index: u64,
        /// The last opening that the devices know of.
        devices: u64,
    },
    /// A record that was durable is gone.
    #[error(
        "the journal is damaged: record {at} is not readable, though everything up to {flushed} was durable"
    )]
    JournalDamaged {
        /// The first bad record.
        at: Seq,
        /// The highest sequence that is known to have been durable.
        flushed: Seq,
    },
    /// Journal and index contradict each other.
    #[error("the journal does not fit the pool's state: {0}")]
    Contradiction(#[from] Contradiction),
    /// The pool could not be made writable.
    #[error(transparent)]
    Failed(#[from] FailReason),
}

/// Makes the index of a new pool say whose it is.
///
/// # Errors
/// When it is not empty, or could not be written.
pub async fn format_index(parts: &Parts, membership: &Membership) -> Result<(), OpenError> {
    let state = membership.state();
    let (pool, incarnation) = (state.id.0, state.journal.incarnation);
    let (index, segments) = (parts.index.clone(), Sizes::of(state));
    let result = unblock(&*parts.runtime, move || {
        if let Some(found) = index.get(CUT_KEY)? {
            return Ok(Some(found));
        }
        let mut batch = Batch::default();
        batch.put(CUT_KEY, Cut { pool, incarnation, seq: Seq(0), segments }.encode());
        index.write(batch)?;
        index.flush().map(|()| None)
    });
    match result.await? {
        None => Ok(()),
        Some(found) => {
            let found =
                Cut::decode(&found).map_or("something else".into(), |c| format!("pool {}", PoolId(c.pool)));
            Err(OpenError::ForeignIndex { pool: state.id, found })
        }
    }
}

impl<M: Machine> Store<M> {
    /// Opens the pool on `parts.disks`. `machine` has loaded what the index holds already.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing was written but what a repeated open would write again.
    pub async fn open(parts: Parts, machine: Arc<M>) -> Result<(Arc<Store<M>>, Vec<Warning>), OpenError> {
        let assembled = assemble(&parts.disks, None).await?;
        let mut membership = assembled.members;
        let (id, mark) = (membership.state().id, membership.state().journal);
        let index = parts.index.clone();
        let cut = unblock(&*parts.runtime, move || read_cut(&*index, id, mark)).await?;
        let (disk, _) = Members::of(&membership).ring_parts();
        let mut ring = Ring::new(mark.ring.len, disk.geometry().sector, mark.tail.offset);
        let from = Place { at: mark.tail.offset, seq: mark.tail.next, previous: mark.tail.predecessor };
        let chain = Chain { pool: id.0, incarnation: mark.incarnation };
        let journal = Journal { chain, ring: &ring, tail: from };
        let survey = journal.survey(&mut membership, cut.seq).await?;
        let mut alloc = load_allocator(&parts, &cut.segments).await?;
        grow(&mut alloc, &cut.segments, &Sizes::of(membership.state()))?;
        let recovery =
            Recovery { machine: &*machine, membership: &mut membership, alloc: &mut alloc, cut: cut.seq };
        let end = recovery.replay(&journal, survey).await?;
        ring.advance_to(end.at);
        let store = Store::assemble_from(parts, machine, membership, alloc, ring, from, end);
        store.take_incarnation(end).await?;
        store.start_maintenance();
        Ok((store, assembled.warnings))
    }

    #[allow(clippy::too_many_arguments)]
    fn assemble_from(
        parts: Parts,
        machine: Arc<M>,
        membership: Membership,
        alloc: Allocator,
        ring: Ring,
        checkpointed: Place,
        end: Place,
    ) -> Arc<Store<M>> {
        let last = Seq(end.seq.0 - 1);
        let state = State {
            health: Health::Running,
            queue: VecDeque::new(),
            leading: Leading::Nobody,
            inflight: VecDeque::new(),
            redoing: false,
            redos: 0,
            redone: 0,
            to_open: Vec::new(),
            index_full: false,
            starved: false,
            ring_len: ring.len(),
            ring,
            next: end,
            applied: end,
            flushed: membership.state().journal.flushed.min(last),
            marks: VecDeque::new(),
            stated: Seq(0),
            last_content: last,
            unflushed_bytes: 0,
            unflushed_since: None,
            alloc,
            ref_orders: Default::default(),
            checkpointed,
            frozen_at: parts.runtime.now(),
            delayed: false,
            closing: false,
            closed: false,
        };
        Arc::new(Store {
            pool: membership.state().id,
            incarnation: AtomicU64::new(membership.state().journal.incarnation),
            ring_len: state.ring_len,
            members: RwLock::new(Arc::new(Members::of(&membership))),
            membership: Mutex::new(membership),
            cache: BlockCache::new(parts.config.cache_bytes as u64),
            pins: Pins::new(),
            state: Mutex::new(state),
            applied: AtomicU64::new(last.0),
            progress: Notify::new(),
            budget: Arc::new(Semaphore::new(parts.config.inflight_blocks())),
            flushing: tokio::sync::Mutex::new(()),
            checkpointing: tokio::sync::Mutex::new(()),
            joining: tokio::sync::Mutex::new(()),
            checkpoint_wanted: Notify::new(),
            open_wanted: Notify::new(),
            verifier: parts.runtime.random(),
            runtime: parts.runtime,
            index: parts.index,
            machine,
            config: parts.config,
        })
    }

    /// What was replayed is flushed and checkpointed; then the superblocks get a new incarnation, before the
    /// first record of it is written (design rule 3).
    async fn take_incarnation(self: &Arc<Self>, end: Place) -> Result<(), OpenError> {
        self.flush_through(Seq(end.seq.0 - 1)).await?;
        self.checkpoint().await?;
        let tail = self.tail_of(end);
        self.write_superblocks(|mark| {
            mark.incarnation += 1;
            mark.tail = tail;
        })
        .await?;
        self.incarnation.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    /// Closes the pool: everything queued is finished, flushed and checkpointed. Operations that come
    /// later are refused.
    ///
    /// # Errors
    /// The pool has failed, now or before; the next open recovers.
    pub async fn close(self: &Arc<Self>) -> Result<(), FailReason> {
        self.lock().closing = true;
        self.wait_until(|state| state.queue.is_empty() && state.is_settled()).await;
        let closed = self.checkpoint().await;
        self.end_maintenance();
        closed
    }
}

fn read_cut(index: &dyn Index, pool: PoolId, mark: JournalMark) -> Result<Cut, OpenError> {
    let foreign = |found: String| OpenError::ForeignIndex { pool, found };
    let value = index.get(CUT_KEY)?.ok_or_else(|| foreign("no pool".into()))?;
    let cut = Cut::decode(&value)
        .ok_or(IndexError::Damaged { key: CUT_KEY.to_vec(), what: "the header does not decode" })?;
    if cut.pool != pool.0 {
        return Err(foreign(format!("pool {}", PoolId(cut.pool))));
    }
    if cut.seq.next() < mark.tail.next {
        return Err(OpenError::StaleIndex { found: cut.seq, tail: mark.tail.next });
    }
    if cut.incarnation > mark.incarnation {
        return Err(OpenError::StaleDevices { index: cut.incarnation, devices: mark.incarnation });
    }
    Ok(cut)
}

async fn load_allocator(parts: &Parts, sizes: &Sizes) -> Result<Allocator, OpenError> {
    let (index, sizes) = (parts.index.clone(), sizes.clone());
    let summaries = unblock(&*parts.runtime, move || read_summaries(&*index, &sizes)).await?;
    let config = AllocConfig {
        reserve_blocks: parts.config.reserve_bytes / BLOCK as u64,
        ref_entries: parts.config.ref_entries.max(REF_ENTRIES_MIN),
    };
    let wrong = |e: crate::alloc::Damaged| Contradiction(e.to_string());
    Ok(Allocator::new(config, summaries).map_err(wrong)?)
}

fn read_summaries(index: &dyn Index, sizes: &Sizes) -> Result<Vec<Summary>, IndexError> {
    let mut summaries: Vec<Summary> = Vec::new();
    let mut group: Option<(u32, Vec<(u16, u16)>)> = None;
    for (number, blocks) in sizes.segments() {
        while summaries.len() < number as usize {
            summaries.push(fresh_summary(0));
        }
        let wanted = number / GROUP;
        if group.as_ref().is_none_or(|(known, _)| *known != wanted) {
            let key = space_key::encode(Record::Summary(wanted));
            let counts = match index.get(&key)? {
                None => Vec::new(),
                Some(value) => decode_summary(&value).map_err(|e| IndexError::Damaged { key, what: e.0 })?,
            };
            group = Some((wanted, counts));
        }
        let counts = &group.as_ref().expect("just set").1;
        let fresh = fresh_summary(blocks);
        summaries.push(match counts.get((number % GROUP) as usize) {
            Some(&(free, refs)) => Summary { free, refs, ..fresh },
            None => fresh,
        });
    }
    Ok(summaries)
}
