//! The promises of [`FileDisk`], for both drivers, direct and buffered.

use super::request::{OpenFile, Request};
use super::*;
use crate::units::BLOCK;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

const MIB: usize = 1 << 20;

/// A path beside the test binary (a real file system, where O_DIRECT is likely), removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let beside = std::env::current_exe().unwrap();
        let path = beside.with_file_name(format!("{name}-{}.disk", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Scratch(path)
    }

    fn disk(name: &str, len: u64) -> Scratch {
        let scratch = Scratch::new(name);
        FileDisk::create(&scratch.0, len).unwrap();
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Every way to drive a disk that this system offers.
fn all_modes() -> Vec<DiskOptions> {
    let mut modes = Vec::new();
    for backend in [Backend::Uring, Backend::Threads] {
        for direct in [Direct::Direct, Direct::Buffered] {
            modes.push(DiskOptions { backend, direct });
        }
    }
    modes.retain(|mode| mode.backend != Backend::Uring || uring::available());
    modes
}

/// Opens in `mode`; `None` where the file system of the build has no O_DIRECT.
fn open(path: &Path, mode: &DiskOptions) -> Option<FileDisk> {
    match FileDisk::open(path, mode) {
        Err(OpenError::Unavailable { what: "O_DIRECT", .. }) => None,
        other => Some(other.unwrap()),
    }
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i / 512) as u8 ^ (i as u8).wrapping_mul(31) ^ seed).collect()
}

#[test]
fn what_was_written_at_odd_splits_is_read_back() {
    let scratch = Scratch::disk("splits", 4 * MIB as u64);
    for (round, mode) in all_modes().iter().enumerate() {
        let Some(disk) = open(&scratch.0, mode) else { continue };
        let sector = disk.geometry().sector as usize;
        let data = pattern(3 * MIB, round as u8);
        // 1, 2, 3, ... sectors, every other piece from an address that no device would take.
        let (mut pieces, mut from, mut sectors) = (Vec::new(), 0, 1);
        while from < data.len() {
            let to = (from + sectors * sector).min(data.len());
            let shifted = Bytes::from([&[0], &data[from..to]].concat()).slice(1..);
            pieces.push(if sectors % 2 == 0 { shifted } else { Buf::copy_of(&data[from..to]).freeze() });
            pieces.push(Bytes::new());
            (from, sectors) = (to, sectors + 1);
        }
        runtime().block_on(async {
            disk.write(MIB as u64, pieces).await.unwrap();
            disk.flush().await.unwrap();
            let mut whole = Buf::zeroed(data.len());
            let (head, middle) = (whole.split_to(sector), whole.split_to(2 * MIB));
            let tail_at = (MIB + sector + 2 * MIB) as u64;
            let reads = (disk.read(MIB as u64, head), disk.read((MIB + sector) as u64, middle));
            let tail = disk.read(tail_at, whole);
            let (mut head, middle) = (reads.0.await.unwrap(), reads.1.await.unwrap());
            head.join(middle);
            head.join(tail.await.unwrap());
            assert!(head[..] == data[..], "{}", disk.mode());
        });
    }
}

#[test]
fn more_pieces_than_a_call_takes_are_all_written() {
    let scratch = Scratch::disk("pieces", 2 * MIB as u64);
    for (round, mode) in all_modes().iter().enumerate() {
        let Some(disk) = open(&scratch.0, mode) else { continue };
        let sector = disk.geometry().sector as usize;
        let data = Buf::copy_of(&pattern(2 * MIB, 7 + round as u8)).freeze();
        let len = data.len().min(2500 * sector);
        let pieces = (0..len).step_by(sector).map(|from| data.slice(from..from + sector)).collect();
        let back = runtime().block_on(async {
            disk.write(0, pieces).await.unwrap();
            disk.read(0, Buf::zeroed(len)).await.unwrap()
        });
        assert!(back[..] == data[..len], "{}", disk.mode());
    }
}

#[test]
fn a_burst_beyond_the_rings_size_is_answered_in_full() {
    let scratch = Scratch::disk("burst", 8 * MIB as u64);
    for mode in all_modes() {
        let Some(disk) = open(&scratch.0, &mode) else { continue };
        runtime().block_on(async {
            let blocks = 0..2000usize;
            let at = |n: usize| (n * BLOCK) as u64;
            let fill = |n: usize| Buf::copy_of(&pattern(BLOCK, n as u8)).freeze();
            let writes: Vec<_> = blocks.clone().map(|n| disk.write(at(n), vec![fill(n)])).collect();
            for write in writes {
                write.await.unwrap();
            }
            let reads: Vec<_> = blocks.map(|n| disk.read(at(n), Buf::zeroed(BLOCK))).collect();
            for (n, read) in reads.into_iter().enumerate() {
                assert_eq!(read.await.unwrap()[..], pattern(BLOCK, n as u8)[..], "block {n}");
            }
        });
    }
}

