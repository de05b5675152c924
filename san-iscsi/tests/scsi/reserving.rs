//! Reservations between nexuses: who conflicts, who is told, what survives.

use super::bench::{be, codes, host, mapped, read10, short, write10, Bench, Seat, PORTALS};
use bytes::Bytes;
use san_iscsi::mem::Hang;
use san_iscsi::scsi::command::Status;
use san_iscsi::scsi::nexus::TaskManagement;
use san_iscsi::scsi::InitiatorPort;
use std::time::Duration;

const WE: u8 = 1;
const EA: u8 = 3;
const WE_RO: u8 = 5;
const EA_RO: u8 = 6;
const WE_AR: u8 = 7;
const EA_AR: u8 = 8;

impl Seat {
    /// PERSISTENT RESERVE OUT with flags of byte 20.
    async fn out(&self, service: u8, kind: u8, key: u64, service_key: u64, flags: u8) -> Status {
        let mut list = [key.to_be_bytes(), service_key.to_be_bytes()].concat();
        list.extend([0, 0, 0, 0, flags, 0, 0, 0]);
        self.send(0, &[0x5f, service, kind, 0, 0, 0, 0, 0, 24, 0], &list).await.status
    }

    async fn register(&self, key: u64) {
        assert_eq!(self.out(0x06, 0, 0, key, 0).await, Status::Good);
    }

    async fn report(&self, service: u8) -> Bytes {
        self.good(0, &[0x5e, service, 0, 0, 0, 0, 0, 4, 0, 0]).await
    }

    async fn keys(&self) -> Vec<u64> {
        self.report(0).await[8..].chunks(8).map(be).collect()
    }

    /// Key and type of the reservation.
    async fn reserved(&self) -> Option<(u64, u8)> {
        let report = self.report(1).await;
        (report.len() > 8).then(|| (be(&report[8..16]), report[21]))
    }

    /// What READ, WRITE and TEST UNIT READY answer.
    async fn rights(&self) -> [Status; 3] {
        let read = self.run(0, &read10(0, 1)).await.status;
        let write = self.write(0, 0, &[0; 512]).await.status;
        [read, write, self.run(0, &[0; 6]).await.status]
    }

    async fn attention(&self) -> Option<(u8, u8)> {
        let answer = self.run(0, &[0; 6]).await;
        (answer.status == Status::CheckCondition).then(|| {
            let (key, asc, ascq) = codes(&answer);
            assert_eq!(key, 6);
            (asc, ascq)
        })
    }
}

const G: Status = Status::Good;
const C: Status = Status::ReservationConflict;

/// Three hosts, the first two of which are registered with keys 1 and 2.
async fn three() -> (Bench, Seat, Seat, Seat) {
    let hosts = (0..3).map(|n| host(n, &[(0, mapped(0))])).collect();
    let bench = Bench::with(1, hosts).await;
    let (a, b, c) = (bench.login(0).await, bench.login(1).await, bench.login(2).await);
    a.register(1).await;
    b.register(2).await;
    (bench, a, b, c)
}

#[tokio::test]
async fn each_type_gives_holder_registrant_and_others_their_rights() {
    let rows = [
        (WE, [G, C, G], [G, C, G]),
        (EA, [C, C, G], [C, C, G]),
        (WE_RO, [G, G, G], [G, C, G]),
        (EA_RO, [G, G, G], [C, C, G]),
        (WE_AR, [G, G, G], [G, C, G]),
        (EA_AR, [G, G, G], [C, C, G]),
    ];
    for (kind, registrant, other) in rows {
        let (_bench, a, b, c) = three().await;
        assert_eq!(a.out(0x01, kind, 1, 0, 0).await, G);
        assert_eq!(a.rights().await, [G, G, G], "holder, type {kind}");
        assert_eq!(b.rights().await, registrant, "registrant, type {kind}");
        assert_eq!(c.rights().await, other, "other, type {kind}");
        let holder = if kind >= WE_AR { 0 } else { 1 };
        assert_eq!(c.reserved().await, Some((holder, kind)));
        assert_eq!(b.out(0x01, kind, 2, 0, 0).await, if kind >= WE_AR { G } else { C });
        assert_eq!(a.out(0x02, kind ^ 2, 1, 0, 0).await, Status::CheckCondition, "release of another type");
        assert_eq!(a.out(0x02, kind, 1, 0, 0).await, G);
        assert_eq!(b.attention().await, (kind >= WE_RO).then_some((0x2a, 4)), "type {kind}");
        assert_eq!(c.rights().await, [G, G, G]);
    }
}

