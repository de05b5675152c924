//! Asynchronous Message: what an initiator did not ask for but must know (RFC 7143 11.9).

use super::field::{self, get16, put16, Window};
use super::{Bhs, PduFault};
use crate::scsi::command::LunField;
use std::ops::Range;

/// A message; sense data, with an event of SCSI, is the PDU's data segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncMessage {
    /// Numbers.
    pub window: Window,
    /// The unit that an event of SCSI is about.
    pub lun: LunField,
    /// What happened.
    pub event: AsyncEvent,
}

/// The events (RFC 7143 11.9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsyncEvent {
    /// Of SCSI: the sense data says what.
    Scsi,
    /// The target wants the session to be logged out within so many seconds.
    LogoutRequest {
        /// Seconds.
        within: u16,
    },
    /// The target will drop this connection.
    DropConnection {
        /// Which.
        cid: u16,
        /// Seconds before a new login makes sense.
        wait: u16,
        /// Seconds for which its tasks are kept.
        retain: u16,
    },
    /// The target will drop all connections of the session.
    DropSession {
        /// Seconds before a new login makes sense.
        wait: u16,
        /// Seconds for which its tasks are kept.
        retain: u16,
    },
}

const EVENT: usize = 36;
const PARAMETER_1: Range<usize> = 38..40;
const PARAMETER_2: Range<usize> = 40..42;
const PARAMETER_3: Range<usize> = 42..44;

impl AsyncMessage {
    pub(super) const OPCODE: u8 = 0x32;

    /// Reads a header of this opcode.
    ///
    /// # Errors
    /// An event that this target never sends.
    pub fn parse(bhs: &Bhs) -> Result<AsyncMessage, PduFault> {
        let (wait, retain) = (get16(bhs, PARAMETER_2), get16(bhs, PARAMETER_3));
        let event = match bhs[EVENT] {
            0 => AsyncEvent::Scsi,
            1 => AsyncEvent::LogoutRequest { within: retain },
            2 => AsyncEvent::DropConnection { cid: get16(bhs, PARAMETER_1), wait, retain },
            3 => AsyncEvent::DropSession { wait, retain },
            _ => return Err(PduFault::Field { at: EVENT }),
        };
        Ok(AsyncMessage { window: Window::parse(bhs), lun: field::lun(bhs), event })
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        self.window.emit(&mut bhs);
        field::put_lun(&mut bhs, self.lun);
        field::put_task(&mut bhs, None);
        let (event, parameters) = match self.event {
            AsyncEvent::Scsi => (0, [0; 3]),
            AsyncEvent::LogoutRequest { within } => (1, [0, 0, within]),
            AsyncEvent::DropConnection { cid, wait, retain } => (2, [cid, wait, retain]),
            AsyncEvent::DropSession { wait, retain } => (3, [0, wait, retain]),
        };
        bhs[EVENT] = event;
        put16(&mut bhs, PARAMETER_1, parameters[0]);
        put16(&mut bhs, PARAMETER_2, parameters[1]);
        put16(&mut bhs, PARAMETER_3, parameters[2]);
        bhs
    }
}
