//! What a session says to the outside: bytes to send, work to do, and why it ended.

use super::output::Output;
use super::registry::Claim;
use crate::lun::LogicalUnit;
use crate::memory::Budget;
use crate::scsi::command::LunField;
use crate::scsi::nexus::{Nexus, TaskManagement};
use crate::scsi::Task;
use crate::wire::frame::FrameFault;
use crate::wire::{LoginStatus, Sn, TaskTag};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Names a piece of work, once in a session: tags are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkId {
    pub(super) task: TaskTag,
    serial: u64,
}

/// What a session wants done. Each kind is answered by the method of [`super::Session`] that is named with
/// it.
pub enum Work<L: LogicalUnit> {
    /// Ask the registry. Answer: `entered`.
    Enter(Claim),
    /// Execute a command, to its end whatever happens. Answer: `executed`.
    Execute {
        /// Whose answer it will be.
        id: WorkId,
        /// The command.
        task: Task<L>,
        /// Its Data-Out.
        data: Bytes,
    },
    /// Do a task management function. Answer: `managed`.
    Manage {
        /// Whose answer it will be.
        id: WorkId,
        /// Where.
        nexus: Arc<Nexus<L>>,
        /// What.
        function: TaskManagement,
        /// At which unit.
        lun: LunField,
    },
    /// Get a permit for memory; one is asked for at a time. Answer: `granted`.
    Memory {
        /// How much.
        bytes: usize,
    },
    /// End the nexus. Answer: `detached`.
    Detach(Arc<Nexus<L>>),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// By logout.
    #[error("logged out")]
    Logout,
    /// The peer closed the connection, or it broke.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// The stream cannot be followed.
    #[error("{0}")]
    Frame(#[from] FrameFault),
    /// The login was refused.
    #[error("login refused: {0:?}")]
    Refused(LoginStatus),
    /// The login took too long.
    #[error("the login took too long")]
    LoginTime,
    /// The peer does not answer.
    #[error("the peer is silent")]
    Silent,
    /// The peer does not take what it is sent, or does not send what it was asked for.
    #[error("the peer stalls")]
    Stalled,
    /// Another login replaced it.
    #[error("replaced by a new login")]
    Replaced,
    /// Its host is gone, or what it was admitted by changed.
    #[error("the host may not use the target any more")]
    Withdrawn,
    /// The target was reset.
    #[error("target cold reset")]
    ColdReset,
    /// The server stops.
    #[error("the server stops")]
    Stopped,
}

/// What all parts of a session write to.
pub(super) struct Io<L: LogicalUnit> {
    pub(super) out: Output,
    pub(super) stat_sn: Sn,
    pub(super) work: VecDeque<Work<L>>,
    pub(super) budget: Budget,
    /// The time of the event that is being handled.
    pub(super) now: Instant,
    pub(super) end: Option<End>,
    last_id: u64,
}

impl<L: LogicalUnit> Io<L> {
    pub(super) fn new(budget: Budget, now: Instant) -> Io<L> {
        let (out, work) = (Output::default(), VecDeque::new());
        Io { out, stat_sn: Sn(1), work, budget, now, end: None, last_id: 0 }
    }

    pub(super) fn next_id(&mut self, task: TaskTag) -> WorkId {
        self.last_id += 1;
        WorkId { task, serial: self.last_id }
    }

    /// The session is over; only the first reason counts.
    pub(super) fn end(&mut self, end: End) {
        self.end.get_or_insert(end);
    }
}
