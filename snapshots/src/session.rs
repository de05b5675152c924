//! Sessions: whose commands these are, so that unfinished ones can be fenced (design rule 8).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// A token that commands carry. Cloning gives the same session.
#[derive(Clone, Debug, Default)]
pub struct Session(Arc<AtomicBool>);

impl Session {
    /// A session that is not fenced.
    #[must_use]
    pub fn new() -> Session {
        Session::default()
    }

    /// Whether its commands are refused.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Refuses whatever is not ordered yet. [`crate::Engine::fence`] also waits for what is.
    pub(crate) fn fence(&self) {
        self.0.store(true, Ordering::Release);
    }
}
