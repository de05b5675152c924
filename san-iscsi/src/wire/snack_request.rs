//! SNACK Request (RFC 7143 11.16): known only to be refused, since nothing is sent twice at recovery level 0.

use super::field;
use super::Bhs;

/// Asks for something to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnackRequest;

impl SnackRequest {
    pub(super) const OPCODE: u8 = 0x10;

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        field::blank(Self::OPCODE)
    }
}
