//! A command as an initiator sees it: a CDB with data before, an outcome after.

use bytes::Bytes;

/// Names a command, once in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommandId(pub(crate) u64);

/// The data of a command.
#[derive(Debug, Default)]
pub enum Data {
    /// None.
    #[default]
    None,
    /// Data-In into this buffer, whose length is the expected transfer length; it comes back with the
    /// answer.
    In(Vec<u8>),
    /// Data-Out, shared until the library has sent it.
    Out(Bytes),
}

/// A command to send.
#[derive(Debug)]
pub struct Command {
    /// To which LUN.
    pub lun: u16,
    /// 6, 10, 12 or 16 bytes.
    pub cdb: Vec<u8>,
    /// Its data.
    pub data: Data,
}

impl Command {
    /// A command without data.
    #[must_use]
    pub fn plain(lun: u16, cdb: &[u8]) -> Command {
        Command { lun, cdb: cdb.to_vec(), data: Data::None }
    }

    /// A command that expects `len` bytes.
    #[must_use]
    pub fn reading(lun: u16, cdb: &[u8], len: usize) -> Command {
        Command { lun, cdb: cdb.to_vec(), data: Data::In(vec![0; len]) }
    }

    /// A command that brings data.
    #[must_use]
    pub fn writing(lun: u16, cdb: &[u8], data: Bytes) -> Command {
        Command { lun, cdb: cdb.to_vec(), data: Data::Out(data) }
    }

    /// READ(16) of `blocks` logical blocks from `lba` on into `buffer`.
    #[must_use]
    pub fn read16(lun: u16, lba: u64, blocks: u32, buffer: Vec<u8>) -> Command {
        Command { lun, cdb: cdb16(0x88, lba, blocks), data: Data::In(buffer) }
    }

    /// WRITE(16) of `blocks` logical blocks from `lba` on.
    #[must_use]
    pub fn write16(lun: u16, lba: u64, blocks: u32, data: Bytes) -> Command {
        Command { lun, cdb: cdb16(0x8a, lba, blocks), data: Data::Out(data) }
    }

    /// SYNCHRONIZE CACHE(10) of everything.
    #[must_use]
    pub fn flush(lun: u16) -> Command {
        Command::plain(lun, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }
}

/// The form that READ(16), WRITE(16) and their likes have.
fn cdb16(opcode: u8, lba: u64, blocks: u32) -> Vec<u8> {
    let mut cdb = vec![0; 16];
    cdb[0] = opcode;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// Sense data, as far as tests look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: u8,
    /// Additional sense code.
    pub asc: u8,
    /// Its qualifier.
    pub ascq: u8,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a SCSI status of the target (SAM-5 5.3).
    Status(u8),
    /// Given up by this side, or with the connection.
    Cancelled,
    /// The library could not do it.
    Failed,
}

/// An answer.
#[derive(Debug)]
pub struct Completion {
    /// To which command.
    pub id: CommandId,
    /// How it ended.
    pub outcome: Outcome,
    /// With CHECK CONDITION.
    pub sense: Option<Sense>,
    /// The buffer of Data-In, cut to what came if the target announced less.
    pub data: Vec<u8>,
}

impl Completion {
    /// Whether it is GOOD.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.outcome == Outcome::Status(0)
    }
}
