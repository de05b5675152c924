//! Logout Response (RFC 7143 11.15).

use super::field::{self, get16, put16, Window};
use super::{Bhs, PduFault, TaskTag};
use std::ops::Range;

/// How a logout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutResponse {
    /// Numbers.
    pub window: Window,
    /// The request that it answers.
    pub task: TaskTag,
    /// How it ended.
    pub result: LogoutResult,
    /// Seconds before a new login makes sense.
    pub wait: u16,
    /// Seconds after that for which tasks are kept.
    pub retain: u16,
}

/// The response codes (RFC 7143 11.15.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LogoutResult {
    /// It is closed.
    Closed = 0,
    /// There is no such connection.
    CidNotFound = 1,
    /// Tasks are not moved between connections.
    RecoveryNotSupported = 2,
}

const RESULT: usize = 2;
const WAIT: Range<usize> = 40..42;
const RETAIN: Range<usize> = 42..44;

impl LogoutResponse {
    pub(super) const OPCODE: u8 = 0x26;

    /// Reads a header of this opcode.
    ///
    /// # Errors
    /// A response code that this target never sends.
    pub fn parse(bhs: &Bhs) -> Result<LogoutResponse, PduFault> {
        let result = match bhs[RESULT] {
            0 => LogoutResult::Closed,
            1 => LogoutResult::CidNotFound,
            2 => LogoutResult::RecoveryNotSupported,
            _ => return Err(PduFault::Field { at: RESULT }),
        };
        let (wait, retain) = (get16(bhs, WAIT), get16(bhs, RETAIN));
        Ok(LogoutResponse { window: Window::parse(bhs), task: field::task(bhs), result, wait, retain })
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        self.window.emit(&mut bhs);
        field::put_task(&mut bhs, Some(self.task));
        bhs[RESULT] = self.result as u8;
        put16(&mut bhs, WAIT, self.wait);
        put16(&mut bhs, RETAIN, self.retain);
        bhs
    }
}
