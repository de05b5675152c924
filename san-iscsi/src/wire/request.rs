//! Any PDU of an initiator, by its opcode.

use super::field::{Order, OPCODE, OPCODE_BITS};
use super::{
    Bhs, DataOut, LoginRequest, LogoutRequest, NopOut, PduFault, ScsiCommand, SnackRequest,
    TaskManagementRequest, TextRequest,
};

/// A request, without its data segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A ping, or the answer to one.
    NopOut(NopOut),
    /// A command.
    ScsiCommand(ScsiCommand),
    /// Tasks are to be given up.
    TaskManagement(TaskManagementRequest),
    /// A step of the login.
    Login(LoginRequest),
    /// Keys.
    Text(TextRequest),
    /// A piece of a command's data.
    DataOut(DataOut),
    /// The end.
    Logout(LogoutRequest),
    /// Something is to be sent again.
    Snack(SnackRequest),
}

impl Request {
    /// Reads a header, with the additional segments that follow it.
    ///
    /// # Errors
    /// No such PDU, or it is malformed, or asks for what this target lacks.
    pub fn parse(bhs: &Bhs, ahs: &[u8]) -> Result<Request, PduFault> {
        let opcode = bhs[OPCODE] & OPCODE_BITS;
        if opcode != ScsiCommand::OPCODE && !ahs.is_empty() {
            return Err(PduFault::Ahs);
        }
        match opcode {
            NopOut::OPCODE => Ok(Request::NopOut(NopOut::parse(bhs))),
            ScsiCommand::OPCODE => ScsiCommand::parse(bhs, ahs).map(Request::ScsiCommand),
            TaskManagementRequest::OPCODE => TaskManagementRequest::parse(bhs).map(Request::TaskManagement),
            LoginRequest::OPCODE => LoginRequest::parse(bhs).map(Request::Login),
            TextRequest::OPCODE => TextRequest::parse(bhs).map(Request::Text),
            DataOut::OPCODE => DataOut::parse(bhs).map(Request::DataOut),
            LogoutRequest::OPCODE => LogoutRequest::parse(bhs).map(Request::Logout),
            SnackRequest::OPCODE => Ok(Request::Snack(SnackRequest)),
            other => Err(PduFault::Opcode(other)),
        }
    }

    /// Header and additional header segments.
    #[must_use]
    pub fn emit(&self) -> (Bhs, Vec<u8>) {
        let bhs = match self {
            Request::NopOut(pdu) => pdu.emit(),
            Request::ScsiCommand(pdu) => return pdu.emit(),
            Request::TaskManagement(pdu) => pdu.emit(),
            Request::Login(pdu) => pdu.emit(),
            Request::Text(pdu) => pdu.emit(),
            Request::DataOut(pdu) => pdu.emit(),
            Request::Logout(pdu) => pdu.emit(),
            Request::Snack(pdu) => pdu.emit(),
        };
        (bhs, Vec::new())
    }

    /// Where a header stands among others, if its opcode is of a kind that is numbered: known even of one
    /// that cannot be acted on.
    #[must_use]
    pub fn order(bhs: &Bhs) -> Option<Order> {
        let numbered = [
            NopOut::OPCODE,
            ScsiCommand::OPCODE,
            TaskManagementRequest::OPCODE,
            TextRequest::OPCODE,
            LogoutRequest::OPCODE,
        ];
        numbered.contains(&(bhs[OPCODE] & OPCODE_BITS)).then(|| Order::parse(bhs))
    }
}