#[test]
fn nothing_outside_of_whole_sectors_inside_the_disk_is_touched() {
    let scratch = Scratch::disk("bounds", MIB as u64);
    let disk = FileDisk::open(&scratch.0, &DiskOptions::default()).unwrap();
    let refused = |result| match result {
        Err(DiskError::Io { cause, .. }) => assert_eq!(cause.kind, std::io::ErrorKind::InvalidInput),
        other => panic!("{other:?}"),
    };
    runtime().block_on(async {
        let block = || vec![Buf::zeroed(BLOCK).freeze()];
        refused(disk.write(MIB as u64, block()).await);
        refused(disk.write(u64::MAX - 511, block()).await);
        refused(disk.write(1, block()).await);
        refused(disk.write(0, vec![Bytes::from_static(b"odd")]).await);
        refused(disk.read(MIB as u64 - 512, Buf::zeroed(BLOCK)).await.map(drop));
        disk.write(MIB as u64 - BLOCK as u64, block()).await.unwrap();
        disk.write(0, Vec::new()).await.unwrap();
    });
    assert_eq!(std::fs::metadata(&scratch.0).unwrap().len(), MIB as u64);
}

#[test]
fn a_grown_file_is_larger_at_once_and_never_smaller() {
    let scratch = Scratch::disk("grow", MIB as u64);
    let disk = FileDisk::open(&scratch.0, &DiskOptions::default()).unwrap();
    disk.grow(2 * MIB as u64).unwrap();
    assert_eq!(disk.geometry().len, 2 * MIB as u64);
    runtime().block_on(async {
        let last = 2 * MIB as u64 - BLOCK as u64;
        disk.write(last, vec![Buf::copy_of(&pattern(BLOCK, 1)).freeze()]).await.unwrap();
        assert_eq!(disk.read(last, Buf::zeroed(BLOCK)).await.unwrap()[..], pattern(BLOCK, 1)[..]);
    });
    assert!(disk.grow(MIB as u64).is_err());
    File::options().write(true).open(&scratch.0).unwrap().set_len(3 * MIB as u64 + 100).unwrap();
    assert_eq!(disk.geometry().len, 2 * MIB as u64, "seen after a refresh only");
    disk.refresh().unwrap();
    assert_eq!(disk.geometry().len, 3 * MIB as u64, "whole sectors only");
}

#[test]
fn open_errors_say_what_stands_in_the_way() {
    let scratch = Scratch::disk("errors", MIB as u64);
    let open = |path: &Path| FileDisk::open(path, &DiskOptions::default()).map(drop);
    assert!(matches!(FileDisk::create(&scratch.0, 1), Err(OpenError::Exists { .. })));
    assert_eq!(std::fs::metadata(&scratch.0).unwrap().len(), MIB as u64);
    assert!(matches!(open(&scratch.0.with_extension("none")), Err(OpenError::Missing { .. })));
    assert!(matches!(open(scratch.0.parent().unwrap()), Err(OpenError::NotADisk { .. })));
    assert!(matches!(open(Path::new("/dev/null")), Err(OpenError::NotADisk { .. })));
    let too_long = Scratch::new("too-long");
    assert!(matches!(FileDisk::create(&too_long.0, u64::MAX), Err(OpenError::Io { .. })));
    assert!(!too_long.0.exists(), "a half-made file is left");
}

/// Runs as the other process too, told so by the environment.
#[test]
fn an_open_disk_is_busy_for_every_other_opener() {
    const TOLD: &str = "ASHLAR_TEST_OPEN_THIS";
    let try_open = |path: &Path| {
        let busy = FileDisk::open(path, &DiskOptions::default()).map(drop).unwrap_err();
        assert!(matches!(&busy, OpenError::Busy { .. }), "{busy}");
        assert!(busy.to_string().contains(path.to_str().unwrap()), "{busy}");
    };
    if let Some(path) = std::env::var_os(TOLD) {
        return try_open(Path::new(&path));
    }
    let scratch = Scratch::disk("busy", MIB as u64);
    for mode in all_modes() {
        let Some(disk) = open(&scratch.0, &mode) else { continue };
        try_open(&scratch.0);
        let other = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "device::tests::an_open_disk_is_busy_for_every_other_opener"])
            .env(TOLD, &scratch.0)
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&other.stdout);
        assert!(other.status.success() && output.contains("1 passed"), "{output}");
        drop(disk);
    }
    FileDisk::open(&scratch.0, &DiskOptions::default()).unwrap();
}

