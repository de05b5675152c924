//! The lock manager of NFSv3: NLM version 4 (program 100021), all procedures in both their forms.
//!
//! Invariants: what is answered is decided by [`table`] alone, without I/O; nobody is asked to wait for a
//! device but for the list of hosts to tell of a restart, which is kept before a host's first lock is
//! answered. A client is called back only at the address that its lock came from, by [`callback`].
//!
//! | module | job |
//! |---|---|
//! | [`ranges`] | the locks on one file |
//! | [`table`] | the machine: who holds, who waits, grace |
//! | [`wire`] | what travels |
//! | `procedures` | calls in, answers out |
//! | `callback` | calls to clients, and what is done as time passes |

mod callback;
mod procedures;
pub mod ranges;
pub mod table;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
pub mod wire;

pub use callback::Callback;

use crate::exports::Exports;
use crate::nsm::{Monitored, Monitors, NsmState};
use crate::tree::FileTree;
use callback::Message;
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use table::{Host, Table};
use tokio::sync::Notify;

/// The program's number.
pub const PROGRAM: u32 = 100_021;
/// Its version that goes with NFSv3.
pub const VERSION: u32 = 4;
/// Answers to calls without replies that wait to be sent; what comes above is asked for again by its client.
const MESSAGES: usize = 1024;

/// The lock manager.
pub struct Nlm<T: FileTree, S: NsmState> {
    exports: Arc<Exports<T>>,
    table: Mutex<Table<Callback>>,
    monitors: Monitors<S>,
    /// Hosts to tell that we have restarted, until that begins.
    before: Mutex<Vec<Monitored>>,
    messages: Mutex<VecDeque<Message>>,
    /// There is something to tell a client.
    wake: Notify,
    /// The port of clients' port mappers.
    portmap: u16,
}

impl<T: FileTree, S: NsmState> Nlm<T, S> {
    /// Begins a life of the lock manager. If hosts held locks in the last one, they have
    /// [`table::GRACE`] to claim them again; [`Nlm::run`] tells them to.
    ///
    /// `portmap` = the port of clients' port mappers: [`crate::portmap::PORT`], but for tests.
    ///
    /// # Errors
    /// The state cannot be read or kept.
    pub async fn start(
        exports: Arc<Exports<T>>,
        state: S,
        portmap: u16,
        now: Instant,
    ) -> io::Result<Arc<Nlm<T, S>>> {
        let (monitors, before) = Monitors::start(state).await?;
        let addresses = before.iter().map(|monitored| monitored.host.address).collect();
        Ok(Arc::new(Nlm {
            exports,
            table: Mutex::new(Table::new(now, addresses)),
            monitors,
            before: Mutex::new(before),
            messages: Mutex::default(),
            wake: Notify::new(),
            portmap,
        }))
    }

    fn table(&self) -> MutexGuard<'_, Table<Callback>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Our NSM state number.
    #[must_use]
    pub fn state_number(&self) -> u32 {
        self.monitors.state()
    }

    /// Where the state is kept.
    pub fn store(&self) -> &S {
        self.monitors.store()
    }

    /// Locks held, locks that wait, and grants that were not taken yet.
    #[must_use]
    pub fn size(&self) -> (usize, usize, usize) {
        self.table().size()
    }

    /// A machine says that it has restarted.
    pub fn restarted(&self, now: Instant, address: IpAddr, name: &[u8], life: u32) {
        self.table().restarted(now, address, name, life);
        self.wake.notify_one();
    }

    /// The exports have changed: who lost a share loses its locks there.
    pub fn exports_changed(&self, now: Instant) {
        let exports = &self.exports;
        self.table().keep_reachable(now, |host, share| exports.admits_to(share, host.address));
        self.wake.notify_one();
    }

    /// Puts a host on the list of those that are told of a restart.
    async fn monitor(&self, host: &Host, local: IpAddr) -> io::Result<()> {
        self.monitors.add(host, local, |host| self.table().knows(host)).await
    }
}
