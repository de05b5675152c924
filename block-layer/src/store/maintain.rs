//! What the store does by itself: flush what is old or much, state the mark when it goes idle, begin
//! checkpoints at half of a budget, open segments ahead of need, and watch the index's space.

use super::machine::Machine;
use super::state::Work;
use super::Store;
use crate::runtime::{unblock, Runtime};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Notify;

/// How often it looks.
const TICK: Duration = Duration::from_millis(50);
/// How often the index's free space is asked for.
const INDEX_TICK: Duration = Duration::from_millis(500);

enum Chore {
    Flush,
    Mark,
    Nothing,
}

impl<M: Machine> Store<M> {
    /// Starts the store's own tasks. They end when the store is closed, failed or dropped.
    pub(super) fn start_maintenance(self: &Arc<Self>) {
        self.open_ahead(&mut self.lock());
        let (spawn, me) = (|task| self.runtime.spawn(task), || Arc::downgrade(self));
        spawn(Box::pin(flushes(me())));
        spawn(Box::pin(checkpoints(me())));
        spawn(Box::pin(opens(me())));
        spawn(Box::pin(watches_index(me())));
    }

    fn chore(&self) -> Chore {
        let state = self.lock();
        let now = self.runtime.now();
        let old =
            state.unflushed_since.is_some_and(|since| now.saturating_sub(since) > self.config.flush_after);
        if old || state.unflushed_bytes > self.config.flush_bytes {
            return Chore::Flush;
        }
        let idle = state.queue.is_empty() && state.inflight.is_empty() && !state.closing;
        let written = state.marks.back().map_or(state.stated, |(_, mark)| *mark);
        if idle && state.flushed >= state.last_content && written < state.last_content {
            return Chore::Mark;
        }
        Chore::Nothing
    }

    fn is_over(&self) -> bool {
        let state = self.lock();
        state.closed || !state.is_running()
    }

    /// Ends the store's own tasks.
    pub(super) fn end_maintenance(&self) {
        self.lock().closed = true;
        self.checkpoint_wanted.notify_one();
        self.open_wanted.notify_one();
    }
}

// Errors show in the pool's health, which ends these tasks.

async fn flushes<M: Machine>(store: Weak<Store<M>>) {
    while let Some(store) = store.upgrade().filter(|s| !s.is_over()) {
        match store.chore() {
            Chore::Flush => drop(store.flush().await),
            Chore::Mark => drop(store.enqueue(Work::Mark).await),
            Chore::Nothing => rest(store, |_| None, TICK).await,
        }
    }
}

async fn checkpoints<M: Machine>(store: Weak<Store<M>>) {
    while let Some(store) = store.upgrade().filter(|s| !s.is_over()) {
        match store.checkpoint_due() {
            true => drop(store.checkpoint().await),
            false => rest(store, |s| Some(&s.checkpoint_wanted), TICK).await,
        }
    }
}

async fn opens<M: Machine>(store: Weak<Store<M>>) {
    while let Some(store) = store.upgrade().filter(|s| !s.is_over()) {
        if !store.open_segment().await {
            rest(store, |s| Some(&s.open_wanted), INDEX_TICK).await;
        }
    }
}

async fn watches_index<M: Machine>(store: Weak<Store<M>>) {
    while let Some(store) = store.upgrade().filter(|s| !s.is_over()) {
        let index = store.index.clone();
        let free = unblock(&*store.runtime, move || index.free_bytes()).await;
        store.lock().index_full = free < store.config.index_reserve_bytes;
        rest(store, |_| None, INDEX_TICK).await;
    }
}

/// Waits for the bell or for `time`, whichever comes first, and keeps the store alive only while it listens.
async fn rest<M: Machine>(store: Arc<Store<M>>, bell: fn(&Store<M>) -> Option<&Notify>, time: Duration) {
    let runtime: Arc<dyn Runtime> = store.runtime.clone();
    let Some(bell) = bell(&store) else {
        drop(store);
        return runtime.sleep(time).await;
    };
    let (mut rung, mut sleep) = (pin!(bell.notified()), runtime.sleep(time));
    std::future::poll_fn(|cx| {
        match rung.as_mut().poll(cx).is_ready() || sleep.as_mut().poll(cx).is_ready() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}
