//! The administrator: adds a device to the pool, or lets one grow, while clients work.

use super::elastic::Elastic;
use super::machine::Toy;
use block_layer::format::Ordinal;
use block_layer::pool::Layout;
use block_layer::store::MemberError;
use block_layer::{Disk, Store};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::Arc;

/// How the pool of a run changes, if it does; outside the process.
pub(super) struct Growth {
    change: Change,
    stage: AtomicU32,
}

pub(super) enum Change {
    Nothing,
    /// This device joins.
    Add(Arc<Elastic>),
    /// The first device grows.
    Grow(Arc<Elastic>),
}

const BEGUN: u32 = 1;
const DONE: u32 = 2;

impl Growth {
    pub(super) fn new(change: Change) -> Arc<Growth> {
        Arc::new(Growth { change, stage: AtomicU32::new(0) })
    }

    /// The device that joins, when the pool may have it already; whether it surely has.
    pub(super) fn device(&self) -> Option<(Arc<Elastic>, bool)> {
        match (&self.change, self.stage.load(Relaxed)) {
            (Change::Add(disk), stage) if stage >= BEGUN => Some((disk.clone(), stage == DONE)),
            _ => None,
        }
    }

    /// The pool was opened with more or without more capacity than it was made with.
    pub(super) fn opened(&self, has_grown: bool) {
        let stage = self.stage.load(Relaxed);
        assert!(has_grown || stage != DONE, "a change of members that was answered is gone");
        assert!(!has_grown || stage >= BEGUN, "more capacity than there are devices for");
        if has_grown {
            self.stage.store(DONE, Relaxed);
        }
    }

    /// Makes the change unless it is made.
    pub(super) async fn run(self: Arc<Self>, store: Arc<Store<Toy>>) {
        if self.stage.load(Relaxed) == DONE {
            return;
        }
        let result = match &self.change {
            Change::Nothing => return,
            Change::Add(disk) => {
                self.stage.store(BEGUN, Relaxed);
                let layout = Layout { ring_len: Some(1 << 20) };
                store.add_device(disk.clone() as Arc<dyn Disk>, layout, true).await
            }
            Change::Grow(disk) => {
                self.stage.store(BEGUN, Relaxed);
                disk.grow();
                store.grow_device(Ordinal(0), 0).await
            }
        };
        match result {
            Ok(()) => self.stage.store(DONE, Relaxed),
            Err(MemberError::Pool(e)) => assert!(e.to_string().contains("failed"), "{e}"),
            Err(MemberError::Failed(_) | MemberError::Closed) => {}
        }
    }
}