#[test]
fn a_dropped_future_leaves_its_memory_to_the_kernel() {
    let scratch = Scratch::disk("dropped", 16 * MIB as u64);
    for mode in all_modes() {
        let Some(disk) = open(&scratch.0, &mode) else { continue };
        runtime().block_on(async {
            disk.write(0, vec![Buf::copy_of(&vec![0xEE; 16 * MIB]).freeze()]).await.unwrap();
            for _ in 0..8 {
                drop(disk.read(0, Buf::zeroed(16 * MIB)));
                tokio::task::yield_now().await;
                // Memory freed too early would be given out again here, and be written by the read.
                let others: Vec<Buf> = (0..4).map(|_| Buf::zeroed(16 * MIB)).collect();
                disk.flush().await.unwrap();
                assert!(others.iter().all(|buf| buf.iter().all(|byte| *byte == 0)), "{}", disk.mode());
            }
        });
    }
}

#[test]
fn requests_in_flight_are_finished_when_the_runtime_is_dropped() {
    let scratch = Scratch::disk("runtime", 16 * MIB as u64);
    for (round, mode) in all_modes().iter().enumerate() {
        let Some(disk) = open(&scratch.0, mode) else { continue };
        let data = Buf::copy_of(&pattern(8 * MIB, round as u8)).freeze();
        let first = runtime();
        let (begun, queued) = first.block_on(async {
            let begun = disk.write(0, vec![data.clone()]);
            tokio::task::yield_now().await;
            (begun, disk.write(8 * MIB as u64, vec![data.clone()]))
        });
        drop(first);
        runtime().block_on(async {
            begun.await.unwrap();
            queued.await.unwrap();
            let back = disk.read(8 * MIB as u64, Buf::zeroed(8 * MIB)).await.unwrap();
            assert!(back[..] == data[..], "{}", disk.mode());
        });
    }
}

#[test]
fn any_thread_may_ask_with_or_without_a_runtime() {
    let scratch = Scratch::disk("threads", MIB as u64);
    let disk = Arc::new(FileDisk::open(&scratch.0, &DiskOptions::default()).unwrap());
    let outside = disk.write(0, vec![Buf::copy_of(&pattern(BLOCK, 9)).freeze()]);
    let single = runtime();
    single.block_on(outside).unwrap();
    let many = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let read = |disk: Arc<FileDisk>| async move { disk.read(0, Buf::zeroed(BLOCK)).await.unwrap() };
    let from_worker = many.block_on(many.spawn(read(disk.clone()))).unwrap();
    let inner = disk.clone();
    // A blocking thread of a single-threaded runtime finds that runtime's ring, driven by another thread.
    let job = move || tokio::runtime::Handle::current().block_on(read(inner));
    let from_blocking = single.block_on(async { tokio::task::spawn_blocking(job).await.unwrap() });
    assert_eq!(from_worker[..], pattern(BLOCK, 9)[..]);
    assert_eq!(from_blocking[..], pattern(BLOCK, 9)[..]);
}

#[test]
fn a_failing_device_is_reported_with_its_errno() {
    // This process's own memory as a file: nothing is mapped at address 0, and the kernel answers EIO.
    let file = File::options().read(true).write(true).open("/proc/self/mem").unwrap();
    let open = Arc::new(OpenFile { file, name: "mem".into(), memory_align: 1 });
    for submit in [uring::submit as fn(Request), threads::submit] {
        if submit as usize == uring::submit as fn(Request) as usize && !uring::available() {
            continue;
        }
        let (answer, read) = Io::pending(open.name.clone());
        let (answer_write, write) = Io::pending(open.name.clone());
        let failed = runtime().block_on(async {
            submit(Request::read(open.clone(), 0, Buf::zeroed(BLOCK), answer));
            submit(Request::write(open.clone(), 0, vec![Bytes::from_static(b"x")], answer_write));
            (read.await.map(drop), write.await)
        });
        for (result, name) in [(failed.0, "read"), (failed.1, "write")] {
            match result {
                Err(DiskError::Io { op, cause, .. }) => {
                    assert_eq!((op, cause.errno), (name, Some(libc::EIO)))
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_file_cut_short_under_us_is_an_error_not_zeros() {
    let scratch = Scratch::disk("cut", MIB as u64);
    for mode in all_modes() {
        let Some(disk) = open(&scratch.0, &mode) else { continue };
        let file = File::options().write(true).open(&scratch.0).unwrap();
        file.set_len(MIB as u64 / 2).unwrap();
        let result = runtime().block_on(disk.read(MIB as u64 / 2 - 4096, Buf::zeroed(2 * BLOCK)));
        match result {
            Err(DiskError::Io { cause, .. }) => assert_eq!(cause.kind, std::io::ErrorKind::UnexpectedEof),
            other => panic!("{other:?}"),
        }
        file.set_len(MIB as u64).unwrap();
    }
}
