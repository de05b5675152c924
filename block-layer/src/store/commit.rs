//! The committer: turns what all callers have queued into commits, in order.
//!
//! Invariants: a written block is immutable until freed; a commit is acknowledged only when its data
//! *and* its record are written; commits become visible in sequence order, though several are in flight.
//!
//! The life of a commit: [`Store::commit`] queues the operation; a leader (see `lead`) orders what is queued
//! into a batch ([`State::form`]), starts its data and record writes in parallel, and goes on to the next
//! batch; [`Store::finished`] applies finished batches in order and answers.
//!
//! Read next: `failure` (what a failed write does to the batches behind it), `flush`, `checkpoint`.

use super::lead::Step;
use super::machine::{Contradiction, Machine, Marks, Refusal, Tx};
use super::state::{Answer, Batch, Health, InFlight, Queued, State, Work};
use super::{CommitError, FailReason, Store, LARGEST_OP_RECORD};
use crate::device::{Buf, Io};
use crate::error::DiskError;
use crate::format::record::{Header, Kind, BODY_MAX, HEADER};
use crate::format::Ordinal;
use crate::journal::Place;
use crate::pool::{Extent, RING_MIN};
use crate::units::{Seq, BLOCK};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{oneshot, OwnedSemaphorePermit};

/// Data bytes after which a batch takes no further operation: more would only wait for one another, where the
/// device could take them side by side.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// Record bytes after which a batch takes no further operation.
pub(super) const BATCH_RECORD: usize = 64 << 10;
/// Most operations of a batch that room is made for ahead.
const EXPECTED_MAX: usize = 64;
/// Batches in flight.
pub(super) const BATCHES: usize = 8;
/// Bytes of the largest record: a batch that was full but for one byte, and then got the largest operation.
pub(super) const LARGEST_RECORD: usize = HEADER + BATCH_RECORD + LARGEST_OP_RECORD;

// An empty ring has room for any record, wherever its head is: less than one record is lost at the end.
const _: () = assert!(2 * (LARGEST_RECORD + BLOCK) <= RING_MIN as usize);
// What fits in a batch fits in a record.
const _: () = assert!(LARGEST_RECORD - HEADER <= BODY_MAX);

/// Proof that a commit's data and record are written: it survives the death of the process.
#[must_use]
#[derive(Debug)]
pub struct Committed<R> {
    seq: Seq,
    /// What the operation answers.
    pub reply: R,
}

impl<R> Committed<R> {
    /// Its place in the commit order.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }
}

/// A formed batch, ready to be written.
pub(super) struct Prepared {
    seq: Seq,
    at: u64,
    record: Bytes,
    data: Vec<(crate::alloc::Run, Vec<Bytes>)>,
}

impl<M: Machine> Store<M> {
    /// Commits `op`: answers when it is written and visible.
    ///
    /// # Errors
    /// [`CommitError`]; after [`CommitError::PoolFailed`] the operation may still take effect (see there).
    pub async fn commit(self: &Arc<Self>, op: M::Op) -> Result<Committed<M::Reply>, CommitError<M::Error>> {
        let permits = self.machine.data_bytes(&op).div_ceil(BLOCK).max(1).min(self.config.inflight_blocks());
        let room = self.budget.clone().acquire_many_owned(permits as u32).await.expect("never closed");
        self.enqueue_with(Work::Op(op), Some(room))
            .await
            .map(|(seq, reply)| Committed { seq, reply: reply.expect("an operation has a reply") })
    }

    /// Queues work without data and starts the leader when there is none.
    pub(super) async fn enqueue(self: &Arc<Self>, work: Work<M::Op>) -> Answer<M> {
        self.enqueue_with(work, None).await
    }

