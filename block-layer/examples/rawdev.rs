//! What `FileDisk` costs beside a bare io_uring loop without tokio, on the same file.
//!
//! `cargo run --release --example rawdev -- PATH [MIB]` makes and fills the file PATH (1024 MiB unless told)
//! when it is missing; a file that exists is OVERWRITTEN. Each line is the median of three runs by CPU per
//! I/O, the two sides taking turns; CPU is that of the whole process, kernel workers included.
#![allow(unsafe_code)]

use block_layer::device::{Disk, DiskOptions, FileDisk};
use block_layer::{Buf, Bytes};
use io_uring::{opcode, types, IoUring};
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;

/// What is done in one run.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    write: bool,
    /// Each write is followed by a flush.
    flush: bool,
    sequential: bool,
    len: usize,
    depth: usize,
    count: usize,
}

const fn random(name: &'static str, write: bool, depth: usize, count: usize) -> Load {
    Load { name, write, flush: false, sequential: false, len: 4096, depth, count }
}

const LOADS: [Load; 7] = [
    Load { sequential: true, len: 1 << 20, ..random("sequential write 1 MiB QD4", true, 4, 512) },
    Load { sequential: true, len: 1 << 20, ..random("sequential read 1 MiB QD4", false, 4, 512) },
    random("random read 4 KiB QD1", false, 1, 8_000),
    random("random read 4 KiB QD32", false, 32, 40_000),
    random("random write 4 KiB QD1", true, 1, 8_000),
    random("random write 4 KiB QD32", true, 32, 40_000),
    Load { flush: true, ..random("write + fdatasync 4 KiB QD1", true, 1, 500) },
];

