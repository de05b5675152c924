//! A request on its way: what it owns, which system call is next, and what that call's result means.
//!
//! Both drivers go through the same steps: take [`Request::next_call`], have the kernel do it, hand the
//! result to [`Request::advance`], until that says how the request ended; then [`Request::finish`].
//!
//! Invariants: the request owns the file and all memory that its call points to, and none of that memory
//! moves when the request moves, so a request that is kept until its call has returned keeps the kernel
//! within memory that is ours. Short transfers go on where they stopped.
#![allow(unsafe_code)]

use super::buf::Buf;
use super::{sys, IoAnswer};
use crate::error::{DiskError, IoCause};
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

/// Pieces of one vectored write (the kernel's UIO_MAXIOV); the rest follows in further calls.
const IOVECS_MAX: usize = 1024;
/// Bytes of one call: below what a system call moves at most, and aligned for every device.
const CALL_MAX: usize = 1 << 30;
/// Times a call is repeated that the system interrupted, before that is reported.
const RETRIES_MAX: u8 = 100;

/// An open device and its name.
pub(super) struct OpenFile {
    /// Carries the lock and all I/O.
    pub(super) file: File,
    /// As the administrator named it.
    pub(super) name: Arc<str>,
    /// What the device asks of addresses in memory, bytes.
    pub(super) memory_align: usize,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // Everything was answered. Without this the lock would outlive us for a moment wherever the kernel,
        // or a child between fork and exec, still refers to the description.
        sys::unlock(&self.file);
    }
}

impl OpenFile {
    fn takes(&self, memory: &[u8]) -> bool {
        (memory.as_ptr() as usize).is_multiple_of(self.memory_align)
    }
}

/// A read, write or flush that is not answered yet.
pub(super) struct Request {
    file: Arc<OpenFile>,
    /// Device offset of the first byte.
    at: u64,
    /// Bytes to transfer, and how many of them are done.
    len: usize,
    done: usize,
    retries: u8,
    work: Work,
}

enum Work {
    /// `buf` is read into; `split` is the caller's buffer when its memory is not aligned for the device.
    Read {
        buf: Buf,
        split: Option<Buf>,
        answer: IoAnswer<Buf>,
    },
    Write {
        data: Vec<Bytes>,
        iovecs: Iovecs,
        answer: IoAnswer<()>,
    },
    Flush {
        answer: IoAnswer<()>,
    },
}

/// The list of pieces that a vectored write points to.
#[derive(Default)]
struct Iovecs(Vec<libc::iovec>);

// SAFETY: the pointers lead into the `Bytes` of the same request, which is sent along and is itself `Send`;
// only the kernel follows them.
unsafe impl Send for Iovecs {}

/// One system call. Its pointers are valid as long as the request lives and is not asked for another call.
pub(super) enum Call {
    /// `pread(fd, to, len, at)`.
    Read { fd: RawFd, to: *mut u8, len: u32, at: u64 },
    /// `pwrite(fd, from, len, at)`.
    Write { fd: RawFd, from: *const u8, len: u32, at: u64 },
    /// `pwritev(fd, pieces, count, at)`.
    WriteVectored { fd: RawFd, pieces: *const libc::iovec, count: u32, at: u64 },
    /// `fdatasync(fd)`.
    Flush { fd: RawFd },
}

impl Request {
    /// Fills `buf` from byte `at`.
    pub(super) fn read(file: Arc<OpenFile>, at: u64, buf: Buf, answer: IoAnswer<Buf>) -> Request {
        let len = buf.len();
        let (buf, split) = if file.takes(&buf) { (buf, None) } else { (Buf::zeroed(len), Some(buf)) };
        Request { file, at, len, done: 0, retries: 0, work: Work::Read { buf, split, answer } }
    }

    /// Writes the pieces one after the other from byte `at`; what is not aligned in memory is copied.
    pub(super) fn write(file: Arc<OpenFile>, at: u64, mut data: Vec<Bytes>, answer: IoAnswer<()>) -> Request {
        for piece in data.iter_mut().filter(|piece| !piece.is_empty() && !file.takes(piece)) {
            *piece = Buf::copy_of(piece).freeze();
        }
        let len = data.iter().map(Bytes::len).sum();
        let work = Work::Write { data, iovecs: Iovecs::default(), answer };
        Request { file, at, len, done: 0, retries: 0, work }
    }

    /// Makes durable what was written.
    pub(super) fn flush(file: Arc<OpenFile>, answer: IoAnswer<()>) -> Request {
        Request { file, at: 0, len: 0, done: 0, retries: 0, work: Work::Flush { answer } }
    }

