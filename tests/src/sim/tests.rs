//! The promises of the simulated machine as a whole.

use super::*;
use block_layer::{Buf, Bytes, Disk, DiskError, BLOCK};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

const GEOMETRY: Geometry = Geometry { len: 1 << 20, sector: 512, sparse: false };
const SEEDS: u64 = 200;

fn machine(seed: u64) -> (Machine, Arc<SimDisk>) {
    let mut machine = Machine::new(seed);
    let disk = machine.add_disk("sim0", GEOMETRY, FaultPlan::default());
    (machine, disk)
}

fn block(byte: u8) -> Vec<Bytes> {
    vec![vec![byte; BLOCK].into()]
}

fn write(machine: &Machine, disk: &SimDisk, at: u64, byte: u8) {
    machine.run(disk.write(at, block(byte))).expect("power").expect("no fault");
}

fn flush(machine: &Machine, disk: &SimDisk) {
    machine.run(disk.flush()).expect("power").expect("no fault");
}

fn read(machine: &Machine, disk: &SimDisk, at: u64) -> Vec<u8> {
    machine.run(disk.read(at, Buf::zeroed(BLOCK))).expect("power").expect("no fault").to_vec()
}

/// The byte that fills each of the block's eight sectors; a sector of two bytes would be garbage.
fn sectors(block: &[u8]) -> Vec<u8> {
    block
        .chunks(512)
        .map(|sector| {
            assert!(sector.iter().all(|b| *b == sector[0]), "torn inside a sector");
            sector[0]
        })
        .collect()
}

fn peek(disk: &SimDisk, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    disk.peek(at, &mut bytes);
    sectors(&bytes)
}

fn is_eio<T>(result: &Result<T, DiskError>) -> bool {
    matches!(result, Err(DiskError::Io { cause, .. }) if cause.errno == Some(5))
}

#[test]
fn a_read_gives_what_was_written_and_zeros_elsewhere() {
    let (machine, disk) = machine(1);
    let pieces = vec![Bytes::from(vec![1; 512]), vec![2; 1024].into()];
    machine.run(disk.write(3584, pieces)).unwrap().unwrap();
    assert_eq!(sectors(&read(&machine, &disk, 0)), [0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(sectors(&read(&machine, &disk, 4096)), [2, 2, 0, 0, 0, 0, 0, 0]);
    let expected =
        Counters { reads: 2, writes: 1, read_bytes: 8192, written_bytes: 1536, ..Counters::default() };
    assert_eq!(disk.counters(), expected);
    assert_eq!(disk.log().iter().map(|w| (w.ordinal, w.at, w.len)).collect::<Vec<_>>(), [(1, 3584, 1536)]);
}

#[test]
fn a_request_is_never_answered_at_once_and_dropping_it_does_not_stop_it() {
    let (machine, disk) = machine(1);
    let mut io = disk.write(0, block(1));
    let first = machine.run(poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut io).poll(cx).is_pending())));
    assert_eq!(first, Ok(true));
    drop(io);
    machine.run(machine.sim().sleep(Duration::from_secs(1))).unwrap();
    assert_eq!(peek(&disk, 0), [1; 8]);
}

#[test]
fn overlapping_writes_land_in_any_order_and_requests_overtake_each_other() {
    let mut last = BTreeSet::new();
    for seed in 0..SEEDS {
        let (machine, disk) = machine(seed);
        let (a, b) = (disk.write(0, block(1)), disk.write(0, block(2)));
        machine.run(async { (a.await.unwrap(), b.await.unwrap()) }).unwrap();
        last.insert(peek(&disk, 0));
    }
    assert_eq!(last, BTreeSet::from([vec![1; 8], vec![2; 8]]));
}

#[test]
fn a_read_that_races_a_write_may_see_any_of_its_sectors() {
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let (machine, disk) = machine(seed);
        let (w, r) = (disk.write(0, block(1)), disk.read(0, Buf::zeroed(BLOCK)));
        let (_, read) = machine.run(async { (w.await.unwrap(), r.await.unwrap()) }).unwrap();
        seen.insert(sectors(&read));
    }
    assert!(seen.contains(&vec![0; 8]) && seen.contains(&vec![1; 8]) && seen.len() > 10);
}

