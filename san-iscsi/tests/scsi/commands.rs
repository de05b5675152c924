//! Each command as bytes in and bytes out, on disks in memory.

use super::bench::{be, codes, host, long, mapped, naa, read10, short, with, write10, Bench, DISK};
use san_iscsi::scsi::command::{Status, TaskAttribute};
use san_iscsi::scsi::inventory::{BlockSize, Mapping};
use san_iscsi::scsi::nexus::Begin;
use san_iscsi::LunFault;

const BLOCKS: u32 = (DISK / 512) as u32;

#[tokio::test]
async fn what_is_written_is_read_in_every_length_of_cdb() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let forms: [(Vec<u8>, Vec<u8>); 4] = [
        (vec![0x0a, 0, 0, 8, 2, 0], vec![0x08, 0, 0, 8, 2, 0]),
        (write10(8, 2).to_vec(), read10(8, 2).to_vec()),
        (vec![0xaa, 0, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0], vec![0xa8, 0, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0]),
        (long(0x8a, 0x08, 8, 2).to_vec(), long(0x88, 0x10, 8, 2).to_vec()),
    ];
    for (n, (write, read)) in forms.iter().enumerate() {
        let data = vec![n as u8 + 1; 1024];
        let written = seat.send(0, write, &data).await;
        assert_eq!((written.status, written.transfer), (Status::Good, 1024));
        assert_eq!(seat.good(0, read).await, data);
    }
    assert!(seat.good(1, &read10(8, 2)).await.iter().all(|byte| *byte == 0), "LUN 1 is another disk");
    let atomic = with([0x9c, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0], 12, &[0, 2]);
    assert_eq!(seat.send(0, &atomic, &[7; 1024]).await.status, Status::Good);
    assert_eq!(seat.read(0, 8, 2).await, vec![7; 1024]);
}

#[tokio::test]
async fn a_short_cdb_of_zero_blocks_means_256() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    assert_eq!(seat.good(0, &[0x08, 0, 0, 0, 0, 0]).await.len(), 256 * 512);
    assert_eq!(seat.good(0, &read10(0, 0)).await.len(), 0);
}

#[tokio::test]
async fn ranges_behind_the_end_are_refused_and_empty_ones_at_it_are_not() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let end = u64::from(BLOCKS);
    for opcode in [0x88, 0x8a, 0x8b, 0x8e, 0x8f, 0x90, 0x91] {
        let cases =
            [(end - 1, 2, true), (end, 1, true), (end + 1, 0, true), (u64::MAX, 2, true), (end, 0, false)];
        for (lba, count, refused) in cases {
            let answer = seat.send(0, &long(opcode, 0, lba, count), &[0; 1024]).await;
            let expected = if refused { Status::CheckCondition } else { Status::Good };
            assert_eq!(answer.status, expected, "opcode {opcode:02x} {lba} {count}: {answer:02x?}");
            if refused {
                assert_eq!(codes(&answer), (5, 0x21, 0));
            }
        }
    }
    let caw = with(long(0x89, 0, end, 0), 13, &[1]);
    assert_eq!(seat.fails(0, &caw, &[0; 1024]).await, (5, 0x21, 0));
    let longer_than_allowed = long(0x88, 0, 0, 8193);
    assert_eq!(seat.fails(0, &longer_than_allowed, &[]).await, (5, 0x24, 0));
}

#[tokio::test]
async fn bits_that_mean_nothing_are_refused_with_their_place() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let protect = with(read10(0, 1), 1, &[0x20]);
    let answer = seat.run(0, &protect).await;
    assert_eq!(codes(&answer), (5, 0x24, 0));
    let fixed = answer.sense.expect("a check condition has sense").fixed();
    assert_eq!(&fixed[15..18], &[0xcd, 0, 1], "bit 5 of byte 1 of the CDB");
    assert_eq!(seat.fails(0, &[0xff; 16], &[]).await, (5, 0x20, 0));
    assert_eq!(
        seat.fails(0, &[0x9e, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]).await,
        (5, 0x24, 0)
    );
    assert_eq!(seat.fails(0, &[0x3b, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]).await, (5, 0x20, 0), "WRITE BUFFER");
}

