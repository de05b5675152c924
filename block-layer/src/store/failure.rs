//! What a failed write does (design rule 4): nothing behind it is acknowledged until its place in the
//! journal holds a durable void record and the operations are ordered again, elsewhere.
//!
//! The failed data's space is not used again before the next open. When the void record cannot be made
//! durable either, the pool fails: it stops acknowledging and says so, and only a reopen goes on.

use super::machine::Machine;
use super::state::{Health, State, Work};
use super::{FailReason, Store};
use crate::device::Io;
use crate::error::DiskError;
use crate::format::record::Kind;
use crate::units::Seq;
use std::sync::Arc;

/// Times that one operation may be ordered again after failed writes before the pool gives up.
const REDOS_IN_A_ROW: u32 = 16;

impl<M: Machine> Store<M> {
    /// Replaces the failed batch by a void record and queues its operations, and those behind it, again.
    pub(super) async fn redo(self: Arc<Self>) {
        let (at, record, seq) = {
            let mut state = self.lock();
            if !state.must_redo() {
                return; // the pool has failed meanwhile
            }
            let failed = state.take_back();
            self.machine.discard(state.visible());
            if state.redos >= REDOS_IN_A_ROW {
                drop(state);
                return self.fail(FailReason::Write(failed));
            }
            state.redos += 1;
            state.redone += 1;
            let (record, header) = state.record(&self, Kind::Void, 0, |_| {});
            let at = state.ring.place(record.len()).expect("the failed record had room here");
            state.take_place(at, record.len(), &header);
            (at, record, header.seq)
        };
        let members = self.members();
        let (disk, base) = members.ring();
        let written: Io<()> = disk.write(base + self.ring_offset(at), vec![record]);
        if let Err(e) = written.await {
            return self.fail(FailReason::Write(e));
        }
        {
            let mut state = self.lock();
            if !state.is_running() {
                return;
            }
            let end = state.next;
            state.applied_to(seq, end, self.runtime.now());
            self.applied.store(seq.0, std::sync::atomic::Ordering::Release);
        }
        // An error shows in the pool's health.
        if self.flush_through(seq).await.is_ok() {
            let mut state = self.lock();
            state.redoing = false;
            self.start_leader(&mut state);
        }
        self.progress.notify_waiters();
    }

    /// Stops acknowledging for good: everything queued, in flight or waiting is answered with `reason`.
    pub(super) fn fail(&self, reason: FailReason) {
        let mut state = self.lock();
        if matches!(state.health, Health::Running) {
            state.health = Health::Failed(reason);
        }
        let queued: Vec<_> = state.queue.drain(..).collect();
        let inflight: Vec<_> = state.inflight.drain(..).flat_map(|b| b.batch.ops).map(|(q, _)| q).collect();
        let error = state.check_health();
        drop(state);
        let Err(super::CommitError::PoolFailed(reason)) = error else { return };
        for q in queued.into_iter().chain(inflight) {
            let _ = q.answer.send(Err(super::CommitError::PoolFailed(reason.clone())));
        }
        self.progress.notify_waiters();
    }
}

impl<M: Machine> State<M> {
    /// Takes every batch in flight back into the queue, in order; returns why the first failed.
    fn take_back(&mut self) -> DiskError {
        let first = self.inflight.front().expect("a redo has a failed batch");
        let start = first.start;
        let failed = first.result.clone().and_then(Result::err).expect("the first batch failed");
        let bad: Vec<Seq> =
            self.inflight.iter().filter(|b| matches!(b.result, Some(Err(_)))).map(|b| b.batch.seq).collect();
        for batch in std::mem::take(&mut self.inflight).into_iter().rev() {
            let runs: Vec<_> = batch.batch.effects.written.iter().map(|w| w.run).collect();
            // What a failed write left behind is unknown: its space stays out of use until the next open.
            if !bad.contains(&batch.batch.seq) {
                self.alloc.undo(&runs);
            }
            for (mut queued, _) in batch.batch.ops.into_iter().rev() {
                // A mark is of no use twice.
                if !matches!(queued.work, Work::Mark) {
                    queued.taken_back = true;
                    self.queue.push_front(queued);
                }
            }
        }
        self.ref_orders.clear();
        self.marks.retain(|(record, _)| *record < start.seq);
        self.ring.rewind(self.applied.at);
        self.next = self.applied;
        failed
    }
}
