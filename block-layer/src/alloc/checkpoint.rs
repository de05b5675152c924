//! Generations: changes gather in the active one, a checkpoint freezes it and writes it to the index.
//!
//! A checkpoint is `freeze` at its sequence number, [`Frozen::write`] without the committer's lock, the
//! index's batch written and flushed, `drop_frozen`. Until then the frozen changes stay laid over what the
//! index says; whatever the index says in between, old or new, the outcome is the same, since a change sets
//! an absolute value. Only what was read *before* a batch and used *after* `drop_frozen` would lack it:
//! [`Cut`] tells.

use super::codec;
use super::delta::Delta;
use super::{segment_slot, Allocator, GROUP};
use crate::index::Batch;
use crate::units::BLOCKS_PER_SEGMENT;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Names what a read of the index may lack: taken before the read, compared when its result is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut(u64);

/// The entries that the allocator keeps in the index; the owner of the key space gives them keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Record {
    /// The bitmap of a segment; merged by [`super::merge_bitmap`].
    Bitmap(u32),
    /// The summaries of a group of [`GROUP`] segments.
    Summary(u32),
    /// The extra references of block `slot` of `segment`.
    Refs {
        /// The segment.
        segment: u32,
        /// The block in it.
        slot: u32,
    },
}

/// Changes since some checkpoint.
#[derive(Debug, Default)]
pub(super) struct Generation {
    deltas: BTreeMap<u32, Delta>,
    /// Absolute counts by block number; 0 = no longer shared.
    pub(super) refs: BTreeMap<u64, u32>,
    /// Segments that got more blocks: their counts changed, their bitmaps did not.
    pub(super) extended: BTreeSet<u32>,
    delta_bytes: usize,
}

impl Generation {
    pub(super) fn delta(&self, segment: u32) -> Option<&Delta> {
        self.deltas.get(&segment)
    }

    fn bytes(&self) -> u64 {
        let (segment, count) = (64, 24);
        (self.delta_bytes + self.deltas.len() * segment + self.refs.len() * count) as u64
    }
}

/// A generation that no longer changes, with the counts of its cut.
#[derive(Debug)]
pub struct Frozen {
    generation: Generation,
    summaries: BTreeMap<u32, Vec<(u16, u16)>>,
}

impl Frozen {
    pub(super) fn delta(&self, segment: u32) -> Option<&Delta> {
        self.generation.delta(segment)
    }

    pub(super) fn refs(&self) -> &BTreeMap<u64, u32> {
        &self.generation.refs
    }

    /// Adds all changes to a batch: a merge for each segment touched, a put or delete for each count
    /// changed, a put for each group of summaries touched.
    pub fn write(&self, batch: &mut Batch, key: impl Fn(Record) -> Vec<u8>) {
        for (&segment, delta) in &self.generation.deltas {
            let mut operand = Vec::new();
            codec::encode_changes(&delta.changes(), delta.from_empty, &mut operand);
            batch.merge(key(Record::Bitmap(segment)), operand);
        }
        for (&block, &count) in &self.generation.refs {
            let (segment, slot) = segment_slot(block);
            match count {
                0 => batch.delete(key(Record::Refs { segment, slot })),
                _ => batch.put(key(Record::Refs { segment, slot }), codec::encode_count(count)),
            }
        }
        for (&group, counts) in &self.summaries {
            let mut value = Vec::new();
            codec::encode_summary(counts, &mut value);
            batch.put(key(Record::Summary(group)), value);
        }
    }
}

impl Allocator {
    /// The cut to remember before reading from the index what will be installed.
    #[must_use]
    pub fn cut(&self) -> Cut {
        self.cut
    }

    /// Begins a checkpoint: what was applied so far is frozen, to be written to the index.
    ///
    /// # Panics
    /// When the last one has not ended.
    pub fn freeze(&mut self) -> Arc<Frozen> {
        assert!(self.frozen.is_none(), "a checkpoint is under way");
        let generation = std::mem::take(&mut self.active);
        let segments = generation.deltas.keys().copied();
        let shared = generation.refs.keys().map(|&block| segment_slot(block).0);
        let extended = generation.extended.iter().copied();
        let groups: BTreeSet<u32> =
            segments.chain(shared).chain(extended).map(|segment| segment / GROUP).collect();
        let summaries = groups.into_iter().map(|group| (group, self.table.counts(group))).collect();
        let frozen = Arc::new(Frozen { generation, summaries });
        self.frozen = Some(Arc::clone(&frozen));
        frozen
    }

    /// Ends a checkpoint: the index has all that was frozen.
    ///
    /// # Panics
    /// When none is under way.
    pub fn drop_frozen(&mut self) {
        assert!(self.frozen.take().is_some(), "no checkpoint is under way");
        self.cut.0 += 1;
    }

    /// Bytes of memory that wait for a checkpoint, frozen ones included; an estimate.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.active.bytes() + self.frozen.as_ref().map_or(0, |frozen| frozen.generation.bytes())
    }

    /// The deltas of a segment that the index may lack, older first.
    pub(super) fn deltas(&self, segment: u32) -> impl Iterator<Item = &Delta> {
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.delta(segment));
        frozen.into_iter().chain(self.active.delta(segment))
    }

    /// Records a change in the active generation; called before the counts change.
    pub(super) fn record(&mut self, segment: u32, slot: u32, blocks: u32, value: bool) {
        let from_empty = u32::from(self.table.get(segment).free) == BLOCKS_PER_SEGMENT;
        let delta = self.active.deltas.entry(segment).or_insert_with(|| Delta::new(from_empty));
        let before = delta.bytes();
        delta.apply(slot, blocks, value);
        self.active.delta_bytes = self.active.delta_bytes + delta.bytes() - before;
    }
}