#[tokio::test]
async fn a_write_with_too_little_data_writes_whole_blocks_of_what_there_is() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let answer = seat.send(0, &write10(0, 2), &[9; 512]).await;
    assert_eq!((answer.status, answer.transfer), (Status::Good, 1024), "the residual tells the rest");
    assert_eq!(seat.read(0, 0, 2).await, [vec![9; 512], vec![0; 512]].concat());
    let answer = seat.send(0, &write10(0, 1), &[9; 200]).await;
    assert_eq!((codes(&answer), answer.transfer), ((5, 0x0e, 3), 512));
    assert_eq!(seat.send(0, &write10(0, 1), &[]).await.status, Status::Good);
}

#[tokio::test]
async fn compare_and_write_writes_only_over_what_is_expected() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let caw = with(long(0x89, 0, 4, 0), 13, &[1]);
    let swap = |old: u8, new: u8| [vec![old; 512], vec![new; 512]].concat();
    assert_eq!(seat.send(0, &caw, &swap(0, 1)).await.status, Status::Good);
    let answer = seat.send(0, &caw, &swap(0, 2)).await;
    assert_eq!(codes(&answer), (0xe, 0x1d, 0));
    let fixed = answer.sense.expect("a check condition has sense").fixed();
    assert_eq!((fixed[0], &fixed[3..7]), (0xf0, &[0, 0, 0, 0][..]), "the first byte differs");
    assert_eq!(seat.read(0, 4, 1).await, vec![1; 512]);
    assert_eq!(seat.fails(0, &caw, &[0; 2048]).await, (5, 0x24, 0), "exactly its data, no more");
}

#[tokio::test]
async fn orwrite_verify_and_write_verify_look_at_the_medium() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    seat.write(0, 0, &[0x0f; 512]).await;
    assert_eq!(seat.send(0, &long(0x8b, 0, 0, 1), &[0xf0; 512]).await.status, Status::Good);
    assert_eq!(seat.read(0, 0, 1).await, vec![0xff; 512]);
    let verify = |bytchk: u8, blocks: u8| {
        with(with([0x2f, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1, &[bytchk << 1]), 8, &[blocks])
    };
    assert_eq!(seat.send(0, &verify(0, 1), &[]).await.status, Status::Good);
    assert_eq!(seat.send(0, &verify(1, 1), &[0xff; 512]).await.status, Status::Good);
    assert_eq!(seat.fails(0, &verify(1, 1), &[0xfe; 512]).await, (0xe, 0x1d, 0));
    assert_eq!(seat.fails(0, &verify(3, 2), &[0xff; 512]).await, (0xe, 0x1d, 0), "the second block differs");
    assert_eq!(seat.fails(0, &verify(2, 1), &[]).await, (5, 0x24, 0));
    let write_verify = with([0x2e, 0x02, 0, 0, 0, 0, 0, 0, 1, 0], 5, &[9]);
    assert_eq!(seat.send(0, &write_verify, &[3; 512]).await.status, Status::Good);
    assert_eq!(seat.read(0, 9, 1).await, vec![3; 512]);
}

#[tokio::test]
async fn write_same_repeats_its_block_or_zeroes() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let same = |opcode: u8, flags: u8, blocks: u32| match opcode {
        0x41 => with(short(0x41, flags), 7, &(blocks as u16).to_be_bytes()).to_vec(),
        _ => long(opcode, flags, 0, blocks).to_vec(),
    };
    assert_eq!(seat.send(0, &same(0x41, 0, 16), &[5; 512]).await.status, Status::Good);
    assert_eq!(seat.read(0, 0, 17).await, [vec![5; 16 * 512], vec![0; 512]].concat());
    assert_eq!(seat.run(0, &same(0x93, 0x01, 8)).await.status, Status::Good, "NDOB has no data");
    assert_eq!(seat.read(0, 7, 2).await, [vec![0; 512], vec![5; 512]].concat());
    assert_eq!(seat.fails(0, &same(0x93, 0x08, 0), &[0; 512]).await, (5, 0x24, 0), "the end is too far");
    let last = long(0x93, 0, u64::from(BLOCKS) - 8, 0);
    assert_eq!(seat.send(0, &last, &[6; 512]).await.status, Status::Good);
    let tail = seat.good(0, &long(0x88, 0, u64::from(BLOCKS) - 9, 9)).await;
    assert_eq!(tail, [vec![0; 512], vec![6; 4096]].concat(), "up to the end");
    assert_eq!(seat.send(0, &same(0x41, 0x08, 8), &[0xff; 512]).await.status, Status::Good);
    assert!(seat.read(0, 0, 8).await.iter().all(|byte| *byte == 0), "UNMAP, whatever the data");
    assert_eq!(seat.fails(0, &same(0x41, 0x10, 1), &[0; 512]).await, (5, 0x24, 0), "ANCHOR");
    assert_eq!(seat.fails(0, &same(0x93, 0x08, 32769), &[0; 512]).await, (5, 0x24, 0), "too many");
    assert_eq!(seat.fails(0, &same(0x41, 0x08, 1), &[0; 1024]).await, (5, 0x24, 0));
}

