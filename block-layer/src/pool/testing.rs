//! A device in memory for this module's tests: volatile writes, power cuts, failures.

use crate::device::{Buf, Disk, Geometry, Io};
use crate::error::{DiskError, IoCause};
use crate::units::SECTOR;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex};

type Sectors = BTreeMap<u64, Vec<u8>>;

pub(crate) struct MemDisk {
    name: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    len: u64,
    current: Sectors,
    durable: Sectors,
    unflushed: Vec<(u64, Vec<u8>)>,
    fail_writes: bool,
    fail_flushes: bool,
    unreadable: Option<Range<u64>>,
}

impl MemDisk {
    pub(crate) fn new(name: &str, len: u64) -> MemDisk {
        MemDisk { name: name.to_owned(), state: Mutex::new(State { len, ..State::default() }) }
    }

    pub(crate) fn shared(name: &str, len: u64) -> Arc<MemDisk> {
        Arc::new(MemDisk::new(name, len))
    }

    /// The same bytes under another name.
    pub(crate) fn copy(&self, name: &str) -> Arc<MemDisk> {
        let state = self.state.lock().unwrap();
        let copy = State {
            len: state.len,
            current: state.current.clone(),
            durable: state.durable.clone(),
            ..State::default()
        };
        Arc::new(MemDisk { name: name.to_owned(), state: Mutex::new(copy) })
    }

    /// Cuts the power: of each unflushed write, its first `kept` sectors survive; if these are some but not
    /// all, the sector after them holds neither the old nor the new.
    pub(crate) fn cut_power(&self, kept: usize) {
        let mut state = self.state.lock().unwrap();
        for (at, data) in std::mem::take(&mut state.unflushed) {
            let end = (kept * SECTOR).min(data.len());
            put(&mut state.durable, at, &data[..end]);
            if kept > 0 && end < data.len() {
                put(&mut state.durable, at + end as u64, &[0xa5; SECTOR]);
            }
        }
        state.current = state.durable.clone();
        state.fail_writes = false;
        state.fail_flushes = false;
    }

    pub(crate) fn set_len(&self, len: u64) {
        self.state.lock().unwrap().len = len;
    }

    pub(crate) fn fail_writes(&self, fail: bool) {
        self.state.lock().unwrap().fail_writes = fail;
    }

    pub(crate) fn fail_flushes(&self, fail: bool) {
        self.state.lock().unwrap().fail_flushes = fail;
    }

    pub(crate) fn make_unreadable(&self, bytes: Range<u64>) {
        self.state.lock().unwrap().unreadable = Some(bytes);
    }

    /// Overwrites a sector behind everyone's back.
    pub(crate) fn spoil(&self, at: u64) {
        let mut state = self.state.lock().unwrap();
        put(&mut state.durable, at, &[0x5a; SECTOR]);
        put(&mut state.current, at, &[0x5a; SECTOR]);
    }

    fn failed<T>(&self, op: &'static str, at: u64, len: usize) -> Io<T> {
        let cause = IoCause { errno: Some(5), kind: std::io::ErrorKind::Other };
        Io::ready(Err(DiskError::Io { device: self.name.clone(), op, at, len: len as u64, cause }))
    }
}

fn put(sectors: &mut Sectors, at: u64, data: &[u8]) {
    for (nth, sector) in data.chunks_exact(SECTOR).enumerate() {
        sectors.insert(at / SECTOR as u64 + nth as u64, sector.to_vec());
    }
}

impl Disk for MemDisk {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> Geometry {
        Geometry { len: self.state.lock().unwrap().len, sector: SECTOR as u32, sparse: false }
    }

    fn mode(&self) -> &'static str {
        "memory"
    }

    fn read(&self, at: u64, mut buf: Buf) -> Io<Buf> {
        let state = self.state.lock().unwrap();
        let end = at + buf.len() as u64;
        let bad = |r: &Range<u64>| r.start < end && at < r.end;
        if end > state.len || state.unreadable.as_ref().is_some_and(bad) {
            return self.failed("read", at, buf.len());
        }
        for (nth, sector) in buf.chunks_exact_mut(SECTOR).enumerate() {
            match state.current.get(&(at / SECTOR as u64 + nth as u64)) {
                Some(data) => sector.copy_from_slice(data),
                None => sector.fill(0),
            }
        }
        Io::ready(Ok(buf))
    }

    fn write(&self, at: u64, data: Vec<Bytes>) -> Io<()> {
        let data = data.concat();
        let mut state = self.state.lock().unwrap();
        if state.fail_writes || at + data.len() as u64 > state.len {
            return self.failed("write", at, data.len());
        }
        put(&mut state.current, at, &data);
        state.unflushed.push((at, data));
        Io::ready(Ok(()))
    }

    fn flush(&self) -> Io<()> {
        let mut state = self.state.lock().unwrap();
        if state.fail_flushes {
            return self.failed("flush", 0, 0);
        }
        state.durable = state.current.clone();
        state.unflushed.clear();
        Io::ready(Ok(()))
    }
}

/// Runs a future whose requests are all answered at once.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
