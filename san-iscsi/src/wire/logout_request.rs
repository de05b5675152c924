//! Logout Request (RFC 7143 11.14).

use super::field::{self, put16, Order};
use super::{Bhs, Cid, PduFault, TaskTag};

/// Asks for an orderly end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutRequest {
    /// Place among other requests.
    pub order: Order,
    /// What is to end.
    pub reason: LogoutReason,
    /// Name of the request.
    pub task: TaskTag,
    /// The connection to end.
    pub cid: Cid,
}

/// The reasons (RFC 7143 11.14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LogoutReason {
    /// The session ends, with all its connections.
    CloseSession = 0,
    /// One connection ends.
    CloseConnection = 1,
    /// One connection ends, and its tasks go on elsewhere.
    RemoveForRecovery = 2,
}

impl LogoutRequest {
    pub(super) const OPCODE: u8 = 0x06;

    /// Reads a header of this opcode.
    ///
    /// # Errors
    /// A reason that the RFC does not define; no task tag.
    pub fn parse(bhs: &Bhs) -> Result<LogoutRequest, PduFault> {
        let reason = match bhs[field::FLAGS] & !field::FINAL {
            0 => LogoutReason::CloseSession,
            1 => LogoutReason::CloseConnection,
            2 => LogoutReason::RemoveForRecovery,
            _ => return Err(PduFault::Field { at: field::FLAGS }),
        };
        let task = field::some_task(bhs).ok_or(PduFault::Field { at: field::TASK.start })?;
        Ok(LogoutRequest { order: Order::parse(bhs), reason, task, cid: field::cid(bhs) })
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        self.order.emit(&mut bhs);
        bhs[field::FLAGS] |= self.reason as u8;
        field::put_task(&mut bhs, Some(self.task));
        put16(&mut bhs, field::CID, self.cid.0);
        bhs
    }
}
