//! The production runtime: tokio.
//!
//! Invariants: a task stays on the runtime of the thread that spawns it; blocking jobs of all threads share a
//! bounded number of threads and start in the order in which they were given.
//!
//! Most jobs find what they read in memory and take microseconds: threads beyond a few would only push each
//! other, and those who wait for them, off the processors. Jobs that wait for a disk need many. So a thread
//! is added when a job has waited for long.

use super::{Runtime, Task};
use crate::device::sys;
use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{sleep_until, Instant};

/// Blocking jobs that run at a time.
const BLOCKING_MAX: usize = 16;
/// Of these, the ones that do not have to wait for a thread first.
const BLOCKING_FEW: usize = 2;
/// How long a job waits before a thread is added.
const PATIENCE: Duration = Duration::from_millis(1);

/// Tokio as a [`Runtime`]. Every runtime whose threads use it needs its I/O and time drivers.
pub struct TokioRuntime {
    home: Handle,
    started: Instant,
    jobs: Arc<Mutex<Jobs>>,
}

#[derive(Default)]
struct Jobs {
    /// Each with the time when it was given.
    waiting: VecDeque<(Instant, Job)>,
    workers: usize,
}

type Job = Box<dyn FnOnce() + Send>;

impl Jobs {
    /// Whether the job that waits longest gets a thread of its own now; it is counted.
    fn add_worker(&mut self, now: Instant) -> bool {
        let waited = |(given, _): &(Instant, Job)| now.duration_since(*given) > PATIENCE;
        let most = if self.waiting.front().is_some_and(waited) { BLOCKING_MAX } else { BLOCKING_FEW };
        let adds = !self.waiting.is_empty() && self.workers < most;
        self.workers += usize::from(adds);
        adds
    }
}

impl TokioRuntime {
    /// `home` runs the blocking jobs, and the tasks of threads that have no runtime; it must outlive all.
    #[must_use]
    pub fn new(home: Handle) -> TokioRuntime {
        TokioRuntime { home, started: Instant::now(), jobs: Arc::default() }
    }
}

impl Runtime for TokioRuntime {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn spawn(&self, task: Task) {
        match Handle::try_current() {
            Ok(here) => drop(here.spawn(task)),
            Err(_) => drop(self.home.spawn(task)),
        }
    }

    fn sleep(&self, time: Duration) -> Task {
        // Counted from now, not from when the task is first polled.
        let end = Instant::now() + time;
        Box::pin(async move { sleep_until(end).await })
    }

    fn blocking(&self, job: Box<dyn FnOnce() + Send>) {
        let now = Instant::now();
        let mut jobs = lock(&self.jobs);
        jobs.waiting.push_back((now, job));
        let adds = jobs.add_worker(now);
        drop(jobs);
        if adds {
            Worker::start(self.home.clone(), self.jobs.clone());
        }
    }

    fn random(&self) -> u64 {
        sys::random()
    }
}

/// Does jobs until none waits.
struct Worker {
    home: Handle,
    jobs: Arc<Mutex<Jobs>>,
    /// Whether `workers` counts this one.
    counted: bool,
}

impl Worker {
    /// Starts a worker that is counted already.
    fn start(home: Handle, jobs: Arc<Mutex<Jobs>>) {
        let worker = Worker { home: home.clone(), jobs, counted: true };
        drop(home.spawn_blocking(move || worker.run()));
    }

    fn run(mut self) {
        loop {
            let mut jobs = lock(&self.jobs);
            let Some((_, job)) = jobs.waiting.pop_front() else {
                // Under the same lock: a job that comes later must find one worker less.
                jobs.workers -= 1;
                self.counted = false;
                return;
            };
            let adds = jobs.add_worker(Instant::now());
            drop(jobs);
            if adds {
                Worker::start(self.home.clone(), self.jobs.clone());
            }
            // Whoever waits for a job that panicked learns of it by the missing result; the next one is run.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        // `home` is shutting down and dropped this one unrun: after the last, nobody comes for the rest.
        let mut jobs = lock(&self.jobs);
        jobs.workers -= 1;
        let orphans = if jobs.workers == 0 { std::mem::take(&mut jobs.waiting) } else { VecDeque::new() };
        drop(jobs);
        drop(orphans);
    }
}

fn lock(jobs: &Mutex<Jobs>) -> MutexGuard<'_, Jobs> {
    jobs.lock().expect("nothing panics while it is held")
}

#[cfg(test)]
mod tests {
    use super::super::unblock;
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::runtime::Builder;

    #[test]
    fn more_jobs_than_threads_all_run_and_a_panic_stops_none() {
        let home = Builder::new_current_thread().enable_all().build().unwrap();
        let runtime = Arc::new(TokioRuntime::new(home.handle().clone()));
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        home.block_on(async {
            runtime.blocking(Box::new(|| panic!("a panic that this test wants")));
            let mut results = Vec::new();
            for n in 0..100usize {
                let (running, most, runtime) = (running.clone(), most.clone(), runtime.clone());
                results.push(tokio::spawn(async move {
                    let job = move || {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(2 * PATIENCE);
                        running.fetch_sub(1, Ordering::SeqCst);
                        n
                    };
                    unblock(&*runtime, job).await
                }));
            }
            for (n, result) in results.into_iter().enumerate() {
                assert_eq!(result.await.unwrap(), n);
            }
        });
        // They sleep for longer than the others' patience.
        assert!((BLOCKING_FEW + 1..=BLOCKING_MAX).contains(&most.load(Ordering::SeqCst)));
        drop(home);
    }

    #[test]
    fn tasks_run_here_or_at_home() {
        let home = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let runtime = TokioRuntime::new(home.handle().clone());
        let (send, name) = std::sync::mpsc::channel();
        let report = move |send: std::sync::mpsc::Sender<_>| -> Task {
            Box::pin(async move { send.send(std::thread::current().id()).unwrap() })
        };
        runtime.spawn(report(send.clone()));
        assert_ne!(name.recv().unwrap(), std::thread::current().id());
        let here = Builder::new_current_thread().enable_all().build().unwrap();
        here.block_on(async {
            runtime.spawn(report(send));
            let before = runtime.now();
            runtime.sleep(Duration::from_millis(5)).await;
            assert!(runtime.now() - before >= Duration::from_millis(5));
        });
        assert_eq!(name.recv().unwrap(), std::thread::current().id());
        assert_ne!(runtime.random(), runtime.random());
    }
}
