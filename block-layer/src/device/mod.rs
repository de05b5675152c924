//! Devices: files and block devices behind one small trait, [`Disk`].
//!
//! The trait says what the engine may assume and no more: a write that was answered survives the process,
//! a flush makes every write that was *answered before the flush began* survive the loss of power, and of
//! an unflushed write any subset of its sectors may survive.
//!
//! Buffers are owned by the request until it is answered ([`Buf`], [`Bytes`]), since io_uring may still
//! read or write them after the future that asked was dropped.

mod buf;
#[cfg(feature = "fault-injection")]
pub mod faults;
mod file;
mod open;
mod request;
mod space;
pub(crate) mod sys;
#[cfg(test)]
mod tests;
mod threads;
mod uring;
mod zero;

pub use buf::Buf;
pub use file::FileDisk;
pub use open::{Backend, Direct, DiskOptions, OpenError};
pub(crate) use space::free_bytes;
pub(crate) use zero::zero_ahead;

use crate::error::DiskError;
use bytes::Bytes;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// What a device is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes, a multiple of `sector`.
    pub len: u64,
    /// The smallest piece that is written whole, 512 or 4096 bytes; offsets and lengths are multiples of it.
    pub sector: u32,
    /// Whether space never written costs more at the first flush (a file with unwritten extents): the
    /// pool's zeroer runs ahead of the allocator on such a device.
    pub sparse: bool,
}

/// A device. All methods start the request at once and return its completion; dropping the completion does
/// not stop the request.
///
/// Implementations: `FileDisk` (io_uring, thread pool, buffered) and the simulator's disk.
pub trait Disk: Send + Sync + 'static {
    /// The device as the administrator named it, for messages.
    fn name(&self) -> &str;
    /// Its present size and sector; the size may grow while it is open.
    fn geometry(&self) -> Geometry;
    /// How it is driven (`io_uring, O_DIRECT`, `threads, buffered with O_DSYNC`, …), for status output.
    fn mode(&self) -> &'static str;
    /// Whether it loses everything with the power, flushed or not: a file in a file system that is only
    /// memory.
    fn is_volatile(&self) -> bool {
        false
    }
    /// Makes it at least `len` bytes long where that is ours to do, and takes note of its present size;
    /// blocks. By default others set the size.
    ///
    /// # Errors
    /// What the system says, out of space above all.
    fn extend(&self, len: u64) -> Result<(), DiskError> {
        let _ = len;
        Ok(())
    }
    /// Fills `buf` from byte `at`; gives the buffer back. `at` and the length are sector-aligned.
    fn read(&self, at: u64, buf: Buf) -> Io<Buf>;
    /// Writes the pieces one after the other from byte `at`. Each piece and `at` are sector-aligned in
    /// length; a piece whose memory is not aligned for the device is copied by the driver.
    fn write(&self, at: u64, data: Vec<Bytes>) -> Io<()>;
    /// Makes every write that was answered before this call survive the loss of power.
    fn flush(&self) -> Io<()>;
}

/// Opens and locks the file or block device at `path`; blocks.
///
/// # Errors
/// As [`FileDisk::open`].
pub fn open_disk(path: &Path, options: &DiskOptions) -> Result<Arc<dyn Disk>, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(path, options)?);
    #[cfg(feature = "fault-injection")]
    let disk = faults::obedient(disk);
    Ok(disk)
}

/// The completion of a request: a future.
pub struct Io<T>(Inner<T>);

enum Inner<T> {
    Ready(Option<Result<T, DiskError>>),
    Pending { answer: oneshot::Receiver<Result<T, DiskError>>, device: Arc<str> },
}

/// The driver's side of an [`Io`].
pub struct IoAnswer<T>(oneshot::Sender<Result<T, DiskError>>);

impl<T> Io<T> {
    /// A request and the means to answer it. `device` is named if the driver goes away without an answer.
    #[must_use]
    pub fn pending(device: Arc<str>) -> (IoAnswer<T>, Io<T>) {
        let (send, answer) = oneshot::channel();
        (IoAnswer(send), Io(Inner::Pending { answer, device }))
    }

    /// A request that is answered already.
    #[must_use]
    pub fn ready(answer: Result<T, DiskError>) -> Io<T> {
        Io(Inner::Ready(Some(answer)))
    }
}

impl<T> IoAnswer<T> {
    /// Answers the request; of no effect when nobody waits any more.
    pub fn answer(self, result: Result<T, DiskError>) {
        let _ = self.0.send(result);
    }
}

impl<T: Unpin> Future for Io<T> {
    type Output = Result<T, DiskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Inner::Ready(result) => Poll::Ready(result.take().expect("polled after completion")),
            Inner::Pending { answer, device } => Pin::new(answer)
                .poll(cx)
                .map(|r| r.unwrap_or_else(|_| Err(DiskError::Gone { device: device.to_string() }))),
        }
    }
}
