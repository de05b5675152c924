//! INQUIRY: what a logical unit is (SPC-4 6.6, 7.8; SBC-3 6.6).

use super::command::Cdb;
use super::inventory::{Identity, PortalId};
use super::limits::{
    COMPARE_MAX, PHYSICAL_BLOCK, TRANSFER_MAX, TRANSFER_OPTIMAL, UNMAP_DESCRIPTORS, UNMAP_MAX, WRITE_SAME_MAX,
};
use super::lu::Path;
use super::sense::Sense;
use crate::lun::LogicalUnit;

/// The one target port group (protocol rule 7).
pub(crate) const PORT_GROUP: u16 = 1;

/// What VPD 83 says of the way by which it was asked.
pub(crate) struct Way<'a> {
    pub(crate) target: &'a str,
    pub(crate) portal: PortalId,
}

/// Peripheral qualifier 3 and type 1Fh: nothing here, and never will be.
const ABSENT: u8 = 0x7f;
const VERSIONS: [u16; 4] = [0x00a0, 0x0960, 0x0460, 0x04c0]; // SAM-5, iSCSI, SPC-4, SBC-3

/// What a LUN that does not exist, or not for this host, says of itself.
pub(crate) fn absent(cdb: &Cdb) -> Result<Vec<u8>, Sense> {
    match (cdb.has(1, 0x01), cdb.0[2]) {
        (false, 0) => {
            let mut bytes = vec![0; 36];
            bytes[..5].copy_from_slice(&[ABSENT, 0, 0x06, 0x12, 31]);
            bytes[8..36].fill(b' ');
            Ok(bytes)
        }
        (true, 0) => Ok(vec![ABSENT, 0x00, 0, 1, 0x00]),
        _ => Err(Sense::cdb(2)),
    }
}

/// Standard data or a vital product data page.
pub(crate) fn inquiry<L: LogicalUnit>(path: &Path<L>, way: &Way<'_>, cdb: &Cdb) -> Result<Vec<u8>, Sense> {
    let identity = &path.lu.identity;
    let page = cdb.0[2];
    if !cdb.has(1, 0x01) {
        return if page == 0 { Ok(standard(identity)) } else { Err(Sense::cdb(2)) };
    }
    let body = match page {
        0x00 => vec![0x00, 0x80, 0x83, 0x86, 0xb0, 0xb1, 0xb2],
        0x80 => identity.serial.as_bytes()[..identity.serial.len().min(32)].to_vec(),
        0x83 => designators(identity, way),
        0x86 => extended(path.mapping.write_cache),
        0xb0 => block_limits(path.lu.block_size.shift()),
        0xb1 => {
            let mut bytes = vec![0; 60];
            bytes[1] = 1; // does not rotate
            bytes
        }
        // Threshold sets of 1 MiB; UNMAP and both WRITE SAME; zeros are read back; thin.
        0xb2 => vec![20 - path.lu.block_size.shift() as u8, 0xe4, 0x02, 0],
        _ => return Err(Sense::cdb(2)),
    };
    let mut bytes = vec![0x00, page];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    Ok(bytes)
}

/// Copies ASCII into a field, filled up with blanks.
fn text(field: &mut [u8], text: &str) {
    field.fill(b' ');
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
}

fn standard(identity: &Identity) -> Vec<u8> {
    let mut bytes = vec![0; 96];
    // SPC-4; HISUP, format 2; implicit ALUA and third-party copy; several ports; command queueing.
    bytes[..8].copy_from_slice(&[0x00, 0x00, 0x06, 0x12, 91, 0x18, 0x10, 0x02]);
    text(&mut bytes[8..16], &identity.vendor);
    text(&mut bytes[16..32], &identity.product);
    text(&mut bytes[32..36], &identity.revision);
    for (field, version) in bytes[58..74].chunks_exact_mut(2).zip(VERSIONS) {
        field.copy_from_slice(&version.to_be_bytes());
    }
    bytes
}

/// Extended INQUIRY data: SIMPLE, ORDERED and HEAD OF QUEUE; a volatile cache; REPORT LUNS clears 3F/0E.
fn extended(write_cache: bool) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    bytes[1] = 0x07;
    bytes[2] = u8::from(write_cache);
    bytes[3] = 0x01;
    bytes
}

/// A designator of VPD 83: code set and protocol, kind of association and type, the name itself.
fn designator(out: &mut Vec<u8>, code_set: u8, kind: u8, name: &[u8]) {
    out.extend([code_set, kind, 0, name.len() as u8]);
    out.extend(name);
}

/// A SCSI name string: UTF-8, closed by a zero and filled up to a multiple of four.
fn name_string(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn designators(identity: &Identity, way: &Way<'_>) -> Vec<u8> {
    const BINARY: u8 = 0x01;
    const ASCII: u8 = 0x02;
    const UTF8: u8 = 0x53; // with the protocol identifier of iSCSI
    const PORT: u8 = 0x90; // the protocol identifier counts; of the target port
    const DEVICE: u8 = 0xa0; // the same; of the target device
    let mut out = Vec::new();
    designator(&mut out, BINARY, 0x03, &identity.naa.0);
    let mut vendor = [0; 24];
    text(&mut vendor[..8], &identity.vendor);
    text(&mut vendor[8..], &identity.product);
    let serial = &identity.serial.as_bytes()[..identity.serial.len().min(32)];
    designator(&mut out, ASCII, 0x01, &[&vendor, serial].concat());
    let [high, low] = way.portal.0.to_be_bytes();
    designator(&mut out, 0x50 | BINARY, PORT | 0x04, &[0, 0, high, low]);
    let [high, low] = PORT_GROUP.to_be_bytes();
    designator(&mut out, 0x50 | BINARY, PORT | 0x05, &[0, 0, high, low]);
    let port = format!("{},t,0x{:04x}", way.target, way.portal.0);
    designator(&mut out, UTF8, PORT | 0x08, &name_string(&port));
    designator(&mut out, UTF8, DEVICE | 0x08, &name_string(way.target));
    out
}

fn block_limits(shift: u32) -> Vec<u8> {
    let blocks = |bytes: u64| ((bytes >> shift) as u32).to_be_bytes();
    let mut page = vec![0; 60];
    page[1] = (COMPARE_MAX >> shift).min(255) as u8;
    page[2..4].copy_from_slice(&blocks(PHYSICAL_BLOCK)[2..]);
    page[4..8].copy_from_slice(&blocks(TRANSFER_MAX));
    page[8..12].copy_from_slice(&blocks(TRANSFER_OPTIMAL));
    page[16..20].copy_from_slice(&blocks(UNMAP_MAX));
    page[20..24].copy_from_slice(&(UNMAP_DESCRIPTORS as u32).to_be_bytes());
    page[24..28].copy_from_slice(&blocks(PHYSICAL_BLOCK));
    page[28] = 0x80; // the alignment is valid, and 0
    page[32..40].copy_from_slice(&(WRITE_SAME_MAX >> shift).to_be_bytes());
    page[40..44].copy_from_slice(&blocks(TRANSFER_MAX)); // every write is atomic
    page
}
