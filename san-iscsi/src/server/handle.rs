//! What the rest of the server may ask of a connection, and know of it.

use crate::lun::LogicalUnit;
use crate::scsi::inventory::PortalId;
use crate::session::{Carried, End};
use futures_util::task::AtomicWaker;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::SystemTime;
use tokio::sync::{oneshot, Semaphore};

/// A connection, from outside.
pub(super) struct Handle<L: LogicalUnit> {
    shared: Arc<Inner<L>>,
}

impl<L: LogicalUnit> Clone for Handle<L> {
    fn clone(&self) -> Handle<L> {
        Handle { shared: Arc::clone(&self.shared) }
    }
}

struct Inner<L: LogicalUnit> {
    /// The order that counts: an end is not undone by a wish to leave.
    order: Mutex<Option<Order<L>>>,
    waker: AtomicWaker,
    info: Mutex<Option<SessionInfo>>,
    /// Closed when the connection has finished.
    finished: Semaphore,
}

/// What a connection is told.
pub(super) enum Order<L: LogicalUnit> {
    /// Ask the initiator to log out.
    AskToLeave,
    /// End now.
    End(End),
    /// Let go of the session, for another connection.
    HandOver(oneshot::Sender<Carried<L>>),
}

/// A session that is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// InitiatorName.
    pub initiator: String,
    /// Where it came from.
    pub peer: SocketAddr,
    /// Where it arrived.
    pub portal: PortalId,
    /// It only asks what targets there are.
    pub discovery: bool,
    /// When it logged in.
    pub since: SystemTime,
}

impl<L: LogicalUnit> Handle<L> {
    pub(super) fn new() -> Handle<L> {
        let shared = Inner {
            order: Mutex::new(None),
            waker: AtomicWaker::new(),
            info: Mutex::new(None),
            finished: Semaphore::new(0),
        };
        Handle { shared: Arc::new(shared) }
    }

    pub(super) fn is_same(&self, other: &Handle<L>) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Gives an order; the last one counts, but nothing undoes an end. One that comes too late is dropped:
    /// who waits for a session to be handed over learns it by that.
    pub(super) fn order(&self, order: Order<L>) {
        {
            let mut slot = self.shared.order.lock().unwrap_or_else(PoisonError::into_inner);
            if !matches!(*slot, Some(Order::End(_))) && !self.shared.finished.is_closed() {
                *slot = Some(order);
            }
        }
        self.shared.waker.wake();
    }

    /// What was ordered, and who is to be woken by the next order.
    pub(super) fn take_order(&self, waker: &Waker) -> Option<Order<L>> {
        self.shared.waker.register(waker);
        self.shared.order.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Says who is logged in.
    pub(super) fn set_info(&self, info: Option<SessionInfo>) {
        *self.shared.info.lock().unwrap_or_else(PoisonError::into_inner) = info;
    }

    pub(super) fn info(&self) -> Option<SessionInfo> {
        self.shared.info.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that nothing of the connection is left.
    pub(super) fn finish(&self) {
        let mut slot = self.shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.finished.close();
        *slot = None;
    }

    /// Ends when nothing of the connection is left.
    pub(super) async fn finished(&self) {
        let _closed = self.shared.finished.acquire().await;
    }
}
