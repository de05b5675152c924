//! A command on its way from a transport to a logical unit, and its answer on the way back.

use super::sense::Sense;
use bytes::Bytes;

/// The longest command descriptor block that is understood: SPC-4 has some of 32 bytes.
pub const CDB_MAX: usize = 32;

/// A LUN as it stands in a PDU (SAM-5 4.7): eight bytes, not yet understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LunField(pub [u8; 8]);

impl LunField {
    /// The field for a number: peripheral addressing up to 255, flat addressing above (SAM-5 4.7.7).
    #[must_use]
    pub const fn from_number(number: u16) -> LunField {
        let [high, low] = number.to_be_bytes();
        let method = if number < 256 { 0x00 } else { 0x40 };
        LunField([method | high & 0x3f, low, 0, 0, 0, 0, 0, 0])
    }

    /// The number, of either method; none for what no LUN of this target can have.
    #[must_use]
    pub fn number(self) -> Option<u16> {
        let [high, low, rest @ ..] = self.0;
        match (high, rest) {
            (0x00, [0, 0, 0, 0, 0, 0]) => Some(u16::from(low)),
            (0x40..=0x7f, [0, 0, 0, 0, 0, 0]) => Some(u16::from_be_bytes([high & 0x3f, low])),
            _ => None,
        }
    }
}

/// A command descriptor block: its operation code decides how much of it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cdb(pub [u8; CDB_MAX]);

impl Cdb {
    /// A block of which only the first bytes are given; what is beyond [`CDB_MAX`] is left off.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Cdb {
        let mut cdb = [0; CDB_MAX];
        let len = bytes.len().min(CDB_MAX);
        cdb[..len].copy_from_slice(&bytes[..len]);
        Cdb(cdb)
    }

    /// Whether any bit of `mask` is set in byte `at`.
    pub(crate) const fn has(&self, at: usize, mask: u8) -> bool {
        self.0[at] & mask != 0
    }

    pub(crate) const fn be16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    pub(crate) const fn be32(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    pub(crate) const fn be64(&self, at: usize) -> u64 {
        (self.be32(at) as u64) << 32 | self.be32(at + 4) as u64
    }
}

/// How a command is ordered among others of its task set (SAM-5 8.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskAttribute {
    /// In any order.
    #[default]
    Simple,
    /// After all older ones, before all newer ones.
    Ordered,
    /// Before all others that are waiting.
    HeadOfQueue,
    /// Auto contingent allegiance: not supported.
    Aca,
}

/// A command as a transport received it, without its Data-Out.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Which logical unit.
    pub lun: LunField,
    /// What to do.
    pub cdb: Cdb,
    /// Its place among others.
    pub attribute: TaskAttribute,
    /// Bytes of Data-Out that the initiator has ready.
    pub data_out: u32,
    /// Bytes of Data-In that the initiator has room for.
    pub data_in: u32,
}

/// The status codes (SAM-5 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Good = 0x00,
    /// Not done; the sense says why.
    CheckCondition = 0x02,
    /// Try again: nothing of the command was done.
    Busy = 0x08,
    /// Another nexus holds a reservation.
    ReservationConflict = 0x18,
    /// Too many commands: nothing of this one was done.
    TaskSetFull = 0x28,
    /// Aborted by another nexus (control mode page, TAS).
    TaskAborted = 0x40,
}

/// The answer to a command.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status.
    pub status: Status,
    /// Why, with a check condition.
    pub sense: Option<Sense>,
    /// Data-In, in order, not yet cut to what the initiator has room for.
    pub data_in: Bytes,
    /// Bytes that the command descriptor block asked to move, Data-In and Data-Out: the transport counts the
    /// residual from it.
    pub transfer: u64,
}

impl Response {
    /// Done, and these are the bytes that were asked for.
    #[must_use]
    pub fn good(data_in: Bytes) -> Response {
        let transfer = data_in.len() as u64;
        Response { status: Status::Good, sense: None, data_in, transfer }
    }

    /// Done, with `transfer` bytes of Data-Out.
    #[must_use]
    pub const fn written(transfer: u64) -> Response {
        Response { status: Status::Good, sense: None, data_in: Bytes::new(), transfer }
    }

    /// Not done, and why.
    #[must_use]
    pub fn check(sense: Sense) -> Response {
        Response { sense: Some(sense), ..Response::status(Status::CheckCondition) }
    }

    /// Not done.
    #[must_use]
    pub const fn status(status: Status) -> Response {
        Response { status, sense: None, data_in: Bytes::new(), transfer: 0 }
    }
}
