//! What the commit lock protects: the queue, the batches in flight, the ring, the allocator, the marks.
//!
//! Nothing here does I/O or waits. Lock order: this lock, then the machine's own.

use super::machine::{Contradiction, Machine, RefOrders};
use super::{CommitError, FailReason};
use crate::alloc::Allocator;
use crate::error::DiskError;
use crate::format::record::{Effects, Kind};
use crate::journal::{Place, Ring};
use crate::pool::MembershipChange;
use crate::units::{Pba, Seq};
use bytes::BufMut;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{oneshot, OwnedSemaphorePermit};

/// What a queued piece of work gets as an answer.
pub(super) type Answer<M> = Result<(Seq, Option<<M as Machine>::Reply>), CommitError<<M as Machine>::Error>>;

/// What can be queued.
pub(super) enum Work<O> {
    /// An operation of the machine.
    Op(O),
    /// A record that states the flushed mark.
    Mark,
    /// A change of the pool's members.
    Membership(MembershipChange),
}

/// Work with the one who waits for it.
pub(super) struct Queued<M: Machine> {
    pub(super) work: Work<M::Op>,
    pub(super) answer: oneshot::Sender<Answer<M>>,
    /// What it takes of the budget for data in flight.
    pub(super) _room: Option<OwnedSemaphorePermit>,
    /// Whether the quarantine was emptied for its sake already: the next "no space" is final.
    pub(super) relieved: bool,
    /// Whether it was ordered once, and is again after a failed write.
    pub(super) taken_back: bool,
}

impl<M: Machine> Queued<M> {
    pub(super) fn new(work: Work<M::Op>, answer: oneshot::Sender<Answer<M>>) -> Queued<M> {
        Queued { work, answer, _room: None, relieved: false, taken_back: false }
    }
}

impl<M: Machine> Queued<M> {
    pub(super) fn is_barrier(&self, machine: &M) -> bool {
        match &self.work {
            Work::Op(op) => machine.is_barrier(op),
            Work::Mark | Work::Membership(_) => true,
        }
    }

    pub(super) fn data_bytes(&self, machine: &M) -> usize {
        match &self.work {
            Work::Op(op) => machine.data_bytes(op),
            Work::Mark | Work::Membership(_) => 0,
        }
    }
}

/// Bytes of mutations that an operation has, about.
const OP_BODY: usize = 128;

/// Operations that are committed as one.
pub(super) struct Batch<M: Machine> {
    pub(super) seq: Seq,
    pub(super) ops: Vec<(Queued<M>, Option<M::Reply>)>,
    pub(super) effects: Effects,
    pub(super) membership: Option<MembershipChange>,
}

impl<M: Machine> Batch<M> {
    /// An empty batch for about `expected` operations.
    pub(super) fn new(seq: Seq, expected: usize) -> Batch<M> {
        let (freed, body) = (Vec::with_capacity(expected), Vec::with_capacity(OP_BODY * expected));
        let effects = Effects { freed, body, ..Effects::default() };
        Batch { seq, ops: Vec::with_capacity(expected), effects, membership: None }
    }

    pub(super) fn kind(&self) -> Kind {
        match (&self.membership, self.effects.is_empty()) {
            (Some(_), _) => Kind::Membership,
            (None, true) => Kind::Mark,
            (None, false) => Kind::Commit,
        }
    }

    /// Bytes that [`Batch::encode`] puts.
    pub(super) fn body_len(&self) -> usize {
        match (&self.membership, self.kind()) {
            (Some(change), _) => change.encode().len(),
            (None, Kind::Commit) => self.effects.encoded_len(),
            (None, _) => 0,
        }
    }

    pub(super) fn encode(&self, body: &mut impl BufMut) {
        match (&self.membership, self.kind()) {
            (Some(change), _) => body.put_slice(&change.encode()),
            (None, Kind::Commit) => self.effects.encode(body),
            (None, _) => {}
        }
    }
}

/// A batch whose data and record are being written.
pub(super) struct InFlight<M: Machine> {
    pub(super) batch: Batch<M>,
    /// The place of its record.
    pub(super) start: Place,
    /// The place after its record.
    pub(super) end: Place,
    pub(super) result: Option<Result<(), DiskError>>,
}

/// Who turns the queue into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leading {
    Nobody,
    /// A task that has not begun: whoever comes before it may lead in its place.
    Called,
    Somebody,
}

/// Whether the pool still commits.
pub(super) enum Health {
    Running,
    Failed(FailReason),
}

/// The state under the commit lock.
pub(super) struct State<M: Machine> {
    pub(super) health: Health,
    pub(super) queue: VecDeque<Queued<M>>,
    pub(super) leading: Leading,
    pub(super) inflight: VecDeque<InFlight<M>>,
    /// A batch failed: nothing is ordered until the pipeline is drained and the failure is made void.
    pub(super) redoing: bool,
    /// Failures made void since the last batch that was written at once.
    pub(super) redos: u32,
    /// Failures made void since the open.
    pub(super) redone: u64,
    /// Segments that the allocator wants, to be opened.
    pub(super) to_open: Vec<u32>,
    /// The index's file system is nearly full: no new data is mapped.
    pub(super) index_full: bool,
    /// The leader waits for a checkpoint.
    pub(super) starved: bool,
    pub(super) ring: Ring,
    pub(super) ring_len: u64,
    /// Where the next record goes.
    pub(super) next: Place,
    /// The place after the last record that is visible.
    pub(super) applied: Place,
    /// The highest sequence known flushed.
    pub(super) flushed: Seq,
    /// Records that state a higher flushed mark than those before: (record, mark).
    pub(super) marks: VecDeque<(Seq, Seq)>,
    /// The highest mark that is itself durable: what was freed up to there is allocatable.
    pub(super) stated: Seq,
    /// The last sequence that did more than state a mark.
    pub(super) last_content: Seq,
    pub(super) unflushed_bytes: u64,
    /// When the oldest unflushed record became visible.
    pub(super) unflushed_since: Option<Duration>,
    pub(super) alloc: Allocator,
    /// Reference counts as ordered, until they are applied.
    pub(super) ref_orders: RefOrders,
    /// The place up to which the index has everything.
    pub(super) checkpointed: Place,
    /// When the last checkpoint began.
    pub(super) frozen_at: Duration,
    /// Whether the leader was just delayed by the throttle.
    pub(super) delayed: bool,
    pub(super) closing: bool,
    /// Closed: the store's own tasks end.
    pub(super) closed: bool,
}

