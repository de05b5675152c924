//! The task set of one nexus in one logical unit: which commands may run, in what order (SAM-5 8).
//!
//! Each nexus has a task set of its own (control mode page, TST 001b), so no lock here is shared between
//! connections but for the moments in which one nexus aborts the commands of another.
//!
//! Order is kept by generations: an ORDERED command is a generation of its own, SIMPLE ones between two of
//! them are one, and a generation runs when all before it have ended. HEAD OF QUEUE commands belong to none.
//!
//! Invariant: once [`TaskSet::abort`] has ended, no command that began before it runs, and none that waited
//! will.

use super::command::TaskAttribute;
use super::sense::Sense;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Why a command may not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Try again.
    Busy,
    /// It was aborted.
    Aborted,
    /// The LUN is gone.
    Gone,
}

#[derive(Debug, Default)]
struct Generation {
    tasks: usize,
    ordered: bool,
}

#[derive(Debug, Default)]
struct State {
    /// The LUN was taken away, or the nexus has ended: nothing begins any more.
    closed: bool,
    /// Who waits for all commands to end: new ones are BUSY meanwhile.
    drains: usize,
    /// How often the set was aborted: a command of an earlier epoch is dead.
    epoch: u64,
    generations: VecDeque<Generation>,
    /// Number of the first of them.
    first: u64,
    /// Commands that run now, of any epoch.
    running: usize,
    /// Who waits for a change.
    waiting: usize,
    /// Unit attention conditions, oldest first.
    attentions: Vec<(u8, u8)>,
}

impl State {
    fn join(&mut self, attribute: TaskAttribute) -> Option<u64> {
        let ordered = match attribute {
            TaskAttribute::HeadOfQueue => return None,
            // One with ACA was refused before.
            TaskAttribute::Simple | TaskAttribute::Aca => false,
            TaskAttribute::Ordered => true,
        };
        match self.generations.back_mut().filter(|last| !ordered && !last.ordered) {
            Some(last) => last.tasks += 1,
            None => self.generations.push_back(Generation { tasks: 1, ordered }),
        }
        Some(self.first + self.generations.len() as u64 - 1)
    }

    fn leave(&mut self, generation: u64) {
        let index = generation.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(generation) = index.and_then(|at| self.generations.get_mut(at)) {
            generation.tasks -= 1;
        }
        while self.generations.front().is_some_and(|front| front.tasks == 0) {
            self.generations.pop_front();
            self.first += 1;
        }
    }
}

/// The commands of one nexus in one logical unit.
#[derive(Debug, Default)]
pub(crate) struct TaskSet {
    state: Mutex<State>,
    changed: Notify,
    /// Whether there is a unit attention condition, as the state says: asked for every command.
    attention: AtomicBool,
    /// The state's epoch, for the same reason.
    epoch: AtomicU64,
}

impl TaskSet {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the counters whole: each is changed in one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next unit attention, if there is one.
    pub(crate) fn take_attention(&self) -> Option<Sense> {
        if !self.attention.load(Ordering::SeqCst) {
            return None;
        }
        let mut state = self.lock();
        let taken = (!state.attentions.is_empty()).then(|| state.attentions.remove(0));
        self.attention.store(!state.attentions.is_empty(), Ordering::SeqCst);
        taken.map(|(asc, ascq)| Sense::attention(asc, ascq))
    }

    /// Establishes a unit attention condition; one that is there already is not doubled.
    pub(crate) fn raise(&self, attention: (u8, u8)) {
        let mut state = self.lock();
        if !state.attentions.contains(&attention) {
            state.attentions.push(attention);
            self.attention.store(true, Ordering::SeqCst);
        }
    }

    /// Forgets a unit attention condition.
    pub(crate) fn clear(&self, attention: (u8, u8)) {
        self.lock().attentions.retain(|pending| *pending != attention);
    }

    /// All conditions, for the task set that takes this one's place.
    pub(crate) fn attentions(&self) -> Vec<(u8, u8)> {
        self.lock().attentions.clone()
    }

    /// A command takes its place.
    pub(crate) fn begin(self: &Arc<Self>, attribute: TaskAttribute) -> Result<Ticket, Stop> {
        let mut state = self.lock();
        if state.closed {
            return Err(Stop::Gone);
        }
        if state.drains > 0 {
            return Err(Stop::Busy);
        }
        let generation = state.join(attribute);
        Ok(Ticket { epoch: state.epoch, generation, set: Arc::clone(self) })
    }

    /// Aborts all commands at once; what is returned ends when none of them runs. New ones are BUSY
    /// meanwhile.
    pub(crate) fn abort(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        self.fence(true)
    }

    /// What is returned ends when no command that runs now runs any more; they may be aborted at once. New
    /// ones are BUSY meanwhile.
    pub(crate) fn fence(self: &Arc<Self>, abort: bool) -> impl Future<Output = ()> + Send + use<> {
        let mut state = self.lock();
        if abort {
            self.epoch.store(state.abort(), Ordering::SeqCst);
        }
        state.drains += 1;
        drop(state);
        self.changed.notify_waiters();
        let drain = Drain(Arc::clone(self));
        async move { drain.0.until(|state| (state.running == 0).then_some(())).await }
    }

