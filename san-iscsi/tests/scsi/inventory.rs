//! What changes under live nexuses: who is told what, in which order, and who is left alone.

use super::bench::{codes, host, mapped, name, write10, Bench, Seat, DISK, PORTALS};
use bytes::Bytes;
use san_iscsi::scsi::command::Status;
use san_iscsi::scsi::inventory::{Initiators, Mapping};
use san_iscsi::scsi::nexus::Event;
use san_iscsi::scsi::target::InventoryFault;
use std::time::Duration;
use tokio::time::timeout;

impl Seat {
    /// All unit attentions of a LUN, in order.
    async fn attentions(&self, lun: u16) -> Vec<(u8, u8)> {
        let mut all = Vec::new();
        loop {
            let answer = self.run(lun, &[0; 6]).await;
            if answer.status == Status::Good {
                return all;
            }
            let (key, asc, ascq) = codes(&answer);
            assert_eq!(key, 6, "LUN {lun}: {asc:02x}/{ascq:02x}");
            all.push((asc, ascq));
        }
    }

    async fn event(&self) -> Option<Event> {
        timeout(Duration::from_millis(1), self.nexus.event()).await.ok()
    }
}

const REPORT_LUNS: [u8; 12] = [0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

#[tokio::test(start_paused = true)]
async fn a_new_nexus_is_told_29_00_once_and_inquiry_neither_fails_nor_loses_it() {
    let bench = Bench::new().await;
    let seat = bench.try_login(0, PORTALS[0]).expect("known");
    assert_eq!(seat.good(0, &[0x12, 0, 0, 0, 96, 0]).await.len(), 96);
    assert_eq!(seat.good(0, &REPORT_LUNS).await.len(), 24);
    assert_eq!(seat.attentions(0).await, [(0x29, 0)]);
    let sense = seat.good(1, &[0x03, 0, 0, 0, 18, 0]).await;
    assert_eq!((sense[2], sense[12], sense[13]), (6, 0x29, 0), "REQUEST SENSE reports it");
    assert_eq!(seat.attentions(1).await, []);
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_inventory_is_not_noticed() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let task = seat.task(0, &write10(0, 1), 512);
    bench.apply().await;
    assert_eq!(task.execute(Bytes::from(vec![1; 512])).await.status, Status::Good);
    assert_eq!((seat.attentions(0).await, seat.event().await), (vec![], None));
}

#[tokio::test(start_paused = true)]
async fn mapping_and_unmapping_are_told_to_the_host_alone() {
    let mut bench = Bench::new().await;
    let (a, b) = (bench.login(0).await, bench.login(1).await);
    bench.hosts[0].luns.insert(7, mapped(1));
    bench.hosts[0].luns.remove(&1);
    bench.apply().await;
    assert_eq!((a.event().await, a.event().await), (Some(Event::LunsChanged), None));
    assert_eq!((b.event().await, b.attentions(0).await), (None, vec![]));
    assert_eq!(a.attentions(0).await, [(0x3f, 0x0e)]);
    assert_eq!(a.attentions(7).await, [(0x29, 0), (0x3f, 0x0e)]);
    assert_eq!(a.fails(1, &[0; 6], &[]).await, (5, 0x25, 0));
    bench.hosts[0].luns.remove(&7);
    bench.apply().await;
    assert_eq!(a.good(0, &REPORT_LUNS).await.len(), 16);
    assert_eq!(a.attentions(0).await, [], "REPORT LUNS has told it");
}

#[tokio::test(start_paused = true)]
async fn resize_rollback_and_a_short_pool_are_told_to_all() {
    let mut bench = Bench::new().await;
    let (a, b) = (bench.login(0).await, bench.login(1).await);
    bench.disks[0].resize(DISK * 2);
    bench.content = 1;
    bench.apply().await;
    bench.target.space_is_short(super::bench::naa(0));
    for seat in [&a, &b] {
        assert_eq!(seat.attentions(0).await, [(0x29, 0), (0x2a, 9), (0x38, 7)]);
    }
    assert_eq!(a.attentions(1).await, [(0x29, 0)]);
    assert_eq!(a.event().await, None);
}

#[tokio::test(start_paused = true)]
async fn another_cache_policy_is_a_mode_change() {
    let mut bench = Bench::new().await;
    let seat = bench.login(0).await;
    bench.hosts[0].luns.insert(0, Mapping { write_cache: false, ..mapped(0) });
    bench.apply().await;
    assert_eq!(seat.attentions(0).await, [(0x2a, 1)]);
    assert_eq!(seat.good(0, &[0x1a, 8, 8, 0, 255, 0]).await[6], 0);
    assert_eq!(seat.write(0, 0, &[1; 512]).await.status, Status::Good);
}

#[tokio::test(start_paused = true)]
async fn a_removed_host_and_a_changed_limit_end_the_session() {
    let mut bench = Bench::new().await;
    let (a, b) = (bench.login(0).await, bench.login(1).await);
    let task = a.task(0, &write10(0, 1), 512);
    let gone = bench.hosts.remove(0);
    bench.apply().await;
    assert_eq!(
        (a.event().await, a.event().await, b.event().await),
        (Some(Event::Ended), Some(Event::Ended), None)
    );
    assert_ne!(task.execute(Bytes::from(vec![1; 512])).await.status, Status::Good);
    assert_eq!(b.read(0, 0, 1).await, vec![0; 512]);
    bench.hosts.insert(0, gone);
    bench.apply().await;
    let a = bench.login(0).await;
    bench.hosts[0].portals = vec![PORTALS[1]];
    bench.apply().await;
    assert_eq!(a.event().await, Some(Event::Ended));
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_fails_leaves_its_luns_in_place() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let mut inventory = bench.inventory();
    inventory.devices[0].unit = None;
    bench.target.apply(inventory).await.expect("consistent");
    assert_eq!(seat.good(0, &REPORT_LUNS).await.len(), 24);
    assert_eq!(seat.good(0, &[0x12, 0, 0, 0, 36, 0]).await[0], 0);
    assert_eq!(seat.fails(0, &[0; 6], &[]).await, (2, 4, 3));
    assert_eq!(codes(&seat.write(0, 0, &[1; 512]).await), (2, 4, 3));
    bench.apply().await;
    assert_eq!(seat.write(0, 0, &[1; 512]).await.status, Status::Good);
    assert_eq!(seat.event().await, None, "no LUN came or went");
}

#[tokio::test]
async fn an_inventory_that_contradicts_itself_is_refused_and_nothing_changes() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let refused = |change: fn(&mut Bench)| {
        let mut other = Bench {
            target: bench.target.clone(),
            disks: bench.disks.clone(),
            hosts: bench.hosts.clone(),
            block_size: bench.block_size,
            content: bench.content,
        };
        change(&mut other);
        async move { other.target.apply(other.inventory()).await.expect_err("refused") }
    };
    let fault = refused(|b| b.hosts[1].initiators = Initiators::Named(vec![name(0)])).await;
    assert_eq!(fault, InventoryFault::InitiatorTwice(name(0)));
    let fault = refused(|b| b.hosts.iter_mut().for_each(|h| h.initiators = Initiators::Any)).await;
    assert!(matches!(fault, InventoryFault::AnyTwice(..)));
    let fault = refused(|b| {
        b.hosts[0].luns.insert(3, mapped(9));
    })
    .await;
    assert!(matches!(fault, InventoryFault::NoDevice { lun: 3, .. }));
    let fault = refused(|b| {
        b.hosts[0].luns.insert(1 << 14, mapped(0));
    })
    .await;
    assert!(matches!(fault, InventoryFault::Luns(_)));
    assert_eq!(seat.read(0, 0, 1).await.len(), 512);
    let twice = host(0, &[]);
    assert_eq!(twice.name, "host-0");
}

#[tokio::test(start_paused = true)]
async fn a_nexus_that_has_ended_gets_no_lun_any_more() {
    let mut bench = Bench::new().await;
    let seat = bench.login(0).await;
    seat.nexus.detach().await;
    bench.hosts[0].luns.insert(9, mapped(1));
    bench.apply().await;
    assert_eq!(seat.fails(9, &[0; 6], &[]).await, (5, 0x25, 0));
}
