//! EXTENDED COPY and its results.

use super::bench::{be, host, mapped, naa, Bench, Seat};
use san_iscsi::scsi::command::{Response, Status};
use san_iscsi::scsi::inventory::{Mapping, Naa};
use std::slice;

/// An identification descriptor.
fn device(naa: Naa) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    bytes[..8].copy_from_slice(&[0xe4, 0, 0, 0, 1, 3, 0, 16]);
    bytes[8..24].copy_from_slice(&naa.0);
    bytes
}

/// A block to block segment: from and to which device, blocks, LBAs.
fn segment(from: u8, to: u8, blocks: u16, from_lba: u64, to_lba: u64) -> Vec<u8> {
    let mut bytes = vec![0x02, 0, 0, 24, 0, from, 0, to, 0, 0];
    bytes.extend(blocks.to_be_bytes());
    bytes.extend(from_lba.to_be_bytes());
    bytes.extend(to_lba.to_be_bytes());
    bytes
}

fn list(devices: &[Vec<u8>], segments: &[Vec<u8>]) -> Vec<u8> {
    let (devices, segments) = (devices.concat(), segments.concat());
    let mut bytes = vec![7, 0];
    bytes.extend((devices.len() as u16).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend((segments.len() as u32).to_be_bytes());
    bytes.extend([0; 4]);
    [bytes, devices, segments].concat()
}

impl Seat {
    async fn copy(&self, list: &[u8]) -> Response {
        let [.., high, low] = (list.len() as u32).to_be_bytes();
        self.send(0, &[0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low, 0, 0], list).await
    }

    async fn copy_fails(&self, list: &[u8]) -> (u8, u8, u8) {
        super::bench::codes(&self.copy(list).await)
    }
}

const STATUS: [u8; 16] = [0x84, 0x00, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

#[tokio::test]
async fn segments_are_copied_between_luns_that_the_nexus_sees() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    assert_eq!(seat.fails(0, &STATUS, &[]).await, (5, 0x24, 0), "no copy yet");
    seat.write(0, 0, &[5; 4096]).await;
    let segments = [segment(0, 1, 8, 0, 16), segment(0, 0, 4, 0, 64)];
    assert_eq!(seat.copy(&list(&[device(naa(0)), device(naa(1))], &segments)).await.status, Status::Good);
    assert_eq!(seat.read(1, 16, 9).await, [vec![5; 4096], vec![0; 512]].concat());
    assert_eq!(seat.read(0, 64, 5).await, [vec![5; 2048], vec![0; 512]].concat());
    let status = seat.good(0, &STATUS).await;
    assert_eq!((status.len(), status[4], be(&status[5..7]), be(&status[8..12])), (12, 1, 2, 6));
    assert_eq!(seat.copy(&[]).await.status, Status::Good);
}

#[tokio::test]
async fn a_device_that_the_host_does_not_see_is_not_reachable() {
    let bench = Bench::new().await;
    let foreign = bench.login(1).await;
    let mut nowhere = naa(1);
    nowhere.0[15] = 99;
    for device_name in [naa(1), nowhere] {
        let bytes = list(&[device(naa(0)), device(device_name)], &[segment(1, 0, 8, 0, 0)]);
        assert_eq!(foreign.copy_fails(&bytes).await, (0xa, 0x0d, 2));
    }
    assert_eq!(foreign.good(0, &STATUS).await[4], 2, "it failed");
}

#[tokio::test]
async fn copies_respect_the_end_reservations_and_read_only_luns() {
    let read_only = Mapping { read_only: true, ..mapped(1) };
    let hosts = vec![host(0, &[(0, mapped(0)), (1, read_only)]), host(1, &[(0, mapped(0))])];
    let bench = Bench::with(2, hosts).await;
    let (a, b) = (bench.login(0).await, bench.login(1).await);
    let devices = [device(naa(0)), device(naa(1))];
    assert_eq!(a.copy_fails(&list(&devices, &[segment(0, 1, 8, 0, 0)])).await, (0xa, 0x27, 0));
    assert_eq!(a.copy_fails(&list(&devices, &[segment(0, 0, 8, 0, u64::MAX)])).await, (0xa, 0, 0));
    assert_eq!(a.copy(&list(&devices, &[segment(1, 0, 8, 0, 0)])).await.status, Status::Good);
    let reserve = [0x16, 0, 0, 0, 0, 0];
    assert_eq!(b.run(0, &reserve).await.status, Status::Good);
    let bytes = list(&devices[..1], &[segment(0, 0, 8, 0, 64)]);
    let through_the_other = [0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, bytes.len() as u8, 0, 0];
    let answer = a.send(1, &through_the_other, &bytes).await;
    assert_eq!(super::bench::codes(&answer).0, 0xa, "a RESERVE of another holds there too");
}

#[tokio::test]
async fn lists_that_are_wrong_are_refused_before_anything_is_copied() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let one = segment(0, 0, 8, 0, 8);
    let good = list(&[device(naa(0))], slice::from_ref(&one));
    assert_eq!(seat.copy_fails(&good[..good.len() - 1]).await, (5, 0x1a, 0));
    assert_eq!(seat.copy_fails(&good[..40]).await, (5, 0x1a, 0));
    let nine = vec![device(naa(0)); 9];
    assert_eq!(seat.copy_fails(&list(&nine, slice::from_ref(&one))).await, (5, 0x26, 6));
    assert_eq!(seat.copy_fails(&list(&nine[..1], &vec![one.clone(); 9])).await, (5, 0x26, 8));
    let mut other = device(naa(0));
    other[0] = 0xe0;
    assert_eq!(seat.copy_fails(&list(&[other], slice::from_ref(&one))).await, (5, 0x26, 7));
    let mut stream = one.clone();
    stream[0] = 0x03;
    assert_eq!(seat.copy_fails(&list(&nine[..1], &[stream])).await, (5, 0x26, 9));
    assert_eq!(seat.copy_fails(&list(&nine[..1], &[segment(0, 1, 8, 0, 0)])).await.0, 0xa);
}

#[tokio::test]
async fn operating_parameters_tell_the_limits() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let parameters = seat.good(0, &[0x84, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]).await;
    assert_eq!(be(&parameters[..4]) as usize, parameters.len() - 4);
    assert_eq!((be(&parameters[8..10]), be(&parameters[10..12])), (8, 8));
    assert_eq!(&parameters[43..], &[2, 0x02, 0xe4]);
}
