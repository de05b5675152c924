//! How a change is made: planned from what is there, committed on condition that it still is, or planned
//! again.
//!
//! A plan is made while the objects that it replaces are held alone, so it mostly fits; what can come between
//! is a rollback, or a call whose caller went away while its commit was on the way.

use super::change::Planned;
use super::format::{cookie_key, inode_key, kept_key, name_key, orphan_key, NameRecord, ORPHAN, TOTALS};
use super::inode::Inode;
use super::locks::Held;
use super::rule::Operand;
use super::types::{Change, Changed, Fault, FileName, Kind, ObjectRef, Record};
use super::{Object, Tree, BLOCK};
use snapshots::engine::{Edits, EntryCondition, EntryEdit, EntryMerge, WriteOptions};
use snapshots::{Error, ObjectId};

/// Files up to this size are freed with the commit that removes their last name.
const SMALL: u64 = 1 << 20;

/// What a change is to commit.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) edits: Edits,
    /// An object, and the range of it that becomes zeroes.
    pub(super) cut: Option<(u64, u64, u64)>,
    inodes: i64,
    /// Whether an object was left to the background.
    orphan: bool,
}

impl Plan {
    fn edit(&mut self, name: Vec<u8>, value: Option<Vec<u8>>, condition: EntryCondition) {
        self.edits.entries.push(EntryEdit { name, value, condition });
    }

    /// Gives a new object its inode.
    pub(super) fn make(&mut self, number: u64, inode: &Inode) {
        self.edit(inode_key(number), Some(inode.encode()), EntryCondition::Absent);
        self.inodes += 1;
    }

    /// Replaces an object's inode.
    pub(super) fn replace(&mut self, object: &Object, inode: &Inode) {
        let old = EntryCondition::Is(object.stored.clone());
        self.edit(inode_key(object.number), Some(inode.encode()), old);
    }

    /// Gives a directory a name.
    pub(super) fn link(&mut self, directory: u64, name: &FileName, record: NameRecord) {
        let listed = record.encode_listed(name.as_bytes());
        self.edit(name_key(directory, name.as_bytes()), Some(record.encode()), EntryCondition::Absent);
        self.edit(cookie_key(directory, record.cookie), Some(listed), EntryCondition::Any);
    }

    /// Takes a name from a directory.
    pub(super) fn unlink(&mut self, directory: u64, name: &FileName, record: NameRecord) {
        let old = EntryCondition::Is(record.encode());
        self.edit(name_key(directory, name.as_bytes()), None, old);
        self.edit(cookie_key(directory, record.cookie), None, EntryCondition::Any);
        self.edits.frees = true;
    }

    /// Lets another object have the name: the old cookie goes.
    pub(super) fn relink(&mut self, directory: u64, name: &FileName, old: NameRecord, new: NameRecord) {
        let listed = new.encode_listed(name.as_bytes());
        let was = EntryCondition::Is(old.encode());
        self.edit(name_key(directory, name.as_bytes()), Some(new.encode()), was);
        self.edit(cookie_key(directory, old.cookie), None, EntryCondition::Any);
        self.edit(cookie_key(directory, new.cookie), Some(listed), EntryCondition::Any);
    }

    /// An object that was without a name has one now.
    pub(super) fn adopt(&mut self, number: u64) {
        self.edit(orphan_key(number), None, EntryCondition::Is(ORPHAN.to_vec()));
    }

    /// Removes an object that has no name any more.
    pub(super) fn remove(&mut self, object: &Object) {
        let old = EntryCondition::Is(object.stored.clone());
        self.edit(inode_key(object.number), None, old);
        self.inodes -= 1;
        let Inode { kind, size, blocks, xattrs, .. } = object.inode;
        if kind == Kind::Regular && blocks > 0 && size <= SMALL && xattrs == 0 {
            self.cut = Some((object.number, 0, size.next_multiple_of(BLOCK)));
        } else if blocks > 0 || xattrs > 0 {
            self.edit(orphan_key(object.number), Some(ORPHAN.to_vec()), EntryCondition::Any);
            self.orphan = true;
        }
    }
}

impl Tree {
    /// Makes a change, atomic and durable; `record` is kept with it, in the same commit.
    ///
    /// # Errors
    /// [`Fault`]: nothing was changed, but for [`Fault::Unavailable`], where that is not known.
    pub async fn change(&self, change: Change, record: Option<Record<'_>>) -> Result<Changed, Fault> {
        let changed = loop {
            let Planned { plan, changed, held, turn } = self.plan(&change).await?;
            if self.commit_plan(plan, &changed, record.as_ref()).await? {
                drop((held, turn));
                break changed;
            }
        };
        let _durable = self.engine.flush().await.map_err(|e| self.fault(e))?;
        Ok(changed)
    }

    /// As [`Tree::commit_plain`], and keeps a record of what was done.
    async fn commit_plan(
        &self,
        mut plan: Plan,
        changed: &Changed,
        record: Option<&Record<'_>>,
    ) -> Result<bool, Fault> {
        if let Some(Record { client, slot, encode }) = record {
            let name = kept_key(self.dataset, client, *slot);
            let kept = EntryEdit { name, value: Some(encode(changed)), condition: EntryCondition::Any };
            plan.edits.beside = Some((self.system, vec![kept]));
        }
        self.commit_plain(plan).await
    }

    /// Whether it was committed: otherwise what it rests on has changed.
    pub(super) async fn commit_plain(&self, plan: Plan) -> Result<bool, Fault> {
        let Plan { mut edits, cut, inodes, orphan } = plan;
        if inodes != 0 {
            let operand = Operand::Inodes(inodes).encode();
            edits.merges.push(EntryMerge { name: TOTALS.to_vec(), operand });
        }
        if edits == Edits::default() && cut.is_none() {
            return Ok(true);
        }
        let done = match cut {
            Some((object, from, to)) => {
                let file = self.engine.object(self.dataset, ObjectId(object));
                file.cut_with(from, to, &WriteOptions::default(), &edits).await
            }
            None => self.engine.edit_with(self.dataset, &edits, None).await,
        };
        match done {
            Ok(_) => {
                if orphan {
                    self.work.notify_one();
                }
                Ok(true)
            }
            Err(Error::Exists(_) | Error::NotFound(_) | Error::Vetoed(_)) => Ok(false),
            Err(e) => Err(self.fault(e)),
        }
    }

    /// Holds directories, the objects that names in them lead to, and other objects, all alone. What the
    /// names lead to is as it was when they were held.
    pub(super) async fn hold(
        &self,
        names: &[(ObjectRef, &FileName)],
        objects: &[u64],
    ) -> Result<(Vec<Held>, Vec<Option<NameRecord>>), Fault> {
        let mut before = self.names(names).await?;
        loop {
            let found = before.iter().flatten().map(|record| record.inode);
            let numbers = found.chain(names.iter().map(|(directory, _)| directory.inode));
            let held = self.locks.alone(numbers.chain(objects.iter().copied())).await;
            let now = self.names(names).await?;
            if now == before {
                return Ok((held, now));
            }
            before = now;
        }
    }

    async fn names(&self, names: &[(ObjectRef, &FileName)]) -> Result<Vec<Option<NameRecord>>, Fault> {
        let mut records = Vec::with_capacity(names.len());
        for (directory, name) in names {
            records.push(self.name(None, directory.inode, name).await?);
        }
        Ok(records)
    }
}
