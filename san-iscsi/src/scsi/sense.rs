//! Sense data: why a command was not done (SPC-4 4.5).

use crate::lun::LunFault;

/// Sense keys (SPC-4 4.5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Key {
    /// Nothing to report.
    NoSense = 0x0,
    /// The unit cannot be reached now.
    NotReady = 0x2,
    /// Data could not be read or written.
    MediumError = 0x3,
    /// The target itself failed.
    HardwareError = 0x4,
    /// The command asks for what is not there.
    IllegalRequest = 0x5,
    /// Something happened that the initiator must know before it goes on.
    UnitAttention = 0x6,
    /// The range is protected from writing, or space is exhausted.
    DataProtect = 0x7,
    /// A copy could not be finished.
    CopyAborted = 0xa,
    /// The target gave the command up; it may have had an effect.
    AbortedCommand = 0xb,
    /// Compared data differs.
    Miscompare = 0xe,
}

/// What the sense points at, beyond key and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    None,
    /// Byte of the CDB, and bit of it if known, that is invalid.
    CdbField(u16, Option<u8>),
    /// Byte of the parameter list, and bit of it if known, that is invalid.
    ParameterField(u16, Option<u8>),
    /// A number: the first byte that differs, or a residue.
    Information(u64),
}

/// A reason: key, additional sense code and its qualifier, detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: Key,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
    /// What it points at.
    pub detail: Detail,
}

impl Sense {
    /// The operation code is not known.
    pub const INVALID_OPCODE: Sense = Sense::new(Key::IllegalRequest, 0x20, 0x00);
    /// The range lies behind the end.
    pub const LBA_OUT_OF_RANGE: Sense = Sense::new(Key::IllegalRequest, 0x21, 0x00);
    /// No such LUN, or none for this host: nobody can tell which.
    pub const LUN_NOT_SUPPORTED: Sense = Sense::new(Key::IllegalRequest, 0x25, 0x00);
    /// A task attribute that has no meaning here.
    pub const INVALID_MESSAGE: Sense = Sense::new(Key::IllegalRequest, 0x49, 0x00);
    /// A parameter list is shorter or longer than it must be.
    pub const PARAMETER_LIST_LENGTH: Sense = Sense::new(Key::IllegalRequest, 0x1a, 0x00);
    /// The initiator announced less Data-Out than the command needs.
    pub const DATA_OUT_LENGTH: Sense = Sense::new(Key::IllegalRequest, 0x0e, 0x03);
    /// The LUN is read-only.
    pub const WRITE_PROTECTED: Sense = Sense::new(Key::DataProtect, 0x27, 0x00);
    /// The storage behind the LUN is not there; an administrator must act.
    pub const NOT_READY: Sense = Sense::new(Key::NotReady, 0x04, 0x03);
    /// The storage behind the LUN will be there soon: hosts wait and try again.
    pub const BECOMING_READY: Sense = Sense::new(Key::NotReady, 0x04, 0x01);
    /// Storage stopped while it was done: hosts try again.
    pub const INTERRUPTED: Sense = Sense::new(Key::AbortedCommand, 0x44, 0x00);
    /// Given up while storage hung: it may have an effect yet.
    pub const TIMED_OUT: Sense = Sense::new(Key::AbortedCommand, 0x2e, 0x02);
    /// Nothing to say.
    pub const NONE: Sense = Sense::new(Key::NoSense, 0x00, 0x00);

    /// Something happened that the initiator must know before it goes on.
    #[must_use]
    pub const fn attention(asc: u8, ascq: u8) -> Sense {
        Sense::new(Key::UnitAttention, asc, ascq)
    }

    /// INVALID FIELD IN CDB, at this byte.
    #[must_use]
    pub const fn cdb(byte: u16) -> Sense {
        Sense { detail: Detail::CdbField(byte, None), ..Sense::new(Key::IllegalRequest, 0x24, 0x00) }
    }

    /// INVALID FIELD IN PARAMETER LIST, at this byte.
    #[must_use]
    pub const fn parameter(byte: u16) -> Sense {
        let detail = Detail::ParameterField(byte, None);
        Sense { detail, ..Sense::new(Key::IllegalRequest, 0x26, 0x00) }
    }

    /// The only place where a fault of storage becomes sense data.
    #[must_use]
    pub fn of(fault: LunFault) -> Sense {
        match fault {
            LunFault::OutOfRange => Sense::LBA_OUT_OF_RANGE,
            LunFault::NoSpace => Sense::new(Key::DataProtect, 0x27, 0x07),
            LunFault::Corrupt => Sense::new(Key::MediumError, 0x11, 0x00),
            LunFault::Device => Sense::new(Key::HardwareError, 0x44, 0x00),
            LunFault::Interrupted => Sense::INTERRUPTED,
            LunFault::Miscompare { at } => {
                Sense { detail: Detail::Information(at), ..Sense::new(Key::Miscompare, 0x1d, 0x00) }
            }
            LunFault::Fenced => Sense::LUN_NOT_SUPPORTED,
            LunFault::WritesLost => Sense::new(Key::MediumError, 0x0c, 0x00),
            LunFault::Starting => Sense::BECOMING_READY,
            LunFault::Unavailable => Sense::NOT_READY,
        }
    }

    /// A reason without detail.
    #[must_use]
    pub const fn new(key: Key, asc: u8, ascq: u8) -> Sense {
        Sense { key, asc, ascq, detail: Detail::None }
    }

    /// Fixed format: what an answer carries.
    #[must_use]
    pub fn fixed(&self) -> [u8; 18] {
        let mut bytes = [0; 18];
        bytes[0] = 0x70;
        bytes[2] = self.key as u8;
        bytes[7] = 10;
        bytes[12] = self.asc;
        bytes[13] = self.ascq;
        match self.detail {
            Detail::None => {}
            Detail::CdbField(byte, bit) => bytes[15..18].copy_from_slice(&pointer(0xc0, byte, bit)),
            Detail::ParameterField(byte, bit) => bytes[15..18].copy_from_slice(&pointer(0x80, byte, bit)),
            Detail::Information(number) => {
                if let Ok(number) = u32::try_from(number) {
                    bytes[0] |= 0x80;
                    bytes[3..7].copy_from_slice(&number.to_be_bytes());
                }
            }
        }
        bytes
    }
}

impl Sense {
    /// Descriptor format: for a REQUEST SENSE that asks for it.
    #[must_use]
    pub fn descriptor(&self) -> [u8; 8] {
        [0x72, self.key as u8, self.asc, self.ascq, 0, 0, 0, 0]
    }
}

/// The field pointer (SPC-4 4.5.2.4.2): SKSV, C/D, BPV and bit; byte.
fn pointer(flags: u8, byte: u16, bit: Option<u8>) -> [u8; 3] {
    let [high, low] = byte.to_be_bytes();
    [flags | bit.map_or(0, |bit| 0x08 | bit & 7), high, low]
}
