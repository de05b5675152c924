//! What was ordered, applied, acknowledged and made durable; outside the process, so that it survives it.

use super::op::{decode, Entry};
use block_layer::Seq;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The ledger of one run.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    /// Everything up to the last open.
    base: BTreeMap<u32, Entry>,
    /// Operations in `base`, and those that were refused for good.
    done: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    /// Bodies applied since the last open.
    applied: BTreeMap<u64, Vec<u8>>,
    /// Bodies ordered since the last open, by number and by attempt at it.
    ordered: BTreeMap<(u64, u32), Vec<u8>>,
    attempt: u32,
    /// Bodies replayed by the open under way, or by interrupted ones before it.
    replayed: BTreeMap<u64, Vec<u8>>,
    acknowledged: u64,
    durable: u64,
}

impl Ledger {
    pub(super) fn ordered(&self, seq: Seq, mutation: &[u8]) {
        let mut book = self.lock();
        let key = (seq.0, book.attempt);
        book.ordered.entry(key).or_default().extend(mutation);
    }

    pub(super) fn discarded(&self) {
        self.lock().attempt += 1;
    }

    pub(super) fn applied(&self, seq: Seq, body: &[u8]) {
        let mut book = self.lock();
        let ordered = book.ordered.get(&(seq.0, book.attempt));
        assert_eq!(ordered.map(Vec::as_slice), Some(body), "record {seq} is not what was ordered");
        assert!(book.applied.insert(seq.0, body.to_vec()).is_none(), "record {seq} applied twice");
    }

    pub(super) fn replayed(&self, seq: Seq, body: &[u8]) {
        self.lock().replayed.insert(seq.0, body.to_vec());
    }

    pub(super) fn acknowledged(&self, seq: Seq, op: u64, effective: bool) {
        let mut book = self.lock();
        if effective {
            let body = book.applied.get(&seq.0).expect("acknowledged before it was applied");
            let ops = decode(body).expect("it was encoded here");
            assert!(ops.iter().any(|(id, _)| *id == op), "operation {op} is not in record {seq}");
        }
        book.acknowledged = book.acknowledged.max(seq.0);
    }

    pub(super) fn refused(&self, op: u64) {
        self.lock().refused.insert(op);
    }

    /// The last acknowledged commit: what a flush that begins now must cover.
    pub(super) fn last_acknowledged(&self) -> Seq {
        Seq(self.lock().acknowledged)
    }

    pub(super) fn durable(&self, seq: Seq) {
        let mut book = self.lock();
        book.durable = book.durable.max(seq.0);
    }

    /// An open begins, with an index that stands at `cut`: what an earlier one, that was interrupted,
    /// replayed counts as far as it reached the index, and is replayed again beyond.
    pub(super) fn opening(&self, cut: Seq) {
        self.lock().replayed.retain(|seq, _| *seq <= cut.0);
    }

    /// The pool is open again and stands at `last`: checks the promises, and gives what must be visible now.
    pub(super) fn reopened(&self, last: Seq, acknowledged_survive: bool) -> BTreeMap<u32, Entry> {
        let mut guard = self.lock();
        let book = &mut *guard;
        assert!(last.0 >= book.durable, "durable up to {}, recovered up to {last} (P2)", book.durable);
        if acknowledged_survive {
            let acknowledged = book.acknowledged;
            assert!(last.0 >= acknowledged, "acknowledged up to {acknowledged}, recovered {last} (P1)");
        }
        for (seq, body) in std::mem::take(&mut book.replayed) {
            match book.applied.get(&seq) {
                Some(applied) => assert_eq!(*applied, body, "record {seq} has changed"),
                None => {
                    let known = book.ordered.range((seq, 0)..=(seq, u32::MAX)).any(|(_, o)| *o == body);
                    assert!(known, "record {seq} was never ordered like this");
                    book.applied.insert(seq, body);
                }
            }
        }
        for (_, body) in std::mem::take(&mut book.applied).range(..=last.0) {
            for (op, changes) in decode(body).expect("it was encoded here") {
                assert!(book.done.insert(op), "operation {op} was done twice");
                for (key, entry) in changes {
                    match entry {
                        Some(entry) => book.base.insert(key, entry),
                        None => book.base.remove(&key),
                    };
                }
            }
        }
        assert!(book.refused.is_disjoint(&book.done), "a refused operation was done");
        book.ordered.clear();
        (book.attempt, book.acknowledged, book.durable) = (0, last.0, last.0);
        book.base.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