#[test]
fn an_answered_write_survives_the_process() {
    for seed in 0..SEEDS {
        let (machine, disk) = machine(seed);
        write(&machine, &disk, 0, 1);
        machine.kill();
        machine.run(machine.drained()).unwrap();
        assert_eq!(read(&machine, &disk, 0), [1; BLOCK]);
    }
}

#[test]
fn a_flushed_write_survives_the_power_cut_and_an_unflushed_one_leaves_any_sectors() {
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let (machine, disk) = machine(seed);
        write(&machine, &disk, 0, 1);
        write(&machine, &disk, 4096, 1);
        flush(&machine, &disk);
        write(&machine, &disk, 4096, 2);
        assert_eq!(read(&machine, &disk, 4096), [2; BLOCK], "reads see the cache");
        machine.power_cut();
        assert_eq!(read(&machine, &disk, 0), [1; BLOCK]);
        seen.insert(sectors(&read(&machine, &disk, 4096)));
    }
    assert!(seen.contains(&vec![1; 8]) && seen.contains(&vec![2; 8]) && seen.len() > 20);
    assert!(seen.iter().flatten().all(|b| [1, 2].contains(b)));
}

#[test]
fn of_several_unflushed_versions_a_power_cut_may_keep_any_sector_by_sector() {
    let mut mixtures = 0;
    for seed in 0..SEEDS {
        let (machine, disk) = machine(seed);
        write(&machine, &disk, 0, 1);
        write(&machine, &disk, 0, 2);
        let in_flight = disk.write(0, block(3));
        machine.power_cut();
        drop(in_flight);
        let versions: BTreeSet<u8> = peek(&disk, 0).into_iter().collect();
        assert!(versions.iter().all(|v| *v <= 3));
        mixtures += u32::from(versions.len() >= 3);
        let kept = peek(&disk, 0);
        flush(&machine, &disk);
        machine.power_cut();
        assert_eq!(peek(&disk, 0), kept, "what survived once is stable");
    }
    assert!(mixtures > 5, "{mixtures}");
}

#[test]
fn a_flush_covers_only_writes_answered_before_it_was_issued() {
    let mut lost = 0;
    for seed in 0..SEEDS {
        let (machine, disk) = machine(seed);
        write(&machine, &disk, 0, 1);
        let (flush, late) = (disk.flush(), disk.write(4096, block(2)));
        machine.run(async { (late.await.unwrap(), flush.await.unwrap()) }).unwrap();
        machine.power_cut();
        assert_eq!(peek(&disk, 0), [1; 8]);
        lost += u32::from(peek(&disk, 4096) != [2; 8]);
    }
    assert!(lost > 50, "{lost}");
}

#[test]
fn a_killed_write_lands_now_or_later_or_in_part_or_never_until_drained() {
    let (mut late, mut ends) = (0, BTreeSet::new());
    for seed in 0..SEEDS {
        let (machine, disk) = machine(seed);
        let in_flight = disk.write(0, block(1));
        machine.kill();
        drop(in_flight);
        let before = peek(&disk, 0);
        let draining = disk.is_draining();
        machine.run(machine.drained()).unwrap();
        late += u32::from(draining && peek(&disk, 0) != before);
        ends.insert(peek(&disk, 0));
        let end = peek(&disk, 0);
        machine.run(machine.sim().sleep(Duration::from_secs(10))).unwrap();
        assert_eq!(peek(&disk, 0), end, "nothing lands once the lock is free");
    }
    assert!(late > 20 && ends.contains(&vec![0; 8]) && ends.contains(&vec![1; 8]) && ends.len() > 10);
}

#[test]
fn a_killed_write_may_land_over_what_an_impatient_opener_wrote() {
    let mut clobbered = 0;
    for seed in 0..SEEDS {
        let (machine, disk) = machine(seed);
        let in_flight = disk.write(0, block(1));
        machine.kill();
        drop(in_flight);
        write(&machine, &disk, 0, 2);
        machine.run(machine.drained()).unwrap();
        clobbered += u32::from(peek(&disk, 0) != [2; 8]);
    }
    assert!(clobbered > 20, "{clobbered}");
}

