//! The administrator: adds a device to the pool, or lets one grow, while clients work.

use crate::elastic::Elastic;
use block_layer::format::Ordinal;
use block_layer::pool::Layout;
use block_layer::store::MemberError;
use block_layer::{Disk, Machine, Store};
use snapshots::{Engine, Error};
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::Arc;

/// An open pool whose devices can change.
pub(crate) trait Members: Send + Sync {
    /// Adds a device.
    fn add(
        &self,
        disk: Arc<dyn Disk>,
        layout: Layout,
    ) -> impl Future<Output = Result<(), MemberError>> + Send;
    /// Uses the present length of the first device.
    fn grow(&self) -> impl Future<Output = Result<(), MemberError>> + Send;
}

impl<M: Machine> Members for Arc<Store<M>> {
    async fn add(&self, disk: Arc<dyn Disk>, layout: Layout) -> Result<(), MemberError> {
        self.add_device(disk, layout, true).await
    }

    async fn grow(&self) -> Result<(), MemberError> {
        self.grow_device(Ordinal(0), 0).await
    }
}

impl Members for Arc<Engine> {
    async fn add(&self, disk: Arc<dyn Disk>, layout: Layout) -> Result<(), MemberError> {
        self.add_device(disk, layout, true).await.map_err(member_error)
    }

    async fn grow(&self) -> Result<(), MemberError> {
        self.grow_device(Ordinal(0), 0).await.map_err(member_error)
    }
}

/// What the store has told the engine.
fn member_error(error: Error) -> MemberError {
    match error {
        Error::Pool(e) => MemberError::Pool(*e),
        Error::PoolFailed(reason) => MemberError::Failed(reason),
        Error::Closed => MemberError::Closed,
        other => panic!("a change of members has no such error: {other}"),
    }
}

/// How the pool of a run changes, if it does; outside the process.
pub(crate) struct Growth {
    change: Change,
    stage: AtomicU32,
}

/// What changes.
pub(crate) enum Change {
    /// Nothing.
    Nothing,
    /// This device joins.
    Add(Arc<Elastic>),
    /// The first device grows.
    Grow(Arc<Elastic>),
}

const BEGUN: u32 = 1;
const DONE: u32 = 2;

impl Growth {
    /// Nothing has begun.
    pub(crate) fn new(change: Change) -> Arc<Growth> {
        Arc::new(Growth { change, stage: AtomicU32::new(0) })
    }

    /// The device that joins, when the pool may have it already; whether it surely has.
    pub(crate) fn device(&self) -> Option<(Arc<Elastic>, bool)> {
        match (&self.change, self.stage.load(Relaxed)) {
            (Change::Add(disk), stage) if stage >= BEGUN => Some((disk.clone(), stage == DONE)),
            _ => None,
        }
    }

    /// The pool was opened with more or without more capacity than it was made with.
    pub(crate) fn opened(&self, has_grown: bool) {
        let stage = self.stage.load(Relaxed);
        assert!(has_grown || stage != DONE, "a change of members that was answered is gone");
        assert!(!has_grown || stage >= BEGUN, "more capacity than there are devices for");
        if has_grown {
            self.stage.store(DONE, Relaxed);
        }
    }

    /// Makes the change unless it is made.
    pub(crate) async fn run(self: Arc<Self>, pool: impl Members) {
        if self.stage.load(Relaxed) == DONE {
            return;
        }
        let result = match &self.change {
            Change::Nothing => return,
            Change::Add(disk) => {
                self.stage.store(BEGUN, Relaxed);
                let layout = Layout { ring_len: Some(1 << 20) };
                pool.add(disk.clone() as Arc<dyn Disk>, layout).await
            }
            Change::Grow(disk) => {
                self.stage.store(BEGUN, Relaxed);
                disk.grow();
                pool.grow().await
            }
        };
        match result {
            Ok(()) => self.stage.store(DONE, Relaxed),
            Err(MemberError::Pool(e)) => assert!(e.to_string().contains("failed"), "{e}"),
            Err(MemberError::Failed(_) | MemberError::Closed) => {}
        }
    }
}
