//! Sessions: whose commands these are, so that unfinished ones can be fenced (design rule 8).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// A token that commands carry. Cloning gives the same session.
#[derive(Clone, Debug, Default)]
pub struct Session {
    fenced: Arc<AtomicBool>,
    number: u64,
}

impl Session {
    /// A session that is not fenced.
    #[must_use]
    pub fn new() -> Session {
        Session::default()
    }

    /// The same session with a number, for whoever observes the commit order and wants to know a command
    /// again.
    #[must_use]
    pub fn numbered(&self, number: u64) -> Session {
        Session { fenced: self.fenced.clone(), number }
    }

    /// See [`Session::numbered`]; 0 if it was not called.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether its commands are refused.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    /// Refuses whatever is not ordered yet. [`crate::Engine::fence`] also waits for what is.
    pub(crate) fn fence(&self) {
        self.fenced.store(true, Ordering::Release);
    }
}
