//! Storage that hangs: answers come in time, and nothing takes effect late (protocol rules 2 and 3).

use super::bench::{codes, host, mapped, read10, short, write10, Bench, Seat};
use bytes::Bytes;
use san_iscsi::mem::Hang;
use san_iscsi::scsi::command::{LunField, Status};
use san_iscsi::scsi::limits::COMMAND_TIME;
use san_iscsi::scsi::nexus::TaskManagement;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{timeout, Instant};

const TIMED_OUT: (u8, u8, u8) = (0xb, 0x2e, 2);

async fn two() -> (Bench, Arc<Seat>, Arc<Seat>) {
    let bench = Bench::with(1, (0..2).map(|n| host(n, &[(0, mapped(0))])).collect()).await;
    let (a, b) = (bench.login(0).await, bench.login(1).await);
    (bench, Arc::new(a), Arc::new(b))
}

#[tokio::test(start_paused = true)]
async fn every_command_is_answered_in_time_though_the_device_hangs() {
    let (bench, a, _b) = two().await;
    bench.disks[0].hang(Hang::Ordered);
    let start = Instant::now();
    let caw = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    let same = [0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let register = [0x5f, 6, 0, 0, 0, 0, 0, 0, 24, 0];
    let mut list = [0; 24];
    (list[15], list[20]) = (1, 1);
    let (read, flush) = (read10(0, 1), short(0x35, 0));
    let (read, flush, write, caw, same, register) = tokio::join!(
        a.run(0, &read),
        a.run(0, &flush),
        a.write(0, 0, &[1; 512]),
        a.send(0, &caw, &[0; 1024]),
        a.send(0, &same, &[2; 512]),
        a.send(0, &register, &list),
    );
    assert!(start.elapsed() <= COMMAND_TIME + Duration::from_millis(1), "{:?}", start.elapsed());
    assert_eq!(read.status, Status::Busy, "nothing of it has an effect");
    for answer in [flush, write, caw, same, register] {
        assert_eq!(codes(&answer), TIMED_OUT);
    }
}

/// The device hangs ten seconds, the retry runs over the second path, the device is released: the content is
/// the last acknowledged.
#[tokio::test(start_paused = true)]
async fn a_write_given_up_never_takes_effect_after_a_later_acknowledged_one() {
    for hang in [Hang::Ordered, Hang::Queued] {
        let (bench, a, b) = two().await;
        bench.disks[0].hang(hang);
        assert_eq!(codes(&a.write(0, 0, &[1; 512]).await), TIMED_OUT);
        let start = Instant::now();
        assert_eq!(b.write(0, 0, &[2; 512]).await.status, Status::Busy, "nothing of it was begun");
        assert!(start.elapsed() < Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(b.write(0, 0, &[3; 512]).await.status, Status::Busy);
        bench.disks[0].hang(Hang::Not);
        assert_eq!(b.write(0, 0, &[4; 512]).await.status, Status::Good);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(b.read(0, 0, 1).await, vec![4; 512]);
    }
}

/// A younger write that is already with storage when an older one is given up is not acknowledged before the
/// older one has ended: it could be overwritten by it.
#[tokio::test(start_paused = true)]
async fn a_write_is_acknowledged_only_when_none_is_in_doubt() {
    let bench = Bench::new().await;
    let (a, b) = (Arc::new(bench.login(0).await), bench.login(1).await);
    bench.disks[0].hang(Hang::Ordered);
    let older = tokio::spawn({
        let a = Arc::clone(&a);
        async move { a.write(0, 0, &[1; 512]).await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    let younger = tokio::spawn(async move { (b.write(0, 0, &[2; 512]).await, b) });
    assert_eq!(codes(&older.await.expect("no panic")), TIMED_OUT);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.disks[0].hang(Hang::Not);
    let (answer, b) = younger.await.expect("no panic");
    assert_eq!(answer.status, Status::Good, "both have ended by now");
    assert_eq!(b.read(0, 0, 1).await.len(), 512);
}

#[tokio::test(start_paused = true)]
async fn an_ended_session_leaves_no_late_write() {
    for hang in [Hang::Ordered, Hang::Queued] {
        let (bench, a, b) = two().await;
        bench.disks[0].hang(hang);
        let task = a.task(0, &write10(0, 1), 512);
        let write = tokio::spawn(task.execute(Bytes::from(vec![1; 512])));
        tokio::time::sleep(Duration::from_millis(10)).await;
        let start = Instant::now();
        a.nexus.detach().await;
        assert!(start.elapsed() <= COMMAND_TIME + Duration::from_millis(1));
        if hang == Hang::Ordered {
            assert_eq!(b.write(0, 0, &[2; 512]).await.status, Status::Busy);
        }
        bench.disks[0].hang(Hang::Not);
        assert_eq!(b.write(0, 0, &[3; 512]).await.status, Status::Good);
        write.await.expect("no panic");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(b.read(0, 0, 1).await, vec![3; 512]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_data_comes_after_the_end_has_no_effect() {
    let (_bench, a, b) = two().await;
    let task = a.task(0, &write10(0, 1), 512);
    a.nexus.detach().await;
    let answer = task.execute(Bytes::from(vec![1; 512])).await;
    assert_ne!(answer.status, Status::Good);
    assert_eq!(b.read(0, 0, 1).await, vec![0; 512]);
    assert_eq!(codes(&a.run(0, &[0; 6]).await), (5, 0x25, 0), "nothing begins any more");
    let event = timeout(Duration::from_secs(1), a.nexus.event()).await;
    assert!(event.is_err(), "a session that ends by itself is not told to end");
}

#[tokio::test(start_paused = true)]
async fn a_reset_waits_for_what_runs_and_aborts_what_waits() {
    let (bench, a, b) = two().await;
    let waits = b.task(0, &write10(0, 1), 512);
    bench.disks[0].hang(Hang::Ordered);
    let runs = tokio::spawn(b.task(0, &write10(1, 1), 512).execute(Bytes::from(vec![1; 512])));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let start = Instant::now();
    a.nexus.task_management(TaskManagement::LogicalUnitReset, LunField::from_number(0)).await;
    assert!(start.elapsed() <= COMMAND_TIME + Duration::from_millis(1));
    assert_eq!(runs.await.expect("no panic").status, Status::TaskAborted);
    assert_eq!(waits.execute(Bytes::from(vec![2; 512])).await.status, Status::TaskAborted);
    for seat in [&a, &b] {
        assert_eq!(codes(&seat.run(0, &[0; 6]).await), (6, 0x29, 3));
    }
    assert_eq!(a.write(0, 1, &[3; 512]).await.status, Status::Busy, "one write is in doubt yet");
    bench.disks[0].hang(Hang::Not);
    assert_eq!(a.write(0, 1, &[4; 512]).await.status, Status::Good);
    assert_eq!(a.read(0, 0, 2).await, [vec![0; 512], vec![4; 512]].concat());
}

#[tokio::test(start_paused = true)]
async fn taking_a_lun_away_returns_when_nothing_of_it_runs() {
    let (mut bench, a, _b) = two().await;
    bench.disks[0].hang(Hang::Ordered);
    let write = tokio::spawn(a.task(0, &write10(0, 1), 512).execute(Bytes::from(vec![1; 512])));
    tokio::time::sleep(Duration::from_millis(10)).await;
    bench.hosts[0].luns.clear();
    {
        let mut apply = std::pin::pin!(bench.apply());
        assert!(timeout(Duration::from_secs(20), apply.as_mut()).await.is_err(), "it may take effect yet");
        assert_eq!(codes(&a.run(0, &[0; 6]).await), (5, 0x25, 0));
        bench.disks[0].hang(Hang::Not);
        apply.await;
    }
    assert_ne!(write.await.expect("no panic").status, Status::Good);
}

/// A transport that dies drops its tasks: what storage was given goes on, and is in doubt meanwhile.
#[tokio::test(start_paused = true)]
async fn a_task_that_is_dropped_half_way_leaves_a_doubt() {
    let (bench, a, b) = two().await;
    bench.disks[0].hang(Hang::Ordered);
    let task = a.task(0, &write10(0, 1), 512);
    let half = timeout(Duration::from_millis(5), task.execute(Bytes::from(vec![1; 512]))).await;
    assert!(half.is_err());
    assert_eq!(b.write(0, 0, &[2; 512]).await.status, Status::Busy);
    bench.disks[0].hang(Hang::Not);
    assert_eq!(b.write(0, 0, &[3; 512]).await.status, Status::Good);
    assert_eq!(b.read(0, 0, 1).await, vec![3; 512]);
}

#[tokio::test(start_paused = true)]
async fn evicting_ends_all_who_reach_a_device() {
    let (bench, a, b) = two().await;
    assert_eq!(bench.target.live().len(), 2);
    assert_eq!(bench.target.live()[0].devices, [super::bench::naa(0)]);
    let task = a.task(0, &write10(0, 1), 512);
    bench.target.evict(super::bench::naa(0)).await;
    bench.apply().await;
    for seat in [&a, &b] {
        assert_eq!(seat.nexus.event().await, san_iscsi::scsi::nexus::Event::Ended);
        assert_eq!(codes(&seat.run(0, &[0; 6]).await), (5, 0x25, 0));
    }
    assert_ne!(task.execute(Bytes::from(vec![1; 512])).await.status, Status::Good);
    assert!(bench.target.live().iter().all(|nexus| nexus.devices.is_empty()));
    drop((a, b));
    assert!(bench.target.live().is_empty());
}
