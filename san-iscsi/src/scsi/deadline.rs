//! The time that a command has: it begins with the first wait, and covers all waits after it.

use super::runtime::{Detached, Runtime};
use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Time that runs out. A command that never waits never asks for the time.
pub(crate) struct Deadline {
    runtime: Arc<dyn Runtime>,
    time: Duration,
    sleep: Option<Detached>,
}

impl Deadline {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, time: Duration) -> Deadline {
        Deadline { runtime, time, sleep: None }
    }

    /// Waits for `future`; none if time ran out first, and the future stays with the caller.
    pub(crate) async fn bound<F: Future + ?Sized>(&mut self, mut future: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|context| {
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                return Poll::Ready(Some(value));
            }
            let sleep = self.sleep.get_or_insert_with(|| self.runtime.sleep(self.time));
            sleep.as_mut().poll(context).map(|()| None)
        })
        .await
    }
}