#[test]
fn drain_settles_every_killed_write_at_once_even_of_a_disk_that_hangs() {
    for seed in 0..SEEDS {
        let (machine, disk) = machine(seed);
        disk.hold();
        let in_flight = disk.write(0, block(1));
        machine.kill();
        drop(in_flight);
        disk.drain();
        assert!(!disk.is_draining());
        let settled = peek(&disk, 0);
        disk.release();
        machine.run(machine.sim().sleep(Duration::from_secs(10))).unwrap();
        assert_eq!(peek(&disk, 0), settled);
    }
}

#[test]
fn the_lock_of_a_killed_process_stays_taken_while_the_disk_hangs() {
    let (machine, disk) = (0..)
        .map(machine)
        .find(|(machine, disk)| {
            disk.hold();
            drop(disk.write(0, block(1)));
            machine.kill();
            disk.is_draining()
        })
        .unwrap();
    machine.run(machine.sim().sleep(Duration::from_secs(60))).unwrap();
    assert!(disk.is_draining());
    disk.release();
    machine.run(machine.drained()).unwrap();
}

#[test]
fn planned_requests_fail_with_eio_and_the_others_do_not() {
    let (machine, disk) = machine(1);
    let default = FaultPlan::default();
    disk.set_plan(FaultPlan { read: Faults::at(2), write: Faults::at(1), flush: Faults::at(2), ..default });
    assert!(is_eio(&machine.run(disk.write(0, block(1))).unwrap()));
    write(&machine, &disk, 0, 1);
    assert_eq!(read(&machine, &disk, 0), [1; BLOCK]);
    assert!(is_eio(&machine.run(disk.read(0, Buf::zeroed(BLOCK))).unwrap()));
    flush(&machine, &disk);
    assert!(is_eio(&machine.run(disk.flush()).unwrap()));
    disk.set_plan(FaultPlan { read: Faults::with_probability(1.0), ..FaultPlan::default() });
    assert!(is_eio(&machine.run(disk.read(0, Buf::zeroed(BLOCK))).unwrap()));
    disk.set_plan(FaultPlan::default());
    assert_eq!(read(&machine, &disk, 0), [1; BLOCK]);
}

#[test]
fn a_failed_flush_loses_writes_that_no_later_flush_brings_back() {
    let (mut lost, mut hidden) = (0, 0);
    for seed in 0..SEEDS {
        let (machine, disk) = machine(seed);
        disk.set_plan(FaultPlan { flush: Faults::at(1), ..FaultPlan::default() });
        write(&machine, &disk, 0, 1);
        assert!(is_eio(&machine.run(disk.flush()).unwrap()));
        let seen_before = peek(&disk, 0) == [1; 8];
        flush(&machine, &disk);
        machine.power_cut();
        let kept = peek(&disk, 0) == [1; 8];
        assert!(seen_before || !kept);
        lost += u32::from(!kept);
        hidden += u32::from(seen_before && !kept);
    }
    assert!(lost > 80 && lost < 180 && hidden > 30, "{lost} {hidden}");
}

#[test]
fn beyond_the_end_is_eio_and_changes_nothing() {
    let (machine, disk) = machine(1);
    for at in [GEOMETRY.len, GEOMETRY.len - 512, u64::MAX - 511] {
        assert!(is_eio(&machine.run(disk.write(at, block(1))).unwrap()));
        assert!(is_eio(&machine.run(disk.read(at, Buf::zeroed(BLOCK))).unwrap()));
        drop(disk.write(at, block(1)));
        machine.kill();
        drop(disk.write(at, block(1)));
        machine.power_cut();
    }
    assert_eq!(peek(&disk, GEOMETRY.len - 4096), [0; 8]);
    assert_eq!(disk.flip_random_bit(), None, "nothing is stored");
}

#[test]
#[should_panic(expected = "100 is not in 512s")]
fn an_unaligned_request_is_the_engines_bug() {
    let (_machine, disk) = machine(1);
    drop(disk.read(100, Buf::zeroed(BLOCK)));
}

#[test]
fn a_flipped_bit_stays_flipped_through_flush_and_power_cut() {
    let (machine, disk) = machine(1);
    write(&machine, &disk, 0, 0);
    disk.flip_bit(1000, 3);
    let byte = |machine: &Machine| read(machine, &disk, 0)[1000];
    assert_eq!(byte(&machine), 8);
    flush(&machine, &disk);
    machine.power_cut();
    assert_eq!(byte(&machine), 8);
    assert!(disk.flip_random_bit().is_some_and(|at| at < 4096));
}

