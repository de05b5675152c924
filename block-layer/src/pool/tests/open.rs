//! Promises of opening pools: what is put together, and how everything wrong is named.

use super::*;
use crate::format::superblock::{Role, Superblock, SLOT_OFFSETS, SUPERBLOCK_LEN};
use crate::format::DeviceId;

#[test]
fn the_order_of_the_devices_does_not_matter() {
    let (mut disks, members) = pool("p", 1, &[8, 16, 24]);
    disks.reverse();
    let opened = open(&disks).unwrap().members;
    assert_eq!(opened.state(), members.state());
    let names: Vec<_> = opened.disks().map(|(o, d)| (o.0, d.name().to_owned())).collect();
    assert_eq!(names, [(0, "p-a".to_owned()), (1, "p-b".to_owned()), (2, "p-c".to_owned())]);
}

#[test]
fn a_missing_device_is_named_with_those_that_are_there() {
    let (disks, members) = pool("p", 1, &[8, 16, 24]);
    let id = members.state().members[1].id;
    assert_eq!(
        refused(&[disks[2].clone(), disks[0].clone()]),
        format!(
            "device 1 ({id}, 16777216 bytes) of pool p is missing; found: p-a, p-c: \
             attach it and open again"
        )
    );
}

#[test]
fn a_device_of_another_pool_is_refused() {
    let (mut disks, members) = pool("p", 1, &[8]);
    let (others, other) = pool("q", 2, &[8]);
    disks.extend(others);
    let (p, q) = (members.state().id, other.state().id);
    assert_eq!(refused(&disks), format!("q-a belongs to pool q ({q}), not to pool {p}: leave it out"));
    let expected = run(assemble(&devices(&disks), Some(q))).unwrap_err().to_string();
    assert_eq!(expected, format!("p-a belongs to pool p ({p}), not to pool {q}: leave it out"));
}

#[test]
fn a_copy_of_a_device_is_refused() {
    let (mut disks, _) = pool("p", 1, &[8]);
    disks.push(disks[0].copy("copy"));
    assert_eq!(refused(&disks), "p-a and copy are the same device, or copies of it: leave one out");
}

#[test]
fn a_device_that_became_shorter_is_refused() {
    let (disks, _) = pool("p", 1, &[8]);
    disks[0].set_len(7 * MIB);
    assert_eq!(refused(&disks), "p-a has 7340032 bytes, the pool uses 8388608 of it: restore its size");
}

#[test]
fn one_bad_copy_is_reported_and_replaced_at_the_next_writing() {
    for slot in [0, 1] {
        for unreadable in [false, true] {
            let (disks, _) = pool("p", 1, &[8, 8]);
            let at = SLOT_OFFSETS[slot];
            if unreadable {
                disks[1].make_unreadable(at..at + 512);
            } else {
                disks[1].spoil(at + 1024);
            }
            let Assembled { mut members, warnings } = open(&disks).unwrap();
            assert!(
                matches!(&warnings[..], [Warning::BadCopy { device, at: bad, .. }]
                    if device == "p-b" && *bad == at),
                "{warnings:?}"
            );
            let journal = mark(&members, 7);
            run(members.write_superblocks(journal)).unwrap();
            disks[1].make_unreadable(0..0);
            let reopened = open(&disks).unwrap();
            assert!(reopened.warnings.is_empty());
            assert_eq!(reopened.members.state(), members.state());
        }
    }
}

#[test]
fn two_bad_copies_are_an_error_with_the_device_and_the_remedy() {
    let (disks, _) = pool("p", 1, &[8, 8]);
    disks[0].spoil(SLOT_OFFSETS[0] + 512);
    disks[0].spoil(SLOT_OFFSETS[1]);
    assert_eq!(
        refused(&disks),
        "p-a: both superblock copies are bad (its Ashlar superblock is damaged: its checksum does not \
         match; it holds no Ashlar superblock): restore the device from a copy, or delete the pool"
    );
}

/// Replaces the copy in slot 1 with what `change` makes of it.
fn rewrite(disk: &MemDisk, change: impl FnOnce(&mut [u8])) {
    let mut copy = run(disk.read(SLOT_OFFSETS[1], crate::Buf::zeroed(SUPERBLOCK_LEN))).unwrap();
    change(&mut copy);
    let crc = crate::crc32c(&copy[12..]);
    copy[8..12].copy_from_slice(&crc.to_le_bytes());
    run(disk.write(SLOT_OFFSETS[1], vec![copy.freeze()])).unwrap();
}

#[test]
fn a_newer_format_in_either_copy_asks_for_an_update() {
    let (disks, _) = pool("p", 1, &[8]);
    rewrite(&disks[0], |copy| copy[12] = 2);
    assert_eq!(
        refused(&disks),
        "p-a cannot be opened: it has format version 2, unknown features 0x0; this release reads up to \
         version 1: update Ashlar"
    );
}

#[test]
fn a_pool_with_unknown_read_only_features_opens_and_is_never_written() {
    let (disks, _) = pool("p", 1, &[8]);
    rewrite(&disks[0], |copy| copy[24] = 4);
    let mut members = open(&disks).unwrap().members;
    let journal = mark(&members, 1);
    let error = run(members.write_superblocks(journal)).unwrap_err().to_string();
    assert_eq!(error, "pool p cannot be written: unknown features 0x4: update Ashlar");
}

#[test]
fn devices_that_lived_apart_are_refused() {
    let (disks, mut members) = pool("p", 1, &[8, 8]);
    let old = disks[1].copy("p-b");
    let journal = mark(&members, 5);
    run(members.write_superblocks(journal)).unwrap();
    let mut apart = open(&[disks[0].copy("x"), old.clone()]).unwrap().members;
    // Both write a generation 3 of their own.
    let journal = mark(&apart, 6);
    run(apart.write_superblocks(journal)).unwrap();
    let journal = mark(&members, 9);
    run(members.write_superblocks(journal)).unwrap();
    let error = refused(&[disks[0].clone(), old]);
    assert!(error.contains("different states of the same generation"), "{error}");
}

#[test]
fn a_device_that_missed_writings_is_reported() {
    let (disks, mut members) = pool("p", 1, &[8, 8]);
    let old = disks[1].copy("p-b");
    for flushed in 1..=3 {
        let journal = mark(&members, flushed);
        run(members.write_superblocks(journal)).unwrap();
    }
    let opened = open(&[disks[0].clone(), old]).unwrap();
    let [warning] = &opened.warnings[..] else { panic!("{:?}", opened.warnings) };
    assert!(warning.to_string().starts_with("p-b missed 3 writings"), "{warning}");
    assert_eq!(opened.members.state(), members.state());
}

#[test]
fn a_device_the_newest_state_does_not_list_is_refused() {
    let (disks, members) = pool("p", 1, &[8]);
    let mut pool = members.state().clone();
    pool.members[0].id = DeviceId([9; 16]);
    let stranger = MemDisk::shared("s", 8 * MIB);
    let superblock = Superblock {
        device: DeviceId([9; 16]),
        ordinal: pool.members[0].ordinal,
        role: Role::Member,
        pool: crate::format::PoolState { generation: 2, ..pool },
    };
    let bytes = crate::Buf::copy_of(&superblock.encode()).freeze();
    run(stranger.write(SLOT_OFFSETS[0], vec![bytes])).unwrap();
    let error = refused(&[disks[0].clone(), stranger]);
    assert!(error.contains("the newer does not list the older"), "{error}");
}
