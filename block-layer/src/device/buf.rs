//! Aligned, owned memory for direct I/O.
//!
//! A [`Buf`] can be split into parts that are read into by several requests at once and joined again
//! without copying; frozen, it becomes [`Bytes`], shared and immutable.
//!
//! Memory of the usual sizes is used again, up to [`KEPT_MAX`] bytes of each: fresh memory costs page faults,
//! more than what is done with it.
#![allow(unsafe_code)]

use bytes::Bytes;
use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error, Layout};
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// Alignment of every buffer: enough for every direct I/O device.
pub(super) const ALIGN: usize = 4096;

/// Sizes that are kept: powers of four, from a block to a large transfer.
const KEPT: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// Idle bytes that are kept of each size.
const KEPT_MAX: usize = 4 << 20;

/// Idle memory, by size. Nobody holds a lock for longer than it takes to push or pop.
static IDLE: [Mutex<Vec<Idle>>; KEPT.len()] = [const { Mutex::new(Vec::new()) }; KEPT.len()];

/// Memory that nobody uses, initialized by whoever had it.
struct Idle(NonNull<u8>);

// SAFETY: plain memory that nobody else has a pointer to.
unsafe impl Send for Idle {}

fn idle(len: usize) -> Option<&'static Mutex<Vec<Idle>>> {
    KEPT.iter().position(|kept| *kept == len).map(|at| &IDLE[at])
}

struct Region {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the region is plain memory; who may touch which bytes is decided by the `Buf`s, whose ranges
// never overlap.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Drop for Region {
    fn drop(&mut self) {
        let len = self.layout.size();
        if let Some(idle) = idle(len) {
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            if (idle.len() + 1) * len <= KEPT_MAX {
                return idle.push(Idle(self.start));
            }
        }
        // SAFETY: allocated in `Buf::zeroed` with this very layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// A part of an aligned allocation, exclusively owned: no two `Buf`s overlap.
pub struct Buf {
    region: Arc<Region>,
    range: Range<usize>,
}

impl Buf {
    /// `len` zeroed bytes, aligned to [`ALIGN`].
    ///
    /// # Panics
    /// When `len` is 0: an I/O of nothing is a caller's bug.
    #[must_use]
    pub fn zeroed(len: usize) -> Buf {
        assert!(len > 0, "a buffer of nothing");
        let layout = Layout::from_size_align(len, ALIGN).expect("a length below isize::MAX");
        // SAFETY: the layout's size is not 0.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Buf { region: Arc::new(Region { start, layout }), range: 0..len }
    }

    /// `len` bytes, aligned to [`ALIGN`], that hold whatever an earlier buffer did: for who fills all of it
    /// before anybody reads.
    ///
    /// # Panics
    /// When `len` is 0.
    #[must_use]
    pub fn recycled(len: usize) -> Buf {
        let pop = |idle: &Mutex<Vec<Idle>>| idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle(len).and_then(pop) {
            Some(Idle(start)) => {
                let layout = Layout::from_size_align(len, ALIGN).expect("it was one before");
                Buf { region: Arc::new(Region { start, layout }), range: 0..len }
            }
            None => Buf::zeroed(len),
        }
    }

    /// A copy of `data` in aligned memory.
    #[must_use]
    pub fn copy_of(data: &[u8]) -> Buf {
        let mut buf = Buf::recycled(data.len());
        buf.copy_from_slice(data);
        buf
    }

    /// Splits off the first `at` bytes; `self` keeps the rest.
    ///
    /// # Panics
    /// When `at` is beyond the end.
    #[must_use]
    pub fn split_to(&mut self, at: usize) -> Buf {
        assert!(at <= self.len(), "split beyond the end");
        let middle = self.range.start + at;
        let head = Buf { region: self.region.clone(), range: self.range.start..middle };
        self.range.start = middle;
        head
    }

    /// Joins `next`, which must be the part that followed this one before a split.
    ///
    /// # Panics
    /// When the parts are not neighbours.
    pub fn join(&mut self, next: Buf) {
        assert!(
            Arc::ptr_eq(&self.region, &next.region) && self.range.end == next.range.start,
            "not neighbours"
        );
        self.range.end = next.range.end;
    }

    /// Shared and immutable from now on; no copy.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for Buf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the range lies inside the region and belongs to this `Buf` alone.
        unsafe {
            std::slice::from_raw_parts(self.region.start.as_ptr().add(self.range.start), self.range.len())
        }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe {
            std::slice::from_raw_parts_mut(self.region.start.as_ptr().add(self.range.start), self.range.len())
        }
    }
}

impl AsRef<[u8]> for Buf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Buf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buf({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_what_is_kept_is_bounded() {
        let buffers: Vec<Buf> = (0..40).map(|_| Buf::recycled(256 << 10)).collect();
        drop(buffers);
        let kept = || IDLE[3].lock().unwrap().len();
        assert!((1..=16).contains(&kept()), "{}", kept());
        let mut again = Buf::recycled(256 << 10);
        assert_eq!((again.len(), again.as_ptr().align_offset(ALIGN)), (256 << 10, 0));
        again.fill(7);
        drop(again.split_to(4096)); // one part of it lives on
        assert!(again.iter().all(|byte| *byte == 7));
        assert!(Buf::zeroed(256 << 10).iter().all(|byte| *byte == 0));
        assert_eq!(Buf::recycled(4097).len(), 4097);
    }
}
