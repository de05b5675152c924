//! Checkpoints: one consistent cut of everything that only the journal holds, written to the index.
//!
//! The order is rule 1 of the design: flush the devices through the cut, write the cut to the index as one
//! batch that also says where it is, make the index durable, let the superblocks point behind it, and only
//! then reuse the journal's space.
//!
//! Commits go on meanwhile: a cut freezes the generation of changes so far and opens a new one.

use super::commit::LARGEST_RECORD;
use super::machine::Machine;
use super::state::State;
use super::{FailReason, Store};
use crate::alloc::Frozen;
use crate::format::cut::{Cut, CUT_KEY};
use crate::format::space_key;
use crate::index::Batch;
use crate::journal::Place;
use crate::runtime::unblock;
use crate::units::Seq;
use std::sync::Arc;
use std::time::Duration;

/// Longest delay that the throttle puts before a batch, at a full budget.
const THROTTLE_MOST: Duration = Duration::from_millis(20);
/// Share of a budget at which a checkpoint begins.
const CHECKPOINT_AT: f64 = 0.5;

impl<M: Machine> Store<M> {
    /// Writes a checkpoint now and waits for it.
    ///
    /// # Errors
    /// The pool has failed, now or before.
    pub async fn checkpoint(self: &Arc<Self>) -> Result<(), FailReason> {
        let _turn = self.checkpointing.lock().await;
        let (cut, header, space) = {
            let mut state = self.lock();
            state.running()?;
            if state.applied.at == state.checkpointed.at {
                return Ok(());
            }
            let space = state.alloc.freeze();
            self.machine.freeze();
            state.frozen_at = self.runtime.now();
            (state.applied, self.cut_header(state.visible()), space)
        };
        let result = self.write_cut(cut, header, space).await;
        if let Err(reason) = &result {
            self.fail(reason.clone());
        }
        self.progress.notify_waiters();
        result
    }

    /// The index's header for a cut at `seq`, which is visible now: the caller holds the commit lock.
    fn cut_header(&self, seq: Seq) -> Cut {
        let segments = self.members().sizes().clone();
        Cut { pool: self.pool_id(), incarnation: self.incarnation(), seq, segments }
    }

    async fn write_cut(
        self: &Arc<Self>,
        cut: Place,
        header: Cut,
        space: Arc<Frozen>,
    ) -> Result<(), FailReason> {
        self.flush_through(header.seq).await?;
        let me = self.clone();
        let written = unblock(&*self.runtime, move || {
            let mut batch = Batch::default();
            me.machine.write_frozen(&mut batch);
            space.write(&mut batch, space_key::encode);
            batch.put(CUT_KEY, header.encode());
            me.index.write(batch)?;
            me.index.flush()
        });
        written.await.map_err(FailReason::Index)?;
        let tail = self.tail_of(cut);
        self.write_superblocks(|mark| mark.tail = tail).await?;
        let mut state = self.lock();
        state.ring.trim(cut.at);
        state.checkpointed = cut;
        state.alloc.drop_frozen();
        self.machine.drop_frozen();
        Ok(())
    }

    /// How full the fullest budget is, 0.0 to 1.0: journal or dirty memory.
    fn pressure(&self, state: &State<M>) -> f64 {
        let journal = state.ring.used() as f64 / state.ring.len() as f64;
        journal.max(self.dirty(state))
    }

    /// How full the budget of dirty memory is.
    fn dirty(&self, state: &State<M>) -> f64 {
        (self.machine.dirty_bytes() + state.alloc.dirty_bytes()) as f64 / self.config.dirty_bytes as f64
    }

    /// A delay before the next batch when a budget is more than three quarters full: gradual, no cliff.
    pub(super) fn throttle(&self, state: &mut State<M>) -> Option<Duration> {
        let pressure = self.pressure(state);
        if pressure > CHECKPOINT_AT {
            self.checkpoint_wanted.notify_one();
        }
        // Every other look lets a batch through: the delay is before each batch, not instead of it.
        state.delayed = pressure >= 0.75 && !state.delayed && !state.queue.is_empty();
        if !state.delayed {
            return None;
        }
        let over = ((pressure - 0.75) * 4.0).min(1.0);
        Some(THROTTLE_MOST.mul_f64(over * over))
    }

    /// Whether the next batch must wait for a checkpoint: the journal has no room for the largest record,
    /// or the dirty memory is used up. The checkpoint is begun.
    pub(super) fn starves(&self, state: &mut State<M>) -> bool {
        let can_help = state.applied.at != state.checkpointed.at;
        state.starved = state.ring.place(LARGEST_RECORD).is_none() || (can_help && self.dirty(state) >= 1.0);
        if state.starved {
            self.checkpoint_wanted.notify_one();
        }
        state.starved
    }

    /// Whether a checkpoint is due: half of a budget, or the time, with anything to write.
    pub(super) fn checkpoint_due(&self) -> bool {
        let state = self.lock();
        let aged = self.runtime.now().saturating_sub(state.frozen_at) > self.config.checkpoint_after;
        let content = state.last_content >= state.checkpointed.seq;
        state.applied.at != state.checkpointed.at
            && (state.starved || self.pressure(&state) > CHECKPOINT_AT || (aged && content))
    }
}