#[tokio::test]
async fn registering_needs_the_right_key_unless_it_is_ignored() {
    let (_bench, a, _b, c) = three().await;
    assert_eq!(a.out(0x00, 0, 7, 8, 0).await, C);
    assert_eq!(a.out(0x00, 0, 1, 8, 0).await, G);
    assert_eq!(a.keys().await, [8, 2]);
    assert_eq!(c.out(0x00, 0, 1, 9, 0).await, C, "not registered: its key is 0");
    assert_eq!(c.out(0x01, WE, 0, 0, 0).await, C, "not registered: it reserves nothing");
    assert_eq!(a.out(0x00, 0, 8, 0, 0).await, G);
    assert_eq!(a.keys().await, [2]);
    assert_eq!(be(&a.report(0).await[..4]), 4, "PRGENERATION");
    let answer = a.send(0, &[0x5f, 0, 0, 0, 0, 0, 0, 0, 23, 0], &[0; 23]).await;
    assert_eq!(codes(&answer), (5, 0x1a, 0));
    assert_eq!(a.fails(0, &[0x5f, 0x1f, 0, 0, 0, 0, 0, 0, 24, 0], &[0; 24]).await, (5, 0x24, 0));
}

#[tokio::test]
async fn a_holder_that_unregisters_gives_the_reservation_up() {
    let (_bench, a, b, _c) = three().await;
    assert_eq!(a.out(0x01, EA_RO, 1, 0, 0).await, G);
    assert_eq!(a.out(0x00, 0, 1, 0, 0).await, G);
    assert_eq!(b.attention().await, Some((0x2a, 4)));
    assert_eq!(b.reserved().await, None);
    assert_eq!(b.out(0x01, EA_AR, 2, 0, 0).await, G);
    a.register(1).await;
    assert_eq!(b.out(0x00, 0, 2, 0, 0).await, G);
    assert_eq!(a.reserved().await, Some((0, EA_AR)), "all registrants hold it, and one is left");
    assert_eq!(b.rights().await, [C, C, G], "who made it is no registrant any more");
    assert_eq!(a.out(0x00, 0, 1, 0, 0).await, G);
    assert_eq!(a.reserved().await, None);
}

#[tokio::test]
async fn clear_and_preempt_tell_those_who_lose() {
    let (_bench, a, b, _c) = three().await;
    assert_eq!(a.out(0x03, 0, 1, 0, 0).await, G);
    assert_eq!(b.attention().await, Some((0x2a, 3)));
    assert!(a.keys().await.is_empty());
    a.register(1).await;
    b.register(2).await;
    assert_eq!(b.out(0x01, WE_RO, 2, 0, 0).await, G);
    assert_eq!(a.out(0x04, EA_RO, 1, 2, 0).await, G);
    assert_eq!((a.keys().await, a.reserved().await), (vec![1], Some((1, EA_RO))));
    assert_eq!(b.rights().await, [C, C, Status::CheckCondition], "a conflict comes before the attention");
    assert_eq!(b.out(0x04, EA_RO, 2, 1, 0).await, C);
    assert_eq!(a.out(0x04, EA_RO, 1, 9, 0).await, C, "nobody has the key");
    assert_eq!(a.out(0x04, EA_RO, 1, 0, 0).await, Status::CheckCondition);
    assert_eq!(a.out(0x04, EA_RO, 1, 1, 0).await, G, "it preempts itself and stays");
    assert_eq!(a.keys().await, [1]);
}

#[tokio::test]
async fn preempting_all_registrants_with_key_zero_leaves_one() {
    let (_bench, a, b, c) = three().await;
    c.register(3).await;
    assert_eq!(b.out(0x01, WE_AR, 2, 0, 0).await, G);
    assert_eq!(a.out(0x04, EA, 1, 0, 0).await, G);
    assert_eq!((a.keys().await, a.reserved().await), (vec![1], Some((1, EA))));
    assert_eq!((b.attention().await, c.attention().await), (Some((0x2a, 5)), Some((0x2a, 5))));
}

