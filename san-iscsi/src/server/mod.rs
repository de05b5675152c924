//! The outer shell: listeners, sockets, timers and threads around [`crate::session`].
//!
//! Invariants: nothing of the protocol is decided here. A connection stays on the runtime that it was given
//! to; its commands are futures inside its own task, polled to their end even when the connection is gone.
//! When a connection's handle says that it has finished, nothing of it can have an effect any more, and it
//! holds no memory and no descriptor.
//!
//! | module | job |
//! |---|---|
//! | `connection` | one connection: reads, work, one gathered write, timers, the end |
//! | `handle` | what others may ask of a connection |
//! | `sources` | how many connections a peer may have |

mod connection;
mod handle;
mod sources;
#[cfg(test)]
mod tests;

pub use handle::SessionInfo;

use crate::lun::LogicalUnit;
use crate::memory::Budget;
use crate::scsi::inventory::PortalId;
use crate::scsi::Target;
use crate::session::registry::Registry;
use crate::session::{End, Ends, Portal, PortalAddress};
use connection::Connection;
use handle::{Handle, Order};
use rustc_hash::FxHashMap;
use sources::Sources;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle as Runtime;
use tokio::sync::watch;

/// From the wish to stop to the end of the last connection.
pub const STOP_TIME: Duration = Duration::from_secs(10);
/// After a connection could not be accepted, for want of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A portal that is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalConfig {
    /// Its persisted number.
    pub id: PortalId,
    /// What to listen on.
    pub listen: SocketAddr,
    /// What initiators are told besides the address that they came to.
    pub advertise: Vec<SocketAddr>,
}

/// What a server is made of.
pub struct Config {
    /// Where it listens.
    pub portals: Vec<PortalConfig>,
    /// Bytes for data on its way, of all sessions together: at least 16 MiB.
    pub memory: usize,
    /// Where connections live, each a current-thread runtime.
    pub workers: Vec<Runtime>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerFault {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// There is no runtime to put connections on.
    #[error("a server needs a worker")]
    NoWorker,
}

/// A running server.
pub struct Server<L: LogicalUnit> {
    shared: Arc<Shared<L>>,
    addresses: Arc<[PortalAddress]>,
}

/// What all connections share.
struct Shared<L: LogicalUnit> {
    budget: Budget,
    registry: Mutex<Registry<Handle<L>>>,
    connections: Mutex<FxHashMap<u64, Handle<L>>>,
    last: AtomicU64,
    sources: Sources,
    workers: Vec<Worker>,
    open: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
}

struct Worker {
    runtime: Runtime,
    connections: Arc<AtomicUsize>,
}

impl<L: LogicalUnit> Shared<L> {
    fn registry(&self) -> MutexGuard<'_, Registry<Handle<L>>> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, FxHashMap<u64, Handle<L>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: LogicalUnit> Server<L> {
    /// Listens. Logins are told to come back (0301) until [`Server::open`].
    ///
    /// # Errors
    /// An address cannot be listened on: then nothing was started.
    pub fn start(target: &Arc<Target<L>>, config: Config) -> Result<Server<L>, ServerFault> {
        let first = config.workers.first().ok_or(ServerFault::NoWorker)?.clone();
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for portal in &config.portals {
            let fault = |source| ServerFault::Listen { address: portal.listen, source };
            let _reactor = first.enter();
            let listener = std::net::TcpListener::bind(portal.listen).map_err(fault)?;
            listener.set_nonblocking(true).map_err(fault)?;
            let bound = listener.local_addr().map_err(fault)?;
            listeners.push((portal.id, TcpListener::from_std(listener).map_err(fault)?));
            addresses.push(PortalAddress { id: portal.id, bound, advertised: portal.advertise.clone() });
        }
        let worker = |runtime| Worker { runtime, connections: Arc::default() };
        let shared = Arc::new(Shared {
            budget: Budget::new(config.memory),
            registry: Mutex::default(),
            connections: Mutex::default(),
            last: AtomicU64::new(0),
            sources: Sources::default(),
            workers: config.workers.into_iter().map(worker).collect(),
            open: Arc::default(),
            stop: watch::Sender::new(false),
        });
        let addresses: Arc<[PortalAddress]> = addresses.into();
        for (id, listener) in listeners {
            let (target, addresses) = (Arc::clone(target), Arc::clone(&addresses));
            let portal = Arc::new(Portal { id, target, addresses, open: Arc::clone(&shared.open) });
            first.spawn(listen(Arc::clone(&shared), portal, listener));
        }
        Ok(Server { shared, addresses })
    }

