//! Space that the data path needs at hand: open segments ahead of the allocator, reference counts of shared
//! segments, and the zeroer that runs ahead on devices where unwritten space costs more.

use super::machine::Machine;
use super::state::State;
use super::{FailReason, Store};
use crate::alloc::{decode_bitmap, decode_count, Bitmap, Record, Run};
use crate::device::zero_ahead;
use crate::error::IndexError;
use crate::format::space_key;
use crate::runtime::unblock;
use crate::units::{Pba, BLOCK, BLOCKS_PER_SEGMENT};
use std::ops::ControlFlow;

impl<M: Machine> Store<M> {
    /// Notes the segments that the allocator wants, and wakes the task that opens them: ahead of need, so
    /// that the leader rarely waits. The caller holds the commit lock.
    pub(super) fn open_ahead(&self, state: &mut State<M>) {
        let wanted = state.alloc.wants();
        if !wanted.is_empty() {
            state.to_open.extend(wanted);
            self.open_wanted.notify_one();
        }
    }

    /// Opens one segment that was noted; `false` when there is none.
    pub(super) async fn open_segment(&self) -> bool {
        let (segment, cut) = {
            let mut state = self.lock();
            if state.to_open.is_empty() || !state.is_running() {
                return false;
            }
            (state.to_open.remove(0), state.alloc.cut())
        };
        let loaded = self.load_bitmap(segment).await;
        {
            let mut state = self.lock();
            match loaded {
                Ok(Some(mut bitmap)) => {
                    // Now, not when it was loaded: the segment may have grown.
                    let blocks = self.members().sizes().blocks_of(segment);
                    if blocks < BLOCKS_PER_SEGMENT {
                        bitmap.set(blocks, BLOCKS_PER_SEGMENT - blocks, true);
                    }
                    // A stale bitmap is asked for again; a segment whose bitmap is damaged is left alone.
                    let _ = state.alloc.install(segment, bitmap, cut);
                    self.open_ahead(&mut state);
                }
                Ok(None) => {
                    state.alloc.retire(segment);
                    self.open_ahead(&mut state);
                }
                Err(reason) => {
                    state.alloc.abandon(segment);
                    drop(state);
                    self.fail(reason);
                }
            }
        }
        self.progress.notify_waiters();
        true
    }

    /// The bitmap of a segment as the index has it, without the end that a partial segment lacks; `None` when
    /// it is damaged.
    async fn load_bitmap(&self, segment: u32) -> Result<Option<Bitmap>, FailReason> {
        let index = self.index.clone();
        let key = space_key::encode(Record::Bitmap(segment));
        let value = unblock(&*self.runtime, move || index.get(&key)).await;
        match value.map_err(FailReason::Index)? {
            Some(value) => Ok(decode_bitmap(&value).ok()),
            None => {
                let blocks = self.members().sizes().blocks_of(segment);
                if self.lock().alloc.is_untouched(segment, blocks) {
                    self.zero(segment, blocks).await.map_err(FailReason::Write)?;
                }
                Ok(Some(Bitmap::new()))
            }
        }
    }

    /// Writes a segment once before it is used, where that makes later flushes cheaper.
    async fn zero(&self, segment: u32, blocks: u32) -> Result<(), crate::error::DiskError> {
        let members = self.members();
        let run = Run { at: Pba::of_block(segment, 0), blocks };
        for extent in members.locate(run) {
            let end = extent.offset + extent.blocks * BLOCK as u64;
            zero_ahead(&**members.disk(&extent), extent.offset, end).await?;
        }
        Ok(())
    }

    /// Whether the reference counts of a block's segment must be loaded before it is released or shared.
    #[must_use]
    pub fn needs_refs(&self, pba: Pba) -> bool {
        self.lock().alloc.ref_needs(pba)
    }

    /// The extra references of a block.
    ///
    /// # Panics
    /// When [`Store::needs_refs`] says that they must be loaded first.
    #[must_use]
    pub fn extra_refs(&self, pba: Pba) -> u64 {
        u64::from(self.lock().alloc.ref_count(pba).expect("the caller has loaded them"))
    }

    /// Loads the reference counts of a block's segment.
    ///
    /// # Errors
    /// What the index answered, or damage in it.
    pub async fn load_refs(&self, pba: Pba) -> Result<(), IndexError> {
        loop {
            let segment = pba.segment();
            let cut = {
                let state = self.lock();
                if !state.alloc.ref_needs(pba) {
                    return Ok(());
                }
                state.alloc.cut()
            };
            let index = self.index.clone();
            let counts = unblock(&*self.runtime, move || read_refs(&*index, segment)).await?;
            let installed = self.lock().alloc.ref_install(segment, counts, cut);
            match installed {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(e) => {
                    let key = space_key::refs_of(segment).0;
                    return Err(IndexError::Damaged { key, what: e.what });
                }
            }
        }
    }
}

fn read_refs(index: &dyn crate::index::Index, segment: u32) -> Result<Vec<(u32, u32)>, IndexError> {
    let (from, to) = space_key::refs_of(segment);
    let (mut counts, mut damaged) = (Vec::new(), None);
    index.scan(&from, &to, &mut |key, value| match (space_key::slot_of(key), decode_count(value)) {
        (Some(slot), Ok(count)) => {
            counts.push((slot, count));
            ControlFlow::Continue(())
        }
        _ => {
            damaged = Some(key.to_vec());
            ControlFlow::Break(())
        }
    })?;
    match damaged {
        Some(key) => Err(IndexError::Damaged { key, what: "a reference count does not decode" }),
        None => Ok(counts),
    }
}