#[tokio::test]
async fn preempt_and_abort_stops_what_has_begun() {
    let (_bench, a, b, _c) = three().await;
    let begun = b.task(0, &write10(0, 1), 512);
    assert_eq!(a.out(0x05, WE, 1, 2, 0).await, G);
    let answer = begun.execute(Bytes::from(vec![7; 512])).await;
    assert_eq!(answer.status, Status::TaskAborted);
    assert_eq!(a.read(0, 0, 1).await, vec![0; 512]);
}

#[tokio::test]
async fn a_write_that_began_before_the_reservation_conflicts_when_its_data_comes() {
    let (_bench, a, b, _c) = three().await;
    let begun = b.task(0, &write10(0, 1), 512);
    assert_eq!(a.out(0x01, WE, 1, 0, 0).await, G);
    assert_eq!(begun.execute(Bytes::from(vec![7; 512])).await.status, C);
}

#[tokio::test(start_paused = true)]
async fn two_that_preempt_and_abort_each_other_do_not_wait_for_each_other() {
    let (_bench, a, b, _c) = three().await;
    let preempt = |seat: &Seat, key: u64, other: u64| {
        let mut list = [key.to_be_bytes(), other.to_be_bytes()].concat();
        list.resize(24, 0);
        let task = seat.task(0, &[0x5f, 0x05, WE, 0, 0, 0, 0, 0, 24, 0], 24);
        tokio::spawn(task.execute(Bytes::from(list)))
    };
    let start = tokio::time::Instant::now();
    let (x, y) = (preempt(&a, 1, 2), preempt(&b, 2, 1));
    assert_eq!(x.await.expect("no panic").status, G);
    assert_eq!(y.await.expect("no panic").status, Status::TaskAborted);
    assert!(start.elapsed() < Duration::from_millis(100));
    assert_eq!(a.keys().await, [1]);
}

#[tokio::test]
async fn register_and_move_hands_the_reservation_over() {
    let (_bench, a, b, _c) = three().await;
    assert_eq!(a.out(0x01, WE, 1, 0, 0).await, G);
    let heir = b"iqn.2026-11.test:host-1,i,0x00023d000001\0\0\0\0";
    let mut list = [1_u64.to_be_bytes(), 5_u64.to_be_bytes()].concat();
    list.extend([0, 0x02, 0, 1, 0, 0, 0, heir.len() as u8 + 4]);
    list.extend([0x45, 0, 0, heir.len() as u8]);
    list.extend(heir);
    let cdb = [0x5f, 0x07, WE, 0, 0, 0, 0, 0, list.len() as u8, 0];
    assert_eq!(a.send(0, &cdb, &list).await.status, G);
    assert_eq!((b.keys().await, b.reserved().await), (vec![5], Some((5, WE))));
    assert_eq!(a.rights().await, [G, C, G]);
    assert_eq!(b.rights().await, [G, G, G]);
    let full = b.report(3).await;
    assert_eq!((be(&full[8..16]), full[20], full[21], be(&full[26..28])), (5, 1, WE, 1));
    assert_eq!(&full[36..36 + heir.len()], heir);
    list[..8].copy_from_slice(&9_u64.to_be_bytes());
    assert_eq!(b.send(0, &cdb, &list).await.status, C, "with a wrong key");
}

#[tokio::test]
async fn others_and_all_portals_are_registered_at_once() {
    let (_bench, _a, b, c) = three().await;
    let id = b"iqn.2026-11.test:host-0,i,0x00023d000009\0\0\0\0";
    let mut list = [0_u64.to_be_bytes(), 4_u64.to_be_bytes()].concat();
    list.extend([0, 0, 0, 0, 0x08 | 0x04, 0, 0, 0]);
    list.extend((id.len() as u32 + 4).to_be_bytes());
    list.extend([0x45, 0, 0, id.len() as u8]);
    list.extend(id);
    let cdb = [0x5f, 0x00, 0, 0, 0, 0, 0, 0, list.len() as u8, 0];
    assert_eq!(c.send(0, &cdb, &list).await.status, G);
    assert_eq!(b.keys().await, [1, 2, 4, 4, 4, 4], "two initiator ports on two portals");
    list[24 + 4] = 0x46;
    assert_eq!(codes(&b.send(0, &cdb, &list).await), (5, 0x26, 0));
}

