//! SCSI Response: a command's status, and its sense data as the data segment (RFC 7143 11.4).

use super::field::{self, get32, put32, Window};
use super::{Bhs, PduFault, TaskTag};
use std::ops::Range;

/// The end of a command. Response code 00h always: a target that cannot go on says so by its sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScsiResponse {
    /// Numbers.
    pub window: Window,
    /// Whose end.
    pub task: TaskTag,
    /// SAM's status code.
    pub status: u8,
    /// What was not, or would have been, transferred.
    pub residual: Residual,
    /// Data-In and R2T PDUs that were sent for the task.
    pub exp_data_sn: u32,
}

/// Bytes between what the initiator expected to move and what the command is about (RFC 7143 11.4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residual {
    /// Both agree.
    #[default]
    None,
    /// So many of the expected bytes were not moved.
    Underflow(u32),
    /// So many bytes more than expected would have been moved.
    Overflow(u32),
}

const OVERFLOW: u8 = 0x04;
const UNDERFLOW: u8 = 0x02;
const COUNT: Range<usize> = 44..48;

impl Residual {
    /// What is between `expected` bytes and the `actual` ones.
    #[must_use]
    pub fn between(expected: u32, actual: u64) -> Residual {
        match u64::from(expected) {
            e if e > actual => Residual::Underflow((e - actual) as u32),
            e if e < actual => Residual::Overflow(u32::try_from(actual - e).unwrap_or(u32::MAX)),
            _ => Residual::None,
        }
    }

    pub(super) fn parse(bhs: &Bhs) -> Result<Residual, PduFault> {
        let count = get32(bhs, COUNT);
        match bhs[field::FLAGS] & (OVERFLOW | UNDERFLOW) {
            0 => Ok(Residual::None),
            OVERFLOW => Ok(Residual::Overflow(count)),
            UNDERFLOW => Ok(Residual::Underflow(count)),
            _ => Err(PduFault::Field { at: field::FLAGS }),
        }
    }

    pub(super) fn emit(self, bhs: &mut Bhs) {
        let (flag, count) = match self {
            Residual::None => (0, 0),
            Residual::Underflow(count) => (UNDERFLOW, count),
            Residual::Overflow(count) => (OVERFLOW, count),
        };
        bhs[field::FLAGS] |= flag;
        put32(bhs, COUNT, count);
    }
}

const RESPONSE: usize = 2;
const STATUS: usize = 3;
const EXP_DATA_SN: Range<usize> = 36..40;

impl ScsiResponse {
    pub(super) const OPCODE: u8 = 0x21;

    /// Reads a header of this opcode.
    ///
    /// # Errors
    /// A response code other than 00h, or both kinds of residual at once.
    pub fn parse(bhs: &Bhs) -> Result<ScsiResponse, PduFault> {
        if bhs[RESPONSE] != 0 {
            return Err(PduFault::Field { at: RESPONSE });
        }
        Ok(ScsiResponse {
            window: Window::parse(bhs),
            task: field::task(bhs),
            status: bhs[STATUS],
            residual: Residual::parse(bhs)?,
            exp_data_sn: get32(bhs, EXP_DATA_SN),
        })
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        self.window.emit(&mut bhs);
        field::put_task(&mut bhs, Some(self.task));
        bhs[STATUS] = self.status;
        self.residual.emit(&mut bhs);
        put32(&mut bhs, EXP_DATA_SN, self.exp_data_sn);
        bhs
    }
}
