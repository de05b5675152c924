//! Ready To Transfer: the target asks for a piece of a command's data (RFC 7143 11.8).

use super::field::{self, get32, put32, Window};
use super::{Bhs, PduFault, TaskTag, TransferTag};
use crate::scsi::command::LunField;
use std::ops::Range;

/// Asks for one sequence of Data-Out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct R2t {
    /// Numbers; the status number is not used up.
    pub window: Window,
    /// The command's unit.
    pub lun: LunField,
    /// Whose data.
    pub task: TaskTag,
    /// Comes back with each piece.
    pub transfer: TransferTag,
    /// Number among the command's R2Ts, from 0.
    pub r2t_sn: u32,
    /// First byte wanted.
    pub offset: u32,
    /// Bytes wanted; not 0.
    pub len: u32,
}

const R2T_SN: Range<usize> = 36..40;
const OFFSET: Range<usize> = 40..44;
const LEN: Range<usize> = 44..48;

impl R2t {
    pub(super) const OPCODE: u8 = 0x31;

    /// Reads a header of this opcode.
    ///
    /// # Errors
    /// It has no transfer tag, or wants nothing.
    pub fn parse(bhs: &Bhs) -> Result<R2t, PduFault> {
        let len = get32(bhs, LEN);
        if len == 0 {
            return Err(PduFault::Field { at: LEN.start });
        }
        Ok(R2t {
            window: Window::parse(bhs),
            lun: field::lun(bhs),
            task: field::task(bhs),
            transfer: field::transfer(bhs).ok_or(PduFault::Field { at: field::TRANSFER.start })?,
            r2t_sn: get32(bhs, R2T_SN),
            offset: get32(bhs, OFFSET),
            len,
        })
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        self.window.emit(&mut bhs);
        field::put_lun(&mut bhs, self.lun);
        field::put_task(&mut bhs, Some(self.task));
        field::put_transfer(&mut bhs, Some(self.transfer));
        put32(&mut bhs, R2T_SN, self.r2t_sn);
        put32(&mut bhs, OFFSET, self.offset);
        put32(&mut bhs, LEN, self.len);
        bhs
    }
}
