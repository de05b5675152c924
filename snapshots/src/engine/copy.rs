//! Range clone: a range of one dataset, or of a snapshot, becomes a range of another by reference.

use super::edit::merged_of;
use super::{Edits, Volume, WriteOptions, IO_MAX};
use crate::error::{Error, Retry};
use crate::ids::BranchId;
use crate::machine::op::{IoOp, Merged, Part, Source};
use crate::pages::View;
use block_layer::BLOCK;

impl Volume {
    /// Makes `len` bytes at `offset` what `source` has at `source_offset`, without copying data. All three
    /// numbers are multiples of 4096; at most 16 MiB a call; atomic. Both ranges lie inside: a last block
    /// that an end cuts short is not cloned, for what a shrink left behind that end would go with it.
    ///
    /// # Errors
    /// Unaligned, out of range, or one of the two does not exist; as [`Volume::write`] otherwise.
    pub async fn clone_range(
        &self,
        offset: u64,
        source: &Volume,
        source_offset: u64,
        len: u64,
        options: &WriteOptions,
    ) -> Result<(), Error> {
        let edits = Edits::default();
        self.clone_range_with(offset, source, source_offset, len, options, &edits).await.map(drop)
    }

    /// As [`Volume::clone_range`], and changes small entries of the dataset in the same commit: what became
    /// of the merged ones.
    ///
    /// # Errors
    /// As [`Volume::clone_range`] and [`super::Engine::edit_with`].
    pub async fn clone_range_with(
        &self,
        offset: u64,
        source: &Volume,
        source_offset: u64,
        len: u64,
        options: &WriteOptions,
        edits: &Edits,
    ) -> Result<Vec<Merged>, Error> {
        edits.check()?;
        let aligned = [offset, source_offset, len].iter().all(|n| n % BLOCK as u64 == 0);
        if !aligned || len == 0 || len > IO_MAX {
            return Err(Error::Invalid("a range clone is aligned to 4096 bytes and at most 16 MiB long"));
        }
        if self.is_snapshot() {
            return Err(Error::Invalid("a snapshot cannot be written"));
        }
        let engine = self.engine();
        let (block, count) = (offset / BLOCK as u64, len / BLOCK as u64);
        let from_block = source_offset / BLOCK as u64;
        loop {
            let (from_branch, from_view, from_size) = source.view()?;
            let (branch, _, size) = self.view()?;
            check_end(source, source_offset, len, from_size)?;
            check_end(self, offset, len, size)?;
            let _pin = engine.store.pin();
            let object = source.object_id();
            let pointers = match engine.pointers(from_branch, object, from_view, from_block, count).await {
                Err(e) if source.has_moved(&e, (from_branch, from_view)) => continue,
                pointers => pointers?,
            };
            let from = match source.snapshot_id() {
                Some(id) => Source::Snapshot(id),
                None => {
                    Source::Live { dataset: source.dataset(), branch: from_branch, object, block: from_block }
                }
            };
            engine.load_refs(pointers.iter().flatten().copied()).await?;
            engine.load_range(branch, self.object_id(), block, count).await?;
            let mut parts = vec![Part::Share { object: self.object_id(), block, from, pointers }];
            match engine.edit_parts(self.dataset(), branch, edits).await? {
                Some(edits) => parts.extend(edits),
                None => continue,
            }
            let op = IoOp {
                dataset: self.dataset(),
                branch,
                session: options.session.clone(),
                frees: false,
                reach: self.inside(offset + len),
                parts,
            };
            match engine.io(op).await {
                Ok(committed) => {
                    if options.durable {
                        let _durable = engine.flush().await?;
                    }
                    return Ok(merged_of(committed.reply));
                }
                Err(Retry::Failed(e)) => return Err(e),
                Err(Retry::After(seq)) => {
                    engine.store.wait_visible(seq).await;
                    self.ready_again(branch, block, count).await?;
                    if from_view == View::Live {
                        source.ready_again(from_branch, from_block, count).await?;
                    }
                }
            }
        }
    }

    /// Makes blocks of a live side ready for another try, unless it is another branch by now.
    async fn ready_again(&self, branch: BranchId, block: u64, count: u64) -> Result<(), Error> {
        match self.engine().ready(branch, self.object_id(), block, count).await {
            Err(e) if !self.has_moved(&e, (branch, View::Live)) => Err(e),
            _ => Ok(()),
        }
    }
}

fn check_end(volume: &Volume, offset: u64, len: u64, size: u64) -> Result<(), Error> {
    let end = offset.checked_add(len).ok_or(Error::OutOfRange { size })?;
    if volume.object_id() == crate::ids::ObjectId(0) && end > size {
        return Err(Error::OutOfRange { size });
    }
    Ok(())
}
