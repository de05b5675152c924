//! The in-memory twin of the index, for the simulator: the same answers, and crashes by choice.
//!
//! Invariants: a [`TwinIndex::power_cut`] leaves the state at one batch boundary at or after the last
//! successful flush, like RocksDB without its log; a call that was told to fail changes nothing; nothing
//! here depends on time, threads or chance. Clones share one index, so a simulated machine can be
//! restarted around it.

use super::{Batch, Change, Index, IndexStats, Lookup, MergeRule, Visit};
use crate::error::IndexError;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// An index in memory.
#[derive(Clone)]
pub struct TwinIndex {
    rules: &'static [MergeRule],
    state: Arc<Mutex<State>>,
}

struct State {
    /// Shared with running scans, which keep the view they began with.
    map: Arc<Map>,
    /// For each batch since the last flush, in order: what it replaced.
    undo: Vec<Vec<Replaced>>,
    /// Bytes of all keys and values.
    used_bytes: u64,
    /// Bytes that `used_bytes` may not pass; `u64::MAX` = no limit.
    limit_bytes: u64,
    written_bytes: u64,
    fail_get: bool,
    fail_write: bool,
    fail_flush: bool,
}

/// A key and the value that it had.
type Replaced = (Vec<u8>, Option<Vec<u8>>);

impl TwinIndex {
    /// An empty index whose kinds of keys merge by `rules`.
    #[must_use]
    pub fn new(rules: &'static [MergeRule]) -> TwinIndex {
        let state = State {
            map: Arc::default(),
            undo: Vec::new(),
            used_bytes: 0,
            limit_bytes: u64::MAX,
            written_bytes: 0,
            fail_get: false,
            fail_write: false,
            fail_flush: false,
        };
        TwinIndex { rules, state: Arc::new(Mutex::new(state)) }
    }

    /// An index of its own with the same entries, all of them durable: a backup.
    #[must_use]
    pub fn copy(&self) -> TwinIndex {
        let copy = TwinIndex::new(self.rules);
        let state = self.state();
        (copy.state().map, copy.state().used_bytes) = (Arc::clone(&state.map), state.used_bytes);
        copy
    }

    /// Cuts the power: of the `n` batches written since the last flush, the first `choose(n)` survive.
    /// Armed failures are forgotten.
    pub fn power_cut(&self, choose: &mut dyn FnMut(usize) -> usize) {
        let mut state = self.state();
        let kept = choose(state.undo.len()).min(state.undo.len());
        for batch in state.undo.split_off(kept).into_iter().rev() {
            state.revert(batch);
        }
        state.undo.clear();
        (state.fail_get, state.fail_write, state.fail_flush) = (false, false, false);
    }

    /// Batches that a power cut could still take.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.state().undo.len()
    }

    /// Makes the next get or scan fail.
    pub fn fail_next_get(&self) {
        self.state().fail_get = true;
    }

    /// Makes the next write fail; nothing of it is applied.
    pub fn fail_next_write(&self) {
        self.state().fail_write = true;
    }

    /// Makes the next flush fail; what it should have saved may or may not survive a power cut.
    pub fn fail_next_flush(&self) {
        self.state().fail_flush = true;
    }

    /// Leaves room for `bytes` more of keys and values (`u64::MAX`: no limit). A batch that grows the
    /// index by more fails as `Full`; one that does not grow it never does.
    pub fn set_free_bytes(&self, bytes: u64) {
        let mut state = self.state();
        state.limit_bytes = state.used_bytes.saturating_add(bytes);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present view, unless this read was told to fail.
    fn view(&self) -> Result<Arc<Map>, IndexError> {
        let mut state = self.state();
        refuse(&mut state.fail_get, "get")?;
        Ok(Arc::clone(&state.map))
    }
}

