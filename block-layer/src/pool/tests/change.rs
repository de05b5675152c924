//! Promises of membership changes: adding and growing devices, before and after a crash.

use super::*;
use crate::format::Ordinal;
use crate::units::Pba;

/// The change that makes `disk` a member, its superblock being durable.
fn prepared(members: &mut Membership, disk: &Arc<MemDisk>) -> MembershipChange {
    let joining = members.plan_add(disk.clone(), Layout::default(), &mut random(77)).unwrap();
    let joined = run(joining.format(false)).unwrap();
    members.expect_member(joined)
}

#[test]
fn a_device_that_was_prepared_is_no_member_until_its_record_is_applied() {
    let (mut disks, mut members) = pool("p", 1, &[8]);
    disks.push(MemDisk::shared("new", 16 * MIB));
    let change = prepared(&mut members, &disks[1]);
    disks.iter().for_each(|d| d.cut_power(0));

    let mut opened = open(&disks).unwrap().members;
    assert_eq!(opened.state().members.len(), 1);
    assert_eq!(opened.candidates().map(|d| d.name()).collect::<Vec<_>>(), ["new"]);
    // The record was committed: replay makes it a member, before any superblock says so.
    let change = MembershipChange::decode(&change.encode()).unwrap();
    assert!(opened.apply(&change).unwrap());
    assert_eq!(opened.state().members.len(), 2);
    assert_eq!(opened.candidates().count(), 0);
    assert_eq!(opened.segments().blocks(), (6 + 14) * 256);
    assert!(!opened.apply(&change).unwrap(), "applied twice");
    // The device in use and the one at replay have the same tables.
    assert!(members.apply(&change).unwrap());
    assert_eq!(opened.state(), members.state());
}

#[test]
fn a_record_is_replayed_without_effect_over_newer_superblocks() {
    let (mut disks, mut members) = pool("p", 1, &[8]);
    disks.push(MemDisk::shared("new", 16 * MIB));
    let add = prepared(&mut members, &disks[1]);
    members.apply(&add).unwrap();
    disks[1].set_len(20 * MIB);
    let grow = members.plan_grow(Ordinal(1), 20 * MIB).unwrap();
    members.apply(&grow).unwrap();
    let journal = mark(&members, 3);
    run(members.write_superblocks(journal)).unwrap();

    let mut opened = open(&disks).unwrap().members;
    assert!(!opened.apply(&add).unwrap());
    assert!(!opened.apply(&grow).unwrap());
    assert_eq!(opened.state(), members.state());
}

#[test]
fn a_committed_member_that_is_not_given_is_missing() {
    let (disks, mut members) = pool("p", 1, &[8]);
    let change = prepared(&mut members, &MemDisk::shared("new", 16 * MIB));
    let mut opened = open(&disks).unwrap().members;
    let before = opened.state().clone();
    assert!(matches!(opened.apply(&change), Err(PoolError::Missing { .. })));
    assert_eq!(*opened.state(), before);
    // Given alone, it says what is missing, and does not pass for a pool.
    let new = MemDisk::shared("new", 16 * MIB);
    let _ = prepared(&mut opened, &new);
    assert!(matches!(open(&[new]), Err(PoolError::Missing { ordinal: Ordinal(0), .. })));
}

#[test]
fn a_power_cut_while_the_first_member_superblock_is_written_loses_no_device() {
    for kept in [[8, 0], [8, 3], [0, 8], [1, 8], [8, 8]] {
        let (mut disks, mut members) = pool("p", 1, &[8]);
        disks.push(MemDisk::shared("new", 16 * MIB));
        let change = prepared(&mut members, &disks[1]);
        members.apply(&change).unwrap();
        disks.iter().for_each(|d| d.fail_flushes(true));
        let journal = mark(&members, 3);
        assert!(run(members.write_superblocks(journal)).is_err());
        disks.iter().zip(kept).for_each(|(d, kept)| d.cut_power(kept));
        let mut opened = open(&disks).unwrap().members;
        assert_eq!(*opened.state(), *members.state());
        let journal = mark(&opened, 4);
        run(opened.write_superblocks(journal)).unwrap();
        assert!(open(&disks).unwrap().warnings.is_empty());
    }
}

#[test]
fn an_addition_that_was_never_committed_is_begun_again_without_force() {
    let (mut disks, mut members) = pool("p", 1, &[8]);
    disks.push(MemDisk::shared("new", 16 * MIB));
    let first = prepared(&mut members, &disks[1]);
    let mut members = open(&disks).unwrap().members;
    let joining = members.plan_add(disks[1].copy("again"), Layout::default(), &mut random(5)).unwrap();
    let change = members.expect_member(run(joining.format(false)).unwrap());
    assert_ne!(change.device, first.device);
    assert!(members.apply(&change).unwrap());
}

