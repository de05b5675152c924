//! The catalogue in the index: its keys, and how it is read at open.
//!
//! | table | rest                              | value                                     |
//! |-------|-----------------------------------|-------------------------------------------|
//! | `n`   |                                   | the counters                              |
//! | `d`   | dataset (u64 BE)                  | a dataset                                 |
//! | `b`   | branch (u32 BE)                   | a branch                                  |
//! | `s`   | branch (u32 BE), epoch (u32 BE)   | a snapshot                                |
//! | `h`   | branch (u32 BE)                   | the cells of the branch's space table     |

use crate::catalogue::{Catalogue, DatasetId, Record, SnapshotId};
use crate::decode::{Damaged, Reader};
use crate::error::Error;
use crate::held::{Delta, Held};
use crate::ids::BranchId;
use crate::key::{prefix_end, CatalogueKey, Kind};
use block_layer::index::Index;
use block_layer::IndexError;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

fn key(table: u8, rest: &[&[u8]]) -> Vec<u8> {
    CatalogueKey { table, rest: rest.concat() }.encode()
}

pub(super) fn counters_key() -> Vec<u8> {
    key(b'n', &[])
}

pub(super) fn dataset_key(id: DatasetId) -> Vec<u8> {
    key(b'd', &[&id.0.to_be_bytes()])
}

pub(super) fn branch_key(id: BranchId) -> Vec<u8> {
    key(b'b', &[&id.0.to_be_bytes()])
}

pub(super) fn snapshot_key(id: SnapshotId) -> Vec<u8> {
    key(b's', &[&id.branch.0.to_be_bytes(), &id.epoch.0.to_be_bytes()])
}

pub(super) fn held_key(id: BranchId) -> Vec<u8> {
    key(b'h', &[&id.0.to_be_bytes()])
}

/// A record's bytes.
pub(super) fn encode(record: &impl Record) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}

/// A record from all of `bytes`.
fn decode<T: Record>(bytes: &[u8]) -> Result<T, Damaged> {
    let mut reader = Reader::new(bytes);
    let record = T::decode(&mut reader)?;
    reader.end().map(|()| record)
}

/// Reads the whole catalogue and the space tables.
pub(super) fn catalogue(index: &dyn Index) -> Result<(Catalogue, BTreeMap<BranchId, Held>), Error> {
    let from = vec![Kind::Catalogue as u8];
    let to = prefix_end(&from).expect("the kind byte is not the last one");
    let (mut catalogue, mut cells, mut damaged) = (Catalogue::default(), BTreeMap::new(), None);
    index.scan(&from, &to, &mut |key, value| match entry(&mut catalogue, &mut cells, key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(e) => {
            damaged = Some(IndexError::Damaged { key: key.to_vec(), what: e.what });
            ControlFlow::Break(())
        }
    })?;
    if let Some(damaged) = damaged {
        return Err(damaged.into());
    }
    let mut held = BTreeMap::new();
    for id in catalogue.branches.keys() {
        let snapshots = catalogue.snapshots_of(*id).map(|s| s.id.epoch);
        let table = Held::load(snapshots, cells.get(id).map_or(&[][..], |c: &Vec<Delta>| c));
        let wrong = |_| Damaged { what: "a branch's space table does not fit its snapshots" };
        held.insert(*id, table.map_err(wrong)?);
    }
    Ok((catalogue, held))
}

fn entry(
    catalogue: &mut Catalogue,
    cells: &mut BTreeMap<BranchId, Vec<Delta>>,
    key: &[u8],
    value: &[u8],
) -> Result<(), Damaged> {
    let CatalogueKey { table, rest } = CatalogueKey::parse(key)?;
    match table {
        b'n' => catalogue.counters = decode(value)?,
        b'd' => catalogue.put_dataset(decode(value)?),
        b'b' => {
            let branch: crate::catalogue::Branch = decode(value)?;
            catalogue.branches.insert(branch.id, branch);
        }
        b's' => catalogue.put_snapshot(decode(value)?),
        b'h' => {
            let id = rest.try_into().map_err(|_| Damaged { what: "a space table's key" })?;
            cells.insert(BranchId(u32::from_be_bytes(id)), decode(value)?);
        }
        _ => return Err(Damaged { what: "an unknown table of the catalogue" }),
    }
    Ok(())
}
