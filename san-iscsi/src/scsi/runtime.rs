//! Time and tasks, which a target is given and never takes by itself.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A future that nobody waits for.
pub type Detached = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What drives a target: tests pass one whose clock they set.
pub trait Runtime: Send + Sync + 'static {
    /// Runs `task` to its end, whatever happens to its caller.
    fn spawn(&self, task: Detached);

    /// Ends after `time`.
    fn sleep(&self, time: Duration) -> Detached;
}
