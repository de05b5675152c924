//! Mutations: what a commit does to the key space, as a record's body carries it.
//!
//! A body is a list of them. Version 1: one byte says which, then its fields as [`crate::catalogue`]'s
//! records are written. Each is an outcome, not a wish: applying it needs no lookup and decides nothing.

use crate::catalogue::{Branch, Counters, Dataset, DatasetId, Record, Snapshot, SnapshotId};
use crate::decode::{Damaged, Reader};
use crate::generation::PageKey;
use crate::held::Delta;
use crate::ids::{BranchId, Epoch, ObjectId};
use crate::map::{codec, Partial};
use crate::touched::Touched;
use bytes::BufMut as _;

/// The interval that touched pages are moved to, and the pages.
pub(crate) type MovedTo = (Epoch, Touched);

/// One change of the key space.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mutation {
    /// The live view of a page changes, in the branch's open epoch.
    Write { key: PageKey, epoch: Epoch, partial: Partial },
    /// A version of a page gets slots that it lacked; no view changes.
    Amend { key: PageKey, epoch: Epoch, partial: Partial },
    /// A version of a page is removed; no view changes.
    DropVersion { key: PageKey, epoch: Epoch },
    /// Blocks came alive, died, or are gone; `inherited`: blocks of the origin that the live side sees.
    Space { branch: BranchId, deltas: Vec<Delta>, inherited: i64 },
    /// A snapshot has cut the branch's history.
    SpaceSnapshot { branch: BranchId, epoch: Epoch },
    /// A snapshot's interval is part of the next one now.
    SpaceMerge { branch: BranchId, epoch: Epoch },
    /// Everything that was alive in a branch died.
    SpaceDeath { branch: BranchId },
    /// Pages touched in one interval count as touched in another; `to` = `None`: in none.
    MoveTouched { branch: BranchId, epoch: Epoch, object: ObjectId, group: u64, to: Option<MovedTo> },
    /// A dataset's record.
    PutDataset(Dataset),
    /// A dataset is gone.
    RemoveDataset(DatasetId),
    /// A branch's record.
    PutBranch(Branch),
    /// A branch is gone.
    RemoveBranch(BranchId),
    /// A snapshot's record.
    PutSnapshot(Snapshot),
    /// A snapshot is gone.
    RemoveSnapshot(SnapshotId),
    /// The counters.
    Counters(Counters),
    /// An index entry of the key space's own, set or removed.
    Value { key: Vec<u8>, value: Option<Vec<u8>> },
}

impl Record for PageKey {
    fn encode(&self, out: &mut Vec<u8>) {
        self.branch.encode(out);
        self.object.encode(out);
        self.page.encode(out);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(PageKey { branch: Record::decode(r)?, object: Record::decode(r)?, page: Record::decode(r)? })
    }
}

impl Record for Delta {
    fn encode(&self, out: &mut Vec<u8>) {
        self.birth.encode(out);
        self.death.encode(out);
        self.blocks.encode(out);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(Delta { birth: Record::decode(r)?, death: Record::decode(r)?, blocks: Record::decode(r)? })
    }
}

/// Bytes of an encoded [`Delta`].
const DELTA_LEN: usize = 16;

impl Record for Vec<Delta> {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as u32).encode(out);
        self.iter().for_each(|delta| delta.encode(out));
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        let len = (u32::decode(r)? as usize).saturating_mul(DELTA_LEN);
        let mut list = Reader::new(r.slice(len)?);
        let mut deltas = Vec::new();
        while !list.is_empty() {
            deltas.push(Delta::decode(&mut list)?);
        }
        Ok(deltas)
    }
}

impl Record for Partial {
    fn encode(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.put_u32_le(0);
        codec::encode(self, out);
        let len = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        let len = u32::decode(r)? as usize;
        codec::decode(r.slice(len)?)
    }
}

impl Record for MovedTo {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        let mut bytes = Vec::new();
        self.1.encode(&mut bytes);
        bytes.encode(out);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok((Record::decode(r)?, Touched::decode(&<Vec<u8>>::decode(r)?)?))
    }
}

macro_rules! mutation_codec {
    (
        $($tag:literal => $variant:ident { $($field:ident),* })* ;
        $($wrapped_tag:literal => $wrapped:ident)*
    ) => {
        impl Mutation {
            /// Appends its bytes.
            pub(crate) fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Mutation::$variant { $($field),* } => {
                        out.push($tag);
                        $(Record::encode($field, out);)*
                    })*
                    $(Mutation::$wrapped(image) => {
                        out.push($wrapped_tag);
                        Record::encode(image, out);
                    })*
                }
            }

            fn decode(r: &mut Reader<'_>) -> Result<Mutation, Damaged> {
                match r.u8()? {
                    $($tag => Ok(Mutation::$variant { $($field: Record::decode(r)?),* }),)*
                    $($wrapped_tag => Record::decode(r).map(Mutation::$wrapped),)*
                    _ => Err(Damaged { what: "an unknown mutation" }),
                }
            }
        }
    };
}
mutation_codec! {
    1 => Write { key, epoch, partial }
    2 => Amend { key, epoch, partial }
    3 => DropVersion { key, epoch }
    4 => Space { branch, deltas, inherited }
    5 => SpaceSnapshot { branch, epoch }
    6 => SpaceMerge { branch, epoch }
    7 => SpaceDeath { branch }
    8 => MoveTouched { branch, epoch, object, group, to }
    16 => Value { key, value };
    9 => PutDataset
    10 => RemoveDataset
    11 => PutBranch
    12 => RemoveBranch
    13 => PutSnapshot
    14 => RemoveSnapshot
    15 => Counters
}

/// Calls `visit` with every mutation of a record's body, in order.
///
/// # Errors
/// [`Damaged`]; the mutations before it have been visited.
pub(crate) fn each(body: &[u8], mut visit: impl FnMut(Mutation)) -> Result<(), Damaged> {
    let mut reader = Reader::new(body);
    while !reader.is_empty() {
        visit(Mutation::decode(&mut reader)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
