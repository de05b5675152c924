//! SCSI Data-Out: one piece of a command's data (RFC 7143 11.7).

use super::field::{self, get32, put32};
use super::{Bhs, PduFault, Sn, TaskTag, TransferTag};
use std::ops::Range;

/// A piece; its bytes are the PDU's data segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataOut {
    /// Whose data.
    pub task: TaskTag,
    /// The R2T that asked for it; none when it comes unasked.
    pub transfer: Option<TransferTag>,
    /// The last piece of its sequence.
    pub last: bool,
    /// Number of the piece in its sequence, from 0.
    pub data_sn: u32,
    /// Where in the command's data it belongs, bytes.
    pub offset: u32,
    /// The first status that the initiator has not got.
    pub exp_stat_sn: Sn,
}

const DATA_SN: Range<usize> = 36..40;
const OFFSET: Range<usize> = 40..44;

impl DataOut {
    pub(super) const OPCODE: u8 = 0x05;

    /// Reads a header of this opcode.
    ///
    /// # Errors
    /// It has no task tag.
    pub fn parse(bhs: &Bhs) -> Result<DataOut, PduFault> {
        Ok(DataOut {
            task: field::some_task(bhs).ok_or(PduFault::Field { at: field::TASK.start })?,
            transfer: field::transfer(bhs),
            last: bhs[field::FLAGS] & field::FINAL != 0,
            data_sn: get32(bhs, DATA_SN),
            offset: get32(bhs, OFFSET),
            exp_stat_sn: Sn(get32(bhs, field::EXP_STAT_SN)),
        })
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        bhs[field::FLAGS] = if self.last { field::FINAL } else { 0 };
        field::put_task(&mut bhs, Some(self.task));
        field::put_transfer(&mut bhs, self.transfer);
        put32(&mut bhs, DATA_SN, self.data_sn);
        put32(&mut bhs, OFFSET, self.offset);
        put32(&mut bhs, field::EXP_STAT_SN, self.exp_stat_sn.0);
        bhs
    }
}
