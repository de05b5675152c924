//! Promises of the mutations: golden bytes of one of each kind, and that damaged bodies are no panic.

use super::*;
use crate::catalogue::tests::Sample;
use crate::engine::{decode_value, split_live};
use crate::ids::PageNo;
use crate::machine::encode_value;
use crate::map::{Pointer, Slot};
use crate::testing::{golden, Rng};
use block_layer::Pba;

fn one_of_each() -> Vec<Mutation> {
    let Sample { dataset, branch, snapshot, counters, cells } = Sample::new();
    let key = PageKey { branch: BranchId(0x0102_0304), object: ObjectId(5), page: PageNo(0x0607) };
    let (epoch, object, group) = (Epoch(0x0a0b_0c0d), ObjectId(0x0e), 0x0f);
    let mut partial = Partial::default();
    partial.set(3, Slot::Hole);
    partial.set(250, Slot::Data(Pointer::new(Pba::new(0x1112_1314_1518), 0x2122_2324, epoch)));
    let mut touched = Touched::default();
    touched.insert(77);
    vec![
        Mutation::Write { key, epoch, partial: partial.clone() },
        Mutation::Amend { key, epoch, partial },
        Mutation::DropVersion { key, epoch },
        Mutation::Space { branch: key.branch, deltas: cells, inherited: -2 },
        Mutation::SpaceSnapshot { branch: key.branch, epoch },
        Mutation::SpaceMerge { branch: key.branch, epoch },
        Mutation::SpaceDeath { branch: key.branch },
        Mutation::MoveTouched { branch: key.branch, epoch, object, group, to: Some((Epoch(9), touched)) },
        Mutation::MoveTouched { branch: key.branch, epoch, object, group, to: None },
        Mutation::RemoveDataset(dataset.id),
        Mutation::PutDataset(dataset),
        Mutation::RemoveBranch(branch.id),
        Mutation::PutBranch(branch),
        Mutation::RemoveSnapshot(snapshot.id),
        Mutation::PutSnapshot(snapshot),
        Mutation::Counters(counters),
        Mutation::Value { key: b"key".to_vec(), value: Some(b"value".to_vec()) },
        Mutation::Value { key: b"key".to_vec(), value: None },
    ]
}

fn body(mutations: &[Mutation]) -> Vec<u8> {
    let mut out = Vec::new();
    mutations.iter().for_each(|mutation| mutation.encode(&mut out));
    out
}

fn decoded(body: &[u8]) -> Result<Vec<Mutation>, Damaged> {
    let mut all = Vec::new();
    each(body, |mutation| all.push(mutation)).map(|()| all)
}

#[test]
fn a_body_is_read_back_in_order() {
    let all = one_of_each();
    assert_eq!(decoded(&body(&all)), Ok(all.clone()));
    assert_eq!(decoded(&[]), Ok(Vec::new()));
    for mutation in all {
        let whole = body(&[mutation]);
        (1..whole.len()).for_each(|len| assert!(decoded(&whole[..len]).is_err(), "{whole:?} at {len}"));
    }
}

#[test]
fn a_damaged_body_is_an_error_or_another_body() {
    let whole = body(&one_of_each());
    let mut rng = Rng::new(16);
    for _ in 0..20_000 {
        if let Ok(other) = decoded(&rng.mutate(&whole)) {
            assert_eq!(decoded(&body(&other)), Ok(other));
        }
    }
    assert_eq!(decoded(&[17]), Err(Damaged { what: "an unknown mutation" }));
}

#[test]
fn the_format_has_not_changed() {
    golden("mutations-v1.bin", &body(&one_of_each()));
    let live = |value: Option<Vec<u8>>| [&7_u32.to_le_bytes()[..], &encode_value(&value)].concat();
    let entries = [live(Some(b"value".to_vec())), live(Some(Vec::new())), live(None)];
    golden(
        "entries-v1.bin",
        &entries.iter().flat_map(|e| [&[e.len() as u8], &e[..]].concat()).collect::<Vec<_>>(),
    );
    for (entry, value) in entries.iter().zip([Some(b"value".to_vec()), Some(Vec::new()), None]) {
        let (birth, rest) = split_live(entry).unwrap();
        assert_eq!((birth, decode_value(rest).unwrap()), (Epoch(7), value));
    }
}
