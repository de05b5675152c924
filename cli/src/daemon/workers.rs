//! The threads that serve connections: each has an executor of its own, so nothing hops between them.

use std::thread::JoinHandle;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The threads; dropping this ends them.
pub(super) struct Workers(Vec<Worker>);

struct Worker {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads.
    pub(super) fn start(count: usize) -> std::io::Result<Workers> {
        let worker = |nth: usize| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let (stop, stopped) = oneshot::channel::<()>();
            let run = move || drop(runtime.block_on(stopped));
            let thread = std::thread::Builder::new().name(format!("serve-{nth}")).spawn(run)?;
            Ok(Worker { handle, stop: Some(stop), thread: Some(thread) })
        };
        (0..count).map(worker).collect::<std::io::Result<_>>().map(Workers)
    }

    /// Their executors.
    pub(super) fn handles(&self) -> Vec<Handle> {
        self.0.iter().map(|worker| worker.handle.clone()).collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}
