//! A nexus: one initiator port's use of the target through one portal, and the tasks in it.

use super::command::{Command, LunField, Response};
use crate::lun::LogicalUnit;
use bytes::Bytes;

/// An initiator port: its iSCSI name and session identifier.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InitiatorPort {
    /// InitiatorName.
    pub name: String,
    /// ISID.
    pub isid: [u8; 6],
}

/// What a transport must do for a nexus unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The LUN inventory changed: an asynchronous message tells it (event 0).
    LunsChanged,
    /// The session must end: its host is gone, or what it was admitted by changed.
    Ended,
}

/// What is to be done with a command.
pub enum Begin<L: LogicalUnit> {
    /// It was answered without any data being moved.
    Answer(Response),
    /// It may go on, once its Data-Out is here.
    Proceed(Task<L>),
}

/// A command that passed its first check. It must be executed, or dropped if it was aborted before.
pub struct Task<L: LogicalUnit> {
    _unit: std::marker::PhantomData<L>,
}

impl<L: LogicalUnit> Task<L> {
    /// Bytes of Data-Out that it needs: none for most. Never more than what the initiator said it has.
    #[must_use]
    pub fn data_out(&self) -> u32 {
        0
    }

    /// Does it. Ends within [`super::limits::COMMAND_TIME`], whatever storage does. `data` are the
    /// [`Task::data_out`] bytes. Polled to its end even if the session dies, or writes are left in doubt; the
    /// answer is [`super::command::Status::TaskAborted`] for a task that was aborted meanwhile: a transport
    /// that itself asked for the abort does not send it.
    pub async fn execute(self, _data: Bytes) -> Response {
        unreachable!()
    }
}

/// Task management functions that concern more than one task. ABORT TASK is the transport's, which knows the
/// tags: it drops a task that waits for its data, and lets one that is executed end before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskManagement {
    /// All tasks of this nexus in the logical unit.
    AbortTaskSet,
    /// All tasks in the task set: here the same, since each nexus has a task set of its own.
    ClearTaskSet,
    /// All tasks in the logical unit, and its SPC-2 reservation.
    LogicalUnitReset,
    /// Logical unit reset of all that the nexus sees.
    TargetWarmReset,
    /// The same; the transport ends the sessions.
    TargetColdReset,
}

/// The answer to task management.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskManagementResponse {
    /// Done: none of the tasks runs.
    Complete,
    /// No such LUN.
    LunDoesNotExist,
}

/// An I_T nexus.
pub struct Nexus<L: LogicalUnit> {
    _unit: std::marker::PhantomData<L>,
}

impl<L: LogicalUnit> Nexus<L> {
    /// Checks a command and takes its place among others. Called in the order of CmdSN.
    #[must_use]
    pub fn begin(&self, _command: &Command) -> Begin<L> {
        unreachable!()
    }

    /// Does a task management function. It answers when none of the affected tasks can still have an effect,
    /// or, if storage hangs, when the unit refuses writes until that is so.
    pub async fn task_management(&self, _function: TaskManagement, _lun: LunField) -> TaskManagementResponse {
        TaskManagementResponse::LunDoesNotExist
    }

    /// Ends the nexus: no command begins any more, and when it returns none of its commands can still have an
    /// effect, or the units refuse writes until that is so. Tasks that are executed are still polled to
    /// their end.
    pub async fn detach(&self) {}

    /// The next event. One waits at a time; events of a kind are merged.
    pub async fn event(&self) -> Event {
        std::future::pending().await
    }
}