fn unmap_list(ranges: &[(u64, u32)]) -> Vec<u8> {
    let len = 16 * ranges.len() as u16;
    let mut list = [(len + 6).to_be_bytes(), len.to_be_bytes(), [0; 2], [0; 2]].concat();
    for (lba, count) in ranges {
        list.extend(lba.to_be_bytes());
        list.extend(count.to_be_bytes());
        list.extend([0; 4]);
    }
    list
}

#[tokio::test]
async fn unmap_gives_back_whole_blocks_and_get_lba_status_tells() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    seat.write(0, 0, &[1; 32 * 512]).await;
    let list = unmap_list(&[(8, 8), (24, 4)]);
    let unmap = with(short(0x42, 0), 7, &(list.len() as u16).to_be_bytes());
    assert_eq!(seat.send(0, &unmap, &list).await.status, Status::Good);
    assert_eq!(seat.read(0, 7, 2).await, [vec![1; 512], vec![0; 512]].concat());
    assert_eq!(seat.read(0, 27, 2).await, [vec![0; 512], vec![1; 512]].concat());
    let status = seat.good(0, &long(0x9e, 0x12, 0, 1024)).await;
    let runs: Vec<(u64, u64, u8)> =
        status[8..].chunks(16).take(4).map(|d| (be(&d[..8]), be(&d[8..12]), d[12])).collect();
    assert_eq!(runs, [(0, 8, 0), (8, 8, 1), (16, 16, 0), (32, 32768 - 32, 1)]);
    assert_eq!(be(&status[..4]) as usize, status.len() - 4);
    assert_eq!(seat.fails(0, &long(0x9e, 0x12, u64::from(BLOCKS), 1024), &[]).await, (5, 0x21, 0));
}

#[tokio::test]
async fn an_unmap_list_is_checked_wholly_before_anything_is_unmapped() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    seat.write(0, 0, &[1; 4096]).await;
    let send = |list: Vec<u8>| {
        let cdb = with(short(0x42, 0), 7, &(list.len() as u16).to_be_bytes());
        (cdb, list)
    };
    let (cdb, list) = send(unmap_list(&[(0, 8), (u64::from(BLOCKS) - 1, 2)]));
    assert_eq!(seat.fails(0, &cdb, &list).await, (5, 0x21, 0));
    assert_eq!(seat.read(0, 0, 8).await, vec![1; 4096]);
    let (cdb, list) = send(vec![0; 7]);
    assert_eq!(seat.fails(0, &cdb, &list).await, (5, 0x1a, 0));
    let (cdb, list) = send(Vec::new());
    assert_eq!(seat.send(0, &cdb, &list).await.status, Status::Good);
}

#[tokio::test]
async fn inquiry_names_the_device_alike_on_all_paths() {
    let bench = Bench::new().await;
    let (a, b) = (bench.login(0).await, bench.login(1).await);
    let standard = a.good(0, &[0x12, 0, 0, 0, 96, 0]).await;
    assert_eq!((standard.len(), standard[0], standard[2]), (96, 0, 6));
    assert_eq!(&standard[8..32], b"ASHLAR  VOLUME          ");
    let page = |code: u8| [0x12, 1, code, 1, 0, 0];
    let pages = a.good(0, &page(0)).await;
    assert_eq!(&pages[4..], &[0x00, 0x80, 0x83, 0x86, 0xb0, 0xb1, 0xb2]);
    for code in &pages[4..] {
        let body = a.good(0, &page(*code)).await;
        assert_eq!((body[1], be(&body[2..4]) as usize), (*code, body.len() - 4));
        assert_eq!(body, b.good(0, &page(*code)).await, "the same LUN through the same portal");
    }
    assert_eq!(&a.good(0, &page(0x80)).await[4..], b"SERIAL0");
    let names = a.good(0, &page(0x83)).await;
    assert_eq!(&names[4..8], &[1, 3, 0, 16]);
    assert_eq!(&names[8..24], &naa(0).0);
    assert_eq!(a.fails(0, &page(0x84), &[]).await, (5, 0x24, 0));
    assert_eq!(a.good(0, &[0x12, 0, 0, 0, 5, 0]).await.len(), 5);
}

