//! From a CDB to what must be done: all checks that need no data are made here, before any is asked for.
//!
//! What comes out is in bytes and within the unit; nothing after it reads a CDB.

use super::command::{Cdb, Response};
use super::limits::{COMPARE_MAX, PARAMETERS_MAX, TRANSFER_MAX, UNMAP_DESCRIPTORS, WRITE_SAME_MAX};
use super::lu::Path;
use super::opcodes::{Entry, Kind};
use super::sense::Sense;
use crate::lun::{Durability, LogicalUnit};

/// Bytes of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// What a write's or VERIFY's data is compared with the medium by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    /// Nothing is compared: the medium is read.
    Nothing,
    /// All of it.
    All,
    /// One block, with each block of the range.
    Block,
}

/// A command that needs storage or data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Read(Range),
    Write {
        range: Range,
        durability: Durability,
    },
    WriteVerify {
        range: Range,
        compare: Compare,
    },
    Verify {
        range: Range,
        compare: Compare,
    },
    CompareAndWrite(Range),
    /// Through compare and write, which is always durable.
    OrWrite(Range),
    WriteSame {
        range: Range,
        zeroes: bool,
        durability: Durability,
    },
    Unmap {
        durability: Durability,
    },
    LbaStatus {
        range: Range,
        allocation: usize,
    },
    Flush,
    ModeSelect {
        long: bool,
    },
    ReserveOut {
        service: u8,
        scope_type: u8,
    },
    ExtendedCopy,
}

/// A plan: the work, the Data-Out it takes, and what it moves by its CDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) work: Work,
    pub(crate) data_out: u32,
    pub(crate) transfer: u64,
}

/// The range that a CDB names, in blocks. Its length says where the fields are.
pub(crate) fn blocks(entry: &Entry, cdb: &Cdb) -> (u64, u64) {
    let be32 = |at| u64::from(cdb.be32(at));
    match (entry.usage.len(), entry.kind) {
        (6, _) => {
            let count = if cdb.0[4] == 0 { 256 } else { u64::from(cdb.0[4]) };
            (be32(0) & 0x1f_ffff, count)
        }
        (10, _) => (be32(2), u64::from(cdb.be16(7))),
        (12, _) => (be32(2), be32(6)),
        (_, Kind::CompareAndWrite) => (cdb.be64(2), u64::from(cdb.0[13])),
        (_, Kind::WriteAtomic) => (cdb.be64(2), u64::from(cdb.be16(12))),
        _ => (cdb.be64(2), be32(10)),
    }
}

/// Plans a command for which `offered` bytes of Data-Out are ready.
pub(crate) fn plan<L: LogicalUnit>(
    path: &Path<L>,
    entry: &Entry,
    cdb: &Cdb,
    offered: u32,
) -> Result<Plan, Response> {
    let offered = u64::from(offered);
    match entry.kind {
        Kind::ModeSelect => {
            let long = entry.usage.len() == 10;
            let len = if long { u32::from(cdb.be16(7)) } else { u32::from(cdb.0[4]) };
            parameters(Work::ModeSelect { long }, len, offered)
        }
        Kind::ReserveOut => {
            let work = Work::ReserveOut { service: cdb.0[1] & 0x1f, scope_type: cdb.0[2] };
            parameters(work, cdb.be32(5), offered)
        }
        Kind::ExtendedCopy => parameters(Work::ExtendedCopy, cdb.be32(10), offered),
        Kind::Unmap => {
            let work = Work::Unmap { durability: durability(path, false) };
            let len = u32::from(cdb.be16(7));
            if usize::from(cdb.be16(7)) > 8 + 16 * UNMAP_DESCRIPTORS {
                return Err(Response::check(Sense::cdb(7)));
            }
            parameters(work, len, offered)
        }
        Kind::SynchronizeCache => {
            range(path, entry, cdb, u64::MAX)?;
            Ok(Plan { work: Work::Flush, data_out: 0, transfer: 0 })
        }
        Kind::LbaStatus => {
            let range = rest(path, cdb.be64(2))?;
            let work = Work::LbaStatus { range, allocation: cdb.be32(10) as usize };
            Ok(Plan { work, data_out: 0, transfer: 0 })
        }
        Kind::WriteSame => write_same(path, entry, cdb, offered),
        Kind::Verify => verify(path, entry, cdb, offered),
        _ => transfer(path, entry, cdb, offered),
    }
}

/// A command whose Data-Out is a parameter list.
fn parameters(work: Work, len: u32, offered: u64) -> Result<Plan, Response> {
    if len > PARAMETERS_MAX {
        return Err(Response::check(Sense::PARAMETER_LIST_LENGTH));
    }
    enough(Plan { work, data_out: len, transfer: u64::from(len) }, offered)
}

/// Refuses a plan for which the initiator has too little data.
fn enough(plan: Plan, offered: u64) -> Result<Plan, Response> {
    if offered < u64::from(plan.data_out) {
        return Err(Response { transfer: plan.transfer, ..Response::check(Sense::DATA_OUT_LENGTH) });
    }
    Ok(plan)
}

/// Refuses a plan for which the initiator has not exactly the data: the CDB's count at `at` is wrong.
fn exact(plan: Plan, offered: u64, at: u16) -> Result<Plan, Response> {
    if offered != u64::from(plan.data_out) {
        return Err(Response { transfer: plan.transfer, ..Response::check(Sense::cdb(at)) });
    }
    Ok(plan)
}

