//! SCSI Data-In: one piece of a command's answer, and in the last piece perhaps its status (RFC 7143 11.7).

use super::field::{self, get32, put32, Window};
use super::{Bhs, PduFault, Residual, TaskTag};
use std::ops::Range;

/// A piece; its bytes are the PDU's data segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataIn {
    /// Numbers; the first counts only with a status.
    pub window: Window,
    /// Whose data.
    pub task: TaskTag,
    /// The last piece of its sequence.
    pub last: bool,
    /// Status GOOD and the residual: the command ends with this piece, and no SCSI Response follows.
    pub good: Option<Residual>,
    /// Number of the piece among the command's Data-In, from 0.
    pub data_sn: u32,
    /// Where in the command's data it belongs, bytes.
    pub offset: u32,
}

/// The piece carries a status.
const STATUS: u8 = 0x01;
const STATUS_CODE: usize = 3;
const DATA_SN: Range<usize> = 36..40;
const OFFSET: Range<usize> = 40..44;

impl DataIn {
    pub(super) const OPCODE: u8 = 0x25;

    /// Reads a header of this opcode.
    ///
    /// # Errors
    /// A status other than GOOD, a status that is not in the last piece, two kinds of residual.
    pub fn parse(bhs: &Bhs) -> Result<DataIn, PduFault> {
        let flags = bhs[field::FLAGS];
        let last = flags & field::FINAL != 0;
        let good = match flags & STATUS != 0 {
            true if !last => return Err(PduFault::Field { at: field::FLAGS }),
            true if bhs[STATUS_CODE] != 0 => return Err(PduFault::Field { at: STATUS_CODE }),
            true => Some(Residual::parse(bhs)?),
            false => None,
        };
        Ok(DataIn {
            window: Window::parse(bhs),
            task: field::task(bhs),
            last,
            good,
            data_sn: get32(bhs, DATA_SN),
            offset: get32(bhs, OFFSET),
        })
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        bhs[field::FLAGS] = if self.last { field::FINAL } else { 0 };
        self.window.emit(&mut bhs);
        field::put_task(&mut bhs, Some(self.task));
        field::put_transfer(&mut bhs, None);
        if let Some(residual) = self.good {
            bhs[field::FLAGS] |= STATUS;
            residual.emit(&mut bhs);
        }
        put32(&mut bhs, DATA_SN, self.data_sn);
        put32(&mut bhs, OFFSET, self.offset);
        bhs
    }
}
