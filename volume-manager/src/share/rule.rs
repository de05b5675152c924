//! The rule by which a share's entries are merged: what a write makes of its file's inode, and the totals.
//!
//! Many writes to one file are on their way at once; each must extend the file, date it and count its blocks
//! upon what the one ordered before it has left. An operand is one byte that says which, then its fields.

use super::format::{decode_totals, encode_totals, Damaged, Fields};
use super::inode::Inode;
use super::types::Kind;
use crate::pool::KIND_SHARE;
use snapshots::machine::merge::{EntryRule, Merging, Veto};

/// Why a merge was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Reason {
    /// The object is gone.
    Stale = 1,
    /// Its entry, or the operand, is damaged.
    Damaged = 2,
}

/// The rule of shares.
pub const RULE: EntryRule = EntryRule { kind: KIND_SHARE, merge };

/// What is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// A write that ends at a byte of its file.
    Write { now: u64, end: u64, clear_ids: bool },
    /// So many more inodes.
    Inodes(i64),
}

impl Operand {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Operand::Write { now, end, clear_ids } => {
                [&[1, u8::from(*clear_ids)], &now.to_le_bytes()[..], &end.to_le_bytes()].concat()
            }
            Operand::Inodes(more) => [&[2], &more.to_le_bytes()[..]].concat(),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Operand, Damaged> {
        let mut fields = Fields(bytes);
        match fields.array()? {
            [1] => {
                let [clear_ids] = fields.array()?;
                Ok(Operand::Write { now: fields.u64()?, end: fields.u64()?, clear_ids: clear_ids == 1 })
            }
            [2] => Ok(Operand::Inodes(fields.u64()? as i64)),
            _ => Err(Damaged("an operand is of no known sort")),
        }
    }
}

fn merge(merging: Merging<'_>) -> Result<Option<Vec<u8>>, Veto> {
    outcome(merging).map(Some).map_err(|reason| Veto(reason as u32))
}

fn outcome(merging: Merging<'_>) -> Result<Vec<u8>, Reason> {
    match Operand::decode(merging.operand).map_err(|_| Reason::Damaged)? {
        Operand::Inodes(more) => {
            let inodes = merging.old.map_or(Ok(0), decode_totals).map_err(|_| Reason::Damaged)?;
            Ok(encode_totals(inodes.saturating_add_signed(more)))
        }
        Operand::Write { now, end, clear_ids } => {
            let mut inode = Inode::decode(merging.old.ok_or(Reason::Stale)?).map_err(|_| Reason::Damaged)?;
            if inode.kind != Kind::Regular {
                return Err(Reason::Stale);
            }
            inode.size = inode.size.max(end);
            inode.mode &= if clear_ids { 0o1777 } else { 0o7777 };
            inode.touch_content(now);
            inode.blocks = inode.blocks.saturating_add_signed(merging.mapped);
            Ok(inode.encode())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(old: Option<&Inode>, operand: &Operand, mapped: i64) -> Result<Inode, Veto> {
        let (old, operand) = (old.map(Inode::encode), operand.encode());
        let merging = Merging { name: b"i", old: old.as_deref(), operand: &operand, mapped };
        merge(merging).map(|new| Inode::decode(&new.unwrap()).unwrap())
    }

    #[test]
    fn writes_extend_date_and_count_upon_one_another() {
        let mut file = Inode::new(Kind::Regular, 1, 100);
        file.mode = 0o6755;
        let write = |now, end, clear_ids| Operand::Write { now, end, clear_ids };
        let first = apply(Some(&file), &write(90, 5000, false), 2).unwrap();
        assert_eq!((first.size, first.blocks, first.ctime, first.mode), (5000, 2, 101, 0o6755));
        let second = apply(Some(&first), &write(200, 10, true), 0).unwrap();
        assert_eq!((second.size, second.blocks, second.ctime, second.mode), (5000, 2, 200, 0o755));
        assert_eq!(apply(None, &write(1, 1, false), 0), Err(Veto(1)));
        let directory = Inode::new(Kind::Directory, 1, 1);
        assert_eq!(apply(Some(&directory), &write(1, 1, false), 0), Err(Veto(1)));
    }
}
