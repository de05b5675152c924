//! A disk in memory: the logical unit of tests, of the example target and of fuzzers.
//!
//! It is sparse, fails and hangs on demand, and keeps what reservations it was given. A modification takes
//! effect in one step under one lock, so that it is atomic, and durable as far as memory goes.

use crate::lun::{Durability, Extent, LogicalUnit, LunFault, Space};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes that are mapped as one.
const BLOCK: u64 = 4096;

/// What a disk does with what it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hang {
    /// It works.
    #[default]
    Not,
    /// It holds everything before its effect; a fence refuses what it holds.
    Queued,
    /// It holds everything before its effect, which has its place already; a fence waits for it.
    Ordered,
}

struct State {
    len: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
    /// Blocks that it may hold.
    room: u64,
    hang: Hang,
    faults: VecDeque<LunFault>,
    saved: Bytes,
}

/// A disk in memory.
pub struct MemLun {
    state: Mutex<State>,
    /// Hanging began or ended, a source was fenced, or a modification that a fence waits for has ended.
    changed: Notify,
    calls: AtomicU64,
}

/// Whose commands: one nexus'.
#[derive(Clone, Debug, Default)]
pub struct MemSource(Arc<Origin>);

#[derive(Debug, Default)]
struct Origin {
    fenced: AtomicBool,
    ordered: AtomicU64,
}

impl MemLun {
    /// A disk of `len` bytes, a multiple of 4096, all of them zero.
    #[must_use]
    pub fn new(len: u64) -> MemLun {
        let state = State {
            len,
            blocks: BTreeMap::new(),
            room: len / BLOCK,
            hang: Hang::Not,
            faults: VecDeque::new(),
            saved: Bytes::new(),
        };
        MemLun { state: Mutex::new(state), changed: Notify::new(), calls: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins or ends to hang.
    pub fn hang(&self, hang: Hang) {
        self.lock().hang = hang;
        self.changed.notify_waiters();
    }

    /// Makes the next call fail that reads or modifies; several are kept in order.
    pub fn fail(&self, fault: LunFault) {
        self.lock().faults.push_back(fault);
    }

    /// Changes the size.
    pub fn resize(&self, len: u64) {
        let mut state = self.lock();
        state.len = len;
        state.blocks.split_off(&len.div_ceil(BLOCK));
        state.room = len / BLOCK;
    }

    /// Lets it hold only so many blocks of 4096 bytes.
    pub fn limit(&self, blocks: u64) {
        self.lock().room = blocks;
    }

    /// What [`LogicalUnit::save_reservations`] kept last.
    #[must_use]
    pub fn saved(&self) -> Bytes {
        self.lock().saved.clone()
    }

    /// Calls that it was given so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Waits while it hangs.
    async fn ready(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.lock().hang == Hang::Not {
                return;
            }
            changed.await;
        }
    }

    /// Waits for a modification's turn, and makes it.
    async fn modify(
        &self,
        source: &MemSource,
        change: impl FnOnce(&mut State) -> Result<(), LunFault>,
    ) -> Result<(), LunFault> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut ordered = None;
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                if ordered.is_none() && source.0.fenced.load(Ordering::SeqCst) {
                    return Err(LunFault::Fenced);
                }
                match state.hang {
                    Hang::Not => {
                        let result = match state.faults.pop_front() {
                            Some(fault) => Err(fault),
                            None => change(&mut state),
                        };
                        drop(state);
                        drop(ordered);
                        return result;
                    }
                    Hang::Queued => {}
                    Hang::Ordered => {
                        ordered.get_or_insert_with(|| Ordered::new(self, source));
                    }
                }
            }
            changed.await;
        }
    }
}

/// A modification that has its place, and that a fence waits for.
struct Ordered<'a>(&'a MemLun, Arc<Origin>);

