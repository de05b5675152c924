//! A command on its way from a transport to a logical unit, and its answer on the way back.

use super::sense::Sense;
use bytes::Bytes;

/// The longest command descriptor block that is understood: SPC-4 has some of 32 bytes.
pub const CDB_MAX: usize = 32;

/// A LUN as it stands in a PDU (SAM-5 4.7): eight bytes, not yet understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LunField(pub [u8; 8]);

/// A command descriptor block: its operation code decides how much of it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cdb(pub [u8; CDB_MAX]);

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
