//! The tiny machine: keys name blocks. Its delta lives in memory and reaches the index at checkpoints.

use super::ledger::Ledger;
use super::op::{decode, decode_change, encode, encode_change, Act, Change, Entry, Op};
use block_layer::error::IndexError;
use block_layer::index::{Batch, Index};
use block_layer::store::{Contradiction, Machine, Refusal, Tx};
use block_layer::{Seq, BLOCK};
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

/// The machine. See the module.
pub struct Toy {
    inner: Mutex<Inner>,
    ledger: Arc<Ledger>,
}

type Delta = BTreeMap<u32, Option<Entry>>;

#[derive(Default)]
struct Inner {
    visible: BTreeMap<u32, Entry>,
    /// Ordered, not yet visible.
    pending: VecDeque<(Seq, Delta)>,
    /// A barrier that is ordered and not visible yet: nothing may be ordered behind it.
    barrier: Option<Seq>,
    active: Delta,
    frozen: Option<Delta>,
    live: bool,
}

/// What a commit answers: whether it changed anything.
pub(super) type Effective = bool;

impl Toy {
    /// The machine as the index has it.
    pub(super) fn load(index: &dyn Index, ledger: Arc<Ledger>) -> Result<Toy, IndexError> {
        let mut inner = Inner::default();
        index.scan(b"k", b"l", &mut |key, value| {
            let (key_in_value, entry) = decode_change(value).expect("the index holds what was put");
            assert_eq!(key[1..], key_in_value.to_be_bytes());
            inner.visible.insert(key_in_value, entry.expect("no entry is stored for nothing"));
            ControlFlow::Continue(())
        })?;
        Ok(Toy { inner: Mutex::new(inner), ledger })
    }

    /// What is visible.
    pub(super) fn visible(&self) -> BTreeMap<u32, Entry> {
        self.lock().visible.clone()
    }

    /// Keys that name a block.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // a count for tests, not a collection
    pub fn len(&self) -> usize {
        self.lock().visible.len()
    }

    /// Whether a key names anything.
    #[must_use]
    pub fn has(&self, key: u32) -> bool {
        self.get(key).is_some()
    }

    /// What one key names.
    pub(super) fn get(&self, key: u32) -> Option<Entry> {
        self.lock().visible.get(&key).copied()
    }

    /// Replay is over: from now on only what was ordered may be applied.
    pub(super) fn go_live(&self) {
        self.lock().live = true;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder panics")
    }
}

impl Inner {
    fn newest(&self, key: u32) -> (Option<Entry>, Seq) {
        let pending = self.pending.iter().rev().find_map(|(seq, delta)| Some((*delta.get(&key)?, *seq)));
        pending.unwrap_or_else(|| (self.visible.get(&key).copied(), Seq(0)))
    }

    fn order(&self, op: &Op, tx: &mut Tx<'_>) -> Result<Vec<Change>, Refusal<&'static str>> {
        if !op.late {
            self.check_guard(op)?;
        }
        let entries: Vec<Option<Entry>> = op.keys().iter().map(|key| self.newest(*key).0).collect();
        if entries.iter().flatten().any(|e| tx.needs_refs(e.pba)) {
            return Err(Refusal::Bounce(Seq(0)));
        }
        let mut changes = Vec::new();
        match &op.act {
            Act::Write { key, blocks, purpose } => {
                let mut runs = Vec::new();
                tx.write(blocks, *purpose, &mut runs)?;
                let places = runs.iter().flat_map(|r| (0..r.blocks).map(|n| r.at.plus_blocks(u64::from(n))));
                for (nth, (pba, (_, crc))) in places.zip(blocks).enumerate() {
                    let entry = Entry { pba, crc: *crc, tag: tag(op.id, nth) };
                    changes.push((key + nth as u32, Some(entry)));
                }
                entries.iter().flatten().for_each(|old| tx.release(old.pba));
            }
            Act::Delete { key, .. } => {
                for (nth, old) in entries.iter().enumerate().filter_map(|(n, e)| Some((n, (*e)?))) {
                    changes.push((key + nth as u32, None));
                    tx.release(old.pba);
                }
            }
            Act::Share { to, .. } => {
                let shared = entries[0].ok_or(Refusal::Refused("nothing to share"))?;
                tx.share(shared.pba);
                entries[1].iter().for_each(|old| tx.release(old.pba));
                changes.push((*to, Some(shared)));
            }
        }
        if op.late {
            self.check_guard(op)?;
        }
        Ok(changes)
    }

    fn check_guard(&self, op: &Op) -> Result<(), Refusal<&'static str>> {
        let Some((key, expected)) = op.guard else { return Ok(()) };
        let (found, seq) = self.newest(key);
        match found.map(|e| e.pba) == expected {
            true => Ok(()),
            false => Err(Refusal::Bounce(seq)),
        }
    }