#[test]
fn a_member_and_a_device_in_use_cannot_be_added() {
    let (disks, members) = pool("p", 1, &[8, 8]);
    let (others, _) = pool("q", 2, &[8]);
    let plan = |disk: &Arc<MemDisk>| members.plan_add(disk.clone(), Layout::default(), &mut random(5));
    assert!(matches!(plan(&disks[1]), Err(PoolError::AlreadyMember { .. })));
    let alias = plan(&disks[1].copy("alias")).unwrap();
    assert!(matches!(run(alias.format(true)), Err(PoolError::AlreadyMember { .. })));
    let other = plan(&others[0]).unwrap();
    assert!(matches!(run(other.format(false)), Err(PoolError::InUse { .. })));
    assert!(run(plan(&others[0]).unwrap().format(true)).is_ok());
}

#[test]
fn growth_fills_the_partial_segment_then_takes_new_ones() {
    let (disks, mut members) = pool("p", 1, &[8, 8]);
    let offset = |m: &Membership, segment, slot| {
        let table = m.segments();
        let mut extents = table.locate(Pba::of_block(segment, slot), 1).unwrap();
        extents.next().map(|e| (e.device.0, e.offset)).unwrap()
    };
    // Device 0: segment 0 is partial, and segment 1 is device 1's.
    disks[0].set_len(200 * MIB);
    let change = members.plan_grow(Ordinal(0), 200 * MIB).unwrap();
    assert_eq!(change.ranges.len(), 2);
    assert!(members.apply(&change).unwrap());
    let segments: Vec<_> = members.segments().segments().map(|s| (s.number, s.device.0, s.blocks)).collect();
    assert_eq!(
        segments,
        [(0, 0, 16384), (1, 1, 1536), (2, 0, 16384), (3, 0, 16384), (4, 0, (200 - 2 - 192) * 256)]
    );
    assert_eq!(offset(&members, 0, 16383), (0, (2 + 64) * MIB - 4096));
    assert_eq!(offset(&members, 2, 0), (0, (2 + 64) * MIB));
    // Its last range is also the pool's last: it just goes on.
    disks[0].set_len(1000 * MIB + 512);
    let change = members.plan_grow(Ordinal(0), 1000 * MIB + 512).unwrap();
    assert_eq!((change.ranges.len(), change.len), (1, 1000 * MIB));
    members.apply(&change).unwrap();
    assert_eq!(members.segments().blocks(), (998 + 6) * 256);
    assert_eq!(members.state().segments.len(), 3);

    let too_much = members.plan_grow(Ordinal(0), 1001 * MIB).unwrap_err();
    assert!(matches!(too_much, PoolError::CannotGrow { .. }));
    assert!(matches!(members.plan_grow(Ordinal(7), MIB), Err(PoolError::NoMember { .. })));
}

#[test]
fn a_full_segment_table_refuses_to_grow_and_changes_nothing() {
    let (disks, mut members) = pool("p", 1, &[66, 66]);
    for round in 1.. {
        let (disk, ordinal) = (&disks[round % 2], Ordinal((round % 2) as u8));
        let len = disk.geometry().len + 64 * MIB;
        disk.set_len(len);
        match members.plan_grow(ordinal, len) {
            Ok(change) => assert!(members.apply(&change).unwrap()),
            Err(error) => {
                assert!(matches!(error, PoolError::TooManyRanges), "{error}");
                break;
            }
        }
    }
    let journal = mark(&members, 1);
    run(members.write_superblocks(journal)).unwrap();
    assert_eq!(open(&disks).unwrap().members.state(), members.state());
}

#[test]
fn a_record_that_does_not_fit_the_pool_is_refused_whole() {
    let (mut disks, mut members) = pool("p", 1, &[8]);
    disks.push(MemDisk::shared("new", 16 * MIB));
    let good = prepared(&mut members, &disks[1]);
    let before = members.state().clone();
    let breaks: [fn(&mut MembershipChange); 6] = [
        |c| c.ordinal = Ordinal(0),
        |c| c.ordinal = Ordinal(200),
        |c| c.len = 4 * MIB,
        |c| c.ranges[0].first = 0,
        |c| c.ranges[0].device = Ordinal(0),
        |c| c.ranges[0].blocks = u64::MAX,
    ];
    for change in breaks {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(matches!(members.apply(&bad), Err(PoolError::BadChange { .. })), "{bad:?}");
        assert_eq!(*members.state(), before);
    }
    assert!(members.apply(&good).unwrap());
}
