//! What the rest of the server may ask of a connection, and know of it.

use crate::rpc::Ends;
use futures_util::task::AtomicWaker;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::Waker;
use std::time::SystemTime;
use tokio::sync::Semaphore;

/// A connection, from outside.
#[derive(Clone)]
pub(super) struct Handle(Arc<Inner>);

struct Inner {
    leave: AtomicBool,
    waker: AtomicWaker,
    info: ConnectionInfo,
    /// Closed when the connection has finished.
    finished: Semaphore,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Where it came from.
    pub peer: SocketAddr,
    /// Where it arrived.
    pub local: SocketAddr,
    /// When it came.
    pub since: SystemTime,
}

impl Handle {
    pub(super) fn new(ends: Ends) -> Handle {
        let info = ConnectionInfo { peer: ends.peer, local: ends.local, since: SystemTime::now() };
        let (leave, finished) = (AtomicBool::new(false), Semaphore::new(0));
        Handle(Arc::new(Inner { leave, waker: AtomicWaker::new(), info, finished }))
    }

    /// Asks it to answer what it has begun, and to end.
    pub(super) fn leave(&self) {
        self.0.leave.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// Whether it was asked to, and who is to be woken when it is.
    pub(super) fn must_leave(&self, waker: &Waker) -> bool {
        self.0.waker.register(waker);
        self.0.leave.load(Ordering::Acquire)
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        self.0.info.clone()
    }

    /// Says that nothing of the connection is left.
    pub(super) fn finish(&self) {
        self.0.finished.close();
    }

    /// Ends when nothing of the connection is left.
    pub(super) async fn finished(&self) {
        let _closed = self.0.finished.acquire().await;
    }
}
