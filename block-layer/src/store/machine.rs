//! What the crate above plugs in: the meaning of commits.
//!
//! The store gives order, atomicity and durability; a [`Machine`] turns operations into effects when their
//! turn comes ([`Machine::order`]) and makes the effects visible when they are written
//! ([`Machine::apply`]). Recovery calls `apply` with the same bytes, so there is one code path for both.

use crate::alloc::{AllocError, Allocator, Purpose, Run};
use crate::format::record::{Effects, RefChange, Written};
use crate::index::Batch;
use crate::units::{Pba, Seq, BLOCK};
use bytes::Bytes;
use rustc_hash::FxHashMap;

/// Why an operation did not enter the batch.
#[derive(Debug)]
pub enum Refusal<E> {
    /// Something that the operation was prepared with is no longer so, or not in memory any more: prepare it
    /// again, after the commits up to this sequence are visible.
    Bounce(Seq),
    /// No space for its data.
    NoSpace,
    /// The allocator has no segment open: wait and try again (the store sees to it).
    NotReady,
    /// The machine says no.
    Refused(E),
}

impl<E> From<AllocError> for Refusal<E> {
    fn from(e: AllocError) -> Self {
        match e {
            AllocError::NotReady => Refusal::NotReady,
            AllocError::NoSpace { .. } => Refusal::NoSpace,
        }
    }
}

/// The meaning of commits. Every method is called under the commit lock: none may block or wait.
pub trait Machine: Send + Sync + 'static {
    /// A queued operation.
    type Op: Send + 'static;
    /// What a committed operation answers.
    type Reply: Send + 'static;
    /// Why it refuses an operation.
    type Error: Send + 'static;

    /// Whether `op` is ordered alone: after everything before it is visible, and before anything after it.
    fn is_barrier(&self, op: &Self::Op) -> bool;
    /// Bytes of data that `op` writes, for the bounds of a batch.
    fn data_bytes(&self, op: &Self::Op) -> usize;
    /// The operation's turn has come: decide, against everything *ordered* so far, and push the effects to
    /// `tx`. On a refusal nothing may have changed in the machine; `tx` is rolled back by the caller. It
    /// may be called again for the same operation when a batch had to be done over.
    fn order(&self, op: &mut Self::Op, tx: &mut Tx<'_>) -> Result<Self::Reply, Refusal<Self::Error>>;
    /// The effects are written and visible from now on. In sequence order, also at replay.
    ///
    /// # Errors
    /// The body does not decode, or contradicts the state: the index or the journal is damaged.
    fn apply(&self, seq: Seq, body: &[u8]) -> Result<(), Contradiction>;
    /// Forget everything that was ordered after `visible`: it is going to be ordered again.
    fn discard(&self, visible: Seq);
    /// Bytes of changes that only the journal holds.
    fn dirty_bytes(&self) -> u64;
    /// Moves the changes so far aside as the frozen generation; the next ones go to a new one.
    fn freeze(&self);
    /// Adds the frozen generation to `batch`. Not under the commit lock.
    fn write_frozen(&self, batch: &mut Batch);
    /// The frozen generation is durable in the index: forget it.
    fn drop_frozen(&self);
}

/// A record that does not fit the state it is applied to: damage, or a bug of ours.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Contradiction(pub String);

/// Counts of extra references as ordered, where they differ from what is applied.
pub(super) type RefOrders = FxHashMap<Pba, u32>;

/// The effects of the batch that is being formed.
pub struct Tx<'a> {
    /// The sequence number that the batch will have.
    pub seq: Seq,
    pub(super) effects: &'a mut Effects,
    pub(super) data: &'a mut Vec<(Run, Vec<Bytes>)>,
    pub(super) alloc: &'a mut Allocator,
    pub(super) ref_orders: &'a mut RefOrders,
    pub(super) marks: Marks,
    /// Of the counts that this operation changed: what was ordered before, if anything.
    pub(super) refs_before: Vec<(Pba, Option<u32>)>,
    pub(super) index_full: bool,
}

/// How long the lists were when an operation began: what a refusal rolls back to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    written: usize,
    /// Blocks of the last run written: what follows it joins it.
    joined: u32,
    freed: usize,
    refs: usize,
    body: usize,
}