#[test]
fn a_disk_that_hangs_answers_after_its_release_only() {
    let (machine, disk) = machine(1);
    disk.hold();
    let io = disk.write(0, block(1));
    machine.run(machine.sim().sleep(Duration::from_secs(100))).unwrap();
    assert_eq!(peek(&disk, 0), [0; 8]);
    disk.release();
    machine.run(io).unwrap().unwrap();
    assert_eq!(peek(&disk, 0), [1; 8]);
}

#[test]
fn the_power_goes_at_exactly_the_planned_write_of_any_disk() {
    for cut in 1..=6 {
        let mut machine = Machine::new(cut);
        let disks = ["a", "b"].map(|name| machine.add_disk(name, GEOMETRY, FaultPlan::default()));
        machine.sim().cut_at_write(cut);
        let acknowledged = Mutex::new(0);
        let result = machine.run(async {
            for n in 0..10u64 {
                disks[n as usize % 2].write(n * 4096, block(1)).await.unwrap();
                *lock(&acknowledged) += 1;
            }
        });
        assert_eq!((result, machine.sim().has_cut()), (Err(PowerLost), true));
        assert_eq!(*lock(&acknowledged), cut - 1, "the write at the cut is not answered");
        drop(disks[0].write(0, block(9)));
        machine.power_cut();
        assert_eq!(machine.sim().device_writes(), cut, "a write after the cut never happened");
        assert!(disks.iter().all(|disk| (0..10).all(|n| peek(disk, n * 4096).iter().all(|b| *b <= 1))));
        write(&machine, &disks[0], 0, 5); // the power is back
    }
}

/// Four tasks that write, read and flush two disks with faults; killed and cut on the way.
fn storm(seed: u64, requests: u64) -> u64 {
    let mut machine = Machine::new(seed);
    let plan = FaultPlan {
        write: Faults::with_probability(0.01),
        flush: Faults::with_probability(0.01),
        ..FaultPlan::default()
    };
    let disks = ["a", "b"].map(|name| machine.add_disk(name, GEOMETRY, plan.clone()));
    for end in 0..4 {
        let (all, mut ended) = tokio::sync::mpsc::unbounded_channel::<()>();
        for _ in 0..4 {
            let (disks, mut rng, all) = (disks.clone(), machine.sim().fork_rng(), all.clone());
            machine.sim().spawn(Box::pin(async move {
                let data = Bytes::from(vec![rng.next() as u8; BLOCK]);
                for _ in 0..requests / 16 {
                    let (disk, at) = (rng.pick(&disks), rng.below(GEOMETRY.len / 4096) * 4096);
                    let _ = match rng.below(20) {
                        0 => disk.flush().await,
                        1..=10 => disk.read(at, Buf::zeroed(BLOCK)).await.map(drop),
                        _ => disk.write(at, vec![data.clone()]).await,
                    };
                }
                drop(all);
            }));
        }
        drop(all);
        match end {
            0 => machine.run(machine.sim().sleep(Duration::from_millis(5))).unwrap(),
            _ => drop(machine.run(async { while ended.recv().await.is_some() {} })),
        }
        if end % 2 == 0 {
            machine.kill()
        } else {
            machine.power_cut()
        }
    }
    let mut contents = vec![0; GEOMETRY.len as usize];
    disks[0].peek(0, &mut contents);
    machine.digest() ^ u64::from(crc32c::crc32c(&contents))
}

#[test]
fn the_same_seed_gives_the_same_trace_and_contents_and_others_differ() {
    let digests: BTreeSet<u64> = (0..20).map(|seed| storm(seed, 500)).collect();
    assert_eq!(digests.len(), 20);
    assert!((0..20).all(|seed| digests.contains(&storm(seed, 500))));
}

#[test]
fn ten_thousand_requests_take_well_under_a_second() {
    // The aim is 100 ms; the bound is loose, since machines that run tests are busy.
    let start = std::time::Instant::now();
    storm(1, 13_000); // the first of four rounds is killed early
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}
