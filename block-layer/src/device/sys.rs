//! The system calls that `std` does not offer, each behind a safe function (or one that says what it asks).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What direct I/O on an open file asks for, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alignment {
    /// Of addresses in memory.
    pub(super) memory: u32,
    /// Of offsets and lengths on the device.
    pub(super) offset: u32,
}

/// Takes the exclusive lock of the open file description of `file`, without waiting.
///
/// # Errors
/// `WouldBlock` when another description of the same file holds it.
pub(super) fn lock(file: &File) -> io::Result<()> {
    // SAFETY: `flock` takes no memory; the descriptor is open.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }.into()).map(drop)
}

/// Gives the lock back; closing the last descriptor would too, later.
pub(super) fn unlock(file: &File) {
    // SAFETY: as in `lock`. It cannot fail on an open descriptor.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
}

/// What the kernel says about direct I/O on `file`: `None` when it does not say (before Linux 6.1, or a file
/// system that does not report it), zeros when it is not possible.
pub(super) fn direct_alignment(file: &File) -> Option<Alignment> {
    // SAFETY: all zeros is a valid `statx`.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is an empty C string (the descriptor itself), `found` is ours to fill.
    let answer = unsafe {
        libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN, &mut found)
    };
    let told = answer == 0 && found.stx_mask & libc::STATX_DIOALIGN != 0;
    told.then_some(Alignment { memory: found.stx_dio_mem_align, offset: found.stx_dio_offset_align })
}

/// The logical sector of a block device in bytes; `None` for anything else.
pub(super) fn logical_sector(file: &File) -> Option<u32> {
    let mut sector: libc::c_int = 0;
    // SAFETY: BLKSSZGET stores one int.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::BLKSSZGET, &mut sector) };
    if answer == 0 {
        u32::try_from(sector).ok()
    } else {
        None
    }
}

/// Whether `file` is in a file system that is only memory: what is flushed there is still lost with the
/// power.
pub(super) fn is_in_memory(file: &File) -> bool {
    // SAFETY: all zeros is a valid `statfs`.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, `found` is ours to fill.
    let answer = unsafe { libc::fstatfs(file.as_raw_fd(), &mut found) };
    let known = [libc::TMPFS_MAGIC, RAMFS_MAGIC];
    answer == 0 && known.iter().any(|magic| *magic as u64 == found.f_type as u64)
}

/// From Linux's `magic.h`; the `libc` crate does not have it.
const RAMFS_MAGIC: libc::c_long = 0x8584_58f6;

/// Makes `file` `len` bytes long with its space reserved; where the file system cannot reserve, only longer.
///
/// # Errors
/// What the system says, out of space above all.
pub(super) fn allocate(file: &File, len: u64) -> io::Result<()> {
    let size = libc::off_t::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: no memory is passed.
    match check(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, size) }.into()) {
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => file.set_len(len),
        other => other.map(drop),
    }
}

/// A counter that a ring adds to when a request completes; non-blocking, closed on exec.
pub(super) fn event_counter() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) }.into())?;
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).expect("a descriptor is an int")) })
}

/// 64 bits from the system's random source.
pub(crate) fn random() -> u64 {
    let mut bytes = [0u8; 8];
    loop {
        // SAFETY: the length is that of the array. Up to 256 bytes come whole once the source is ready.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        match check(got as i64) {
            Ok(8) => return u64::from_ne_bytes(bytes),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => panic!("getrandom: {e}"),
        }
    }
}

/// A system call's answer as a result.
pub(super) fn check(answer: i64) -> io::Result<i64> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}