#[tokio::test]
async fn at_most_256_registrations() {
    let bench = Bench::with(1, vec![host(0, &[(0, mapped(0))])]).await;
    let seat = bench.login(0).await;
    let ids: Vec<u8> = (0..128_u32)
        .flat_map(|n| {
            let text = format!("iqn.2026-11.test:h,i,0x{n:012x}\0");
            let len = text.len().next_multiple_of(4);
            let mut id = vec![0x45, 0, 0, len as u8];
            id.extend(text.as_bytes());
            id.resize(4 + len, 0);
            id
        })
        .collect();
    let mut list = [0_u64.to_be_bytes(), 4_u64.to_be_bytes()].concat();
    list.extend([0, 0, 0, 0, 0x08 | 0x04, 0, 0, 0]);
    list.extend((ids.len() as u32).to_be_bytes());
    list.extend(ids);
    let [.., high, low] = (list.len() as u32).to_be_bytes();
    let cdb = [0x5f, 0x00, 0, 0, 0, 0, 0, high, low, 0];
    assert_eq!(codes(&seat.send(0, &cdb, &list).await), (5, 0x55, 4));
    assert!(seat.keys().await.is_empty(), "a refused command changes nothing");
}

#[tokio::test]
async fn aptpl_survives_a_restart_and_nothing_else_does() {
    let (bench, a, b, _c) = three().await;
    assert_eq!(a.out(0x01, EA_RO, 1, 0, 0).await, G);
    assert!(bench.disks[0].saved().is_empty());
    assert_eq!(b.out(0x06, 0, 0, 22, 1).await, G);
    let saved = bench.disks[0].saved();
    assert!(!saved.is_empty(), "saved when the answer comes");
    let hosts = (0..3).map(|n| host(n, &[(0, mapped(0))])).collect();
    let mut again = Bench::with(0, hosts_without_luns(3)).await;
    again.hosts = hosts;
    again.disks = bench.disks.clone();
    again.apply().await;
    let (a, b, c) = (again.login(0).await, again.login(1).await, again.login(2).await);
    assert_eq!((c.keys().await, c.reserved().await), (vec![1, 22], Some((1, EA_RO))));
    assert_eq!((a.rights().await, b.rights().await, c.rights().await), ([G; 3], [G; 3], [C, C, G]));
    assert_eq!(c.report(2).await[3], 0x81, "PTPL is active");
    assert_eq!(b.out(0x06, 0, 0, 22, 0).await, G);
    assert!(bench.disks[0].saved().is_empty(), "the last register said that nothing survives");
}

fn hosts_without_luns(n: usize) -> Vec<san_iscsi::scsi::inventory::Host> {
    (0..n).map(|n| host(n, &[])).collect()
}

#[tokio::test]
async fn damaged_reservations_are_reported_not_forgotten() {
    let bench = Bench::with(0, hosts_without_luns(1)).await;
    let disk = Bench::new().await.disks[0].clone();
    let mut inventory = Bench { disks: vec![disk], ..bench }.inventory();
    inventory.devices[0].saved_reservations = Bytes::from_static(&[1, 0, 0, 0, 1, 0, 0]);
    let bench = Bench::with(0, hosts_without_luns(1)).await;
    assert!(bench.target.apply(inventory).await.is_err());
}

#[tokio::test]
async fn a_failed_save_changes_nothing() {
    let (bench, a, _b, c) = three().await;
    bench.disks[0].fail(san_iscsi::LunFault::Device);
    assert_eq!(a.out(0x06, 0, 0, 9, 1).await, Status::CheckCondition);
    assert_eq!(c.keys().await, [1, 2]);
}

