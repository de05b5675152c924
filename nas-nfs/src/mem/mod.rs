//! A tree of files in memory: for tests, fuzzers and the example server.
//!
//! It is exact about names, link counts, times, exclusive creates, cookies and space, fails and hangs on
//! demand, and keeps what it was told to keep. Each call takes effect in one step under one lock. It takes
//! its time from whoever made it.

mod data;
mod state;
#[cfg(test)]
mod tests;

use crate::tree::{
    Around, Attributes, Change, Changed, Entry, FileTree, Kept, Listing, Name, ObjectRef, ReadData, Record,
    Room, Stability, Time, TreeFault, Written,
};
use bytes::Bytes;
use data::BLOCK;
use state::{object_of, Body, State, ROOT};
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A tree of files in memory.
pub struct MemTree {
    state: Mutex<State>,
    clock: Box<dyn Fn() -> Time + Send + Sync>,
    kept: Mutex<BTreeMap<([u8; 16], u16), Bytes>>,
    faults: Mutex<VecDeque<TreeFault>>,
    verifier: AtomicU64,
    list_verifier: AtomicU64,
    hangs: AtomicBool,
    unavailable: AtomicBool,
    /// Hanging has ended.
    resumed: Notify,
    calls: AtomicU64,
}

impl MemTree {
    /// An empty tree: its root belongs to user 0 and has mode 0755.
    #[must_use]
    pub fn new(fsid: u64, clock: impl Fn() -> Time + Send + Sync + 'static) -> MemTree {
        MemTree {
            state: Mutex::new(State::new(fsid, clock())),
            clock: Box::new(clock),
            kept: Mutex::default(),
            faults: Mutex::default(),
            verifier: AtomicU64::new(1),
            list_verifier: AtomicU64::new(1),
            hangs: AtomicBool::new(false),
            unavailable: AtomicBool::new(false),
            resumed: Notify::new(),
            calls: AtomicU64::new(0),
        }
    }

    /// Says that unstable writes may have been lost.
    pub fn set_verifier(&self, verifier: u64) {
        self.verifier.store(verifier, Ordering::SeqCst);
    }

    /// Makes all cookies invalid, as a rollback does.
    pub fn turn_cookies(&self) {
        self.list_verifier.fetch_add(1, Ordering::SeqCst);
    }

    /// Lets files hold only so many blocks of 4096 bytes together.
    pub fn limit(&self, blocks: u64) {
        self.lock().room = blocks;
    }

    /// Begins or ends to hold reads, writes, commits and changes, before their effect.
    pub fn hang(&self, hang: bool) {
        self.hangs.store(hang, Ordering::SeqCst);
        self.resumed.notify_waiters();
    }

    /// Makes the next read, write, commit or change fail; several are kept in order.
    pub fn fail(&self, fault: TreeFault) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
    }

    /// Answers every call with [`TreeFault::Unavailable`], or no longer.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.unavailable.store(unavailable, Ordering::SeqCst);
    }

    /// Reads, writes, commits and changes so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a call that does not wait for a device begins with.
    fn look(&self) -> Result<MutexGuard<'_, State>, TreeFault> {
        if self.unavailable.load(Ordering::SeqCst) {
            return Err(TreeFault::Unavailable);
        }
        Ok(self.lock())
    }

    /// What a call that needs a device begins with.
    async fn work(&self) -> Result<MutexGuard<'_, State>, TreeFault> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        loop {
            let mut resumed = pin!(self.resumed.notified());
            resumed.as_mut().enable();
            if !self.hangs.load(Ordering::SeqCst) {
                break;
            }
            resumed.await;
        }
        match self.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            Some(fault) => Err(fault),
            None => self.look(),
        }
    }

    fn keep(&self, record: &Record<'_>, changed: &Changed) {
        let bytes = Bytes::from((record.encode)(changed));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert((record.client, record.slot), bytes);
    }
}

impl FileTree for MemTree {
    fn root(&self) -> ObjectRef {
        object_of(ROOT)
    }

