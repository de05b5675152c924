//! Promises of writing superblocks, above all when the power goes.

use super::*;
use crate::format::superblock::{SLOT_OFFSETS, SUPERBLOCK_LEN};

#[test]
fn writings_alternate_between_the_slots_on_all_devices() {
    let (disks, mut members) = pool("p", 1, &[8, 8]);
    for flushed in 1..=5u64 {
        let journal = mark(&members, flushed);
        run(members.write_superblocks(journal)).unwrap();
        for disk in &disks {
            let generation = |at| {
                let copy = run(disk.read(at, crate::Buf::zeroed(SUPERBLOCK_LEN))).unwrap();
                u64::from_le_bytes(copy[72..80].try_into().unwrap())
            };
            assert_eq!(generation(SLOT_OFFSETS[(members.state().generation % 2) as usize]), flushed + 1);
            assert_eq!(generation(SLOT_OFFSETS[(flushed % 2) as usize]), flushed);
        }
    }
}

#[test]
fn a_finished_writing_survives_a_power_cut() {
    let (disks, mut members) = pool("p", 1, &[8, 8]);
    let journal = JournalMark { incarnation: 2, ..mark(&members, 77) };
    run(members.write_superblocks(journal)).unwrap();
    disks.iter().for_each(|d| d.cut_power(0));
    assert_eq!(open(&disks).unwrap().members.state().journal, journal);
}

/// Begins a writing, and cuts the power when all is written but nothing flushed.
fn interrupted_writing(disks: &Disks, members: &mut Membership, flushed: u64, kept: [usize; 2]) {
    disks.iter().for_each(|d| d.fail_flushes(true));
    let journal = mark(members, flushed);
    assert!(run(members.write_superblocks(journal)).is_err());
    disks.iter().zip(kept).for_each(|(d, kept)| d.cut_power(kept));
}

#[test]
fn a_power_cut_within_a_writing_leaves_the_old_state_or_the_new_one() {
    for kept_a in 0..=8 {
        for kept_b in 0..=8 {
            let (disks, mut members) = pool("p", 1, &[8, 8]);
            let journal = mark(&members, 1);
            run(members.write_superblocks(journal)).unwrap();
            interrupted_writing(&disks, &mut members, 2, [kept_a, kept_b]);
            let opened = open(&disks).unwrap().members;
            let expected = if kept_a == 8 || kept_b == 8 { 2 } else { 1 };
            assert_eq!(opened.state().journal.flushed, Seq(expected), "{kept_a} {kept_b}");
        }
    }
}

#[test]
fn crash_after_crash_never_loses_the_last_whole_copy_of_any_device() {
    // Each round tears the copy of one device and keeps the other's: by generation alone, the second
    // round would write over the only whole copy of the device that was torn before.
    let (disks, _) = pool("p", 1, &[8, 8]);
    let mut expected = 0;
    for round in 1..=12usize {
        let mut members = open(&disks).unwrap().members;
        assert_eq!(members.state().journal.flushed.0, expected);
        let flushed = expected + 1;
        // All sectors, or torn after the first, or none.
        let kept = [[8, 1], [1, 8], [8, 0], [8, 1], [0, 1], [1, 0]][round % 6];
        interrupted_writing(&disks, &mut members, flushed, kept);
        expected += u64::from(kept.contains(&8));
    }
    let opened = open(&disks).unwrap();
    assert_eq!(opened.members.state().journal.flushed.0, expected);
}

#[test]
fn a_failed_writing_leaves_the_older_copy_and_can_be_begun_again() {
    let (disks, mut members) = pool("p", 1, &[8, 8]);
    let journal = mark(&members, 1);
    run(members.write_superblocks(journal)).unwrap();
    for flushed in 2..6 {
        disks[1].fail_writes(true);
        let journal = mark(&members, flushed);
        let error = run(members.write_superblocks(journal)).unwrap_err().to_string();
        assert!(error.starts_with("p-b: write of 4096 bytes at"), "{error}");
        let copies = [disks[0].copy("p-a"), disks[1].copy("p-b")];
        copies.iter().for_each(|d| d.cut_power(0));
        assert!(open(&copies).is_ok());
    }
    disks[1].fail_writes(false);
    let journal = mark(&members, 9);
    run(members.write_superblocks(journal)).unwrap();
    disks.iter().for_each(|d| d.cut_power(0));
    let opened = open(&disks).unwrap();
    assert!(opened.warnings.is_empty());
    assert_eq!(opened.members.state(), members.state());
}