#[tokio::test]
async fn limits_keep_commands_short_and_unmap_granularity_divides_a_mebibyte() {
    let mut bench = Bench::new().await;
    for (size, shift) in [(BlockSize::B512, 9), (BlockSize::B4096, 12)] {
        bench.block_size = size;
        bench.apply().await;
        let seat = bench.login(0).await;
        let limits = seat.good(0, &[0x12, 1, 0xb0, 0, 64, 0]).await;
        assert_eq!(be(&limits[8..12]) << shift, 4 << 20);
        let granularity = be(&limits[28..32]) << shift;
        assert!(granularity <= 1 << 20 && (1_u64 << 20).is_multiple_of(granularity));
        assert!(limits[5] > 0 && be(&limits[20..24]) <= 1 << 20);
        assert_eq!(be(&limits[44..48]), be(&limits[8..12]), "every write is atomic");
        let capacity = seat.good(0, &long(0x9e, 0x10, 0, 32)).await;
        assert_eq!(be(&capacity[..8]), (DISK >> shift) - 1);
        assert_eq!(be(&capacity[8..12]), 1 << shift);
        assert_eq!((capacity[13], capacity[14]), (12 - shift as u8, 0xc0));
        let short = seat.good(0, &short(0x25, 0)).await;
        assert_eq!((be(&short[..4]), be(&short[4..])), ((DISK >> shift) - 1, 1 << shift));
    }
}

#[tokio::test]
async fn mode_pages_tell_the_cache_and_only_write_protection_changes() {
    let quick = Mapping { write_cache: false, ..mapped(0) };
    let bench = Bench::with(1, vec![host(0, &[(0, mapped(0))]), host(1, &[(0, quick)])]).await;
    let (a, b) = (bench.login(0).await, bench.login(1).await);
    let caching = [0x1a, 0x08, 0x08, 0, 255, 0];
    assert_eq!((a.good(0, &caching).await[6], b.good(0, &caching).await[6]), (4, 0));
    let all = a.good(0, &[0x1a, 0, 0x3f, 0, 255, 0]).await;
    assert_eq!(all.len(), usize::from(all[0]) + 1);
    assert_eq!((all[2], all[3], be(&all[4..8]), be(&all[9..12])), (0x10, 8, u64::from(BLOCKS), 512));
    let long_all = a.good(0, &[0x5a, 0x10, 0x3f, 0, 0, 0, 0, 4, 0, 0]).await;
    assert_eq!((be(&long_all[..2]) as usize, long_all[4], long_all[7]), (long_all.len() - 2, 1, 16));
    let mut control = a.good(0, &[0x1a, 0x08, 0x0a, 0, 255, 0]).await.to_vec();
    control[0] = 0;
    control[4 + 4] |= 0x08;
    let select = [0x15, 0x10, 0, 0, control.len() as u8, 0];
    assert_eq!(a.send(0, &select, &control).await.status, Status::Good);
    assert_eq!(codes(&b.run(0, &[0; 6]).await), (6, 0x2a, 0x01), "others are told");
    assert_eq!(codes(&a.write(0, 0, &[1; 512]).await), (7, 0x27, 0));
    assert_eq!(a.good(0, &caching).await[2], 0x90);
    control[4 + 4] &= !0x08;
    assert_eq!(a.send(0, &select, &control).await.status, Status::Good);
    assert_eq!(a.write(0, 0, &[1; 512]).await.status, Status::Good);
    let mut cache = a.good(0, &caching).await.to_vec();
    cache[0] = 0;
    cache[4 + 2] &= !0x04;
    let select = [0x15, 0x10, 0, 0, cache.len() as u8, 0];
    assert_eq!(a.fails(0, &select, &cache).await, (5, 0x26, 0), "WCE is the administrator's");
    assert_eq!(a.fails(0, &[0x1a, 0, 0xc8, 0, 255, 0], &[]).await, (5, 0x39, 0), "nothing is saved");
}

