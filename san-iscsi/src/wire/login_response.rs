//! Login Response (RFC 7143 11.13).

use super::field::{self, put16, put32, Window};
use super::login_request::{emit_flags, parse_flags};
use super::{Bhs, Isid, PduFault, Stage, TaskTag, Tsih};

/// An answer to a step of the login; its keys are the PDU's data segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginResponse {
    /// Numbers.
    pub window: Window,
    /// The keys go on in the next response (C).
    pub more: bool,
    /// The stage that it belongs to (CSG).
    pub stage: Stage,
    /// The stage that is entered now (T and NSG).
    pub next: Option<Stage>,
    /// The initiator's end of the session.
    pub isid: Isid,
    /// The session; set with the last response.
    pub tsih: Tsih,
    /// Name of the login.
    pub task: TaskTag,
    /// How it goes.
    pub status: LoginStatus,
}

/// Status class and detail (RFC 7143 11.13.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum LoginStatus {
    /// Go on.
    Success = 0x0000,
    /// The initiator broke the protocol.
    InitiatorError = 0x0200,
    /// It is not who it says, or nobody knows it.
    AuthenticationFailure = 0x0201,
    /// It may not use this target.
    AuthorizationFailure = 0x0202,
    /// There is no such target.
    NotFound = 0x0203,
    /// No version is spoken by both.
    UnsupportedVersion = 0x0205,
    /// The session has all the connections it may have.
    TooManyConnections = 0x0206,
    /// A key is missing.
    MissingParameter = 0x0207,
    /// The type of session is unknown.
    SessionTypeNotSupported = 0x0209,
    /// There is no such session.
    SessionDoesNotExist = 0x020a,
    /// A request that has no place in a login.
    InvalidDuringLogin = 0x020b,
    /// The target is starting or stopping.
    ServiceUnavailable = 0x0301,
    /// The target has no room.
    OutOfResources = 0x0302,
}

use LoginStatus as S;
const STATUSES: [LoginStatus; 13] = [
    S::Success,
    S::InitiatorError,
    S::AuthenticationFailure,
    S::AuthorizationFailure,
    S::NotFound,
    S::UnsupportedVersion,
    S::TooManyConnections,
    S::MissingParameter,
    S::SessionTypeNotSupported,
    S::SessionDoesNotExist,
    S::InvalidDuringLogin,
    S::ServiceUnavailable,
    S::OutOfResources,
];

const STATUS: std::ops::Range<usize> = 36..38;

impl LoginResponse {
    pub(super) const OPCODE: u8 = 0x23;

    /// Reads a header of this opcode. The versions are always 0: there is no other.
    ///
    /// # Errors
    /// Stages that do not follow each other, T together with C, a status that this target never sends.
    pub fn parse(bhs: &Bhs) -> Result<LoginResponse, PduFault> {
        let (more, stage, next) = parse_flags(bhs)?;
        let code = field::get16(bhs, STATUS);
        let status = STATUSES.into_iter().find(|s| *s as u16 == code);
        Ok(LoginResponse {
            window: Window::parse(bhs),
            more,
            stage,
            next,
            isid: field::isid(bhs),
            tsih: field::tsih(bhs),
            task: field::task(bhs),
            status: status.ok_or(PduFault::Field { at: STATUS.start })?,
        })
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        self.window.emit(&mut bhs);
        bhs[field::FLAGS] = emit_flags(self.more, self.stage, self.next);
        bhs[field::ISID].copy_from_slice(&self.isid.0);
        put16(&mut bhs, field::TSIH, self.tsih.0);
        put32(&mut bhs, field::TASK, self.task.0);
        put16(&mut bhs, STATUS, self.status as u16);
        bhs
    }
}
