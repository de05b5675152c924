//! Flushing: what makes commits survive the loss of power, for many callers at once.
//!
//! A flush covers every commit that was visible when it began. Its mark is stated in the next record, and
//! when that record is flushed too, blocks freed up to the mark may be allocated again (design rule 2).

use super::machine::Machine;
use super::members::Members;
use super::state::{Queued, State, Work};
use super::{CommitError, FailReason, Store};
use crate::error::DiskError;
use crate::units::Seq;
use std::sync::Arc;

/// Proof that everything up to `seq` is on stable media: it survives the loss of power.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    seq: Seq,
}

impl Durable {
    /// The highest sequence number that is durable.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }
}

impl<M: Machine> Store<M> {
    /// Makes every commit that was acknowledged before this call durable. Concurrent callers share one flush.
    ///
    /// # Errors
    /// [`CommitError::PoolFailed`]: a device could not flush. It is never tried again as if nothing had
    /// happened: the pool stops acknowledging until it is reopened.
    pub async fn flush(self: &Arc<Self>) -> Result<Durable, CommitError<M::Error>> {
        let target = self.lock().visible();
        let seq = self.flush_through(target).await.map_err(CommitError::PoolFailed)?;
        Ok(Durable { seq })
    }

    /// Flushes unless everything up to `target` is durable; gives the sequence through which all is.
    ///
    /// One flush at a time: were two under way, the second could succeed although the first had lost
    /// writes that both should have covered.
    pub(super) async fn flush_through(&self, target: Seq) -> Result<Seq, FailReason> {
        let _turn = self.flushing.lock().await;
        let upto = {
            let mut state = self.lock();
            state.running()?;
            if state.flushed >= target {
                return Ok(state.flushed);
            }
            state.unflushed_bytes = 0;
            state.unflushed_since = None;
            state.visible()
        };
        if let Err(e) = flush_all(&self.members()).await {
            let reason = FailReason::Flush(e);
            self.fail(reason.clone());
            return Err(reason);
        }
        let mut state = self.lock();
        state.flushed_to(upto);
        self.release(&mut state);
        Ok(state.flushed)
    }

    /// Gives what the quarantine may let go of back to the allocator.
    pub(super) fn release(&self, state: &mut State<M>) {
        state.alloc.release(self.pins.limit(state.stated));
    }

    /// Empties the quarantine as far as can be: flush, state the mark, flush the statement.
    pub(super) async fn relieve(self: &Arc<Self>) {
        // A failure shows in the pool's health, which the leader looks at next.
        if self.flush().await.is_err() {
            return;
        }
        let stated = match self.state_mark().await {
            true => self.flush().await.is_ok(),
            false => self.state_in_superblocks().await.is_ok(),
        };
        if stated {
            self.release(&mut self.lock());
        }
    }

    /// Writes an empty record that states the flushed mark; `false` when the journal has no room for it. Only
    /// the leader calls this, with nothing in flight.
    async fn state_mark(self: &Arc<Self>) -> bool {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let written = self.write_mark(Queued::new(Work::Mark, answer));
        if written {
            // An error shows in the pool's health.
            let _ = answered.await;
        }
        written
    }
}

/// Flushes every disk; the first failure, if any.
pub(super) async fn flush_all(members: &Members) -> Result<(), DiskError> {
    let flushes: Vec<_> = members.disks().map(|disk| disk.flush()).collect();
    let mut result = Ok(());
    for flush in flushes {
        result = flush.await.and(result);
    }
    result
}

impl<M: Machine> State<M> {
    fn flushed_to(&mut self, upto: Seq) {
        self.flushed = self.flushed.max(upto);
        while let Some((_, mark)) = self.marks.front().filter(|(record, _)| *record <= upto) {
            self.stated = self.stated.max(*mark);
            self.marks.pop_front();
        }
    }
}