    /// Takes logins from now on.
    pub fn open(&self) {
        self.shared.open.store(true, Ordering::Release);
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[PortalAddress] {
        &self.addresses
    }

    /// The sessions that are logged in.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.shared.connections().values().filter_map(Handle::info).collect()
    }

    /// Connections, logged in or not.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections().len()
    }

    /// Bytes of the budget that are free.
    #[must_use]
    pub fn memory_free(&self) -> usize {
        self.shared.budget.available()
    }

    /// Ends sessions, and returns when nothing of them can have an effect any more.
    pub async fn disconnect(&self, which: impl Fn(&SessionInfo) -> bool) {
        let handles: Vec<Handle<L>> = {
            let connections = self.shared.connections();
            connections
                .values()
                .filter(|handle| handle.info().is_some_and(|info| which(&info)))
                .cloned()
                .collect()
        };
        for handle in &handles {
            handle.order(Order::End(End::Withdrawn));
        }
        for handle in &handles {
            handle.finished().await;
        }
    }

    /// Closes the listeners, asks the initiators to log out, and ends what is left: at most [`STOP_TIME`].
    pub async fn stop(&self) {
        self.shared.open.store(false, Ordering::Release);
        self.shared.stop.send_replace(true);
        let handles: Vec<Handle<L>> = self.shared.connections().values().cloned().collect();
        for handle in &handles {
            handle.order(Order::AskToLeave);
        }
        let all = async {
            for handle in &handles {
                handle.finished().await;
            }
        };
        if tokio::time::timeout(STOP_TIME, all).await.is_err() {
            tracing::warn!("connections were still busy when the time to stop was over");
        }
    }
}

/// Accepts connections, and spreads them over the workers, until the server stops.
async fn listen<L: LogicalUnit>(shared: Arc<Shared<L>>, portal: Arc<Portal<L>>, listener: TcpListener) {
    let mut stop = shared.stop.subscribe();
    loop {
        let accepted = {
            let accept = std::pin::pin!(listener.accept());
            let stopped = std::pin::pin!(stop.wait_for(|stop| *stop));
            match futures_util::future::select(accept, stopped).await {
                futures_util::future::Either::Left((accepted, _)) => accepted,
                futures_util::future::Either::Right(_) => return,
            }
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = place(&shared, &portal, socket, peer) {
            tracing::debug!(%error, %peer, "a connection ended before it began");
        }
    }
}

/// Puts a connection on the worker that has the fewest.
fn place<L: LogicalUnit>(
    shared: &Arc<Shared<L>>,
    portal: &Arc<Portal<L>>,
    socket: TcpStream,
    peer: SocketAddr,
) -> std::io::Result<()> {
    let ends = Ends::new(peer, socket.local_addr()?);
    let Some(slot) = shared.sources.take(ends.source()) else {
        tracing::warn!(%peer, "too many connections from one source");
        return Ok(());
    };
    socket.set_nodelay(true)?;
    let socket = socket.into_std()?;
    let least = shared.workers.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed));
    let Some(worker) = least else { return Ok(()) };
    let load = Load::new(&worker.connections);
    let (shared, portal) = (Arc::clone(shared), Arc::clone(portal));
    worker.runtime.spawn(async move {
        match Connection::new(&shared, &portal, socket, ends) {
            Ok(connection) => connection.serve().await,
            Err(error) => tracing::debug!(%error, "a connection ended before it began"),
        }
        drop((slot, load));
    });
    Ok(())
}

/// One connection in a worker's count.
struct Load(Arc<AtomicUsize>);

impl Load {
    fn new(count: &Arc<AtomicUsize>) -> Load {
        count.fetch_add(1, Ordering::Relaxed);
        Load(Arc::clone(count))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
