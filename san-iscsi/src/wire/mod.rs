//! PDUs and login text (RFC 7143): bytes in, typed values out, and back.
//!
//! One file a PDU, named as in the RFC. `parse` makes every check, so that nothing can panic after it; `emit`
//! is its inverse. Reserved fields are written as zero and, as the RFC demands of receivers, not looked at.
//! Lengths and digests are [`frame`]'s business: no PDU's own file knows of them.
//!
//! Read next: [`frame`] (how a stream of bytes becomes PDUs), [`text`] (keys and values).

mod async_message;
mod data_in;
mod data_out;
pub mod digest;
mod field;
pub mod frame;
mod login_request;
mod login_response;
mod logout_request;
mod logout_response;
mod nop_in;
mod nop_out;
mod r2t;
mod reject;
mod request;
mod scsi_command;
mod scsi_response;
mod serial;
mod snack_request;
mod task_management_request;
mod task_management_response;
#[cfg(test)]
mod tests;
pub mod text;
mod text_request;
mod text_response;

pub use async_message::{AsyncEvent, AsyncMessage};
pub use data_in::DataIn;
pub use data_out::DataOut;
pub use field::{Order, Window};
pub use login_request::{LoginRequest, Stage};
pub use login_response::{LoginResponse, LoginStatus};
pub use logout_request::{LogoutReason, LogoutRequest};
pub use logout_response::{LogoutResponse, LogoutResult};
pub use nop_in::NopIn;
pub use nop_out::NopOut;
pub use r2t::R2t;
pub use reject::{Reject, RejectReason};
pub use request::Request;
pub use scsi_command::ScsiCommand;
pub use scsi_response::{Residual, ScsiResponse};
pub use serial::Sn;
pub use snack_request::SnackRequest;
pub use task_management_request::{TaskFunction, TaskManagementRequest};
pub use task_management_response::{TaskManagementResponse, TaskManagementResult};
pub use text_request::TextRequest;
pub use text_response::TextResponse;

/// Bytes of a basic header segment.
pub const BHS_LEN: usize = 48;

/// A basic header segment as it stands on the wire.
pub type Bhs = [u8; BHS_LEN];

/// The value of a tag that names nothing.
const NO_TAG: u32 = u32::MAX;

/// The initiator's name for one of its tasks (Initiator Task Tag).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskTag(pub u32);

/// The target's name for something that it wants an answer to (Target Transfer Tag).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransferTag(pub u32);

/// What an initiator calls its end of a session (RFC 7143 11.12.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Isid(pub [u8; 6]);

/// The target's name for a session; zero is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tsih(pub u16);

/// The initiator's name for a connection of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cid(pub u16);

/// Why a header is no PDU that can be acted on. The peer is to blame for all but `Unsupported`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PduFault {
    /// The operation code is not one of an initiator (of a target, where a target's PDU is parsed).
    #[error("opcode {0:#04x} is unknown")]
    Opcode(u8),
    /// A field has a value that the RFC does not define.
    #[error("byte {at} of the header is invalid")]
    Field {
        /// The byte.
        at: usize,
    },
    /// An additional header segment is malformed.
    #[error("the additional header segment is malformed")]
    Ahs,
    /// It is valid, but asks for what this target lacks.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
}
