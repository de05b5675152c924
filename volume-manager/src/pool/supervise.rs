//! A pool whose engine stopped is opened again: its devices tell what had happened.
//!
//! A flush that failed is never retried as if nothing had happened (design rule 4): the engine stops, its
//! successor recovers what is on the devices and has another verifier, and whoever wrote learns of it.

use super::{Pool, Slot};
use std::sync::Arc;
use std::time::Duration;

/// How often a pool is tried again before it counts as failed.
const TRIES: u32 = 5;
/// Rest between two tries, doubled each time.
const REST: Duration = Duration::from_millis(200);
/// How often an idle pool is looked at: nobody's I/O may have met the failure.
const LOOK: Duration = Duration::from_secs(1);

impl Pool {
    pub(super) fn supervise(self: &Arc<Self>) {
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(pool) = pool.upgrade() {
                let Some(engine) = pool.try_engine() else { return };
                if let Some(reason) = engine.failure() {
                    tracing::error!(pool = %pool.name, "{reason}: opening it again");
                    pool.set(Slot::Opening(Some(format!("it is being opened again: {reason}"))));
                    let _ = engine.close().await;
                    drop(engine);
                    if !pool.reopen().await {
                        return;
                    }
                    continue;
                }
                drop(engine);
                let _ = tokio::time::timeout(LOOK, pool.failed.notified()).await;
            }
        });
    }

    /// Whether it is open again.
    async fn reopen(self: &Arc<Self>) -> bool {
        let mut rest = REST;
        let mut why = String::new();
        for attempt in 1..=TRIES {
            match self.open_engine().await {
                Ok(engine) => {
                    self.set(Slot::Open(engine));
                    self.refresh_sizes();
                    tracing::warn!(pool = %self.name, "open again; writes that were not flushed may be lost");
                    return true;
                }
                Err(e) => {
                    tracing::error!(pool = %self.name, attempt, "{e}");
                    why = e.to_string();
                    // Hosts are told to wait as long as there is hope.
                    self.set(Slot::Opening(Some(format!("it is being opened again: {why}"))));
                }
            }
            tokio::time::sleep(rest).await;
            rest *= 2;
        }
        self.set(Slot::Failed(why));
        false
    }
}