    /// As [`Store::enqueue`]; `room` is given back when the work is done, though nobody waits for it any
    /// more.
    async fn enqueue_with(
        self: &Arc<Self>,
        work: Work<M::Op>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Answer<M> {
        let (answer, answered) = oneshot::channel();
        let leads = {
            let mut state = self.lock();
            state.check_health()?;
            state.queue.push_back(Queued { _room: room, ..Queued::new(work, answer) });
            self.start_leader(&mut state);
            state.leads_at_once(&self.machine)
        };
        if leads {
            self.lead_now();
        }
        answered.await.unwrap_or_else(|_| Err(CommitError::Closed))
    }

    /// Writes a mark record at once, past the queue; `false` when the journal has no room for it.
    pub(super) fn write_mark(self: &Arc<Self>, queued: Queued<M>) -> bool {
        let step = {
            let mut state = self.lock();
            if !state.is_running() {
                return true; // the answer is dropped
            }
            if state.ring.place(HEADER).is_none() {
                return false;
            }
            let mut batch = Batch::new(state.next.seq, 1);
            batch.ops.push((queued, None));
            state.seal(self, batch, Vec::new())
        };
        if let Step::Write(prepared) = step {
            self.start_write(prepared);
        }
        true
    }

    /// Starts the data and record writes of a batch, in parallel, and a task that waits for them.
    pub(super) fn start_write(self: &Arc<Self>, prepared: Prepared) {
        let members = self.members();
        let mut writes: Vec<Io<()>> = Vec::with_capacity(2);
        // First, since it is small: the driver waits for more before it troubles the kernel.
        let (disk, base) = members.ring();
        writes.push(disk.write(base + self.ring_offset(prepared.at), vec![prepared.record]));
        let mut next: Option<(Ordinal, u64)> = None;
        let mut piece: Option<(Extent, Vec<Bytes>)> = None;
        for (run, data) in prepared.data {
            let mut data = data.into_iter();
            for extent in members.locate(run) {
                let follows = |(disk, end): &(Ordinal, u64)| *disk == extent.device && *end == extent.offset;
                if !next.as_ref().is_some_and(follows) {
                    if let Some((start, pieces)) = piece.take() {
                        writes.push(members.disk(&start).write(start.offset, pieces));
                    }
                }
                let (_, pieces) = piece.get_or_insert_with(|| (extent, Vec::new()));
                pieces.extend(data.by_ref().take(extent.blocks as usize));
                next = Some((extent.device, extent.offset + extent.blocks * BLOCK as u64));
            }
        }
        if let Some((start, pieces)) = piece {
            writes.push(members.disk(&start).write(start.offset, pieces));
        }
        let me = self.clone();
        self.runtime.spawn(Box::pin(async move {
            let mut result = Ok(());
            for write in writes {
                result = write.await.and(result);
            }
            me.finished(prepared.seq, result);
        }));
    }

    /// A batch's writes ended: applies what is now complete in order, and answers it.
    fn finished(self: &Arc<Self>, seq: Seq, result: Result<(), DiskError>) {
        let (mut answers, mut contradicted) = (Vec::new(), None);
        {
            let mut state = self.lock();
            state.mark_finished(seq, result);
            while let Some(flight) = state.pop_finished() {
                if let Err(contradiction) = self.apply(&mut state, &flight) {
                    // Nothing behind it may become visible; its callers hear of it with all others.
                    let reason = FailReason::Contradiction(contradiction);
                    state.health = Health::Failed(reason.clone());
                    state.inflight.push_front(flight);
                    contradicted = Some(reason);
                    break;
                }
                let seq = flight.batch.seq;
                answers.extend(flight.batch.ops.into_iter().map(|(q, reply)| (q.answer, (seq, reply))));
            }
            if contradicted.is_none() && state.must_redo() {
                self.runtime.spawn(Box::pin(self.clone().redo()));
            }
        }
        self.progress.notify_waiters();
        for (answer, reply) in answers {
            let _ = answer.send(Ok(reply));
        }
        if let Some(reason) = contradicted {
            self.fail(reason);
        }
    }

    /// Makes one batch visible. The caller holds the lock and calls in sequence order.
    ///
    /// # Errors
    /// It does not fit the state it was ordered by: that came from a damaged index, or is our own bug.
    fn apply(&self, state: &mut State<M>, flight: &InFlight<M>) -> Result<(), Contradiction> {
        let InFlight { batch, end, .. } = flight;
        let seq = batch.seq;
        state.apply_effects(batch)?;
        for written in &batch.effects.written {
            state.unflushed_bytes += written.crcs.len() as u64 * BLOCK as u64;
        }
        if !batch.effects.body.is_empty() {
            self.machine.apply(seq, &batch.effects.body)?;
        }
        if let Some(change) = &batch.membership {
            self.apply_membership(state, change);
        }
        state.applied_to(seq, *end, self.runtime.now());
        state.redos = 0;
        if batch.kind() != Kind::Mark {
            state.last_content = seq;
        }
        self.applied.store(seq.0, std::sync::atomic::Ordering::Release);
        Ok(())
    }
}

impl<M: Machine> State<M> {
    /// Orders what is queued into the next batch. Operations that are refused go to `refused`.
    pub(super) fn form(
        &mut self,
        store: &Store<M>,
        refused: &mut Vec<(Queued<M>, CommitError<M::Error>)>,
    ) -> Step {
        if let Health::Failed(reason) = &self.health {
            let reason = reason.clone();
            refused.extend(self.queue.drain(..).map(|q| (q, CommitError::PoolFailed(reason.clone()))));
            return Step::Idle;
        }
        if self.queue.is_empty() {
            return Step::Idle;
        }
        let busy = self.redoing || self.inflight.len() >= BATCHES || self.barred(&store.machine);
        if busy || store.starves(self) {
            return Step::Wait;
        }
        let mut batch = Batch::new(self.next.seq, self.queue.len().min(EXPECTED_MAX));
        let mut data = Vec::new();
        let (mut data_bytes, mut record_bytes) = (0, 0);
        while data_bytes < BATCH_BYTES && record_bytes < BATCH_RECORD {
            let Some(queued) = self.queue.pop_front() else { break };
            let alone = queued.is_barrier(&store.machine);
            if alone && !(batch.ops.is_empty() && self.inflight.is_empty()) {
                self.queue.push_front(queued);
                break;
            }
            let bytes = queued.data_bytes(&store.machine);
            match self.order(store, queued, &mut batch, &mut data) {
                Ok(_) if alone => break,
                Ok(record) => {
                    data_bytes += bytes;
                    record_bytes += record;
                }
                Err((queued, Refusal::NotReady)) => {
                    store.open_ahead(self);
                    self.queue.push_front(queued);
                    return if batch.ops.is_empty() { Step::Wait } else { self.seal(store, batch, data) };
                }
                Err((mut queued, Refusal::NoSpace)) if !queued.relieved && self.may_relieve() => {
                    if batch.ops.is_empty() && self.inflight.is_empty() {
                        queued.relieved = true;
                        self.queue.push_front(queued);
                        return Step::Relieve;
                    }
                    self.queue.push_front(queued);
                    break;
                }
                Err((queued, refusal)) => refused.push((queued, CommitError::from_refusal(refusal))),
            }
        }
        match (batch.ops.is_empty(), self.queue.is_empty()) {
            (true, true) => Step::Idle,
            // What stays queued waits for a batch in flight.
            (true, false) => Step::Wait,
            (false, _) => self.seal(store, batch, data),
        }
    }