impl Tx<'_> {
    pub(super) fn mark(&mut self) {
        let e = &self.effects;
        self.marks = Marks {
            written: e.written.len(),
            joined: e.written.last().map_or(0, |w| w.run.blocks),
            freed: e.freed.len(),
            refs: e.refs.len(),
            body: e.body.len(),
        };
    }

    pub(super) fn roll_back(&mut self) {
        let m = self.marks;
        let mut runs: Vec<Run> = self.effects.written.drain(m.written..).map(|w| w.run).collect();
        self.data.truncate(m.written);
        if let Some((last, (run, data))) = self.effects.written.last_mut().zip(self.data.last_mut()) {
            runs.extend(last.run.split_off(m.joined));
            *run = last.run;
            last.crcs.truncate(m.joined as usize);
            data.truncate(m.joined as usize);
        }
        self.alloc.undo(&runs);
        self.effects.freed.truncate(m.freed);
        self.effects.refs.truncate(m.refs);
        for (pba, before) in self.refs_before.drain(..).rev() {
            match before {
                Some(count) => self.ref_orders.insert(pba, count),
                None => self.ref_orders.remove(&pba),
            };
        }
        self.effects.body.truncate(m.body);
    }

    /// Bytes of a record that the operation needs so far.
    pub(super) fn record_bytes(&self) -> usize {
        let (e, m) = (&self.effects, &self.marks);
        let from = m.written.saturating_sub(1);
        let crcs = e.written[from..].iter().map(|w| w.crcs.len()).sum::<usize>() - m.joined as usize;
        let runs = e.written.len() - m.written + e.freed.len() - m.freed;
        8 * runs + 4 * crcs + 16 * (e.refs.len() - m.refs) + e.body.len() - m.body
    }

    /// Whether there is room for `blocks` blocks, all together. An operation asks before its first
    /// [`write`](Tx::write) when it makes several: were each only to find out by itself, they could fill and
    /// close one segment after the other, be taken back, and begin again, for ever.
    ///
    /// # Errors
    /// As [`write`](Tx::write).
    pub fn check_room<E>(&mut self, blocks: u32, purpose: Purpose) -> Result<(), Refusal<E>> {
        Ok(self.alloc.check_room(blocks, purpose)?)
    }

    /// Finds room for `blocks` (one [`BLOCK`] of data and its CRC-32C each) and writes them there with this
    /// batch. Adds the runs to `runs`, in the order of the blocks.
    ///
    /// # Errors
    /// [`Refusal::NoSpace`] (the index's file system may be what is full) and [`Refusal::NotReady`];
    /// nothing is allocated then.
    pub fn write<E>(
        &mut self,
        blocks: &[(Bytes, u32)],
        purpose: Purpose,
        runs: &mut Vec<Run>,
    ) -> Result<(), Refusal<E>> {
        debug_assert!(blocks.iter().all(|(b, _)| b.len() == BLOCK));
        self.check_index(purpose)?;
        let first = runs.len();
        self.alloc.alloc(blocks.len() as u32, purpose, runs)?;
        let mut rest = blocks;
        for run in &runs[first..] {
            let (these, others) = rest.split_at(run.blocks as usize);
            rest = others;
            self.write_run(*run, these);
        }
        Ok(())
    }

    /// A batch's blocks mostly follow one another, whichever operation they are of: they are one run then.
    fn write_run(&mut self, run: Run, blocks: &[(Bytes, u32)]) {
        let written = &mut self.effects.written;
        if !written.last().is_some_and(|last| last.run.is_followed_by(run)) {
            self.data.push((Run { blocks: 0, ..run }, Vec::new()));
            written.push(Written { run: Run { blocks: 0, ..run }, crcs: Vec::new() });
        }
        let (last, data) = written.last_mut().zip(self.data.last_mut()).expect("one was pushed if need be");
        last.run.blocks += run.blocks;
        data.0 = last.run;
        last.crcs.extend(blocks.iter().map(|(_, crc)| *crc));
        data.1.extend(blocks.iter().map(|(block, _)| block.clone()));
    }

    /// Refuses what makes the index larger while its file system is nearly full. [`Tx::write`] asks by
    /// itself.
    ///
    /// # Errors
    /// [`Refusal::NoSpace`], unless space is freed on the whole.
    pub fn check_index<E>(&self, purpose: Purpose) -> Result<(), Refusal<E>> {
        match self.index_full && purpose == Purpose::Write {
            true => Err(Refusal::NoSpace),
            false => Ok(()),
        }
    }

    /// Whether releasing or sharing `pba` needs reference counts that are not in memory.
    #[must_use]
    pub fn needs_refs(&self, pba: Pba) -> bool {
        !self.ref_orders.contains_key(&pba) && self.alloc.ref_needs(pba)
    }

    /// Lets go of one reference to a block: it is freed when it was the last. Ask [`Tx::needs_refs`] first.
    pub fn release(&mut self, pba: Pba) {
        let before = self.ordered_refs(pba);
        if before > 0 {
            self.change_refs(pba, before, before - 1);
        } else {
            let run = Run { at: pba, blocks: 1 };
            let own = self.effects.freed.len() > self.marks.freed;
            match self.effects.freed.last_mut().filter(|last| own && last.is_followed_by(run)) {
                Some(last) => last.blocks += 1,
                None => self.effects.freed.push(run),
            }
        }
    }

    /// Adds a reference to a block that is referenced already. Ask [`Tx::needs_refs`] and
    /// [`Tx::check_index`] first.
    pub fn share(&mut self, pba: Pba) {
        let before = self.ordered_refs(pba);
        self.change_refs(pba, before, before + 1);
    }

    /// Adds a mutation, already encoded.
    pub fn mutate(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.effects.body);
    }

    fn ordered_refs(&mut self, pba: Pba) -> u32 {
        let ordered = self.ref_orders.get(&pba).copied();
        ordered.or_else(|| self.alloc.ref_count(pba)).expect("the caller has asked `needs_refs`")
    }

    fn change_refs(&mut self, pba: Pba, before: u32, after: u32) {
        self.refs_before.push((pba, self.ref_orders.insert(pba, after)));
        self.effects.refs.push(RefChange { pba, before, after });
    }
}
