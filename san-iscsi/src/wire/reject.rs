//! Reject: a PDU could not be acted on; its header comes back as the data segment (RFC 7143 11.17).

use super::field::{self, Window};
use super::{Bhs, PduFault};

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Numbers.
    pub window: Window,
    /// Why.
    pub reason: RejectReason,
}

/// The reasons (RFC 7143 11.17.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RejectReason {
    /// The data segment is damaged.
    DataDigest = 0x02,
    /// Nothing is sent again.
    Snack = 0x03,
    /// The peer broke the protocol.
    Protocol = 0x04,
    /// Not supported.
    NotSupported = 0x05,
    /// Too many immediate commands.
    Immediate = 0x06,
    /// The task tag is in use.
    TaskInProgress = 0x07,
    /// A field has no defined value.
    InvalidField = 0x09,
    /// A logout is awaited, and nothing else.
    WaitingForLogout = 0x0c,
}

const REASON: usize = 2;

impl Reject {
    pub(super) const OPCODE: u8 = 0x3f;

    /// Reads a header of this opcode.
    ///
    /// # Errors
    /// A reason that this target never sends.
    pub fn parse(bhs: &Bhs) -> Result<Reject, PduFault> {
        use RejectReason as R;
        let reason = [
            R::DataDigest,
            R::Snack,
            R::Protocol,
            R::NotSupported,
            R::Immediate,
            R::TaskInProgress,
            R::InvalidField,
            R::WaitingForLogout,
        ]
        .into_iter()
        .find(|r| *r as u8 == bhs[REASON]);
        let reason = reason.ok_or(PduFault::Field { at: REASON })?;
        Ok(Reject { window: Window::parse(bhs), reason })
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        self.window.emit(&mut bhs);
        field::put_task(&mut bhs, None);
        bhs[REASON] = self.reason as u8;
        bhs
    }
}
