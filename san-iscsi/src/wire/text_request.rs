//! Text Request: keys in full feature phase, SendTargets above all (RFC 7143 11.10).

use super::field::{self, Order};
use super::{Bhs, PduFault, TaskTag, TransferTag};

/// A request; its keys are the PDU's data segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextRequest {
    /// Place among other requests.
    pub order: Order,
    /// The initiator has no more to say (F).
    pub last: bool,
    /// The keys go on in the next request (C).
    pub more: bool,
    /// Its name.
    pub task: TaskTag,
    /// The response that it goes on from; none at the start.
    pub transfer: Option<TransferTag>,
}

impl TextRequest {
    pub(super) const OPCODE: u8 = 0x04;

    /// Reads a header of this opcode.
    ///
    /// # Errors
    /// Both F and C are set, or it has no task tag.
    pub fn parse(bhs: &Bhs) -> Result<TextRequest, PduFault> {
        let flags = bhs[field::FLAGS];
        let (last, more) = (flags & field::FINAL != 0, flags & field::CONTINUE != 0);
        if last && more {
            return Err(PduFault::Field { at: field::FLAGS });
        }
        Ok(TextRequest {
            order: Order::parse(bhs),
            last,
            more,
            task: field::some_task(bhs).ok_or(PduFault::Field { at: field::TASK.start })?,
            transfer: field::transfer(bhs),
        })
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        self.order.emit(&mut bhs);
        bhs[field::FLAGS] =
            if self.last { field::FINAL } else { 0 } | if self.more { field::CONTINUE } else { 0 };
        field::put_task(&mut bhs, Some(self.task));
        field::put_transfer(&mut bhs, self.transfer);
        bhs
    }
}
