//! Reading and writing files.

use super::format::inode_key;
use super::inode::Inode;
use super::look::Found;
use super::rule::Operand;
use super::types::{Around, Fault, Kind, ObjectRef, ReadData, Stability, Written};
use super::{attributes, Object, Tree, BLOCK, FILE_MAX, IO_MAX};
use block_layer::Buf;
use bytes::Bytes;
use snapshots::engine::{Edits, EntryMerge, Volume, WriteOptions};
use snapshots::{ObjectId, SnapshotId};
use std::sync::atomic::Ordering;

impl Tree {
    /// Reads a file; holes read as zeroes. At most 1 MiB.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn read(&self, file: ObjectRef, offset: u64, len: u32) -> Result<ReadData, Fault> {
        loop {
            let (snapshot, found) = self.file(file).await?;
            let size = found.inode.size;
            let end = offset.saturating_add(u64::from(len).min(IO_MAX as u64)).min(size);
            let data = match end.checked_sub(offset).filter(|len| *len > 0) {
                Some(len) => {
                    let content = self.content(snapshot, found.number);
                    let read = content.read(offset, Buf::zeroed(len as usize)).await;
                    read.map(Buf::freeze).map_err(|e| self.fault(e))?
                }
                None => Bytes::new(),
            };
            // What was cut off meanwhile reads as zeroes: that is no content of the file as it was.
            let (_, now) = self.file(file).await?;
            if now.inode.size < end {
                continue;
            }
            let attributes = attributes(&now.inode, self.fsid_of(file.view));
            return Ok(ReadData { data, end: end >= now.inode.size, attributes });
        }
    }

    pub(super) async fn file(&self, file: ObjectRef) -> Result<(Option<SnapshotId>, Object), Fault> {
        let Found::Object(snapshot, found) = self.find(file).await? else { return Err(Fault::IsDirectory) };
        match found.inode.kind {
            Kind::Regular => Ok((snapshot, found)),
            Kind::Directory => Err(Fault::IsDirectory),
            _ => Err(Fault::Invalid),
        }
    }

    pub(super) fn content(&self, snapshot: Option<SnapshotId>, number: u64) -> Volume {
        let live = self.engine.object(self.dataset, ObjectId(number));
        match snapshot {
            Some(id) => live.at(id),
            None => live,
        }
    }

    /// Writes a file, wholly or not at all, at most 1 MiB; `clear_ids` drops set-user-id and set-group-id.
    ///
    /// # Errors
    /// [`Fault`]; nothing was done, but for [`Fault::Unavailable`], where that is not known.
    pub async fn write(
        &self,
        file: ObjectRef,
        offset: u64,
        data: Bytes,
        stability: Stability,
        clear_ids: bool,
    ) -> Result<Written, Fault> {
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= FILE_MAX);
        let end = end.ok_or(Fault::TooLarge)?;
        if data.len() > IO_MAX {
            return Err(Fault::Invalid);
        }
        let _held = self.locks.together(file.inode).await;
        let found = self.live(file).await?;
        match found.inode.kind {
            Kind::Regular => {}
            Kind::Directory => return Err(Fault::IsDirectory),
            _ => return Err(Fault::Invalid),
        }
        if data.is_empty() {
            return Ok(Written { file: self.around(&found.inode, &found.inode), stability });
        }
        let content = self.content(None, found.number);
        self.check_quota(&content, offset, data.len() as u64).await?;
        let operand = Operand::Write { now: self.now(), end, clear_ids }.encode();
        let merges = vec![EntryMerge { name: inode_key(found.number), operand }];
        let edits = Edits { merges, ..Edits::default() };
        let options = WriteOptions { session: None, durable: stability != Stability::Unstable };
        let merged = content.write_with(offset, data, &options, &edits).await.map_err(|e| self.fault(e))?;
        let mut states = merged.into_iter().flat_map(|merged| [merged.before, merged.after]).flatten();
        let mut state = || Inode::decode(&states.next().unwrap_or_default()).map_err(|e| self.damage(e));
        let (before, after) = (state()?, state()?);
        Ok(Written { file: self.around(&before, &after), stability })
    }

    /// Refuses a write that would take the share over its quota: one that takes space, of which what is on
    /// its way at the same time is not counted.
    async fn check_quota(&self, content: &Volume, offset: u64, len: u64) -> Result<(), Fault> {
        let quota = self.quota.load(Ordering::Relaxed);
        if quota == 0 {
            return Ok(());
        }
        let used = self.engine.referenced(self.dataset).map_err(|e| self.fault(e))?;
        if used.saturating_add(len + 2 * BLOCK) <= quota {
            return Ok(());
        }
        let from = offset / BLOCK * BLOCK;
        let whole = (offset + len).next_multiple_of(BLOCK) - from;
        let extents = content.extents(from, whole, usize::MAX).await.map_err(|e| self.fault(e))?;
        let new: u64 = extents.iter().filter(|extent| !extent.mapped).map(|extent| extent.len).sum();
        match new > 0 && used.saturating_add(new) > quota {
            true => Err(Fault::Quota),
            false => Ok(()),
        }
    }

    /// Makes all that was written to a file durable, its times too.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn commit(&self, file: ObjectRef) -> Result<Around, Fault> {
        let (_, found) = self.file(file).await?;
        let _durable = self.engine.flush().await.map_err(|e| self.fault(e))?;
        let inode = found.inode;
        let attributes = attributes(&inode, self.fsid_of(file.view));
        Ok(Around { before: attributes, after: attributes })
    }
}
