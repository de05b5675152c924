//! Mode pages: how a logical unit behaves (SPC-4 6.9 to 6.12, 7.5; SBC-3 6.5).
//!
//! The pages are built anew each time from what is so. Nothing can be changed but software write protection;
//! whether there is a write cache is the administrator's to say, and nothing is saved.

use super::command::Cdb;
use super::lu::{Path, MODE_CHANGED};
use super::opcodes::Entry;
use super::sense::{Key, Sense};
use crate::lun::LogicalUnit;

const CACHING: u8 = 0x08;
const CONTROL: u8 = 0x0a;
const INFORMATIONAL: u8 = 0x1c;
const ALL: u8 = 0x3f;
const PAGES: [u8; 3] = [CACHING, CONTROL, INFORMATIONAL];
/// SWP, in byte 4 of the control page.
const SWP: u8 = 0x08;

/// Which values of a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Current,
    Changeable,
    Default,
}

fn page<L: LogicalUnit>(path: &Path<L>, code: u8, values: Values) -> Vec<u8> {
    let len = if code == CACHING { 18 } else { 10 };
    let mut page = vec![0; 2 + usize::from(len)];
    page[..2].copy_from_slice(&[code, len]);
    match (code, values) {
        (CONTROL, Values::Changeable) => page[4] = SWP,
        (_, Values::Changeable) => {}
        (CACHING, _) => page[2] = if path.mapping.write_cache { 0x04 } else { 0 },
        (CONTROL, _) => {
            // A task set for each nexus, log parameters not saved; any order; aborted tasks are answered.
            page[2..6].copy_from_slice(&[0x22, 0x10, 0x00, 0x40]);
            page[8..10].fill(0xff);
            if values == Values::Current && path.lu.is_write_protected() {
                page[4] = SWP;
            }
        }
        _ => {}
    }
    page
}

/// MODE SENSE.
pub(crate) fn sense<L: LogicalUnit>(path: &Path<L>, entry: &Entry, cdb: &Cdb) -> Result<Vec<u8>, Sense> {
    let long = entry.usage.len() == 10;
    let values = match cdb.0[2] >> 6 {
        0 => Values::Current,
        1 => Values::Changeable,
        2 => Values::Default,
        _ => return Err(Sense::new(Key::IllegalRequest, 0x39, 0x00)),
    };
    let (code, subpage) = (cdb.0[2] & 0x3f, cdb.0[3]);
    if subpage != 0 && subpage != 0xff {
        return Err(Sense::cdb(3));
    }
    let pages: Vec<u8> = match code {
        ALL => PAGES.iter().flat_map(|code| page(path, *code, values)).collect(),
        code if PAGES.contains(&code) => page(path, code, values),
        _ => return Err(Sense::cdb(2)),
    };
    let descriptor = match (cdb.has(1, 0x08), long && cdb.has(1, 0x10)) {
        (true, _) => Vec::new(),
        (false, wide) => block_descriptor(path, wide),
    };
    // Read-only, and DPO and FUA are known.
    let device = if path.is_read_only() { 0x90 } else { 0x10 };
    let rest = descriptor.len() + pages.len();
    let mut bytes = if long {
        let [high, low] = ((6 + rest) as u16).to_be_bytes();
        let wide = u8::from(descriptor.len() == 16);
        vec![high, low, 0, device, wide, 0, 0, descriptor.len() as u8]
    } else {
        vec![(3 + rest) as u8, 0, device, descriptor.len() as u8]
    };
    bytes.extend(descriptor);
    bytes.extend(pages);
    Ok(bytes)
}

fn block_descriptor<L: LogicalUnit>(path: &Path<L>, wide: bool) -> Vec<u8> {
    let blocks = path.blocks().unwrap_or(0);
    let size = path.lu.block_size.bytes().to_be_bytes();
    if wide {
        return [&blocks.to_be_bytes()[..], &[0; 4], &size].concat();
    }
    let blocks = u32::try_from(blocks).unwrap_or(u32::MAX).to_be_bytes();
    [blocks, size].concat()
}

/// MODE SELECT, its list checked wholly before anything changes.
pub(crate) fn select<L: LogicalUnit>(path: &Path<L>, long: bool, list: &[u8]) -> Result<(), Sense> {
    if list.is_empty() {
        return Ok(());
    }
    let head = if long { 8 } else { 4 };
    if list.len() < head {
        return Err(Sense::PARAMETER_LIST_LENGTH);
    }
    let (descriptor, wide) = if long {
        (usize::from(u16::from_be_bytes([list[6], list[7]])), list[4] & 1 == 1)
    } else {
        (usize::from(list[3]), false)
    };
    let mut at = head + descriptor;
    let given = list.get(head..at).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    check_descriptor(path, given, wide, head as u16)?;
    let mut protect = None;
    while at < list.len() {
        let rest = &list[at..];
        let code = rest[0] & 0x3f;
        if rest[0] & 0x40 != 0 || !PAGES.contains(&code) {
            return Err(Sense::parameter(at as u16));
        }
        let current = page(path, code, Values::Current);
        if rest.get(1) != Some(&current[1]) {
            return Err(Sense::parameter(at as u16 + 1));
        }
        let new = rest.get(..current.len()).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
        let changeable = page(path, code, Values::Changeable);
        for byte in 2..current.len() {
            if (new[byte] ^ current[byte]) & !changeable[byte] != 0 {
                return Err(Sense::parameter((at + byte) as u16));
            }
        }
        if code == CONTROL {
            protect = Some(new[4] & SWP != 0);
        }
        at += current.len();
    }
    if let Some(protect) = protect.filter(|protect| *protect != path.lu.is_write_protected()) {
        path.lu.set_write_protected(protect);
        path.lu.raise(MODE_CHANGED, Some(&path.ports));
    }
    Ok(())
}

/// A block descriptor may say what is so, or leave the number of blocks open.
fn check_descriptor<L: LogicalUnit>(path: &Path<L>, given: &[u8], wide: bool, at: u16) -> Result<(), Sense> {
    if given.is_empty() {
        return Ok(());
    }
    let current = block_descriptor(path, wide);
    let count = if wide { 8 } else { 4 };
    let open = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0) || bytes.iter().all(|byte| *byte == 0xff);
    let same = given.len() == current.len()
        && (given[..count] == current[..count] || open(&given[..count]))
        && given[count..] == current[count..];
    if same {
        Ok(())
    } else {
        Err(Sense::parameter(at))
    }
}
