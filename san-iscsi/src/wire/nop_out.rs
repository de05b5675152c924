//! NOP-Out: an initiator's ping, or its answer to the target's (RFC 7143 11.18).

use super::field::{self, Order};
use super::{Bhs, TaskTag, TransferTag};
use crate::scsi::command::LunField;

/// A ping when it has a task tag; an answer when it has a transfer tag; else a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NopOut {
    /// Place among other requests.
    pub order: Order,
    /// Repeated from the ping that it answers.
    pub lun: LunField,
    /// Set when an answer is wanted.
    pub task: Option<TaskTag>,
    /// Set when it answers a ping of the target.
    pub transfer: Option<TransferTag>,
}

impl NopOut {
    pub(super) const OPCODE: u8 = 0x00;

    /// Reads a header of this opcode.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> NopOut {
        NopOut {
            order: Order::parse(bhs),
            lun: field::lun(bhs),
            task: field::some_task(bhs),
            transfer: field::transfer(bhs),
        }
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        self.order.emit(&mut bhs);
        field::put_lun(&mut bhs, self.lun);
        field::put_task(&mut bhs, self.task);
        field::put_transfer(&mut bhs, self.transfer);
        bhs
    }
}