    /// Lets nothing begin any more, and nothing run that has not begun to. Tells whether anything runs now:
    /// [`TaskSet::fence`] waits for it.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.lock();
        state.closed = true;
        self.epoch.store(state.abort(), Ordering::SeqCst);
        let runs = state.running > 0;
        drop(state);
        self.changed.notify_waiters();
        runs
    }

    async fn until<T>(&self, check: impl Fn(&mut State) -> Option<T>) -> T {
        // Nearly always there is nothing to wait for, and then nothing to be registered for.
        if let Some(value) = check(&mut self.lock()) {
            return value;
        }
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let _waiting = {
                let mut state = self.lock();
                if let Some(value) = check(&mut state) {
                    return value;
                }
                state.waiting += 1;
                Waiting(self)
            };
            changed.await;
        }
    }

    /// Changes the state, and wakes whoever waits for that.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let waiting = state.waiting > 0;
        drop(state);
        if waiting {
            self.changed.notify_waiters();
        }
    }
}

impl State {
    /// Returns the new epoch.
    fn abort(&mut self) -> u64 {
        self.epoch += 1;
        self.first += self.generations.len() as u64;
        self.generations.clear();
        self.epoch
    }
}

/// One who waits for a change, however that ends.
struct Waiting<'a>(&'a TaskSet);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

/// A wait for all commands to end, however it ends itself.
struct Drain(Arc<TaskSet>);

impl Drop for Drain {
    fn drop(&mut self) {
        self.0.lock().drains -= 1;
    }
}

/// A command's place in its task set. Dropping it ends the command.
#[derive(Debug)]
pub(crate) struct Ticket {
    set: Arc<TaskSet>,
    epoch: u64,
    generation: Option<u64>,
}

impl Ticket {
    /// Waits until all that must come before has ended; the command runs until the answer is dropped.
    pub(crate) fn run(&self) -> impl Future<Output = Result<Running, Stop>> + Send + '_ {
        self.set.until(|state| {
            if state.epoch != self.epoch {
                return Some(Err(if state.closed { Stop::Gone } else { Stop::Aborted }));
            }
            let turn = self.generation.is_none_or(|generation| generation == state.first);
            turn.then(|| {
                state.running += 1;
                Ok(Running(Arc::clone(&self.set)))
            })
        })
    }

    /// Whether it was aborted meanwhile.
    pub(crate) fn is_aborted(&self) -> bool {
        self.set.epoch.load(Ordering::SeqCst) != self.epoch
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(generation) = self.generation {
            self.set.change(|state| state.leave(generation));
        }
    }
}

/// A command that runs.
#[derive(Debug)]
pub(crate) struct Running(Arc<TaskSet>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.change(|state| state.running -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn an_ordered_command_runs_after_all_older_and_before_all_newer_ones() {
        let set = Arc::new(TaskSet::default());
        let begin = |attribute| set.begin(attribute).expect("the gate is open");
        let (a, b) = (begin(TaskAttribute::Simple), begin(TaskAttribute::Simple));
        let ordered = begin(TaskAttribute::Ordered);
        let late = begin(TaskAttribute::Simple);
        let first = now(a.run()).expect("no older command");
        assert!(now(b.run()).is_some() && now(ordered.run()).is_none() && now(late.run()).is_none());
        assert!(now(begin(TaskAttribute::HeadOfQueue).run()).is_some());
        drop((first, a));
        assert!(now(ordered.run()).is_none());
        drop(b);
        assert!(now(ordered.run()).is_some() && now(late.run()).is_none());
        drop(ordered);
        assert!(now(late.run()).is_some());
        drop(late);
        assert!(set.lock().generations.is_empty() && set.lock().running == 0);
    }

    #[test]
    fn an_abort_waits_for_what_runs_and_stops_what_waits() {
        let set = Arc::new(TaskSet::default());
        let begin = |attribute| set.begin(attribute).expect("the gate is open");
        let (runs, waits) = (begin(TaskAttribute::Simple), begin(TaskAttribute::Ordered));
        let running = now(runs.run()).expect("no older command").expect("not aborted");
        let mut abort = pin!(set.abort());
        let mut context = Context::from_waker(Waker::noop());
        assert!(abort.as_mut().poll(&mut context).is_pending());
        assert_eq!(set.begin(TaskAttribute::Simple).err(), Some(Stop::Busy));
        assert_eq!(now(waits.run()).map(|r| r.err()), Some(Some(Stop::Aborted)));
        drop(running);
        assert!(abort.as_mut().poll(&mut context).is_ready());
        assert!(runs.is_aborted());
        assert!(now(begin(TaskAttribute::Ordered).run()).expect("nothing is older").is_ok());
    }

    #[test]
    fn attentions_come_in_order_and_once() {
        let set = TaskSet::default();
        [(0x29, 0), (0x2a, 9), (0x29, 0), (0x3f, 0xe)].into_iter().for_each(|a| set.raise(a));
        set.clear((0x3f, 0xe));
        let codes = std::iter::from_fn(|| set.take_attention()).map(|s| (s.asc, s.ascq));
        assert_eq!(codes.collect::<Vec<_>>(), [(0x29, 0), (0x2a, 9)]);
    }
}
