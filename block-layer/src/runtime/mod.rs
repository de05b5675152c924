//! What the engine needs from the thread it runs on: tasks, time, chance, and a place for blocking work.
//!
//! The engine takes these as a parameter so that the simulator can own every choice that a real machine
//! makes by accident: which task runs next, what time it is, what is random.

mod tokio;

pub use self::tokio::TokioRuntime;

use ::tokio::sync::oneshot;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A task without a result. Tasks are `Send`: no guard of a lock is held over an await.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A runtime. Two exist: tokio's (production) and the simulator's (`tests`).
pub trait Runtime: Send + Sync + 'static {
    /// Monotonic time since some fixed point in the past.
    fn now(&self) -> Duration;
    /// Runs `task` on the calling thread's executor, after the tasks that are ready now.
    fn spawn(&self, task: Task);
    /// Ends after `time`.
    fn sleep(&self, time: Duration) -> Task;
    /// Runs `job` where it may block (index reads, checkpoints), never on the calling thread's executor.
    fn blocking(&self, job: Box<dyn FnOnce() + Send>);
    /// 64 random bits: identifiers and verifiers, not secrets.
    fn random(&self) -> u64;
}

/// Runs `job` off the executor and returns its result.
///
/// # Panics
/// When the job panicked: a bug of ours that must not pass for an I/O error.
pub async fn unblock<T: Send + 'static>(
    runtime: &dyn Runtime,
    job: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, result) = oneshot::channel();
    runtime.blocking(Box::new(move || {
        // The receiver may be gone (its task was dropped); the result is then of no use.
        let _ = done.send(job());
    }));
    result.await.expect("a blocking job panicked")
}
