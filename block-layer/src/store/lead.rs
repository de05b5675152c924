//! Leading: who turns the queue into batches, and when.
//!
//! There is at most one leader, and one is called whenever something is queued. It is a task, which runs
//! after the tasks that are ready now, so that what they queue goes into one batch; when they have queued
//! enough, the one that did leads at once, and the device works while the others prepare.
//!
//! Read next: `commit` (how a batch is formed and written).

use super::commit::Prepared;
use super::machine::Machine;
use super::state::{Leading, State};
use super::Store;
use std::sync::Arc;
use std::time::Duration;

/// Operations, or data bytes, that are worth a batch of their own at once.
const AT_ONCE: (usize, usize) = (16, 128 << 10);

/// What the leader does next.
pub(super) enum Step {
    Idle,
    Write(Prepared),
    Relieve,
    Wait,
    Delay(Duration),
}

impl<M: Machine> Store<M> {
    /// Has the leader called when there is work and nobody leads.
    pub(super) fn start_leader(self: &Arc<Self>, state: &mut State<M>) {
        if !state.queue.is_empty() && state.leading == Leading::Nobody {
            state.leading = Leading::Called;
            self.runtime.spawn(Box::pin(self.clone().answer_call()));
        }
    }

    /// The task that was called to lead, unless somebody has done so since.
    async fn answer_call(self: Arc<Self>) {
        {
            let mut state = self.lock();
            if state.leading != Leading::Called {
                return;
            }
            state.leading = Leading::Somebody;
        }
        self.lead(Step::Wait).await;
    }

    /// Leads while nothing has to be waited for, and leaves the rest to a task. The caller is the leader.
    pub(super) fn lead_now(self: &Arc<Self>) {
        loop {
            match self.next_step() {
                Step::Idle => return,
                Step::Write(prepared) => self.start_write(prepared),
                step => return self.runtime.spawn(Box::pin(self.clone().lead(step))),
            }
        }
    }

    /// Leads from `step` on until there is nothing left to do. The caller is the leader.
    async fn lead(self: Arc<Self>, mut step: Step) {
        loop {
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            if let Step::Wait = step {
                // Again: what it waits for may have come before this listened.
                step = self.next_step();
            }
            match std::mem::replace(&mut step, Step::Wait) {
                Step::Idle => return,
                Step::Write(prepared) => self.start_write(prepared),
                Step::Relieve => self.relieve().await,
                Step::Wait => progress.await,
                Step::Delay(time) => self.runtime.sleep(time).await,
            }
        }
    }

    fn next_step(self: &Arc<Self>) -> Step {
        let mut state = self.lock();
        if let Some(delay) = self.throttle(&mut state) {
            return Step::Delay(delay);
        }
        let mut refused = Vec::new();
        let step = state.form(self, &mut refused);
        if matches!(step, Step::Idle) {
            state.leading = Leading::Nobody;
        }
        drop(state);
        if !refused.is_empty() {
            // Refusals may have emptied the queue, which a close waits for.
            self.progress.notify_waiters();
        }
        for (queued, error) in refused {
            // The caller may have gone away; its answer is then of no use.
            let _ = queued.answer.send(Err(error));
        }
        step
    }
}

impl<M: Machine> State<M> {
    /// Makes the caller the leader if enough is queued, and nobody leads yet.
    pub(super) fn leads_at_once(&mut self, machine: &M) -> bool {
        let enough = || {
            self.queue.len() >= AT_ONCE.0
                || self.queue.iter().map(|queued| queued.data_bytes(machine)).sum::<usize>() >= AT_ONCE.1
        };
        let leads = self.leading == Leading::Called && enough();
        if leads {
            self.leading = Leading::Somebody;
        }
        leads
    }
}