#[tokio::test]
async fn report_luns_and_a_missing_lun_0() {
    let luns = [(3, mapped(0)), (300, mapped(1))];
    let bench = Bench::with(2, vec![host(0, &luns)]).await;
    let seat = bench.login(0).await;
    let report = with([0; 12], 0, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
    let list = seat.good(0, &report).await;
    assert_eq!((be(&list[..4]), be(&list[8..16]), be(&list[16..24])), (16, 3 << 48, 0x412c << 48));
    assert_eq!(seat.good(300, &read10(0, 1)).await.len(), 512);
    let inquiry = seat.good(0, &[0x12, 0, 0, 0, 96, 0]).await;
    assert_eq!(inquiry[0], 0x7f);
    let sense = seat.good(0, &[0x03, 0, 0, 0, 18, 0]).await;
    assert_eq!((sense[2], sense[12], sense[13]), (5, 0x25, 0));
    assert_eq!(seat.fails(0, &[0; 6], &[]).await, (5, 0x25, 0));
    assert_eq!(seat.fails(7, &report, &[]).await, (5, 0x25, 0));
    assert_eq!(
        seat.fails(3, &with(report, 9, &[8]).map(|b| if b == 4 { 0 } else { b }), &[]).await,
        (5, 0x24, 0)
    );
}

#[tokio::test]
async fn supported_operation_codes_are_those_that_work() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let all = seat.good(0, &[0xa3, 0x0c, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0]).await;
    assert_eq!(be(&all[..4]) as usize, all.len() - 4);
    for descriptor in all[4..].chunks(20) {
        let (opcode, action, has_action) = (descriptor[0], descriptor[3], descriptor[5] & 1);
        assert_eq!((descriptor[5] & 2, descriptor[9]), (2, 10), "with timeouts");
        let one = |option: u8| [0xa3, 0x0c, option, opcode, 0, action, 0, 0, 1, 0, 0, 0];
        let known = seat.good(0, &one(1 + has_action)).await;
        assert_eq!((known[1], known[4]), (3, opcode));
        assert_eq!(be(&known[2..4]), be(&descriptor[6..8]));
        assert_eq!(seat.fails(0, &one(2 - has_action), &[]).await, (5, 0x24, 0));
        let mut cdb = vec![0; known.len() - 4];
        cdb[..2].copy_from_slice(&[opcode, if has_action == 1 { action } else { 0 }]);
        let answer = seat.send(0, &cdb, &[]).await;
        let unknown = answer.sense.is_some_and(|sense| sense.asc == 0x20);
        assert!(!unknown, "{cdb:02x?} is in the table, so it is known");
    }
    let unknown = seat.good(0, &[0xa3, 0x0c, 1, 0x3b, 0, 0, 0, 0, 1, 0, 0, 0]).await;
    assert_eq!(unknown[1], 1);
    assert_eq!(&seat.good(0, &[0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0]).await[..], &[0xda, 0, 0, 0]);
    let groups = seat.good(0, &[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]).await;
    assert_eq!((groups.len(), groups[4], groups[11]), (20, 0, 2), "two portals, active and optimized");
}

#[tokio::test]
async fn log_pages_tell_space() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    seat.write(0, 0, &[1; 4096]).await;
    let sense = |page: u8| [0x4d, 0, 0x40 | page, 0, 0, 0, 0, 1, 0, 0];
    assert_eq!(&seat.good(0, &sense(0)).await[..], &[0, 0, 0, 2, 0, 0x0c]);
    let space = seat.good(0, &sense(0x0c)).await;
    assert_eq!((be(&space[4..6]), be(&space[8..12])), (1, 63), "mebibytes that are free");
    assert_eq!((be(&space[16..18]), be(&space[20..24])), (2, 0));
    assert_eq!(seat.fails(0, &sense(0x0d), &[]).await, (5, 0x24, 0));
}

#[tokio::test]
async fn there_is_no_auto_contingent_allegiance() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    for cdb in [&[0; 6][..], &write10(0, 1)] {
        let Begin::Answer(answer) = seat.begin_as(TaskAttribute::Aca, 0, cdb, 512) else {
            panic!("it is refused before it has data")
        };
        assert_eq!(codes(&answer), (5, 0x49, 0));
    }
    assert_eq!(seat.fails(0, &[0, 0, 0, 0, 0, 0x04], &[]).await, (5, 0x24, 0), "NACA");
}

