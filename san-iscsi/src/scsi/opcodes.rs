//! The one table of operation codes: what each is, how long its CDB is and which of its bits may be set,
//! which way its data goes, what reservations make of it.
//!
//! Dispatch, CDB checks, reservation conflicts and REPORT SUPPORTED OPERATION CODES all read this table and
//! nothing else. Entries of one operation code stand together.

use super::command::Cdb;
use super::sense::{Detail, Key, Sense};

/// What a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    TestUnitReady,
    RequestSense,
    Read,
    Write,
    Inquiry,
    ModeSelect,
    ModeSense,
    Reserve,
    Release,
    StartStop,
    PreventAllow,
    ReadCapacity10,
    ReadCapacity16,
    WriteVerify,
    Verify,
    PreFetch,
    SynchronizeCache,
    ReadDefectData,
    WriteSame,
    Unmap,
    LogSense,
    ReserveIn,
    ReserveOut,
    ExtendedCopy,
    CopyResults,
    CompareAndWrite,
    OrWrite,
    WriteAtomic,
    LbaStatus,
    ReportLuns,
    ReportPortGroups,
    ReportOpcodes,
    ReportTaskManagement,
}

/// What reservations of others make of a command (SPC-4 table 66, SBC-3 table 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Always allowed.
    Free,
    /// Allowed whatever persistent reservation there is; a RESERVE of another nexus refuses it.
    Query,
    /// Conflicts with exclusive access.
    Read,
    /// Conflicts with write exclusive too.
    Write,
    /// Judges for itself: the commands that make and end reservations.
    Reserve,
}

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    None,
    In,
    Out,
}

/// A command that is known.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// The service action in byte 1, for the operation codes that have one.
    pub(crate) action: Option<u8>,
    pub(crate) access: Access,
    pub(crate) data: Data,
    /// Writes the medium: a read-only LUN refuses it.
    pub(crate) writes: bool,
    /// The CDB usage map (SPC-4 6.35.3): the operation code, the service action, and otherwise the bits
    /// that are looked at. As long as the CDB.
    pub(crate) usage: &'static [u8],
}

impl Entry {
    pub(crate) const fn opcode(&self) -> u8 {
        self.usage[0]
    }

    /// Checks that no bit is set that means nothing here.
    fn check(&self, cdb: &Cdb) -> Result<(), Sense> {
        for (at, (byte, usage)) in cdb.0.iter().zip(self.usage).enumerate().skip(1) {
            let foreign = byte & !usage;
            if foreign != 0 {
                let bit = 7 - foreign.leading_zeros() as u8;
                let detail = Detail::CdbField(at as u16, Some(bit));
                return Err(Sense { detail, ..Sense::new(Key::IllegalRequest, 0x24, 0x00) });
            }
        }
        Ok(())
    }
}

/// Finds the entry of a CDB and checks its fixed fields.
pub(crate) fn entry(cdb: &Cdb) -> Result<&'static Entry, Sense> {
    let opcode = cdb.0[0];
    let first = usize::from(FIRST[usize::from(opcode)]);
    let mut same = TABLE.get(first..).unwrap_or(&[]).iter().take_while(|e| e.opcode() == opcode).peekable();
    if same.peek().is_none() {
        return Err(Sense::INVALID_OPCODE);
    }
    let entry = same.find(|e| e.action.is_none_or(|action| action == cdb.0[1] & 0x1f));
    let entry = entry.ok_or(Sense::cdb(1))?;
    entry.check(cdb)?;
    Ok(entry)
}

/// Index of the first entry of each operation code; 255: none.
const FIRST: [u8; 256] = {
    let mut first = [255; 256];
    let mut at = TABLE.len();
    while at > 0 {
        at -= 1;
        first[TABLE[at].opcode() as usize] = at as u8;
    }
    first
};
const _: () = assert!(TABLE.len() < 255);

const fn row(kind: Kind, access: Access, data: Data, usage: &'static [u8]) -> Entry {
    Entry { kind, action: None, access, data, writes: false, usage }
}

/// A row whose byte 1 holds a service action.
const fn service(kind: Kind, action: u8, access: Access, data: Data, usage: &'static [u8]) -> Entry {
    Entry { kind, action: Some(action), access, data, writes: false, usage }
}

/// A row of a command that writes the medium.
const fn medium(kind: Kind, usage: &'static [u8]) -> Entry {
    Entry { kind, action: None, access: Access::Write, data: Data::Out, writes: true, usage }
}

