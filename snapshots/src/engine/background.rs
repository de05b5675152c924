//! Background work: discards, reclaim of what was deleted, and completing the maps of deep clones.
//!
//! One task, bounded steps, a pause between them: foreground commands wait for one step at most. Everything
//! it does moves by commits, so a crash loses nothing and the next open goes on.

use super::Engine;
use crate::catalogue::Live;
use crate::error::Error;
use crate::ids::{BranchId, PageNo};
use crate::machine::op::Dead;
use block_layer::Runtime;
use std::collections::BTreeMap;
use std::future::Future as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// What background work may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Map pages that one step looks at, at most.
    pub step_pages: usize,
    /// Rest after each step.
    pub pause: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { step_pages: 16, pause: Duration::from_millis(1) }
    }
}

/// How long the task sleeps when nothing is to be done and nobody wakes it.
const IDLE: Duration = Duration::from_secs(1);

/// The task's switches.
#[derive(Default)]
pub(super) struct Background {
    stopped: AtomicBool,
    work: Arc<Notify>,
    /// How far the maps of deep branches are completed; `None` = to the end. A hint: after a restart it
    /// begins anew.
    completed: Mutex<BTreeMap<BranchId, Option<PageNo>>>,
}

impl Background {
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.work.notify_one();
    }

    /// Whether the pool is being closed.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Where the completion of a deep branch's map goes on; `None` when it is complete.
    pub(super) fn completed_to(&self, branch: BranchId) -> Option<PageNo> {
        let completed = self.completed.lock().expect("no holder panics");
        completed.get(&branch).copied().unwrap_or(Some(PageNo(0)))
    }

    pub(super) fn move_on(&self, branch: BranchId, page: PageNo) {
        self.completed.lock().expect("no holder panics").insert(branch, Some(page));
    }

    pub(super) fn mark_complete(&self, branch: BranchId) {
        self.completed.lock().expect("no holder panics").insert(branch, None);
    }

    /// There is something to do.
    pub(super) fn wake(&self) {
        self.work.notify_one();
    }
}

impl Engine {
    pub(super) fn start_background(self: &Arc<Self>) {
        let task = run(Arc::downgrade(self), self.background.work.clone(), self.store.runtime().clone());
        self.store.runtime().spawn(Box::pin(task));
    }

    /// Does one bounded step of whatever is to be done; whether there was anything.
    ///
    /// # Errors
    /// The pool has failed, or the index is damaged: the work stays to be done.
    pub async fn background_step(&self) -> Result<bool, Error> {
        if let Some(branch) = self.branch_with_discards() {
            return self.work_off_some(branch).await;
        }
        if let Some(dead) = self.next_dead() {
            self.reclaim_step(dead).await?;
            return Ok(true);
        }
        self.complete_deep_page().await
    }

    /// Works off discards; whether there were any. Commands that need a branch without them call this.
    pub(super) async fn help_discards(&self) -> Result<bool, Error> {
        match self.branch_with_discards() {
            Some(branch) => self.work_off_some(branch).await,
            None => Ok(false),
        }
    }

    fn branch_with_discards(&self) -> Option<BranchId> {
        let state = self.space.lock();
        state.catalogue.branches.values().find(|b| !b.trims.is_empty()).map(|b| b.id)
    }

    /// A view whose reclaim may go on now.
    fn next_dead(&self) -> Option<Dead> {
        let state = self.space.lock();
        let dying = state.catalogue.branches.values().filter(|b| matches!(b.live, Live::Dying(_)));
        let deleted = state.catalogue.snapshots.values().filter(|s| s.name.is_none() && s.children == 0);
        let mut dead = dying.map(|b| Dead::Live(b.id)).chain(deleted.map(|s| Dead::Snapshot(s.id)));
        dead.find(|dead| state.between(*dead).is_some())
    }
}

async fn run(engine: Weak<Engine>, work: Arc<Notify>, runtime: Arc<dyn Runtime>) {
    loop {
        let Some(this) = engine.upgrade() else { return };
        if this.background.is_stopped() {
            return;
        }
        let pause = this.config.background.pause;
        let step = this.background_step().await;
        drop(this);
        match step {
            Ok(true) => runtime.sleep(pause).await,
            Ok(false) => idle(&work, &*runtime).await,
            Err(Error::PoolFailed(_) | Error::Closed) => return,
            // A damaged index or device: foreground commands report it where it matters; try again later.
            Err(_) => runtime.sleep(IDLE).await,
        }
    }
}

/// Waits for work, or a while.
async fn idle(work: &Notify, runtime: &dyn Runtime) {
    let mut woken = std::pin::pin!(work.notified());
    let mut slept = runtime.sleep(IDLE);
    std::future::poll_fn(|cx| {
        let done = woken.as_mut().poll(cx).is_ready() || slept.as_mut().poll(cx).is_ready();
        if done {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}
