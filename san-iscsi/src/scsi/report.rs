//! What a logical unit or the target reports of itself at once: capacity, LUNs, port groups, what is
//! supported.

use super::command::{Cdb, LunField};
use super::inquiry::PORT_GROUP;
use super::inventory::PortalId;
use super::limits::COMMAND_TIME;
use super::lu::Path;
use super::opcodes::{Entry, TABLE};
use super::sense::Sense;
use crate::lun::LogicalUnit;

/// READ CAPACITY(10).
pub(crate) fn capacity10<L: LogicalUnit>(path: &Path<L>) -> Vec<u8> {
    let last = path.blocks().unwrap_or(0).saturating_sub(1);
    let last = u32::try_from(last).unwrap_or(u32::MAX);
    [last.to_be_bytes(), path.lu.block_size.bytes().to_be_bytes()].concat()
}

/// READ CAPACITY(16).
pub(crate) fn capacity16<L: LogicalUnit>(path: &Path<L>) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    let last = path.blocks().unwrap_or(0).saturating_sub(1);
    bytes[..8].copy_from_slice(&last.to_be_bytes());
    bytes[8..12].copy_from_slice(&path.lu.block_size.bytes().to_be_bytes());
    bytes[13] = 12 - path.lu.block_size.shift() as u8; // logical blocks per physical block
    bytes[14] = 0xc0; // thin, and what is unmapped reads as zeros
    bytes
}

/// READ DEFECT DATA: the list that was asked for is empty.
pub(crate) fn defects(entry: &Entry, cdb: &Cdb) -> Vec<u8> {
    if entry.usage.len() == 10 {
        vec![0, cdb.0[2] & 0x1f, 0, 0]
    } else {
        vec![0, cdb.0[1] & 0x1f, 0, 0, 0, 0, 0, 0]
    }
}

/// REPORT LUNS.
pub(crate) fn luns(cdb: &Cdb, mut numbers: Vec<u16>) -> Result<Vec<u8>, Sense> {
    match cdb.0[2] {
        0x00 | 0x02 => {}
        0x01 => numbers.clear(), // well-known ones: there are none
        _ => return Err(Sense::cdb(2)),
    }
    if cdb.be32(6) < 16 {
        return Err(Sense::cdb(6));
    }
    numbers.sort_unstable();
    let mut bytes = vec![0; 8];
    bytes[..4].copy_from_slice(&(8 * numbers.len() as u32).to_be_bytes());
    bytes.extend(numbers.iter().flat_map(|number| LunField::from_number(*number).0));
    Ok(bytes)
}

/// REPORT TARGET PORT GROUPS: all portals are in one group, which is active and optimized.
pub(crate) fn port_groups(cdb: &Cdb, portals: &[PortalId]) -> Result<Vec<u8>, Sense> {
    let head: &[u8] = match cdb.0[1] >> 5 {
        0 => &[],
        1 => &[0x10, 0, 0, 0],
        _ => return Err(Sense::cdb(1)),
    };
    let mut body = head.to_vec();
    let [high, low] = PORT_GROUP.to_be_bytes();
    body.extend([0x00, 0x01, high, low, 0, 0, 0, portals.len() as u8]);
    for portal in portals {
        let [high, low] = portal.0.to_be_bytes();
        body.extend([0, 0, high, low]);
    }
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend(body);
    Ok(bytes)
}

/// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS: ABORT TASK, ABORT and CLEAR TASK SET, logical unit and target
/// reset.
pub(crate) fn task_management(cdb: &Cdb) -> Vec<u8> {
    let mut bytes = vec![0xda, 0, 0, 0];
    if cdb.has(2, 0x80) {
        bytes[3] = 12;
        bytes.resize(16, 0);
        let tenths = (COMMAND_TIME.as_millis() / 100) as u32;
        bytes[4] = 0x01; // the timeouts below are valid
        bytes[8..12].copy_from_slice(&tenths.to_be_bytes());
        bytes[12..16].copy_from_slice(&tenths.to_be_bytes());
    }
    bytes
}