/// The range of a CDB, if it is within the unit and not longer than `max` bytes.
fn range<L: LogicalUnit>(path: &Path<L>, entry: &Entry, cdb: &Cdb, max: u64) -> Result<Range, Response> {
    in_range(path, entry, cdb).map_err(Response::check)?;
    let (lba, count) = blocks(entry, cdb);
    let shift = path.lu.block_size.shift();
    let range = Range { offset: lba << shift, len: count << shift };
    if range.len > max {
        let at = match (entry.usage.len(), entry.kind) {
            (6, _) => 4,
            (10, _) => 7,
            (12, _) => 6,
            (_, Kind::CompareAndWrite) => 13,
            (_, Kind::WriteAtomic) => 12,
            _ => 10,
        };
        return Err(Response::check(Sense::cdb(at)));
    }
    Ok(range)
}

/// Checks the range of a CDB that moves nothing.
pub(crate) fn in_range<L: LogicalUnit>(path: &Path<L>, entry: &Entry, cdb: &Cdb) -> Result<(), Sense> {
    let (lba, count) = blocks(entry, cdb);
    let end = path.blocks().unwrap_or(0);
    if lba > end || count > end - lba {
        return Err(Sense::LBA_OUT_OF_RANGE);
    }
    Ok(())
}

/// From an LBA to the end.
fn rest<L: LogicalUnit>(path: &Path<L>, lba: u64) -> Result<Range, Response> {
    let end = path.blocks().unwrap_or(0);
    if lba >= end {
        return Err(Response::check(Sense::LBA_OUT_OF_RANGE));
    }
    let shift = path.lu.block_size.shift();
    Ok(Range { offset: lba << shift, len: (end - lba) << shift })
}

fn durability<L: LogicalUnit>(path: &Path<L>, fua: bool) -> Durability {
    if fua || !path.mapping.write_cache {
        Durability::Durable
    } else {
        Durability::Committed
    }
}

/// READ, WRITE and what moves a range as they do.
fn transfer<L: LogicalUnit>(
    path: &Path<L>,
    entry: &Entry,
    cdb: &Cdb,
    offered: u64,
) -> Result<Plan, Response> {
    let max = if entry.kind == Kind::CompareAndWrite { COMPARE_MAX } else { TRANSFER_MAX };
    let range = range(path, entry, cdb, max)?;
    let fua = entry.usage.len() > 6 && cdb.has(1, 0x08);
    let durability = durability(path, fua);
    let plan = |work, len: u64| Plan { work, data_out: len as u32, transfer: len };
    match entry.kind {
        Kind::Read => Ok(Plan { data_out: 0, ..plan(Work::Read(range), range.len) }),
        Kind::CompareAndWrite => exact(plan(Work::CompareAndWrite(range), 2 * range.len), offered, 13),
        Kind::OrWrite => enough(plan(Work::OrWrite(range), range.len), offered),
        Kind::WriteVerify => {
            let len = cut(path, range.len, offered)?;
            let compare = compare(cdb)?;
            if compare == Compare::Block {
                return Err(Response::check(Sense::cdb(1)));
            }
            let work = Work::WriteVerify { range: Range { len, ..range }, compare };
            Ok(Plan { data_out: len as u32, ..plan(work, range.len) })
        }
        _ => {
            let len = cut(path, range.len, offered)?;
            let work = Work::Write { range: Range { len, ..range }, durability };
            Ok(Plan { data_out: len as u32, ..plan(work, range.len) })
        }
    }
}

/// The bytes of a write for which the initiator announced data: whole blocks only. The residual tells it.
fn cut<L: LogicalUnit>(path: &Path<L>, len: u64, offered: u64) -> Result<u64, Response> {
    if offered >= len || offered.is_multiple_of(u64::from(path.lu.block_size.bytes())) {
        return Ok(len.min(offered));
    }
    Err(Response { transfer: len, ..Response::check(Sense::DATA_OUT_LENGTH) })
}

/// BYTCHK.
fn compare(cdb: &Cdb) -> Result<Compare, Response> {
    match cdb.0[1] >> 1 & 0x03 {
        0 => Ok(Compare::Nothing),
        1 => Ok(Compare::All),
        3 => Ok(Compare::Block),
        _ => Err(Response::check(Sense::cdb(1))),
    }
}

fn verify<L: LogicalUnit>(path: &Path<L>, entry: &Entry, cdb: &Cdb, offered: u64) -> Result<Plan, Response> {
    let range = range(path, entry, cdb, TRANSFER_MAX)?;
    let compare = compare(cdb)?;
    let len = match compare {
        Compare::Nothing => 0,
        Compare::All => range.len,
        Compare::Block => range.len.min(u64::from(path.lu.block_size.bytes())),
    };
    enough(Plan { work: Work::Verify { range, compare }, data_out: len as u32, transfer: len }, offered)
}

/// WRITE SAME: no blocks means all up to the end (WSNZ is 0).
fn write_same<L: LogicalUnit>(
    path: &Path<L>,
    entry: &Entry,
    cdb: &Cdb,
    offered: u64,
) -> Result<Plan, Response> {
    let (lba, count) = blocks(entry, cdb);
    let range = if count == 0 { rest(path, lba)? } else { range(path, entry, cdb, WRITE_SAME_MAX)? };
    let at = if entry.usage.len() == 10 { 7 } else { 10 };
    if range.len > WRITE_SAME_MAX {
        return Err(Response::check(Sense::cdb(at)));
    }
    let no_data = entry.usage.len() == 16 && cdb.has(1, 0x01);
    // UNMAP unmaps whatever the data are, as Linux' target and its scsi_debug do: hosts send zeros with it.
    let zeroes = no_data || cdb.has(1, 0x08);
    let work = Work::WriteSame { range, zeroes, durability: durability(path, false) };
    let len = if no_data { 0 } else { path.lu.block_size.bytes() };
    exact(Plan { work, data_out: len, transfer: u64::from(len) }, offered, at)
}