impl Index for TwinIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.view()?.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), IndexError> {
        if from >= to {
            return Ok(());
        }
        for (key, value) in self.view()?.range::<[u8], _>((Included(from), Excluded(to))) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn lookup(&self, ranges: &[Range<Vec<u8>>], visit: Lookup<'_>) -> Result<(), IndexError> {
        let view = self.view()?;
        for (place, range) in ranges.iter().enumerate().filter(|(_, range)| range.start < range.end) {
            for (key, value) in view.range(range.clone()) {
                if visit(place, key, value).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn write(&self, batch: Batch) -> Result<(), IndexError> {
        let mut state = self.state();
        refuse(&mut state.fail_write, "write")?;
        let (used_before, mut undo) = (state.used_bytes, Vec::with_capacity(batch.changes.len()));
        for change in batch.changes {
            state.apply(change, self.rules, &mut undo);
        }
        if state.used_bytes > used_before.max(state.limit_bytes) {
            state.revert(undo);
            return Err(IndexError::Full);
        }
        state.undo.push(undo);
        Ok(())
    }

    fn flush(&self) -> Result<(), IndexError> {
        let mut state = self.state();
        refuse(&mut state.fail_flush, "flush")?;
        state.undo.clear();
        Ok(())
    }

    fn stats(&self) -> IndexStats {
        let state = self.state();
        let free_bytes = match state.limit_bytes {
            u64::MAX => u64::MAX,
            limit => limit.saturating_sub(state.used_bytes),
        };
        IndexStats {
            disk_bytes: state.used_bytes,
            memory_bytes: state.used_bytes,
            written_bytes: state.written_bytes,
            free_bytes,
        }
    }
}

impl State {
    fn apply(&mut self, change: Change, rules: &'static [MergeRule], undo: &mut Vec<Replaced>) {
        match change {
            Change::Put(key, value) => self.replace(key, Some(value), undo),
            Change::Delete(key) => self.replace(key, None, undo),
            Change::DeleteRange(from, to) if from < to => {
                let gone: Vec<Vec<u8>> = self.map.range(from..to).map(|(key, _)| key.clone()).collect();
                for key in gone {
                    self.replace(key, None, undo);
                }
            }
            Change::DeleteRange(..) => {}
            Change::Merge(key, operand) => {
                let rule = MergeRule::of(rules, &key);
                let rule = rule.unwrap_or_else(|| panic!("no merge rule for key {key:02x?}"));
                let value = match self.map.get(&key) {
                    None => operand,
                    Some(older) => {
                        let mut out = Vec::with_capacity(older.len() + operand.len());
                        (rule.merge)(older, &operand, &mut out);
                        out
                    }
                };
                self.replace(key, Some(value), undo);
            }
        }
    }

    fn replace(&mut self, key: Vec<u8>, value: Option<Vec<u8>>, undo: &mut Vec<Replaced>) {
        self.written_bytes += (key.len() + value.as_ref().map_or(0, Vec::len)) as u64;
        let old = self.set(key.clone(), value);
        undo.push((key, old));
    }

    fn revert(&mut self, undo: Vec<Replaced>) {
        for (key, old) in undo.into_iter().rev() {
            self.set(key, old);
        }
    }

    /// Sets or removes an entry and keeps count; gives back the value it had.
    fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let key_bytes = key.len();
        let map = Arc::make_mut(&mut self.map);
        self.used_bytes += value.as_ref().map_or(0, |value| (key_bytes + value.len()) as u64);
        let old = match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
        self.used_bytes -= old.as_ref().map_or(0, |old| (key_bytes + old.len()) as u64);
        old
    }
}

/// Fails once if `armed`.
fn refuse(armed: &mut bool, call: &'static str) -> Result<(), IndexError> {
    match std::mem::take(armed) {
        true => Err(IndexError::Backend(format!("{call} failed, as the test asked"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(index: &TwinIndex, key: &str, value: &str) -> Result<(), IndexError> {
        let mut batch = Batch::default();
        batch.put(key, value);
        index.write(batch)
    }

    #[test]
    fn a_power_cut_keeps_the_flushed_and_a_prefix_of_the_rest() {
        for kept in 0..=3 {
            let index = TwinIndex::new(&[]);
            put(&index, "a", "flushed").unwrap();
            index.flush().unwrap();
            for value in ["1", "2", "3"] {
                put(&index, "a", value).unwrap();
            }
            index.power_cut(&mut |unflushed| {
                assert_eq!(unflushed, 3);
                kept
            });
            let value = index.get(b"a").unwrap().unwrap();
            assert_eq!(value, ["flushed", "1", "2", "3"][kept].as_bytes());
            assert_eq!(index.unflushed(), 0);
        }
    }

    #[test]
    fn armed_failures_fail_once_and_change_nothing() {
        let index = TwinIndex::new(&[]);
        index.fail_next_write();
        assert!(put(&index, "a", "1").is_err());
        assert_eq!(index.get(b"a").unwrap(), None);
        put(&index, "a", "1").unwrap();
        index.fail_next_flush();
        assert!(index.flush().is_err());
        assert_eq!(index.unflushed(), 1);
        index.fail_next_get();
        assert!(index.get(b"a").is_err() && index.get(b"a").is_ok());
    }

    #[test]
    fn a_full_index_refuses_growth_and_never_a_delete() {
        let index = TwinIndex::new(&[]);
        put(&index, "a", "12345").unwrap();
        index.set_free_bytes(4);
        assert_eq!(index.stats().free_bytes, 4);
        assert!(matches!(put(&index, "b", "1234"), Err(IndexError::Full)));
        assert_eq!((index.get(b"b").unwrap(), index.stats().disk_bytes), (None, 6));
        index.set_free_bytes(0);
        let mut batch = Batch::default();
        batch.delete_range("a", "b");
        index.write(batch).unwrap();
        put(&index, "b", "1234").unwrap();
    }

    #[test]
    fn a_scan_keeps_its_view_while_the_index_is_written() {
        let index = TwinIndex::new(&[]);
        put(&index, "a", "1").unwrap();
        put(&index, "b", "1").unwrap();
        let mut seen = Vec::new();
        let visit = &mut |key: &[u8], value: &[u8]| {
            seen.push([key, value].concat());
            put(&index, "b", "2").unwrap();
            std::ops::ControlFlow::Continue(())
        };
        index.scan(b"a", b"z", visit).unwrap();
        assert_eq!(seen, [b"a1", b"b1"]);
        assert_eq!(index.get(b"b").unwrap().unwrap(), b"2");
    }
}
