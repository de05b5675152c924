//! Task Management Function Response (RFC 7143 11.6).

use super::field::{self, Window};
use super::{Bhs, PduFault, TaskTag};

/// How a task management function ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskManagementResponse {
    /// Numbers.
    pub window: Window,
    /// The request that it answers.
    pub task: TaskTag,
    /// How it ended.
    pub result: TaskManagementResult,
}

/// The response codes (RFC 7143 11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TaskManagementResult {
    /// Done.
    Complete = 0,
    /// There is no such task: it may have ended before.
    NoTask = 1,
    /// There is no such unit.
    NoLun = 2,
    /// Tasks are not moved between connections.
    NoReassignment = 4,
    /// The function is not supported.
    NotSupported = 5,
    /// Refused.
    Rejected = 255,
}

const RESULT: usize = 2;

impl TaskManagementResponse {
    pub(super) const OPCODE: u8 = 0x22;

    /// Reads a header of this opcode.
    ///
    /// # Errors
    /// A response code that this target never sends.
    pub fn parse(bhs: &Bhs) -> Result<TaskManagementResponse, PduFault> {
        use TaskManagementResult as R;
        let known = [R::Complete, R::NoTask, R::NoLun, R::NoReassignment, R::NotSupported, R::Rejected];
        let result = known.into_iter().find(|r| *r as u8 == bhs[RESULT]);
        Ok(TaskManagementResponse {
            window: Window::parse(bhs),
            task: field::task(bhs),
            result: result.ok_or(PduFault::Field { at: RESULT })?,
        })
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        self.window.emit(&mut bhs);
        field::put_task(&mut bhs, Some(self.task));
        bhs[RESULT] = self.result as u8;
        bhs
    }
}