/// REPORT SUPPORTED OPERATION CODES.
pub(crate) fn opcodes(cdb: &Cdb) -> Result<Vec<u8>, Sense> {
    let timeouts = cdb.has(2, 0x80);
    let (opcode, action) = (cdb.0[3], cdb.be16(4));
    let has_actions = TABLE.iter().any(|e| e.opcode() == opcode && e.action.is_some());
    let known = TABLE.iter().any(|e| e.opcode() == opcode);
    match cdb.0[2] & 0x07 {
        0 => return Ok(all_opcodes(timeouts)),
        1 if has_actions => return Err(Sense::cdb(2)),
        2 if known && !has_actions => return Err(Sense::cdb(2)),
        1..=3 => {}
        _ => return Err(Sense::cdb(2)),
    }
    let entry = TABLE.iter().find(|entry| {
        entry.opcode() == opcode && entry.action.is_none_or(|known| u16::from(known) == action)
    });
    let Some(entry) = entry else { return Ok(vec![0, 0x01, 0, 0]) };
    let mut bytes = vec![0, 0x03 | if timeouts { 0x80 } else { 0 }];
    bytes.extend((entry.usage.len() as u16).to_be_bytes());
    bytes.extend(entry.usage);
    if timeouts {
        bytes.extend(timeouts_descriptor());
    }
    Ok(bytes)
}

fn all_opcodes(timeouts: bool) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for entry in TABLE {
        let flags = u8::from(entry.action.is_some()) | if timeouts { 0x02 } else { 0 };
        let action = entry.action.unwrap_or(0);
        let [high, low] = (entry.usage.len() as u16).to_be_bytes();
        bytes.extend([entry.opcode(), 0, 0, action, 0, flags, high, low]);
        if timeouts {
            bytes.extend(timeouts_descriptor());
        }
    }
    let len = bytes.len() as u32 - 4;
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    bytes
}

/// The command timeouts descriptor: no command takes longer, whatever storage does.
fn timeouts_descriptor() -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[1] = 10;
    let seconds = (COMMAND_TIME.as_secs() as u32).to_be_bytes();
    bytes[8..12].copy_from_slice(&seconds);
    bytes
}

/// LOG SENSE: the list of pages, and how much space is used and free (SBC-3 6.4.4), in threshold sets of 1
/// MiB.
pub(crate) fn log<L: LogicalUnit>(path: &Path<L>, cdb: &Cdb) -> Result<Vec<u8>, Sense> {
    const PROVISIONING: u8 = 0x0c;
    let pointer = cdb.be16(5);
    let body = match (cdb.0[2] & 0x3f, cdb.0[3]) {
        (0x00, 0x00) => vec![0x00, PROVISIONING],
        (0x00, 0xff) => vec![0x00, 0x00, 0x00, 0xff, PROVISIONING, 0x00],
        (PROVISIONING, 0x00) => {
            let space = path.storage.as_ref().map(|(unit, _)| unit.space()).unwrap_or_default();
            let sets = |bytes: u64| u32::try_from(bytes >> 20).unwrap_or(u32::MAX).to_be_bytes();
            let mut body = Vec::new();
            for (code, count) in [(1, sets(space.available)), (2, sets(space.used))] {
                if code >= pointer {
                    // Format: binary list; the counts are of this unit's pool, which others share.
                    body.extend([0, code as u8, 0x03, 8]);
                    body.extend(count);
                    body.extend([if code == 1 { 0x02 } else { 0x01 }, 0, 0, 0]);
                }
            }
            body
        }
        (0x00 | PROVISIONING, _) => return Err(Sense::cdb(3)),
        _ => return Err(Sense::cdb(2)),
    };
    if body.is_empty() || pointer > 0 && cdb.0[2] & 0x3f == 0 {
        return Err(Sense::cdb(5));
    }
    let subpage = cdb.0[3];
    let mut bytes = vec![cdb.0[2] & 0x3f | if subpage == 0 { 0 } else { 0x40 }, subpage];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    Ok(bytes)
}
