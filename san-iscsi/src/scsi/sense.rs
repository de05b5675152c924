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

/// The field pointer (SPC-4 4.5.2.4.2): SKSV, C/D, BPV and bit; byte.
fn pointer(flags: u8, byte: u16, bit: Option<u8>) -> [u8; 3] {
    let [high, low] = byte.to_be_bytes();
    [flags | bit.map_or(0, |bit| 0x08 | bit & 7), high, low]
}
