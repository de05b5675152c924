//! What the store does by itself: flush what is old or much, state the mark when it goes idle, and begin
//! checkpoints at half of a budget.

use super::machine::Machine;
use super::state::{Health, Work};
use super::Store;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How often it looks.
const TICK: Duration = Duration::from_millis(50);

enum Chore {
    Flush,
    Mark,
    Checkpoint,
    Nothing,
    Stop,
}

impl<M: Machine> Store<M> {
    /// Starts the store's own tasks: one flushes and marks, one checkpoints. They end when the store is closed,
    /// failed or dropped.
    pub(super) fn start_maintenance(self: &Arc<Self>) {
        self.runtime.spawn(Box::pin(chores(Arc::downgrade(self), Store::flush_chore)));
        self.runtime.spawn(Box::pin(chores(Arc::downgrade(self), Store::checkpoint_chore)));
    }

    fn flush_chore(&self) -> Chore {
        let state = self.lock();
        if state.closing || matches!(state.health, Health::Failed(_)) {
            return Chore::Stop;
        }
        let now = self.runtime.now();
        let old = state.unflushed_since.is_some_and(|since| now.saturating_sub(since) > self.config.flush_after);
        if old || state.unflushed_bytes > self.config.flush_bytes {
            return Chore::Flush;
        }
        let idle = state.queue.is_empty() && state.inflight.is_empty();
        let written = state.marks.back().map_or(state.stated, |(_, mark)| *mark);
        if idle && state.flushed >= state.last_content && written < state.last_content {
            return Chore::Mark;
        }
        Chore::Nothing
    }

    fn checkpoint_chore(&self) -> Chore {
        match self.flush_chore() {
            Chore::Stop => Chore::Stop,
            _ if self.checkpoint_due() => Chore::Checkpoint,
            _ => Chore::Nothing,
        }
    }
}

async fn chores<M: Machine>(store: Weak<Store<M>>, look: fn(&Store<M>) -> Chore) {
    loop {
        let Some(store) = store.upgrade() else { return };
        // Errors show in the pool's health, which stops these tasks.
        match look(&store) {
            Chore::Stop => return,
            Chore::Flush => drop(store.flush().await),
            Chore::Mark => drop(store.enqueue(Work::Mark).await),
            Chore::Checkpoint => drop(store.checkpoint().await),
            Chore::Nothing => {
                let sleep = store.runtime.sleep(TICK);
                drop(store);
                sleep.await;
            }
        }
    }
}
