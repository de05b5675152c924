//! Memory that peers make the server hold: one budget for all connections, and aligned buffers out of it.
//!
//! Invariants: who holds staged data, or an answer that is not sent yet, holds permits for it; permits come
//! back when the last reader of a buffer is gone, storage's included. A buffer starts on an address divisible
//! by [`ALIGN`], so that storage takes it without a copy. Buffers are used again, up to [`KEPT_MAX`] bytes of
//! them: fresh memory costs a fault for every 4 KiB.

use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// What a buffer's first byte is aligned to.
pub const ALIGN: usize = 4096;
/// Bytes of one permit.
const UNIT: usize = 4096;
/// Bytes of idle buffers that are kept.
const KEPT_MAX: usize = 16 << 20;
/// Buffers of up to this many bytes are kept, in classes of powers of two.
const CLASS_MAX: usize = 1 << 20;

/// The budget. Cloning gives the same one.
#[derive(Clone)]
pub struct Budget {
    permits: Arc<Semaphore>,
    /// What a share is a share of.
    whole: Option<Arc<Semaphore>>,
    idle: Arc<Mutex<Idle>>,
    copied: Arc<AtomicU64>,
}

/// Buffers that nobody uses now.
#[derive(Default)]
struct Idle {
    bytes: usize,
    buffers: Vec<Vec<u8>>,
}

/// Leave to hold some memory, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    share: OwnedSemaphorePermit,
    _whole: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// Bytes that it allows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.share.num_permits() * UNIT
    }
}

impl Budget {
    /// A budget of `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Budget {
        Budget {
            permits: Arc::new(Semaphore::new(bytes / UNIT)),
            whole: None,
            idle: Arc::default(),
            copied: Arc::default(),
        }
    }

    /// A budget of `bytes` that are taken out of this one, too.
    #[must_use]
    pub fn share(&self, bytes: usize) -> Budget {
        let permits = Arc::new(Semaphore::new(bytes / UNIT));
        let whole = self.whole.as_ref().unwrap_or(&self.permits);
        Budget {
            permits,
            whole: Some(Arc::clone(whole)),
            idle: Arc::clone(&self.idle),
            copied: Arc::clone(&self.copied),
        }
    }

    /// Bytes of payload that were copied on their way between socket and storage, so far.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    /// Says that `len` bytes of payload are copied.
    pub fn count_copy(&self, len: usize) {
        self.copied.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// Bytes that are free now.
    #[must_use]
    pub fn available(&self) -> usize {
        self.permits.available_permits() * UNIT
    }

    /// Leave to hold `bytes`, if there is room now and nobody waits for it.
    #[must_use]
    pub fn try_take(&self, bytes: usize) -> Option<Permit> {
        let take = |permits: &Arc<Semaphore>| Arc::clone(permits).try_acquire_many_owned(units(bytes)).ok();
        let share = take(&self.permits)?;
        match &self.whole {
            None => Some(Permit { share, _whole: None }),
            Some(whole) => take(whole).map(|whole| Permit { share, _whole: Some(whole) }),
        }
    }

    /// The same, after all who waited before. Never ends when the whole budget is smaller.
    ///
    /// # Errors
    /// The budget was closed, which nobody does.
    pub async fn take(&self, bytes: usize) -> Result<Permit, AcquireError> {
        let share = Arc::clone(&self.permits).acquire_many_owned(units(bytes)).await?;
        let whole = match &self.whole {
            None => None,
            Some(whole) => Some(Arc::clone(whole).acquire_many_owned(units(bytes)).await?),
        };
        Ok(Permit { share, _whole: whole })
    }

    /// A buffer of `len` bytes, whose content is arbitrary: nobody reads what was not written before.
    #[must_use]
    pub fn buffer(&self, len: usize, permit: Permit) -> Buffer {
        let size = class(len);
        let kept = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let at = idle.buffers.iter().rposition(|buffer| buffer.len() == size);
            let kept = at.map(|at| idle.buffers.swap_remove(at));
            idle.bytes -= kept.as_ref().map_or(0, Vec::len);
            kept
        };
        let memory = kept.unwrap_or_else(|| vec![0; size]);
        let start = memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        Buffer { memory, start, len, budget: self.clone(), _permit: permit }
    }

    fn give_back(&self, memory: Vec<u8>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() <= CLASS_MAX + ALIGN && idle.bytes + memory.len() <= KEPT_MAX {
            idle.bytes += memory.len();
            idle.buffers.push(memory);
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// Bytes to allocate for `len` aligned ones.
fn class(len: usize) -> usize {
    let len = len.max(ALIGN);
    ALIGN + if len <= CLASS_MAX { len.next_power_of_two() } else { len }
}

/// Aligned memory that one task's data is gathered in.
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
    budget: Budget,
    _permit: Permit,
}

impl Buffer {
    /// Its bytes.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }

    /// Copies `data` to `at`, and counts it.
    pub fn copy_in(&mut self, at: usize, data: &[u8]) {
        self.bytes_mut()[at..at + data.len()].copy_from_slice(data);
        self.budget.count_copy(data.len());
    }

    /// The first `len` bytes, to be shared; the memory comes back with the last reader.
    #[must_use]
    pub fn freeze(mut self, len: usize) -> Bytes {
        self.len = self.len.min(len);
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.budget.give_back(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_give_their_memory_back() {
        let budget = Budget::new(64 << 10);
        for len in [1, 4096, 4097, 20_000] {
            let permit = budget.try_take(len).expect("room");
            let mut buffer = budget.buffer(len, permit);
            buffer.bytes_mut().fill(7);
            let bytes = buffer.freeze(len);
            assert_eq!(bytes.as_ptr().align_offset(ALIGN), 0);
            assert_eq!(&bytes[..], &vec![7; len][..]);
            let tail = bytes.slice(len - 1..);
            drop(bytes);
            assert!(budget.available() < 64 << 10, "a slice of it is still read");
            drop(tail);
            assert_eq!(budget.available(), 64 << 10);
        }
    }

    #[test]
    fn a_share_is_bounded_by_itself_and_by_the_whole() {
        let budget = Budget::new(12 << 10);
        let (one, two) = (budget.share(8 << 10), budget.share(8 << 10));
        let first = one.try_take(8 << 10).expect("room");
        assert!(one.try_take(1).is_none() && two.try_take(8 << 10).is_none());
        assert_eq!(two.available(), 8 << 10, "what was refused was not taken");
        drop(first);
        assert!(two.try_take(8 << 10).is_some());
        assert_eq!(budget.available(), 12 << 10);
    }

    #[test]
    fn no_more_is_granted_than_there_is() {
        let budget = Budget::new(8192);
        let first = budget.try_take(4097).expect("two units");
        assert_eq!(first.bytes(), 8192);
        assert!(budget.try_take(1).is_none());
        drop(first);
        assert!(budget.try_take(8192).is_some());
    }
}