#[tokio::test]
async fn reserve_6_and_persistent_reservations_refuse_each_other() {
    let hosts = (0..2).map(|n| host(n, &[(0, mapped(0))])).collect();
    let bench = Bench::with(1, hosts).await;
    let (a, b) = (bench.login(0).await, bench.login(1).await);
    let (reserve, release) = ([0x16, 0, 0, 0, 0, 0], [0x17, 0, 0, 0, 0, 0]);
    assert_eq!(a.run(0, &reserve).await.status, G);
    assert_eq!(b.run(0, &short(0x56, 0)).await.status, C);
    assert_eq!(b.rights().await, [C, C, C], "even TEST UNIT READY");
    assert_eq!(b.run(0, &[0x12, 0, 0, 0, 96, 0]).await.status, G);
    assert_eq!(b.run(0, &release).await.status, G, "and nothing happens");
    assert_eq!((a.out(0x06, 0, 0, 1, 0).await, b.rights().await), (C, [C, C, C]));
    assert_eq!(b.run(0, &[0x5e, 0, 0, 0, 0, 0, 0, 1, 0, 0]).await.status, C);
    assert_eq!(a.run(0, &release).await.status, G);
    assert_eq!(b.rights().await, [G; 3]);
    a.register(1).await;
    assert_eq!((a.run(0, &reserve).await.status, b.run(0, &reserve).await.status), (G, C));
    assert_eq!(b.rights().await, [G; 3], "to a registrant it means nothing");
}

#[tokio::test]
async fn a_reserve_ends_with_its_nexus_and_with_a_reset() {
    let hosts = (0..2).map(|n| host(n, &[(0, mapped(0))])).collect();
    let bench = Bench::with(1, hosts).await;
    let (a, b) = (bench.login(0).await, bench.login(1).await);
    let reserve = [0x16, 0, 0, 0, 0, 0];
    a.run(0, &reserve).await;
    a.nexus.detach().await;
    assert_eq!(b.run(0, &reserve).await.status, G);
    let a = bench.login(0).await;
    assert_eq!(a.run(0, &[0; 6]).await.status, C, "a conflict comes before any attention");
    assert_eq!(codes(&a.run(0, &reserve).await), (6, 0x29, 0));
    assert_eq!(a.run(0, &reserve).await.status, C);
    let lun = san_iscsi::scsi::command::LunField::from_number(0);
    a.nexus.task_management(TaskManagement::LogicalUnitReset, lun).await;
    assert_eq!((a.attention().await, b.attention().await), (Some((0x29, 3)), Some((0x29, 3))));
    assert_eq!(a.run(0, &reserve).await.status, G);
}

#[tokio::test]
async fn a_registration_is_of_one_path() {
    let bench = Bench::with(1, vec![host(0, &[(0, mapped(0))])]).await;
    let first = bench.login(0).await;
    let second = bench.try_login(0, PORTALS[1]).expect("the host is known");
    second.run(0, &[0; 6]).await;
    first.register(1).await;
    assert_eq!(first.out(0x01, WE, 1, 0, 0).await, G);
    assert_eq!(second.rights().await, [G, C, G]);
    second.register(1).await;
    assert_eq!(second.out(0x04, WE_RO, 1, 1, 0).await, G);
    assert_eq!(first.attention().await, Some((0x2a, 5)), "same key: removed with the reservation");
    let again = InitiatorPort { name: super::bench::name(0), isid: [9; 6] };
    let grant = bench.target.admit(&again.name, [192, 0, 2, 0].into(), PORTALS[0]);
    assert!(bench.target.attach(&grant, again).is_some(), "another session of the same host");
}

#[tokio::test]
async fn two_race_for_a_reservation_and_one_wins() {
    for _ in 0..20 {
        let (_bench, a, b, _c) = three().await;
        let (x, y) = tokio::join!(a.out(0x01, EA, 1, 0, 0), b.out(0x01, EA, 2, 0, 0));
        assert!([(G, C), (C, G)].contains(&(x, y)));
    }
}

#[tokio::test]
async fn two_race_with_compare_and_write_and_one_wins() {
    let bench = Bench::with(1, (0..2).map(|n| host(n, &[(0, mapped(0))])).collect()).await;
    let (a, b) = (bench.login(0).await, bench.login(1).await);
    let caw = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    for round in 0..20_u8 {
        let claim = |new: u8| [vec![round; 512], vec![new; 512]].concat();
        bench.disks[0].hang(Hang::Queued);
        let (x, y) = (claim(round + 1), claim(round + 1));
        let release = async {
            tokio::task::yield_now().await;
            bench.disks[0].hang(Hang::Not);
        };
        let (x, y, ()) = tokio::join!(a.send(0, &caw, &x), b.send(0, &caw, &y), release);
        let won = [&x, &y].iter().filter(|answer| answer.status == G).count();
        assert_eq!(won, 1);
    }
}
