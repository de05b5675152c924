//! Text Response (RFC 7143 11.11).

use super::field::{self, Window};
use super::{Bhs, PduFault, TaskTag, TransferTag};

/// A response; its keys are the PDU's data segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextResponse {
    /// Numbers.
    pub window: Window,
    /// The exchange is over (F).
    pub last: bool,
    /// The keys go on in the next response (C).
    pub more: bool,
    /// The request that it answers.
    pub task: TaskTag,
    /// Comes back with the next request; none when the exchange is over.
    pub transfer: Option<TransferTag>,
}

impl TextResponse {
    pub(super) const OPCODE: u8 = 0x24;

    /// Reads a header of this opcode.
    ///
    /// # Errors
    /// It is the last and not the last, or has a tag and none is due, or the other way round.
    pub fn parse(bhs: &Bhs) -> Result<TextResponse, PduFault> {
        let flags = bhs[field::FLAGS];
        let (last, more) = (flags & field::FINAL != 0, flags & field::CONTINUE != 0);
        let transfer = field::transfer(bhs);
        if last && more {
            return Err(PduFault::Field { at: field::FLAGS });
        }
        if last == transfer.is_some() {
            return Err(PduFault::Field { at: field::TRANSFER.start });
        }
        Ok(TextResponse { window: Window::parse(bhs), last, more, task: field::task(bhs), transfer })
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        self.window.emit(&mut bhs);
        bhs[field::FLAGS] =
            if self.last { field::FINAL } else { 0 } | if self.more { field::CONTINUE } else { 0 };
        field::put_task(&mut bhs, Some(self.task));
        field::put_transfer(&mut bhs, self.transfer);
        bhs
    }
}
