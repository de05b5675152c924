//! Range clone: a range of one dataset, or of a snapshot, becomes a range of another by reference.

use super::{Volume, WriteOptions, IO_MAX};
use crate::error::{Error, Retry};
use crate::machine::op::{IoOp, Part, Source};
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
            let share = Part::Share { object: self.object_id(), block, from, pointers };
            let op = IoOp {
                dataset: self.dataset(),
                branch,
                session: options.session.clone(),
                frees: false,
                reach: self.inside(offset + len),
                parts: vec![share],
            };
            match engine.io(op).await {
                Ok(_) if options.durable => return engine.flush().await.map(drop),
                Ok(_) => return Ok(()),
                Err(Retry::Failed(e)) => return Err(e),
                Err(Retry::After(seq)) => {
                    engine.store.wait_visible(seq).await;
                    let target = engine.ready(branch, self.object_id(), block, count).await;
                    let from = match from_view {
                        View::Live => engine.ready(from_branch, object, from_block, count).await,
                        View::At(_) => Ok(Vec::new()),
                    };
                    match (target, from) {
                        (Err(e), _) if !self.has_moved(&e, (branch, View::Live)) => return Err(e),
                        (_, Err(e)) if !source.has_moved(&e, (from_branch, from_view)) => return Err(e),
                        _ => {}
                    }
                }
            }
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
