//! The simulated thread: an executor whose every choice comes from the seed, and its virtual clock.
//!
//! Invariants: one thread, no real time, no real chance: the same seed and the same program give the same
//! steps ([`SimRuntime::digest`] proves it). A step polls one runnable task, chosen at random, or fires
//! one due event; when nothing is runnable the clock jumps to the next event. A poll takes a little virtual
//! time, so that completions also arrive between the polls of runnable tasks.
//!
//! Locks: `State` before `ready`; neither is held while code of others runs (a poll, an event, a drop), so
//! wakers may be called from anywhere on the thread.
//!
//! A process is the spawned tasks, their timers and blocking jobs: [`SimRuntime::kill`] ends it. The future
//! given to [`SimRuntime::run_until`] is the harness: it stands outside and survives. Devices stand outside
//! too: their completions outlive the process.

mod outage;

pub use outage::PowerLost;

use super::{lock, Rng};
use block_layer::runtime::Task;
use block_layer::Runtime;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{pin, Pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Virtual time after which one `run_until` is given up as going nowhere.
pub const PATIENCE: Duration = Duration::from_secs(3600);
/// Steps after which one `run_until` is given up as spinning.
pub const STEPS_MAX: u64 = 1_000_000;

/// A poll takes up to this much virtual time.
const POLL_NS_MAX: u64 = 2_000;
/// A blocking job runs after up to this much virtual time.
const BLOCKING_NS_MAX: u64 = 500_000;
/// The task number of `run_until`'s own future.
const MAIN: u64 = 0;

/// The simulated runtime; clones are the same one.
#[derive(Clone)]
pub struct SimRuntime {
    shared: Arc<Shared>,
}

struct Shared {
    seed: u64,
    state: Mutex<State>,
    ready: Arc<Mutex<Vec<u64>>>,
}

struct State {
    now: Duration,
    /// Chooses tasks, delays and ties.
    rng: Rng,
    /// Answers `random`; apart, so that one more call of it does not change the schedule.
    entropy: Rng,
    tasks: BTreeMap<u64, Slot>,
    next_task: u64,
    events: BTreeMap<EventKey, Event>,
    next_event: u32,
    digest: u64,
    device_writes: u64,
    cut_at: Option<u64>,
    power_lost: bool,
    dying: bool,
    polling: bool,
}

struct Slot {
    /// `None` while it is being polled.
    task: Option<Task>,
    handle: Arc<Handle>,
}

/// When, then a random tie-breaker whose low half makes it unique.
type EventKey = (Duration, u64);

enum Event {
    Wake(Waker),
    Blocking(Box<dyn FnOnce() + Send>),
    Device(Box<dyn FnOnce() + Send>),
}

enum Step {
    Main,
    Poll(u64, Task, Arc<Handle>),
    Fire(Event),
    /// A waker of a task that has ended.
    Stale,
    Nothing,
}

impl SimRuntime {
    /// A machine that is switched on at time 0.
    #[must_use]
    pub fn new(seed: u64) -> SimRuntime {
        let mut rng = Rng::new(seed);
        let state = State {
            now: Duration::ZERO,
            entropy: rng.fork(),
            rng,
            tasks: BTreeMap::new(),
            next_task: MAIN + 1,
            events: BTreeMap::new(),
            next_event: 0,
            digest: seed,
            device_writes: 0,
            cut_at: None,
            power_lost: false,
            dying: false,
            polling: false,
        };
        SimRuntime { shared: Arc::new(Shared { seed, state: Mutex::new(state), ready: Arc::default() }) }
    }

    /// The seed it was made of.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// Runs tasks and events until `future` is ready, and no step further.
    ///
    /// # Errors
    /// [`PowerLost`] as soon as the power is lost; `future` is dropped.
    ///
    /// # Panics
    /// With the seed: on deadlock (nothing runnable, nothing to wait for), after [`PATIENCE`] or
    /// [`STEPS_MAX`]. A panic of any task also prints the seed.
    pub fn run_until<F: Future>(&self, future: F) -> Result<F::Output, PowerLost> {
        let _guard = SeedOnPanic(self.seed());
        let mut main = pin!(future);
        let handle = self.handle(MAIN);
        let waker = Waker::from(handle.clone());
        waker.wake_by_ref();
        let give_up = self.now() + PATIENCE;
        for _ in 0..STEPS_MAX {
            match self.next_step()? {
                Step::Main => {
                    handle.queued.store(false, Ordering::Relaxed);
                    if let Poll::Ready(value) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                        return if self.has_cut() { Err(PowerLost) } else { Ok(value) };
                    }
                }
                Step::Nothing => panic!("seed {}: deadlock at {:?}", self.seed(), self.now()),
                step => self.take(step),
            }
            assert!(self.now() < give_up, "seed {}: no end after {PATIENCE:?}", self.seed());
        }
        panic!("seed {}: no end after {STEPS_MAX} steps", self.seed());
    }

    /// Takes one step; `false` when there is none to take, or no power to take it.
    pub fn step(&self) -> bool {
        let _guard = SeedOnPanic(self.seed());
        match self.next_step() {
            Err(PowerLost) | Ok(Step::Nothing) => false,
            Ok(step) => {
                self.take(step);
                true
            }
        }
    }

    /// A hash of every step so far: equal if and (but for collisions) only if the runs are identical.
    #[must_use]
    pub fn digest(&self) -> u64 {
        lock(&self.shared.state).digest
    }

    /// Adds an event of the harness to the digest.
    pub fn note(&self, value: u64) {
        lock(&self.shared.state).note(b'h', value, 0);
    }

    /// A generator of its own for a device or a workload.
    #[must_use]
    pub fn fork_rng(&self) -> Rng {
        lock(&self.shared.state).rng.fork()
    }

    /// Runs `action` after `delay`, process or no process: a device's doing.
    pub(super) fn device_event(&self, delay: Duration, action: Box<dyn FnOnce() + Send>) {
        let mut state = lock(&self.shared.state);
        let key = state.event_key(delay);
        state.events.insert(key, Event::Device(action));
    }

    /// Adds a device's event to the digest.
    pub(super) fn note_device(&self, kind: u8, a: u64, b: u64) {
        lock(&self.shared.state).note(kind, a, b);
    }

    fn handle(&self, id: u64) -> Arc<Handle> {
        Arc::new(Handle { id, queued: AtomicBool::new(false), ready: self.shared.ready.clone() })
    }

    fn next_step(&self) -> Result<Step, PowerLost> {
        let mut guard = lock(&self.shared.state);
        let state = &mut *guard;
        if state.power_lost {
            return Err(PowerLost);
        }
        let mut ready = lock(&self.shared.ready);
        if let Some(entry) = state.events.first_entry() {
            let (at, tie) = *entry.key();
            if ready.is_empty() || (at <= state.now && state.rng.chance(0.5)) {
                let event = entry.remove();
                state.now = state.now.max(at);
                state.note(b'e', tie, 0);
                return Ok(Step::Fire(event));
            }
        }
        if ready.is_empty() {
            return Ok(Step::Nothing);
        }
        let chosen = state.rng.below(ready.len() as u64) as usize;
        let id = ready.swap_remove(chosen);
        drop(ready);
        state.now += Duration::from_nanos(state.rng.below(POLL_NS_MAX));
        state.note(b't', id, 0);
        if id == MAIN {
            return Ok(Step::Main);
        }
        Ok(match state.tasks.get_mut(&id).and_then(|slot| Some((slot.task.take()?, slot.handle.clone()))) {
            Some((task, handle)) => Step::Poll(id, task, handle),
            None => Step::Stale,
        })
    }

    fn take(&self, step: Step) {
        match step {
            Step::Poll(id, task, handle) => self.poll(id, task, handle),
            Step::Fire(Event::Wake(waker)) => waker.wake(),
            Step::Fire(Event::Blocking(job) | Event::Device(job)) => job(),
            Step::Main | Step::Stale | Step::Nothing => {}
        }
    }

    fn poll(&self, id: u64, mut task: Task, handle: Arc<Handle>) {
        handle.queued.store(false, Ordering::Relaxed);
        lock(&self.shared.state).polling = true;
        let waker = Waker::from(handle);
        let poll = task.as_mut().poll(&mut Context::from_waker(&waker));
        let mut state = lock(&self.shared.state);
        state.polling = false;
        if poll.is_pending() {
            state.tasks.get_mut(&id).expect("only polls and kills remove tasks").task = Some(task);
        } else {
            state.tasks.remove(&id);
            drop(state); // a finished task may own anything: dropped without the lock
            drop(task);
        }
    }
}

