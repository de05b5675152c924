//! Promises of the catalogue's records: their golden bytes, and that nothing damaged is taken for one.

use super::*;
use crate::held::Delta;
use crate::testing::{golden, Rng};

/// One of each record, every field in use.
pub(crate) struct Sample {
    pub(crate) dataset: Dataset,
    pub(crate) branch: Branch,
    pub(crate) snapshot: Snapshot,
    pub(crate) counters: Counters,
    pub(crate) cells: Vec<Delta>,
}

impl Sample {
    pub(crate) fn new() -> Sample {
        let origin = SnapshotId { branch: BranchId(0x0102_0304), epoch: Epoch(0x0a0b_0c0d) };
        let cursor = Cursor { object: ObjectId(0x1112_1314_1516_1718), page: PageNo(0x2122_2324) };
        let trim = Trim { object: ObjectId(7), from: PageNo(8), to: PageNo(u64::MAX), epoch: Epoch(9) };
        Sample {
            dataset: Dataset {
                id: DatasetId(0x3132_3334_3536_3738),
                name: "größe".into(),
                kind: 0x41,
                branch: origin.branch,
                size: 0x5152_5354_5556_5758,
                attributes: vec![0, 1, 0xff],
            },
            branch: Branch {
                id: BranchId(5),
                origin: Some(origin),
                first: Epoch(10),
                open: Epoch(11),
                live: Live::Dying(cursor),
                inherited: 0x6162_6364,
                trims: vec![trim, Trim { object: ObjectId(8), ..trim }],
                flat: Some(Epoch(12)),
            },
            snapshot: Snapshot {
                id: origin,
                dataset: DatasetId(6),
                name: Some("nightly".into()),
                size: 0x7172_7374,
                referenced: 0x8182,
                children: 0x9192_9394,
                reclaim: Some(cursor),
            },
            counters: Counters { epoch: Epoch(13), branch: BranchId(14), dataset: DatasetId(15) },
            cells: vec![
                Delta { birth: Epoch(10), death: Epoch::OPEN, blocks: -3 },
                Delta { birth: Epoch::OPEN, death: Epoch::LIVE, blocks: 1 << 40 },
            ],
        }
    }
}

fn bytes(record: &impl Record) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}

/// Checks that a record is read back, and that whatever damage is done to it is noticed or makes another
/// record.
fn check_record<T: Record + PartialEq + fmt::Debug>(record: &T) {
    let whole = bytes(record);
    assert_eq!(T::decode(&mut Reader::new(&whole)).as_ref(), Ok(record));
    (0..whole.len()).for_each(|len| assert!(T::decode(&mut Reader::new(&whole[..len])).is_err(), "{len}"));
    let mut rng = Rng::new(15);
    for _ in 0..2_000 {
        let damaged = rng.mutate(&whole);
        if let Ok(other) = T::decode(&mut Reader::new(&damaged)) {
            assert!(damaged.starts_with(&bytes(&other)));
        }
    }
}

#[test]
fn records_are_read_back_and_damage_is_no_panic() {
    let Sample { dataset, branch, snapshot, counters, cells } = Sample::new();
    check_record(&dataset);
    check_record(&branch);
    check_record(&Branch { live: Live::Gone, trims: Vec::new(), origin: None, flat: None, ..branch });
    check_record(&snapshot);
    check_record(&Snapshot { name: None, reclaim: None, ..snapshot });
    check_record(&counters);
    check_record(&cells);
}

#[test]
fn more_discards_than_a_branch_may_have_are_refused_before_they_are_read() {
    let mut branch = Sample::new().branch;
    branch.trims = vec![branch.trims[0]; TRIMS_MAX + 1];
    let refused = Branch::decode(&mut Reader::new(&bytes(&branch)));
    assert_eq!(refused, Err(Damaged { what: "too many discards" }));
}

#[test]
fn the_format_has_not_changed() {
    let Sample { dataset, branch, snapshot, counters, cells } = Sample::new();
    let gone = Branch { origin: None, live: Live::Gone, trims: Vec::new(), flat: None, ..branch.clone() };
    let alive = Branch { live: Live::Yes, ..gone.clone() };
    let deleted = Snapshot { name: None, reclaim: None, ..snapshot.clone() };
    let (branches, snapshots) = ([branch, gone, alive], [snapshot, deleted]);
    let mut records = vec![bytes(&dataset), bytes(&counters), bytes(&cells)];
    records.extend(branches.iter().map(bytes));
    records.extend(snapshots.iter().map(bytes));
    // Each record behind its length in two bytes.
    let length = |record: &Vec<u8>| (record.len() as u16).to_le_bytes().to_vec();
    let file: Vec<u8> = records.iter().flat_map(|record| [length(record), record.clone()].concat()).collect();
    golden("catalogue-v1.bin", &file);
}
