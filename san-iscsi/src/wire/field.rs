//! Fields that many headers share, and how numbers are taken out of a header and put into it.

use super::{Bhs, Cid, Isid, Sn, TaskTag, TransferTag, Tsih, NO_TAG};
use crate::scsi::command::LunField;
use std::ops::Range;

/// Opcode, and in bit 6 of a request whether it is immediate.
pub(super) const OPCODE: usize = 0;
/// Flags; what they mean depends on the opcode.
pub(super) const FLAGS: usize = 1;
pub(super) const LUN: Range<usize> = 8..16;
pub(super) const ISID: Range<usize> = 8..14;
pub(super) const TSIH: Range<usize> = 14..16;
pub(super) const TASK: Range<usize> = 16..20;
pub(super) const TRANSFER: Range<usize> = 20..24;
pub(super) const CID: Range<usize> = 20..22;
pub(super) const CMD_SN: Range<usize> = 24..28;
pub(super) const EXP_STAT_SN: Range<usize> = 28..32;
pub(super) const STAT_SN: Range<usize> = 24..28;
pub(super) const EXP_CMD_SN: Range<usize> = 28..32;
pub(super) const MAX_CMD_SN: Range<usize> = 32..36;

/// Final (F), or in login Transit (T).
pub(super) const FINAL: u8 = 0x80;
/// Continue (C) of text.
pub(super) const CONTINUE: u8 = 0x40;
/// Immediate (I), beside the opcode.
pub(super) const IMMEDIATE: u8 = 0x40;
/// The bits of an opcode.
pub(super) const OPCODE_BITS: u8 = 0x3f;

/// Where a request stands among the others of its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Delivered at once: it takes no CmdSN.
    pub immediate: bool,
    /// Its own number, or the next one to be used if it is immediate.
    pub cmd_sn: Sn,
    /// The first status that the initiator has not got.
    pub exp_stat_sn: Sn,
}

impl Order {
    pub(super) fn parse(bhs: &Bhs) -> Order {
        Order {
            immediate: bhs[OPCODE] & IMMEDIATE != 0,
            cmd_sn: Sn(get32(bhs, CMD_SN)),
            exp_stat_sn: Sn(get32(bhs, EXP_STAT_SN)),
        }
    }

    pub(super) fn emit(&self, bhs: &mut Bhs) {
        bhs[OPCODE] |= if self.immediate { IMMEDIATE } else { 0 };
        put32(bhs, CMD_SN, self.cmd_sn.0);
        put32(bhs, EXP_STAT_SN, self.exp_stat_sn.0);
    }
}

/// The numbers that every PDU of a target carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Number of this status, or of the next one where the PDU carries none.
    pub stat_sn: Sn,
    /// The next command that is expected.
    pub exp_cmd_sn: Sn,
    /// The last command that would be accepted.
    pub max_cmd_sn: Sn,
}

impl Window {
    pub(super) fn parse(bhs: &Bhs) -> Window {
        Window {
            stat_sn: Sn(get32(bhs, STAT_SN)),
            exp_cmd_sn: Sn(get32(bhs, EXP_CMD_SN)),
            max_cmd_sn: Sn(get32(bhs, MAX_CMD_SN)),
        }
    }

    pub(super) fn emit(&self, bhs: &mut Bhs) {
        put32(bhs, STAT_SN, self.stat_sn.0);
        put32(bhs, EXP_CMD_SN, self.exp_cmd_sn.0);
        put32(bhs, MAX_CMD_SN, self.max_cmd_sn.0);
    }
}

pub(super) fn get16(bhs: &Bhs, at: Range<usize>) -> u16 {
    u16::from_be_bytes([bhs[at.start], bhs[at.start + 1]])
}

pub(super) fn put16(bhs: &mut Bhs, at: Range<usize>, value: u16) {
    bhs[at].copy_from_slice(&value.to_be_bytes());
}

pub(super) fn get32(bhs: &Bhs, at: Range<usize>) -> u32 {
    let at = at.start;
    u32::from_be_bytes([bhs[at], bhs[at + 1], bhs[at + 2], bhs[at + 3]])
}

pub(super) fn put32(bhs: &mut Bhs, at: Range<usize>, value: u32) {
    bhs[at].copy_from_slice(&value.to_be_bytes());
}

pub(super) fn lun(bhs: &Bhs) -> LunField {
    LunField(std::array::from_fn(|i| bhs[LUN.start + i]))
}

pub(super) fn put_lun(bhs: &mut Bhs, lun: LunField) {
    bhs[LUN].copy_from_slice(&lun.0);
}

/// A task's tag where there must be one.
pub(super) fn task(bhs: &Bhs) -> TaskTag {
    TaskTag(get32(bhs, TASK))
}

/// A task's tag where there may be none.
pub(super) fn some_task(bhs: &Bhs) -> Option<TaskTag> {
    Some(get32(bhs, TASK)).filter(|tag| *tag != NO_TAG).map(TaskTag)
}

pub(super) fn put_task(bhs: &mut Bhs, tag: Option<TaskTag>) {
    put32(bhs, TASK, tag.map_or(NO_TAG, |tag| tag.0));
}

pub(super) fn transfer(bhs: &Bhs) -> Option<TransferTag> {
    Some(get32(bhs, TRANSFER)).filter(|tag| *tag != NO_TAG).map(TransferTag)
}

pub(super) fn put_transfer(bhs: &mut Bhs, tag: Option<TransferTag>) {
    put32(bhs, TRANSFER, tag.map_or(NO_TAG, |tag| tag.0));
}

pub(super) fn isid(bhs: &Bhs) -> Isid {
    Isid(std::array::from_fn(|i| bhs[ISID.start + i]))
}

pub(super) fn tsih(bhs: &Bhs) -> Tsih {
    Tsih(get16(bhs, TSIH))
}

pub(super) fn cid(bhs: &Bhs) -> Cid {
    Cid(get16(bhs, CID))
}

/// A header that holds nothing but its opcode and the final bit.
pub(super) fn blank(opcode: u8) -> Bhs {
    let mut bhs = [0; super::BHS_LEN];
    bhs[OPCODE] = opcode;
    bhs[FLAGS] = FINAL;
    bhs
}