    fn verifier(&self) -> u64 {
        self.verifier.load(Ordering::SeqCst)
    }

    async fn room(&self) -> Result<Room, TreeFault> {
        let state = self.look()?;
        let free = state.room.saturating_sub(state.held) * BLOCK;
        Ok(Room { total: state.room * BLOCK, free, inodes: state.objects() })
    }

    async fn attributes(&self, object: ObjectRef) -> Result<Attributes, TreeFault> {
        Ok(self.look()?.node(object)?.attributes)
    }

    async fn lookup(&self, directory: ObjectRef, name: &Name) -> Result<(ObjectRef, Attributes), TreeFault> {
        let state = self.look()?;
        let inode = state.directory(directory)?.get(name).ok_or(TreeFault::NotFound)?;
        Ok((object_of(inode), state.attributes(inode)))
    }

    async fn parent(&self, directory: ObjectRef) -> Result<ObjectRef, TreeFault> {
        let state = self.look()?;
        let parent = state.directory(directory)?.parent;
        Ok(object_of(parent))
    }

    async fn read_link(&self, link: ObjectRef) -> Result<(Bytes, Attributes), TreeFault> {
        let state = self.look()?;
        let node = state.node(link)?;
        match &node.body {
            Body::Symlink(target) => Ok((target.clone(), node.attributes)),
            _ => Err(TreeFault::Invalid),
        }
    }

    async fn list(
        &self,
        directory: ObjectRef,
        cookie: u64,
        verifier: u64,
        limit: usize,
        attributes: bool,
    ) -> Result<Listing, TreeFault> {
        let state = self.look()?;
        let names = state.directory(directory)?;
        let current = self.list_verifier.load(Ordering::SeqCst);
        if cookie != 0 && (verifier != current || cookie >= names.next_cookie) {
            return Err(TreeFault::BadCookie);
        }
        let mut behind = names.by_cookie.range(cookie + 1..).map(|(cookie, (name, inode))| Entry {
            cookie: *cookie,
            name: name.clone(),
            object: object_of(*inode),
            attributes: attributes.then(|| state.attributes(*inode)),
        });
        let entries = behind.by_ref().take(limit).collect();
        Ok(Listing {
            entries,
            end: behind.next().is_none(),
            verifier: current,
            attributes: state.attributes(directory.inode),
            parent: object_of(names.parent),
        })
    }

    async fn change(&self, change: Change, record: Option<Record<'_>>) -> Result<Changed, TreeFault> {
        let now = (self.clock)();
        let mut state = self.work().await?;
        let changed = state.change(change, now)?;
        if let Some(record) = record {
            self.keep(&record, &changed);
        }
        Ok(changed)
    }

    async fn kept(&self) -> Result<Vec<Kept>, TreeFault> {
        drop(self.look()?);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |(&(client, slot), bytes): (&([u8; 16], u16), &Bytes)| Kept {
            client,
            slot,
            bytes: bytes.clone(),
        };
        Ok(kept.iter().map(row).collect())
    }

    async fn read(&self, file: ObjectRef, offset: u64, len: u32) -> Result<ReadData, TreeFault> {
        let state = self.work().await?;
        let (data, attributes) = state.file(file)?;
        let len = u64::from(len).min(attributes.size.saturating_sub(offset));
        let end = offset.saturating_add(len) >= attributes.size;
        let data = if len == 0 { Bytes::new() } else { data.read(offset, len) };
        Ok(ReadData { data, end, attributes })
    }

    async fn write(
        &self,
        file: ObjectRef,
        offset: u64,
        data: Bytes,
        stability: Stability,
        clear_ids: bool,
    ) -> Result<Written, TreeFault> {
        let now = (self.clock)();
        let around = self.work().await?.write(file, offset, &data, clear_ids, now)?;
        Ok(Written { file: around, stability })
    }

    async fn commit(&self, file: ObjectRef) -> Result<Around, TreeFault> {
        let (_, attributes) = self.work().await?.file(file)?;
        Ok(Around { before: attributes, after: attributes })
    }
}