impl<M: Machine> State<M> {
    /// # Errors
    /// When the pool has failed or is being closed.
    pub(super) fn check_health(&self) -> Result<(), CommitError<M::Error>> {
        match &self.health {
            Health::Failed(reason) => Err(CommitError::PoolFailed(reason.clone())),
            Health::Running if self.closing => Err(CommitError::Closed),
            Health::Running => Ok(()),
        }
    }

    /// Whether frees wait in the quarantine or in flight, so that a flush may find space.
    pub(super) fn may_relieve(&self) -> bool {
        !self.index_full && (self.alloc.space().quarantined > 0 || !self.inflight.is_empty())
    }

    /// Whether something that is ordered alone is in flight: what comes after it waits until it is visible.
    pub(super) fn barred(&self, machine: &M) -> bool {
        let bars = |queued: &Queued<M>| !matches!(queued.work, Work::Mark) && queued.is_barrier(machine);
        // It is alone in its batch, and the last one.
        let last = self.inflight.back().and_then(|b| b.batch.ops.first());
        last.is_some_and(|(queued, _)| bars(queued))
    }

    pub(super) fn mark_finished(&mut self, seq: Seq, result: Result<(), DiskError>) {
        // It is not there any more when the pool failed meanwhile.
        if let Some(batch) = self.inflight.iter_mut().find(|b| b.batch.seq == seq) {
            batch.result = Some(result);
        }
    }

    /// The oldest batch in flight if it is written; nothing behind a failed one.
    pub(super) fn pop_finished(&mut self) -> Option<InFlight<M>> {
        if let Health::Failed(_) = self.health {
            return None;
        }
        match self.inflight.front()?.result {
            Some(Ok(())) => self.inflight.pop_front(),
            Some(Err(_)) => {
                self.redoing = true;
                None
            }
            None => None,
        }
    }

    /// Whether the pipeline is drained behind a failure, so that the failed batches can be done over.
    pub(super) fn must_redo(&self) -> bool {
        self.redoing && self.is_running() && self.inflight.iter().all(|b| b.result.is_some())
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.health, Health::Running)
    }

    /// Why the pool has stopped, as an error.
    pub(super) fn running(&self) -> Result<(), FailReason> {
        match &self.health {
            Health::Running => Ok(()),
            Health::Failed(reason) => Err(reason.clone()),
        }
    }

    /// Whether everything that was ever ordered is visible, or was answered otherwise.
    pub(super) fn is_settled(&self) -> bool {
        self.inflight.is_empty() && !self.redoing && !self.queue.front().is_some_and(|q| q.taken_back)
    }

    /// The block layer's own effects of a batch, in commit order.
    pub(super) fn apply_effects(&mut self, batch: &Batch<M>) -> Result<(), Contradiction> {
        for change in &batch.effects.refs {
            if self.ref_orders.get(&change.pba) == Some(&change.after) && !self.orders_again(change.pba) {
                self.ref_orders.remove(&change.pba);
            }
        }
        apply_effects(&mut self.alloc, batch.seq, &batch.effects)
    }

    /// Whether a batch still in flight changes the references of a block.
    fn orders_again(&self, pba: Pba) -> bool {
        self.inflight.iter().any(|b| b.batch.effects.refs.iter().any(|change| change.pba == pba))
    }

    /// Records that everything before `end` is visible.
    pub(super) fn applied_to(&mut self, seq: Seq, end: Place, now: Duration) {
        debug_assert_eq!(end.seq, seq.next());
        self.applied = end;
        self.unflushed_since.get_or_insert(now);
    }

    /// The last visible sequence number.
    pub(super) fn visible(&self) -> Seq {
        Seq(self.applied.seq.0 - 1)
    }
}

/// What a commit record does to the allocator and to the reference counts, live and at replay.
pub(super) fn apply_effects(alloc: &mut Allocator, seq: Seq, effects: &Effects) -> Result<(), Contradiction> {
    let wrong = |e: &dyn std::fmt::Display| Contradiction(format!("record {seq}: {e}"));
    for written in &effects.written {
        alloc.commit_alloc(written.run).map_err(|e| wrong(&e))?;
    }
    // A block may be shared, let go of and freed in one batch: it is free only when its last reference is
    // gone.
    for change in &effects.refs {
        alloc.ref_change(change.pba, change.before, change.after).map_err(|e| wrong(&e))?;
    }
    for run in &effects.freed {
        alloc.commit_free(seq, *run).map_err(|e| wrong(&e))?;
    }
    Ok(())
}
