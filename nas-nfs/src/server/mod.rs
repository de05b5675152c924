//! The outer shell: listeners, sockets, timers and threads around [`crate::session`].
//!
//! Invariants: nothing of the protocol is decided here. A connection stays on the runtime that it was given
//! to; its calls are futures inside its own task, polled to their end even when the connection is gone. When
//! a connection has finished, nothing of it can have an effect any more, and it holds no memory and no
//! descriptor.
//!
//! | module | job |
//! |---|---|
//! | `connection` | one connection: reads, calls, one gathered write, timers, the end |
//! | `handle` | what others may ask of a connection |
//! | `sources` | how many connections a peer may have |

mod connection;
mod handle;
mod sources;
#[cfg(test)]
mod tests;

pub use handle::ConnectionInfo;

use crate::limits::KEEPALIVE;
use crate::memory::Budget;
use crate::rpc::{Ends, Programs};
use connection::Connection;
use handle::Handle;
use rustc_hash::FxHashMap;
use rustix::net::sockopt;
use sources::Sources;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle as Runtime;
use tokio::sync::watch;

/// From the wish to stop to the end of the last connection.
pub const STOP_TIME: Duration = Duration::from_secs(10);
/// After a connection could not be accepted, for want of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A place to listen, and what answers there.
#[derive(Clone)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// What.
    pub programs: Programs,
}

/// What a server is made of.
pub struct Config {
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Bytes for data on its way, of all connections together: at least 16 MiB.
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
pub struct Server {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
}

/// What all connections share.
struct Shared {
    budget: Budget,
    connections: Mutex<FxHashMap<u64, Handle>>,
    last: AtomicU64,
    sources: Sources,
    workers: Vec<Worker>,
    open: watch::Sender<bool>,
    stop: watch::Sender<bool>,
}

struct Worker {
    runtime: Runtime,
    connections: Arc<AtomicUsize>,
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, FxHashMap<u64, Handle>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Listens. Connections wait until [`Server::open`]: clients try again by themselves.
    ///
    /// # Errors
    /// An address cannot be listened on: then nothing was started.
    pub fn start(config: Config) -> Result<Server, ServerFault> {
        let first = config.workers.first().ok_or(ServerFault::NoWorker)?.clone();
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for Listener { address, programs } in config.listeners {
            let fault = |source| ServerFault::Listen { address, source };
            let _reactor = first.enter();
            let listener = std::net::TcpListener::bind(address).map_err(fault)?;
            listener.set_nonblocking(true).map_err(fault)?;
            addresses.push(listener.local_addr().map_err(fault)?);
            listeners.push((TcpListener::from_std(listener).map_err(fault)?, programs));
        }
        let worker = |runtime| Worker { runtime, connections: Arc::default() };
        let shared = Arc::new(Shared {
            budget: Budget::new(config.memory),
            connections: Mutex::default(),
            last: AtomicU64::new(0),
            sources: Sources::default(),
            workers: config.workers.into_iter().map(worker).collect(),
            open: watch::Sender::new(false),
            stop: watch::Sender::new(false),
        });
        for (listener, programs) in listeners {
            first.spawn(listen(Arc::clone(&shared), programs, listener));
        }
        Ok(Server { shared, addresses })
    }

    /// Answers from now on.
    pub fn open(&self) {
        self.shared.open.send_replace(true);
    }

    /// Where it listens, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The connections there are.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.shared.connections().values().map(Handle::info).collect()
    }

    /// Bytes of the budget that are free.
    #[must_use]
    pub fn memory_free(&self) -> usize {
        self.shared.budget.available()
    }

    /// Bytes of payload that were copied between socket and storage, so far.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.shared.budget.copied()
    }

    /// Closes the listeners, answers what was begun, and ends the connections: at most [`STOP_TIME`].
    pub async fn stop(&self) {
        self.shared.stop.send_replace(true);
        let handles: Vec<Handle> = self.shared.connections().values().cloned().collect();
        handles.iter().for_each(Handle::leave);
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
async fn listen(shared: Arc<Shared>, programs: Programs, listener: TcpListener) {
    let (mut stop, mut open) = (shared.stop.subscribe(), shared.open.subscribe());
    let accept = async {
        drop(open.wait_for(|open| *open).await);
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    if let Err(error) = place(&shared, &programs, socket, peer) {
                        tracing::debug!(%error, %peer, "a connection ended before it began");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    let (accept, stopped) = (std::pin::pin!(accept), std::pin::pin!(stop.wait_for(|stop| *stop)));
    futures_util::future::select(accept, stopped).await;
}

/// Puts a connection on the worker that has the fewest.
fn place(
    shared: &Arc<Shared>,
    programs: &Programs,
    socket: TcpStream,
    peer: SocketAddr,
) -> std::io::Result<()> {
    let ends = Ends::new(peer, socket.local_addr()?);
    let Some(slot) = shared.sources.take(ends.source()) else {
        tracing::warn!(%peer, "too many connections from one source");
        return Ok(());
    };
    socket.set_nodelay(true)?;
    watch_over(&socket)?;
    let socket = socket.into_std()?;
    let least = shared.workers.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed));
    let Some(worker) = least else { return Ok(()) };
    let load = Load::new(&worker.connections);
    let (shared, programs) = (Arc::clone(shared), programs.clone());
    worker.runtime.spawn(async move {
        match Connection::new(&shared, &programs, socket, ends) {
            Ok(connection) => connection.serve().await,
            Err(error) => tracing::debug!(%error, "a connection ended before it began"),
        }
        drop((slot, load));
    });
    Ok(())
}

/// Lets the system find out when the peer has died: clients keep idle connections for minutes.
fn watch_over(socket: &TcpStream) -> std::io::Result<()> {
    let (idle, interval, times) = KEEPALIVE;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, idle)?;
    sockopt::set_tcp_keepintvl(socket, interval)?;
    sockopt::set_tcp_keepcnt(socket, times)?;
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
