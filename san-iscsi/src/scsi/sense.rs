//! Sense data: why a command was not done (SPC-4 4.5).

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
    /// A reason without detail.
    #[must_use]
    pub const fn new(key: Key, asc: u8, ascq: u8) -> Sense {
        Sense { key, asc, ascq, detail: Detail::None }
    }
}