    /// Bytes to transfer.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The system call that takes the request further.
    pub(super) fn next_call(&mut self) -> Call {
        let fd = self.file.file.as_raw_fd();
        let (at, done) = (self.at + self.done as u64, self.done);
        match &mut self.work {
            Work::Flush { .. } => Call::Flush { fd },
            Work::Read { buf, .. } => {
                let rest = &mut buf[done..];
                Call::Read { fd, to: rest.as_mut_ptr(), len: call_len(rest.len()), at }
            }
            Work::Write { data, .. } if data.len() == 1 => {
                let rest = &data[0][done..];
                Call::Write { fd, from: rest.as_ptr(), len: call_len(rest.len()), at }
            }
            Work::Write { data, iovecs, .. } => {
                iovecs.fill(data, done);
                Call::WriteVectored { fd, pieces: iovecs.0.as_ptr(), count: iovecs.0.len() as u32, at }
            }
        }
    }

    /// Takes a call's result, bytes or a negative errno: `Some` when the request has come to its end.
    pub(super) fn advance(&mut self, result: i32) -> Option<Result<(), IoCause>> {
        if result < 0 {
            // ECANCELED: the thread that submitted the call ended before the call was begun.
            let again = matches!(-result, libc::EINTR | libc::EAGAIN | libc::ECANCELED);
            self.retries += 1;
            let error = io::Error::from_raw_os_error(-result);
            return if again && self.retries <= RETRIES_MAX { None } else { Some(Err((&error).into())) };
        }
        self.retries = 0;
        self.done += result as usize;
        if self.done >= self.len {
            return Some(Ok(()));
        }
        let ended = match self.work {
            Work::Read { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::WriteZero,
        };
        (result == 0).then_some(Err(IoCause { errno: None, kind: ended }))
    }

    /// Answers whoever waits.
    pub(super) fn finish(self, result: Result<(), IoCause>) {
        let Request { file, at, len, work, .. } = self;
        let error = |cause| DiskError::Io {
            device: file.name.to_string(),
            op: work.name(),
            at,
            len: len as u64,
            cause,
        };
        let result = result.map_err(error);
        // Before the answer: who has it may close the disk, and finds it closed and unlocked.
        drop(file);
        match work {
            Work::Read { buf, split: None, answer } => answer.answer(result.map(|()| buf)),
            Work::Read { buf, split: Some(mut split), answer } => {
                split.copy_from_slice(&buf);
                answer.answer(result.map(|()| split));
            }
            Work::Write { answer, .. } | Work::Flush { answer } => answer.answer(result),
        }
    }

    /// Does it all on the calling thread, which blocks.
    pub(super) fn run(mut self) {
        loop {
            // SAFETY: the request outlives the call, and no other call of it is under way.
            let result = unsafe { perform(&self.next_call()) };
            if let Some(result) = self.advance(result) {
                return self.finish(result);
            }
        }
    }
}

impl Work {
    fn name(&self) -> &'static str {
        match self {
            Work::Read { .. } => "read",
            Work::Write { .. } => "write",
            Work::Flush { .. } => "flush",
        }
    }
}

impl Iovecs {
    /// Lists the pieces of `data` from byte `from` on, within the bounds of one call.
    fn fill(&mut self, data: &[Bytes], mut from: usize) {
        self.0.clear();
        let mut room = CALL_MAX;
        for piece in data {
            let skipped = from.min(piece.len());
            from -= skipped;
            let rest = &piece[skipped..];
            if rest.is_empty() {
                continue;
            }
            let len = rest.len().min(room);
            // Blocks of one large write are neighbours in memory: one piece spares the kernel many.
            let at = rest.as_ptr() as usize;
            let follows = |last: &libc::iovec| last.iov_base as usize + last.iov_len == at;
            if let Some(last) = self.0.last_mut().filter(|last| follows(last)) {
                last.iov_len += len;
                room -= len;
                continue;
            }
            if room == 0 || self.0.len() == IOVECS_MAX {
                break;
            }
            room -= len;
            self.0.push(libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: len });
        }
    }
}

fn call_len(len: usize) -> u32 {
    len.min(CALL_MAX) as u32
}

/// Has the kernel do `call`; returns its result, or a negative errno.
///
/// # Safety
/// The request that gave `call` must live until this returns.
unsafe fn perform(call: &Call) -> i32 {
    // SAFETY: the caller promises that the pointers are valid; `next_call` made the lengths fit.
    let answer = unsafe {
        match *call {
            Call::Read { fd, to, len, at } => {
                libc::pread(fd, to.cast(), len as usize, at as libc::off_t) as i64
            }
            Call::Write { fd, from, len, at } => {
                libc::pwrite(fd, from.cast(), len as usize, at as libc::off_t) as i64
            }
            Call::WriteVectored { fd, pieces, count, at } => {
                libc::pwritev(fd, pieces, count as libc::c_int, at as libc::off_t) as i64
            }
            Call::Flush { fd } => i64::from(libc::fdatasync(fd)),
        }
    };
    match sys::check(answer) {
        Ok(bytes) => bytes as i32,
        Err(e) => -e.raw_os_error().unwrap_or(libc::EIO),
    }
}
