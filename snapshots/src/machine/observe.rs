//! A window on the commit order, for simulations that compare the engine with a model of it.
//!
//! An observer hears of every operation at the moment when it gets its place, and when places are taken back.
//! It is called under the commit lock and the key space's: it may not call the engine.

use super::op::{Op, Reply};
use super::Keyspace;
use block_layer::Seq;
use std::sync::Arc;

/// Who wants to know the commit order.
pub trait Observer: Send + Sync {
    /// `op` comes next, as a part of commit `seq`; it will answer `reply` when it is written.
    fn ordered(&self, seq: Seq, op: &Op, reply: &Reply);
    /// What was ordered after commit `visible` has lost its place: most of it will be ordered again.
    fn discarded(&self, visible: Seq);
}

impl Keyspace {
    /// Tells `observer` the commit order from now on; only the first observer is heard.
    pub(crate) fn observe(&self, observer: Arc<dyn Observer>) {
        // A second observer would be a bug of a test, and harmless.
        let _ = self.observer.set(observer);
    }
}
