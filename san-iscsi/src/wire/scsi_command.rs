//! SCSI Command: a command descriptor block, and how much data goes which way (RFC 7143 11.3).

use super::field::{self, get32, put32, Order};
use super::{Bhs, PduFault, TaskTag};
use crate::scsi::command::{Cdb, LunField, TaskAttribute, CDB_MAX};
use std::ops::Range;

/// A command. Its immediate data, if any, is the PDU's data segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScsiCommand {
    /// Place among other requests.
    pub order: Order,
    /// No unsolicited Data-Out follows.
    pub last: bool,
    /// It expects data from the target.
    pub read: bool,
    /// It has data for the target.
    pub write: bool,
    /// How the task is ordered among others of its unit.
    pub attribute: TaskAttribute,
    /// Which unit.
    pub lun: LunField,
    /// Its name.
    pub task: TaskTag,
    /// Expected Data Transfer Length, bytes: the room for Data-In, or all of the Data-Out.
    pub expected: u32,
    /// What to do.
    pub cdb: Cdb,
}

mod bit {
    pub(super) const READ: u8 = 0x40;
    pub(super) const WRITE: u8 = 0x20;
    pub(super) const ATTRIBUTE: u8 = 0x07;
}
const EXPECTED: Range<usize> = 20..24;
const CDB: Range<usize> = 32..48;
const CDB_HEAD: usize = CDB.end - CDB.start;

/// Additional header segments: two bytes of length, one of type, then what the length counts, padded to four.
mod ahs {
    pub(super) const EXTENDED_CDB: u8 = 1;
    pub(super) const BIDIRECTIONAL: u8 = 2;
}

impl ScsiCommand {
    pub(super) const OPCODE: u8 = 0x01;

    /// Reads a header of this opcode.
    ///
    /// # Errors
    /// An attribute or additional header that the RFC does not define; a bidirectional command.
    pub fn parse(bhs: &Bhs, ahs: &[u8]) -> Result<ScsiCommand, PduFault> {
        let flags = bhs[field::FLAGS];
        let (read, write) = (flags & bit::READ != 0, flags & bit::WRITE != 0);
        if read && write {
            return Err(PduFault::Unsupported("a bidirectional command"));
        }
        if field::some_task(bhs).is_none() {
            return Err(PduFault::Field { at: field::TASK.start });
        }
        let mut cdb = Cdb([0; CDB_MAX]);
        cdb.0[..CDB_HEAD].copy_from_slice(&bhs[CDB]);
        parse_ahs(ahs, &mut cdb)?;
        Ok(ScsiCommand {
            order: Order::parse(bhs),
            last: flags & field::FINAL != 0,
            read,
            write,
            attribute: attribute(flags & bit::ATTRIBUTE)?,
            lun: field::lun(bhs),
            task: field::task(bhs),
            expected: get32(bhs, EXPECTED),
            cdb,
        })
    }

    /// Its header, and the additional one where the CDB does not fit.
    #[must_use]
    pub fn emit(&self) -> (Bhs, Vec<u8>) {
        let mut bhs = field::blank(Self::OPCODE);
        self.order.emit(&mut bhs);
        let attribute = match self.attribute {
            TaskAttribute::Simple => 1,
            TaskAttribute::Ordered => 2,
            TaskAttribute::HeadOfQueue => 3,
            TaskAttribute::Aca => 4,
        };
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        bhs[field::FLAGS] = attribute
            | flag(self.last, field::FINAL)
            | flag(self.read, bit::READ)
            | flag(self.write, bit::WRITE);
        field::put_lun(&mut bhs, self.lun);
        field::put_task(&mut bhs, Some(self.task));
        put32(&mut bhs, EXPECTED, self.expected);
        bhs[CDB].copy_from_slice(&self.cdb.0[..CDB_HEAD]);
        let rest = &self.cdb.0[CDB_HEAD..];
        if rest.iter().all(|byte| *byte == 0) {
            return (bhs, Vec::new());
        }
        let len = (rest.len() + 1) as u16; // the reserved byte before it counts
        let mut ahs = len.to_be_bytes().to_vec();
        ahs.extend([ahs::EXTENDED_CDB, 0]);
        ahs.extend(rest);
        (bhs, ahs)
    }
}

fn attribute(code: u8) -> Result<TaskAttribute, PduFault> {
    match code {
        0 | 1 => Ok(TaskAttribute::Simple), // 0 is "untagged"
        2 => Ok(TaskAttribute::Ordered),
        3 => Ok(TaskAttribute::HeadOfQueue),
        4 => Ok(TaskAttribute::Aca),
        _ => Err(PduFault::Field { at: field::FLAGS }),
    }
}

/// Walks the additional header segments; the rest of a long CDB goes where it belongs.
fn parse_ahs(mut ahs: &[u8], cdb: &mut Cdb) -> Result<(), PduFault> {
    while let [high, low, kind, rest @ ..] = ahs {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let body = rest.get(..len).ok_or(PduFault::Ahs)?;
        match (*kind & 0x3f, body) {
            (ahs::EXTENDED_CDB, [_, more @ ..]) if more.len() <= CDB_MAX - CDB_HEAD => {
                cdb.0[CDB_HEAD..CDB_HEAD + more.len()].copy_from_slice(more);
            }
            (ahs::EXTENDED_CDB, [_, _, ..]) => return Err(PduFault::Unsupported("a CDB of such a length")),
            (ahs::BIDIRECTIONAL, _) => return Err(PduFault::Unsupported("a bidirectional command")),
            _ => return Err(PduFault::Ahs),
        }
        ahs = ahs.get((3 + len).next_multiple_of(4)..).unwrap_or_default();
    }
    if ahs.is_empty() {
        Ok(())
    } else {
        Err(PduFault::Ahs)
    }
}