impl State {
    fn event_key(&mut self, delay: Duration) -> EventKey {
        self.next_event = self.next_event.wrapping_add(1);
        (self.now + delay, (self.rng.next() << 32) | u64::from(self.next_event))
    }

    fn note(&mut self, kind: u8, a: u64, b: u64) {
        for word in [u64::from(kind), self.now.as_nanos() as u64, a, b] {
            self.digest = (self.digest.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
}

impl Runtime for SimRuntime {
    fn now(&self) -> Duration {
        lock(&self.shared.state).now
    }

    fn spawn(&self, task: Task) {
        let mut state = lock(&self.shared.state);
        if state.dying {
            drop(state); // before the task, whose destructor may come back here
            return drop(task);
        }
        let id = state.next_task;
        state.next_task += 1;
        let handle = self.handle(id);
        state.tasks.insert(id, Slot { task: Some(task), handle: handle.clone() });
        handle.wake();
    }

    fn sleep(&self, time: Duration) -> Task {
        let key = lock(&self.shared.state).event_key(time);
        Box::pin(Sleep { runtime: self.clone(), key })
    }

    fn blocking(&self, job: Box<dyn FnOnce() + Send>) {
        let mut state = lock(&self.shared.state);
        if state.dying {
            drop(state);
            return drop(job);
        }
        let delay = Duration::from_nanos(1 + state.rng.below(BLOCKING_NS_MAX));
        let key = state.event_key(delay);
        state.events.insert(key, Event::Blocking(job));
    }

    fn random(&self) -> u64 {
        lock(&self.shared.state).entropy.next()
    }
}

/// What wakes a task: puts it in the queue of runnable ones, once.
struct Handle {
    id: u64,
    queued: AtomicBool,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Handle {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            lock(&self.ready).push(self.id);
        }
    }
}

struct Sleep {
    runtime: SimRuntime,
    key: EventKey,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.runtime.shared.state);
        if self.key.0 <= state.now {
            return Poll::Ready(());
        }
        let replaced = state.events.insert(self.key, Event::Wake(cx.waker().clone()));
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let removed = lock(&self.runtime.shared.state).events.remove(&self.key);
        drop(removed);
    }
}

/// Names the seed when a task, an event or a destructor panics.
struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulation: seed {}", self.0);
        }
    }
}

#[cfg(test)]
mod tests;
