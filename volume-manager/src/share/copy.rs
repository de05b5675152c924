//! Files made by reference: of another file, of a snapshot's, or of a volume.
//!
//! The blocks are shared range by range into an object without a name, noted as an orphan and held meanwhile,
//! so that a crash leaves nothing; the last commit gives it an inode and its name. A live file is held as
//! well: the clone is what it was at one moment.

use super::format::{orphan_key, NameRecord, ORPHAN};
use super::inode::Inode;
use super::locks::Held;
use super::plan::Plan;
use super::types::{Fault, FileName, Kind, ObjectRef};
use super::{Object, Tree, BLOCK, FILE_MAX};
use snapshots::engine::{EntryCondition, EntryEdit, Volume, WriteOptions, IO_MAX};
use snapshots::ObjectId;

/// Content to be cloned, kept from changing while this value lives.
pub struct Content {
    data: Volume,
    size: u64,
    like: Option<Inode>,
    _held: Vec<Held>,
}

impl Content {
    /// The content of a volume or a volume's snapshot, `size` bytes.
    pub(crate) fn of_volume(data: Volume, size: u64) -> Content {
        Content { data, size, like: None, _held: Vec::new() }
    }

    /// Its bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes another object have the same blocks: how many.
    pub(crate) async fn clone_to(&self, to: &Volume) -> Result<u64, snapshots::Error> {
        let (mut start, mut blocks) = (0, 0);
        let end = self.size.next_multiple_of(BLOCK);
        loop {
            let ranges = self.data.changed_since(None, start, 64).await?;
            let Some(last) = ranges.last() else { return Ok(blocks) };
            start = last.offset + last.len;
            for range in ranges {
                let to_end = (range.offset + range.len).next_multiple_of(BLOCK).min(end);
                let mut at = range.offset / BLOCK * BLOCK;
                while at < to_end {
                    let len = (to_end - at).min(IO_MAX);
                    to.clone_range(at, &self.data, at, len, &WriteOptions::default()).await?;
                    blocks += len / BLOCK;
                    at += len;
                }
            }
        }
    }
}

impl Tree {
    /// The content of a file, to be cloned.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn content_of(&self, file: ObjectRef) -> Result<Content, Fault> {
        let (snapshot, _) = self.file(file).await?;
        let held = match snapshot {
            Some(_) => Vec::new(),
            None => self.locks.alone([file.inode]).await,
        };
        let (snapshot, found) = self.file(file).await?;
        let data = self.content(snapshot, found.number);
        Ok(Content { data, size: found.inode.size, like: Some(found.inode), _held: held })
    }

    /// Makes a file of this content, by reference; its owner and mode are those of the file that it is of.
    ///
    /// # Errors
    /// [`Fault`]: the name is taken, say. Nothing is left behind.
    pub async fn clone_file(
        &self,
        content: Content,
        directory: ObjectRef,
        name: &FileName,
    ) -> Result<ObjectRef, Fault> {
        if content.size > FILE_MAX {
            return Err(Fault::TooLarge);
        }
        if self.name(None, self.directory(directory).await?.number, name).await?.is_some() {
            return Err(Fault::Exists);
        }
        let number = self.number().await.map_err(|e| self.fault(e))?;
        let _held = self.locks.alone([number]).await;
        let noted = EntryEdit {
            name: orphan_key(number),
            value: Some(ORPHAN.to_vec()),
            condition: EntryCondition::Absent,
        };
        self.engine.edit(self.dataset, &[noted], None).await.map_err(|e| self.fault(e))?;
        let object = self.engine.object(self.dataset, ObjectId(number));
        let cloned = content.clone_to(&object).await.map_err(|e| self.fault(e));
        let Content { size, like, _held: source, .. } = content;
        // Who holds the directory may be waiting for the source.
        drop(source);
        let done = match cloned {
            Ok(blocks) => self.name_clone((size, like.as_ref()), (number, blocks), directory, name).await,
            Err(e) => Err(e),
        };
        if done.is_err() {
            // What is there so far goes in the background.
            self.work.notify_one();
        }
        done?;
        let _durable = self.engine.flush().await.map_err(|e| self.fault(e))?;
        Ok(ObjectRef { inode: number, generation: number, ..directory })
    }

    async fn name_clone(
        &self,
        (size, like): (u64, Option<&Inode>),
        (number, blocks): (u64, u64),
        directory: ObjectRef,
        name: &FileName,
    ) -> Result<(), Fault> {
        loop {
            let (_held, records) = self.hold(&[(directory, name)], &[]).await?;
            if records[0].is_some() {
                return Err(Fault::Exists);
            }
            let above = self.directory(directory).await?;
            let mut inode = Inode::new(Kind::Regular, number, self.now());
            (inode.size, inode.blocks) = (size, blocks);
            inode.mode = like.map_or(0o600, |like| like.mode);
            (inode.uid, inode.gid) = like.map_or((0, 0), |like| (like.uid, like.gid));
            if self.commit_clone(&above, name, number, &inode).await? {
                return Ok(());
            }
        }
    }

    async fn commit_clone(
        &self,
        above: &Object,
        name: &FileName,
        number: u64,
        inode: &Inode,
    ) -> Result<bool, Fault> {
        let mut plan = Plan::default();
        plan.make(number, inode);
        plan.link(above.number, name, NameRecord { cookie: number, inode: number, generation: number });
        plan.adopt(number);
        let mut after = above.inode.clone();
        after.names += 1;
        after.touch_content(self.now());
        plan.replace(above, &after);
        self.commit_plain(plan).await
    }
}