impl<'a> Ordered<'a> {
    fn new(lun: &'a MemLun, source: &MemSource) -> Ordered<'a> {
        source.0.ordered.fetch_add(1, Ordering::SeqCst);
        Ordered(lun, Arc::clone(&source.0))
    }
}

impl Drop for Ordered<'_> {
    fn drop(&mut self) {
        self.1.ordered.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl State {
    fn check(&self, offset: u64, len: u64) -> Result<(), LunFault> {
        let end = offset.checked_add(len).ok_or(LunFault::OutOfRange)?;
        if end > self.len {
            return Err(LunFault::OutOfRange);
        }
        Ok(())
    }

    fn read(&self, offset: u64, len: u64) -> Result<BytesMut, LunFault> {
        self.check(offset, len)?;
        let mut bytes = BytesMut::zeroed(len as usize);
        for (block, data) in self.blocks.range(offset / BLOCK..(offset + len).div_ceil(BLOCK)) {
            let start = (block * BLOCK).max(offset);
            let end = ((block + 1) * BLOCK).min(offset + len);
            let from = &data[(start - block * BLOCK) as usize..(end - block * BLOCK) as usize];
            bytes[(start - offset) as usize..(end - offset) as usize].copy_from_slice(from);
        }
        Ok(bytes)
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), LunFault> {
        let len = data.len() as u64;
        self.check(offset, len)?;
        let blocks = offset / BLOCK..(offset + len).div_ceil(BLOCK);
        let held = self.blocks.range(blocks.clone()).count() as u64;
        if self.blocks.len() as u64 + (blocks.end - blocks.start) - held > self.room {
            return Err(LunFault::NoSpace);
        }
        for block in blocks {
            let start = (block * BLOCK).max(offset);
            let end = ((block + 1) * BLOCK).min(offset + len);
            let from = &data[(start - offset) as usize..(end - offset) as usize];
            let into = self.blocks.entry(block).or_insert_with(|| vec![0; BLOCK as usize].into());
            into[(start - block * BLOCK) as usize..(end - block * BLOCK) as usize].copy_from_slice(from);
        }
        Ok(())
    }

    fn zero(&mut self, offset: u64, len: u64) -> Result<(), LunFault> {
        self.check(offset, len)?;
        for block in offset / BLOCK..(offset + len).div_ceil(BLOCK) {
            let start = (block * BLOCK).max(offset);
            let end = ((block + 1) * BLOCK).min(offset + len);
            if end - start == BLOCK {
                self.blocks.remove(&block);
            } else if let Some(data) = self.blocks.get_mut(&block) {
                data[(start - block * BLOCK) as usize..(end - block * BLOCK) as usize].fill(0);
            }
        }
        Ok(())
    }
}

impl LogicalUnit for MemLun {
    type Source = MemSource;

    fn source(&self) -> MemSource {
        MemSource::default()
    }

    async fn fence(&self, source: &MemSource) {
        source.0.fenced.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if source.0.ordered.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }

    fn len(&self) -> u64 {
        self.lock().len
    }

    fn space(&self) -> Space {
        let state = self.lock();
        let used = state.blocks.len() as u64;
        Space { used: used * BLOCK, available: state.room.saturating_sub(used) * BLOCK }
    }

    async fn read(&self, offset: u64, len: u64) -> Result<Bytes, LunFault> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.ready().await;
        let mut state = self.lock();
        match state.faults.pop_front() {
            Some(fault) => Err(fault),
            None => state.read(offset, len).map(BytesMut::freeze),
        }
    }

    async fn write(
        &self,
        source: &MemSource,
        offset: u64,
        data: Bytes,
        _durability: Durability,
    ) -> Result<(), LunFault> {
        self.modify(source, |state| state.write(offset, &data)).await
    }

    async fn flush(&self, source: &MemSource) -> Result<(), LunFault> {
        self.modify(source, |_| Ok(())).await
    }

    async fn write_zeroes(
        &self,
        source: &MemSource,
        offset: u64,
        len: u64,
        _durability: Durability,
    ) -> Result<(), LunFault> {
        self.modify(source, |state| state.zero(offset, len)).await
    }

    async fn write_same(
        &self,
        source: &MemSource,
        offset: u64,
        len: u64,
        pattern: Bytes,
        _durability: Durability,
    ) -> Result<(), LunFault> {
        let data = pattern.repeat((len as usize).div_ceil(pattern.len().max(1)));
        self.modify(source, |state| state.write(offset, &data)).await
    }

    async fn compare_and_write(
        &self,
        source: &MemSource,
        offset: u64,
        expected: Bytes,
        data: Bytes,
    ) -> Result<(), LunFault> {
        self.modify(source, |state| {
            let found = state.read(offset, expected.len() as u64)?;
            match found.iter().zip(&expected).position(|(a, b)| a != b) {
                Some(at) => Err(LunFault::Miscompare { at: at as u64 }),
                None => state.write(offset, &data),
            }
        })
        .await
    }

    async fn extents(&self, offset: u64, len: u64, limit: usize) -> Result<Vec<Extent>, LunFault> {
        self.ready().await;
        let state = self.lock();
        state.check(offset, len)?;
        let mut extents: Vec<Extent> = Vec::new();
        let mut at = offset;
        while at < offset + len {
            let end = ((at / BLOCK + 1) * BLOCK).min(offset + len);
            let mapped = state.blocks.contains_key(&(at / BLOCK));
            let full = extents.len() == limit;
            match extents.last_mut().filter(|last| last.mapped == mapped) {
                Some(last) => last.len += end - at,
                None if full => break,
                None => extents.push(Extent { offset: at, len: end - at, mapped }),
            }
            at = end;
        }
        Ok(extents)
    }

    async fn copy_from(
        &self,
        source: &MemSource,
        offset: u64,
        from: &MemLun,
        from_offset: u64,
        len: u64,
    ) -> Result<(), LunFault> {
        let data = from.lock().read(from_offset, len)?;
        self.modify(source, |state| state.write(offset, &data)).await
    }

    async fn save_reservations(&self, state: Bytes) -> Result<(), LunFault> {
        self.modify(&MemSource::default(), |disk| {
            disk.saved = state;
            Ok(())
        })
        .await
    }
}