/// The commands, by operation code.
#[rustfmt::skip]
pub(crate) const TABLE: &[Entry] = {
    use Access::*;
    use Kind::*;
    const IN: Data = Data::In;
    const OUT: Data = Data::Out;
    const NONE: Data = Data::None;
    const F: u8 = 0xff;
    &[
        row(TestUnitReady, Query, NONE, &[0x00, 0, 0, 0, 0, 0]),
        row(RequestSense, Free, IN, &[0x03, 0x01, 0, 0, F, 0]),
        row(Kind::Read, Access::Read, IN, &[0x08, 0x1f, F, F, F, 0]),
        medium(Kind::Write, &[0x0a, 0x1f, F, F, F, 0]),
        row(Inquiry, Free, IN, &[0x12, 0x01, F, F, F, 0]),
        row(ModeSelect, Access::Write, OUT, &[0x15, 0x11, 0, 0, F, 0]),
        row(Kind::Reserve, Access::Reserve, NONE, &[0x16, 0, 0, 0, 0, 0]),
        row(Release, Access::Reserve, NONE, &[0x17, 0, 0, 0, 0, 0]),
        row(ModeSense, Access::Read, IN, &[0x1a, 0x08, F, F, F, 0]),
        row(StartStop, Access::Write, NONE, &[0x1b, 0x01, 0, 0x0f, 0xf7, 0]),
        row(PreventAllow, Access::Write, NONE, &[0x1e, 0, 0, 0, 0x03, 0]),
        row(ReadCapacity10, Query, IN, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        row(Kind::Read, Access::Read, IN, &[0x28, 0x1a, F, F, F, F, 0x3f, F, F, 0]),
        medium(Kind::Write, &[0x2a, 0x1a, F, F, F, F, 0x3f, F, F, 0]),
        medium(WriteVerify, &[0x2e, 0x16, F, F, F, F, 0x3f, F, F, 0]),
        row(Verify, Access::Read, OUT, &[0x2f, 0x16, F, F, F, F, 0x3f, F, F, 0]),
        row(PreFetch, Access::Read, NONE, &[0x34, 0x02, F, F, F, F, 0x3f, F, F, 0]),
        row(SynchronizeCache, Access::Write, NONE, &[0x35, 0x06, F, F, F, F, 0x3f, F, F, 0]),
        row(ReadDefectData, Query, IN, &[0x37, 0, 0x1f, 0, 0, 0, 0, F, F, 0]),
        medium(WriteSame, &[0x41, 0x08, F, F, F, F, 0x3f, F, F, 0]),
        medium(Unmap, &[0x42, 0, 0, 0, 0, 0, 0x3f, F, F, 0]),
        row(LogSense, Query, IN, &[0x4d, 0, F, F, 0, F, F, F, F, 0]),
        row(ModeSelect, Access::Write, OUT, &[0x55, 0x11, 0, 0, 0, 0, 0, F, F, 0]),
        row(Kind::Reserve, Access::Reserve, NONE, &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        row(Release, Access::Reserve, NONE, &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        row(ModeSense, Access::Read, IN, &[0x5a, 0x18, F, F, 0, 0, 0, F, F, 0]),
        service(ReserveIn, 0x00, Access::Reserve, IN, &[0x5e, 0x00, 0, 0, 0, 0, 0, F, F, 0]),
        service(ReserveIn, 0x01, Access::Reserve, IN, &[0x5e, 0x01, 0, 0, 0, 0, 0, F, F, 0]),
        service(ReserveIn, 0x02, Access::Reserve, IN, &[0x5e, 0x02, 0, 0, 0, 0, 0, F, F, 0]),
        service(ReserveIn, 0x03, Access::Reserve, IN, &[0x5e, 0x03, 0, 0, 0, 0, 0, F, F, 0]),
        service(ReserveOut, 0x00, Access::Reserve, OUT, &[0x5f, 0x00, F, 0, 0, F, F, F, F, 0]),
        service(ReserveOut, 0x01, Access::Reserve, OUT, &[0x5f, 0x01, F, 0, 0, F, F, F, F, 0]),
        service(ReserveOut, 0x02, Access::Reserve, OUT, &[0x5f, 0x02, F, 0, 0, F, F, F, F, 0]),
        service(ReserveOut, 0x03, Access::Reserve, OUT, &[0x5f, 0x03, F, 0, 0, F, F, F, F, 0]),
        service(ReserveOut, 0x04, Access::Reserve, OUT, &[0x5f, 0x04, F, 0, 0, F, F, F, F, 0]),
        service(ReserveOut, 0x05, Access::Reserve, OUT, &[0x5f, 0x05, F, 0, 0, F, F, F, F, 0]),
        service(ReserveOut, 0x06, Access::Reserve, OUT, &[0x5f, 0x06, F, 0, 0, F, F, F, F, 0]),
        service(ReserveOut, 0x07, Access::Reserve, OUT, &[0x5f, 0x07, F, 0, 0, F, F, F, F, 0]),
        service(ExtendedCopy, 0x00, Access::Write, OUT,
            &[0x83, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, F, F, F, F, 0, 0]),
        service(CopyResults, 0x00, Query, IN, &[0x84, 0x00, F, 0, 0, 0, 0, 0, 0, 0, F, F, F, F, 0, 0]),
        service(CopyResults, 0x03, Query, IN, &[0x84, 0x03, F, 0, 0, 0, 0, 0, 0, 0, F, F, F, F, 0, 0]),
        service(CopyResults, 0x04, Query, IN, &[0x84, 0x04, F, 0, 0, 0, 0, 0, 0, 0, F, F, F, F, 0, 0]),
        row(Kind::Read, Access::Read, IN, &[0x88, 0x1a, F, F, F, F, F, F, F, F, F, F, F, F, 0x3f, 0]),
        medium(CompareAndWrite, &[0x89, 0x1a, F, F, F, F, F, F, F, F, 0, 0, 0, F, 0x3f, 0]),
        medium(Kind::Write, &[0x8a, 0x1a, F, F, F, F, F, F, F, F, F, F, F, F, 0x3f, 0]),
        medium(OrWrite, &[0x8b, 0x1a, F, F, F, F, F, F, F, F, F, F, F, F, 0x3f, 0]),
        medium(WriteVerify, &[0x8e, 0x16, F, F, F, F, F, F, F, F, F, F, F, F, 0x3f, 0]),
        row(Verify, Access::Read, OUT, &[0x8f, 0x16, F, F, F, F, F, F, F, F, F, F, F, F, 0x3f, 0]),
        row(PreFetch, Access::Read, NONE, &[0x90, 0x02, F, F, F, F, F, F, F, F, F, F, F, F, 0x3f, 0]),
        row(SynchronizeCache, Access::Write, NONE,
            &[0x91, 0x06, F, F, F, F, F, F, F, F, F, F, F, F, 0x3f, 0]),
        medium(WriteSame, &[0x93, 0x09, F, F, F, F, F, F, F, F, F, F, F, F, 0x3f, 0]),
        medium(WriteAtomic, &[0x9c, 0x18, F, F, F, F, F, F, F, F, 0, 0, F, F, 0x3f, 0]),
        service(ReadCapacity16, 0x10, Query, IN, &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, F, F, F, F, 0, 0]),
        service(LbaStatus, 0x12, Access::Read, IN, &[0x9e, 0x12, F, F, F, F, F, F, F, F, F, F, F, F, 0, 0]),
        row(ReportLuns, Free, IN, &[0xa0, 0, F, 0, 0, 0, F, F, F, F, 0, 0]),
        service(ReportPortGroups, 0x0a, Query, IN, &[0xa3, 0xea, 0, 0, 0, 0, F, F, F, F, 0, 0]),
        service(ReportOpcodes, 0x0c, Access::Read, IN, &[0xa3, 0x0c, 0x87, F, F, F, F, F, F, F, 0, 0]),
        service(ReportTaskManagement, 0x0d, Access::Read, IN, &[0xa3, 0x0d, 0x80, 0, 0, 0, F, F, F, F, 0, 0]),
        row(Kind::Read, Access::Read, IN, &[0xa8, 0x1a, F, F, F, F, F, F, F, F, 0x3f, 0]),
        medium(Kind::Write, &[0xaa, 0x1a, F, F, F, F, F, F, F, F, 0x3f, 0]),
        medium(WriteVerify, &[0xae, 0x16, F, F, F, F, F, F, F, F, 0x3f, 0]),
        row(Verify, Access::Read, OUT, &[0xaf, 0x16, F, F, F, F, F, F, F, F, 0x3f, 0]),
        row(ReadDefectData, Query, IN, &[0xb7, 0x1f, F, F, F, F, F, F, F, F, 0, 0]),
    ]
};
