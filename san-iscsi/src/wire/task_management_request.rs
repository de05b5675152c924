//! Task Management Function Request (RFC 7143 11.5).

use super::field::{self, get32, put32, Order};
use super::{Bhs, PduFault, Sn, TaskTag};
use crate::scsi::command::LunField;
use std::ops::Range;

/// Asks for tasks to be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskManagementRequest {
    /// Place among other requests: only tasks before it are touched.
    pub order: Order,
    /// What to do.
    pub function: TaskFunction,
    /// Which unit, where the function is about one.
    pub lun: LunField,
    /// Name of this request.
    pub task: TaskTag,
    /// The task to abort, or to reassign.
    pub referenced: TaskTag,
    /// That task's CmdSN.
    pub ref_cmd_sn: Sn,
}

/// The functions (RFC 7143 11.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskFunction {
    /// One task.
    AbortTask,
    /// All tasks of this session at a unit.
    AbortTaskSet,
    /// Ends an auto contingent allegiance.
    ClearAca,
    /// All tasks of the task set at a unit.
    ClearTaskSet,
    /// Everything at a unit.
    LogicalUnitReset,
    /// Everything at every unit.
    TargetWarmReset,
    /// The same, and all sessions end.
    TargetColdReset,
    /// Moves a task to this connection.
    TaskReassign,
    /// One that RFC 7143 does not define.
    Unknown(u8),
}

use TaskFunction as F;
const CODES: [(u8, TaskFunction); 8] = [
    (1, F::AbortTask),
    (2, F::AbortTaskSet),
    (3, F::ClearAca),
    (4, F::ClearTaskSet),
    (5, F::LogicalUnitReset),
    (6, F::TargetWarmReset),
    (7, F::TargetColdReset),
    (8, F::TaskReassign),
];

impl TaskFunction {
    fn of(code: u8) -> TaskFunction {
        CODES.iter().find(|(c, _)| *c == code).map_or(F::Unknown(code), |(_, function)| *function)
    }

    fn code(self) -> u8 {
        match self {
            F::Unknown(code) => code,
            known => CODES.iter().find(|(_, f)| *f == known).map_or(0, |(code, _)| *code),
        }
    }
}

const REFERENCED: Range<usize> = 20..24;
const REF_CMD_SN: Range<usize> = 32..36;

impl TaskManagementRequest {
    pub(super) const OPCODE: u8 = 0x02;

    /// Reads a header of this opcode.
    ///
    /// # Errors
    /// It has no task tag.
    pub fn parse(bhs: &Bhs) -> Result<TaskManagementRequest, PduFault> {
        Ok(TaskManagementRequest {
            order: Order::parse(bhs),
            function: TaskFunction::of(bhs[field::FLAGS] & !field::FINAL),
            lun: field::lun(bhs),
            task: field::some_task(bhs).ok_or(PduFault::Field { at: field::TASK.start })?,
            referenced: TaskTag(get32(bhs, REFERENCED)),
            ref_cmd_sn: Sn(get32(bhs, REF_CMD_SN)),
        })
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        self.order.emit(&mut bhs);
        bhs[field::FLAGS] |= self.function.code() & !field::FINAL;
        field::put_lun(&mut bhs, self.lun);
        field::put_task(&mut bhs, Some(self.task));
        put32(&mut bhs, REFERENCED, self.referenced.0);
        put32(&mut bhs, REF_CMD_SN, self.ref_cmd_sn.0);
        bhs
    }
}
