//! Login Request (RFC 7143 11.12).

use super::field::{self, put16, put32, Order};
use super::{Bhs, Cid, Isid, PduFault, TaskTag, Tsih};

/// A step of the login; its keys are the PDU's data segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginRequest {
    /// Place among other requests; login is always immediate.
    pub order: Order,
    /// The keys go on in the next request (C).
    pub more: bool,
    /// The stage that it belongs to (CSG).
    pub stage: Stage,
    /// The stage that the initiator is ready to go to (T and NSG).
    pub next: Option<Stage>,
    /// The highest version that the initiator speaks.
    pub version_max: u8,
    /// The lowest version that the initiator speaks.
    pub version_min: u8,
    /// The initiator's end of the session.
    pub isid: Isid,
    /// The session to join; zero for a new one.
    pub tsih: Tsih,
    /// Name of the login.
    pub task: TaskTag,
    /// The initiator's name for the connection.
    pub cid: Cid,
}

/// The stages of a connection (RFC 7143 11.12.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Security negotiation.
    Security,
    /// Login operational negotiation.
    Operational,
    /// Full feature phase.
    FullFeature,
}

impl Stage {
    fn of(code: u8) -> Result<Stage, PduFault> {
        match code {
            0 => Ok(Stage::Security),
            1 => Ok(Stage::Operational),
            3 => Ok(Stage::FullFeature),
            _ => Err(PduFault::Field { at: field::FLAGS }),
        }
    }

    fn code(self) -> u8 {
        match self {
            Stage::Security => 0,
            Stage::Operational => 1,
            Stage::FullFeature => 3,
        }
    }
}

/// T, C, CSG and NSG, as request and response have them.
pub(super) fn parse_flags(bhs: &Bhs) -> Result<(bool, Stage, Option<Stage>), PduFault> {
    let flags = bhs[field::FLAGS];
    let fault = PduFault::Field { at: field::FLAGS };
    let more = flags & field::CONTINUE != 0;
    let stage = Stage::of(flags >> 2 & 3)?;
    let next = match flags & field::FINAL != 0 {
        true => Some(Stage::of(flags & 3)?),
        false => None,
    };
    let backward = next.is_some_and(|next| next <= stage);
    if stage == Stage::FullFeature || backward || (more && next.is_some()) {
        return Err(fault);
    }
    Ok((more, stage, next))
}

pub(super) fn emit_flags(more: bool, stage: Stage, next: Option<Stage>) -> u8 {
    let next = next.map_or(0, |next| field::FINAL | next.code());
    next | stage.code() << 2 | if more { field::CONTINUE } else { 0 }
}

const VERSION_MAX: usize = 2;
const VERSION_MIN: usize = 3;

impl LoginRequest {
    pub(super) const OPCODE: u8 = 0x03;

    /// Whether a header is a login request, well-formed or not.
    #[must_use]
    pub fn is_one(bhs: &Bhs) -> bool {
        bhs[field::OPCODE] & field::OPCODE_BITS == Self::OPCODE
    }

    /// Reads a header of this opcode.
    ///
    /// # Errors
    /// Stages that do not follow each other, T together with C.
    pub fn parse(bhs: &Bhs) -> Result<LoginRequest, PduFault> {
        let (more, stage, next) = parse_flags(bhs)?;
        Ok(LoginRequest {
            order: Order::parse(bhs),
            more,
            stage,
            next,
            version_max: bhs[VERSION_MAX],
            version_min: bhs[VERSION_MIN],
            isid: field::isid(bhs),
            tsih: field::tsih(bhs),
            task: field::task(bhs),
            cid: field::cid(bhs),
        })
    }

    /// Its header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = field::blank(Self::OPCODE);
        self.order.emit(&mut bhs);
        bhs[field::FLAGS] = emit_flags(self.more, self.stage, self.next);
        bhs[VERSION_MAX] = self.version_max;
        bhs[VERSION_MIN] = self.version_min;
        bhs[field::ISID].copy_from_slice(&self.isid.0);
        put16(&mut bhs, field::TSIH, self.tsih.0);
        put32(&mut bhs, field::TASK, self.task.0);
        put16(&mut bhs, field::CID, self.cid.0);
        bhs
    }
}