impl Load {
    /// The byte where I/O `n` goes.
    fn at(&self, n: usize, size: u64) -> u64 {
        // A multiplicative scramble: the same places in every run, no two neighbours near each other.
        let n = if self.sequential { n as u64 } else { (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20 };
        n % (size / self.len as u64) * self.len as u64
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: rawdev PATH [MIB]")?;
    let path = Path::new(&path);
    let mib: u64 = arguments.next().map_or(Ok(1024), |mib| mib.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if !path.exists() {
        FileDisk::create(path, mib << 20)?;
    }
    let disk = Arc::new(FileDisk::open(path, &DiskOptions::default())?);
    let size = disk.geometry().len;
    let chunk = Buf::copy_of(&vec![0xA5; 1 << 20]).freeze();
    runtime.block_on(async {
        for at in (0..size >> 20).map(|n| n << 20) {
            disk.write(at, vec![chunk.clone()]).await?;
        }
        disk.flush().await
    })?;
    println!("{}: {} MiB, {}", disk.name(), size >> 20, disk.mode());
    println!("{:30} {:>17} {:>17}   {:>12}", "", "FileDisk", "bare ring", "difference");
    println!("{:30} {:>8} {:>8} {:>8} {:>8}   {:>12}", "", "IOPS", "CPU us", "IOPS", "CPU us", "CPU us");
    for load in LOADS {
        compare(load, &disk, path, &runtime)?;
    }
    Ok(())
}

fn compare(
    load: Load,
    disk: &Arc<FileDisk>,
    path: &Path,
    runtime: &tokio::runtime::Runtime,
) -> Result<(), Box<dyn Error>> {
    let size = disk.geometry().len;
    let bare = BareRing::new(path)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(measure(load.count, || runtime.block_on(through_disk(load, disk, size)))?);
        theirs.push(measure(load.count, || bare.run(load, size))?);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "{:30} {:8.0} {:8.2} {:8.0} {:8.2}   {:12.2}",
        load.name,
        ours.0,
        ours.1,
        theirs.0,
        theirs.1,
        ours.1 - theirs.1
    );
    Ok(())
}

/// I/Os per second and CPU microseconds per I/O.
type Figures = (f64, f64);

fn measure(
    count: usize,
    run: impl FnOnce() -> Result<(), Box<dyn Error>>,
) -> Result<Figures, Box<dyn Error>> {
    let (cpu, start) = (cpu_time(), Instant::now());
    run()?;
    let (cpu, wall) = (cpu_time() - cpu, start.elapsed());
    Ok((count as f64 / wall.as_secs_f64(), cpu.as_secs_f64() * 1e6 / count as f64))
}

fn median(mut figures: Vec<Figures>) -> Figures {
    figures.sort_by(|a, b| a.1.total_cmp(&b.1));
    figures[figures.len() / 2]
}

async fn through_disk(load: Load, disk: &Arc<FileDisk>, size: u64) -> Result<(), Box<dyn Error>> {
    let workers: Vec<_> = (0..load.depth)
        .map(|worker| {
            let disk = disk.clone();
            tokio::spawn(async move {
                let mut buf = Buf::zeroed(load.len);
                let data: Bytes = Buf::zeroed(load.len).freeze();
                for n in (worker..load.count).step_by(load.depth) {
                    let at = load.at(n, size);
                    if load.write {
                        disk.write(at, vec![data.clone()]).await?;
                    } else {
                        buf = disk.read(at, buf).await?;
                    }
                    if load.flush {
                        disk.flush().await?;
                    }
                }
                Ok::<(), block_layer::DiskError>(())
            })
        })
        .collect();
    for worker in workers {
        worker.await??;
    }
    Ok(())
}

/// The least that io_uring can cost: `depth` requests in flight, one system call a turn.
struct BareRing {
    file: File,
}

impl BareRing {
    fn new(path: &Path) -> Result<BareRing, Box<dyn Error>> {
        // Beside the disk's lock, which an opener is free not to ask for.
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path)?;
        Ok(BareRing { file })
    }

    fn run(&self, load: Load, size: u64) -> Result<(), Box<dyn Error>> {
        let mut ring = IoUring::new(load.depth.max(2) as u32)?;
        let mut bufs: Vec<Buf> = (0..load.depth).map(|_| Buf::zeroed(load.len)).collect();
        let fd = types::Fd(self.file.as_raw_fd());
        let push = |ring: &mut IoUring, slot: usize, buf: &mut Buf, n: usize| {
            let (at, len) = (load.at(n, size), load.len as u32);
            let entry = if load.write {
                opcode::Write::new(fd, buf.as_ptr(), len).offset(at).build()
            } else {
                opcode::Read::new(fd, buf.as_mut_ptr(), len).offset(at).build()
            };
            // SAFETY: the buffers live until the function's end, when all requests are answered (or the
            // program ends with an error).
            unsafe { ring.submission().push(&entry.user_data(slot as u64)) }.expect("one entry a slot");
        };
        let (mut started, mut done) = (0, 0);
        for (slot, buf) in bufs.iter_mut().enumerate() {
            push(&mut ring, slot, buf, started);
            started += 1;
        }
        let mut answered = Vec::with_capacity(load.depth);
        while done < load.count {
            ring.submit_and_wait(1)?;
            answered.extend(ring.completion().map(|c| (c.user_data() as usize, c.result())));
            for (slot, result) in answered.drain(..) {
                if result != load.len as i32 {
                    return Err(std::io::Error::from_raw_os_error(-result).into());
                }
                if load.flush {
                    sync(&mut ring, fd)?;
                }
                done += 1;
                if started < load.count {
                    push(&mut ring, slot, &mut bufs[slot], started);
                    started += 1;
                }
            }
        }
        Ok(())
    }
}

/// One fdatasync, with nothing else in flight.
fn sync(ring: &mut IoUring, fd: types::Fd) -> Result<(), Box<dyn Error>> {
    let entry = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build();
    // SAFETY: the request refers to no memory.
    unsafe { ring.submission().push(&entry) }.expect("the queue is empty");
    ring.submit_and_wait(1)?;
    match ring.completion().next().map(|c| c.result()) {
        Some(0) => Ok(()),
        other => Err(format!("fdatasync: {other:?}").into()),
    }
}

/// CPU time that this process has used, in user and kernel.
fn cpu_time() -> Duration {
    // SAFETY: all zeros is a valid `rusage`, which the call fills.
    let used = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut used);
        used
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(used.ru_utime) + time(used.ru_stime)
}