    /// Orders one operation into `batch`, and gives the bytes of the record that it needs; on a refusal
    /// nothing has changed.
    #[allow(clippy::type_complexity)]
    fn order(
        &mut self,
        store: &Store<M>,
        mut queued: Queued<M>,
        batch: &mut Batch<M>,
        data: &mut Vec<(crate::alloc::Run, Vec<Bytes>)>,
    ) -> Result<usize, (Queued<M>, Refusal<M::Error>)> {
        let mut bytes = 0;
        let reply = match &mut queued.work {
            Work::Op(op) => {
                let mut tx = Tx {
                    seq: batch.seq,
                    effects: &mut batch.effects,
                    data,
                    alloc: &mut self.alloc,
                    ref_orders: &mut self.ref_orders,
                    marks: Marks::default(),
                    refs_before: Vec::new(),
                    index_full: self.index_full,
                };
                tx.mark();
                match store.machine.order(op, &mut tx) {
                    Ok(reply) => {
                        bytes = tx.record_bytes();
                        assert!(
                            bytes <= LARGEST_OP_RECORD,
                            "an operation that needs {bytes} bytes of a record"
                        );
                        Some(reply)
                    }
                    Err(refusal) => {
                        tx.roll_back();
                        return Err((queued, refusal));
                    }
                }
            }
            Work::Mark => None,
            Work::Membership(change) => {
                batch.membership = Some(change.clone());
                None
            }
        };
        batch.ops.push((queued, reply));
        Ok(bytes)
    }

    /// Gives the batch its record and its place in the ring, and enters it among those in flight.
    fn seal(
        &mut self,
        store: &Store<M>,
        batch: Batch<M>,
        data: Vec<(crate::alloc::Run, Vec<Bytes>)>,
    ) -> Step {
        for (run, _) in &data {
            store.cache.evict_run(*run);
        }
        let (record, header) = self.record(store, batch.kind(), batch.body_len(), |body| batch.encode(body));
        let at = self.ring.place(record.len()).expect("room for the largest record was checked");
        let end = self.take_place(at, record.len(), &header);
        store.open_ahead(self);
        let seq = batch.seq;
        let start = Place { at, seq, previous: header.previous };
        self.inflight.push_back(InFlight { batch, start, end, result: None });
        Step::Write(Prepared { seq, at, record, data })
    }

    /// A sealed record for the next sequence number, padded to whole sectors; `encode` puts `body` bytes.
    pub(super) fn record(
        &mut self,
        store: &Store<M>,
        kind: Kind,
        body: usize,
        encode: impl FnOnce(&mut &mut [u8]),
    ) -> (Bytes, Header) {
        let used = HEADER + body;
        let mut record = Buf::zeroed(self.ring.padded(used));
        let mut rest = &mut record[HEADER..used];
        encode(&mut rest);
        assert!(rest.is_empty(), "a body of {body} bytes lacks {}", rest.len());
        let header = Header {
            crc: 0,
            len: 0,
            seq: self.next.seq,
            incarnation: store.incarnation(),
            previous: self.next.previous,
            kind,
            pool: store.pool_id(),
            flushed: self.flushed,
        }
        .seal(&mut record[..used]);
        if self.marks.back().is_none_or(|(_, mark)| *mark < self.flushed) {
            self.marks.push_back((self.next.seq, self.flushed));
        }
        (record.freeze(), header)
    }

    /// Moves the head over a record at `at`; returns the place after it.
    pub(super) fn take_place(&mut self, at: u64, len: usize, header: &Header) -> Place {
        self.ring.advance(at, len);
        let end = at + self.ring.padded(len) as u64;
        self.next = Place { at: end, seq: header.seq.next(), previous: header.crc };
        self.next
    }
}