    fn change(&mut self, changes: impl IntoIterator<Item = Change>) {
        for (key, entry) in changes {
            match entry {
                Some(entry) => self.visible.insert(key, entry),
                None => self.visible.remove(&key),
            };
            self.active.insert(key, entry);
        }
    }
}

/// The tag of an operation's block.
pub(super) fn tag(op: u64, nth: usize) -> u64 {
    op << 16 | nth as u64
}

impl Machine for Toy {
    type Op = Op;
    type Reply = Effective;
    type Error = &'static str;

    fn is_barrier(&self, op: &Op) -> bool {
        op.barrier
    }

    fn data_bytes(&self, op: &Op) -> usize {
        match &op.act {
            Act::Write { blocks, .. } => blocks.len() * BLOCK,
            _ => 0,
        }
    }

    fn order(&self, op: &mut Op, tx: &mut Tx<'_>) -> Result<Effective, Refusal<&'static str>> {
        let mut inner = self.lock();
        assert!(inner.barrier.is_none(), "ordered behind a barrier in flight");
        assert!(!op.barrier || inner.pending.is_empty(), "a barrier ordered behind something in flight");
        let changes = inner.order(op, tx)?;
        if changes.is_empty() {
            return Ok(false);
        }
        let mut body = Vec::new();
        encode(op.id, &changes, op.ballast, &mut body);
        tx.mutate(|out| out.extend(&body));
        self.ledger.ordered(tx.seq, &body);
        inner.barrier = op.barrier.then_some(tx.seq);
        if inner.pending.back().is_none_or(|(seq, _)| *seq != tx.seq) {
            inner.pending.push_back((tx.seq, Delta::new()));
        }
        inner.pending.back_mut().expect("just pushed").1.extend(changes);
        Ok(true)
    }

    fn apply(&self, seq: Seq, body: &[u8]) -> Result<(), Contradiction> {
        let ops = decode(body).ok_or_else(|| Contradiction(format!("record {seq} is none of ours")))?;
        let mut inner = self.lock();
        if inner.live {
            let (ordered, _) = inner.pending.pop_front().expect("only what was ordered is applied");
            assert_eq!(ordered, seq, "applied out of order");
            inner.barrier = None;
            self.ledger.applied(seq, body);
        } else {
            self.ledger.replayed(seq, body);
        }
        inner.change(ops.into_iter().flat_map(|(_, changes)| changes));
        Ok(())
    }

    fn discard(&self, _visible: Seq) {
        let mut inner = self.lock();
        inner.pending.clear();
        inner.barrier = None;
        drop(inner);
        self.ledger.discarded();
    }

    fn dirty_bytes(&self) -> u64 {
        let inner = self.lock();
        64 * (inner.active.len() + inner.frozen.as_ref().map_or(0, BTreeMap::len)) as u64
    }

    fn freeze(&self) {
        let mut inner = self.lock();
        assert!(inner.frozen.is_none(), "frozen twice");
        inner.frozen = Some(std::mem::take(&mut inner.active));
    }

    fn write_frozen(&self, batch: &mut Batch) {
        for change in self.lock().frozen.as_ref().expect("frozen before") {
            let key = [b"k", &change.0.to_be_bytes()[..]].concat();
            match change.1 {
                None => batch.delete(key),
                Some(entry) => {
                    let mut value = Vec::new();
                    encode_change(&(*change.0, Some(*entry)), &mut value);
                    batch.put(key, value);
                }
            }
        }
    }

    fn drop_frozen(&self) {
        assert!(self.lock().frozen.take().is_some(), "nothing is frozen");
    }
}