#[tokio::test]
async fn faults_of_storage_become_sense() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let cases = [
        (LunFault::NoSpace, (7, 0x27, 7)),
        (LunFault::Corrupt, (3, 0x11, 0)),
        (LunFault::Device, (4, 0x44, 0)),
        (LunFault::Interrupted, (0xb, 0x44, 0)),
        (LunFault::Starting, (2, 4, 1)),
        (LunFault::OutOfRange, (5, 0x21, 0)),
        (LunFault::Unavailable, (2, 4, 3)),
    ];
    for (fault, expected) in cases {
        bench.disks[0].fail(fault);
        assert_eq!(codes(&seat.write(0, 0, &[1; 512]).await), expected);
        bench.disks[0].fail(fault);
        assert_eq!(seat.fails(0, &read10(0, 1), &[]).await, expected);
    }
    bench.disks[0].fail(LunFault::WritesLost);
    assert_eq!(seat.fails(0, &short(0x35, 0), &[]).await, (3, 0x0c, 0));
    assert_eq!(seat.good(0, &short(0x35, 0)).await.len(), 0);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_goes_on_reading() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    seat.write(0, 0, &[1; 4096]).await;
    bench.disks[0].limit(1);
    assert_eq!(codes(&seat.write(0, 8, &[1; 4096]).await), (7, 0x27, 7));
    assert_eq!(seat.write(0, 0, &[2; 4096]).await.status, Status::Good);
    assert_eq!(seat.read(0, 0, 1).await, vec![2; 512]);
}

#[tokio::test]
async fn small_commands_answer() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    for cdb in [
        &[0x1b, 0, 0, 0, 1, 0][..],
        &[0x1e, 0, 0, 0, 1, 0],
        &short(0x34, 0),
        &long(0x90, 0x02, 0, 8),
        &long(0x91, 0, 0, 0),
        &[0; 6],
    ] {
        assert_eq!(seat.good(0, cdb).await.len(), 0);
    }
    assert_eq!(&seat.good(0, &[0x37, 0, 0x1d, 0, 0, 0, 0, 0, 8, 0]).await[..], &[0, 0x1d, 0, 0]);
    let long_list = [0xb7, 0x1d, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0];
    assert_eq!(&seat.good(0, &long_list).await[..], &[0, 0x1d, 0, 0, 0, 0, 0, 0]);
    let descriptor = seat.good(0, &[0x03, 1, 0, 0, 255, 0]).await;
    assert_eq!(descriptor[0], 0x72);
}

#[tokio::test]
async fn a_read_only_lun_refuses_every_write() {
    let read_only = Mapping { read_only: true, ..mapped(0) };
    let bench = Bench::with(1, vec![host(0, &[(0, read_only)])]).await;
    let seat = bench.login(0).await;
    assert_eq!(seat.good(0, &[0x1a, 0, 0x3f, 0, 255, 0]).await[2], 0x90);
    let caw = with(long(0x89, 0, 0, 0), 13, &[1]);
    let unmap = with(short(0x42, 0), 8, &[24]);
    let same = with(short(0x41, 0), 8, &[1]);
    let cdbs: [&[u8]; 8] = [
        &write10(0, 1),
        &[0x0a, 0, 0, 0, 1, 0],
        &long(0x8a, 0, 0, 1),
        &long(0x8b, 0, 0, 1),
        &long(0x8e, 0, 0, 1),
        &caw,
        &unmap,
        &same,
    ];
    for cdb in cdbs {
        assert_eq!(seat.fails(0, cdb, &[0; 1024]).await, (7, 0x27, 0), "{cdb:02x?}");
    }
    assert_eq!(seat.good(0, &read10(0, 1)).await.len(), 512);
    assert_eq!(seat.good(0, &short(0x35, 0)).await.len(), 0);
}

#[tokio::test]
async fn an_ordered_write_waits_for_older_ones_and_newer_ones_for_it() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let begin = |attribute, lba| match seat.begin_as(attribute, 0, &write10(lba, 1), 512) {
        Begin::Proceed(task) => task,
        Begin::Answer(answer) => panic!("{answer:?}"),
    };
    let first = begin(TaskAttribute::Simple, 0);
    let ordered = begin(TaskAttribute::Ordered, 0);
    let last = begin(TaskAttribute::Simple, 0);
    let data = |n: u8| bytes::Bytes::from(vec![n; 512]);
    // Their data comes in the opposite order.
    let (a, b, c) = tokio::join!(last.execute(data(3)), ordered.execute(data(2)), first.execute(data(1)));
    assert!([a, b, c].iter().all(|answer| answer.status == Status::Good));
    assert_eq!(seat.read(0, 0, 1).await, vec![3; 512]);
}
