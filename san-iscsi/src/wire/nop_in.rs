//! NOP-In: the target's ping, or its answer to the initiator's (RFC 7143 11.19).

use super::field::{self, Window};
use super::{Bhs, TaskTag, TransferTag};
use crate::scsi::command::LunField;

/// A ping when it has a transfer tag; an answer, which carries a status number, when it has a task tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NopIn {
    /// Numbers.
    pub window: Window,
    /// Comes back with the answer to a ping.
    pub lun: LunField,
    /// The ping that it answers.
    pub task: Option<TaskTag>,
    /// Set when an answer is wanted.
    pub transfer: Option<TransferTag>,
}

impl NopIn {
    pub(super) const OPCODE: u8 = 0x20;

    /// Reads a header of this opcode.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> NopIn {
        NopIn {
            window: Window::parse(bhs),
            lun: field::lun(bhs),
            task: field::some_task(bhs),
            transfer: field::transfer(bhs),
        }
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        self.window.emit(&mut bhs);
        field::put_lun(&mut bhs, self.lun);
        field::put_task(&mut bhs, self.task);
        field::put_transfer(&mut bhs, self.transfer);
        bhs
    }
}
