//! Objects without a name: their content is freed in the background, in bounded steps.
//!
//! The commit that removes the last name of a large file notes its number; the steps free what the object
//! still has mapped, so a crash needs no cursor to go on. The note goes last.

use super::format::{orphan_key, orphan_of, xattrs_of, ORPHANS};
use super::types::Fault;
use super::Tree;
use snapshots::engine::{EntryCondition, EntryEdit, WriteOptions, IO_MAX};
use snapshots::ObjectId;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Extended attributes removed in one step.
const XATTRS: usize = 32;
/// Rest between two steps.
const PAUSE: Duration = Duration::from_millis(2);
/// How often it is looked, though nothing was said.
const LOOK: Duration = Duration::from_secs(30);

impl Tree {
    /// Frees a bounded piece of what has no name any more; whether there was any.
    ///
    /// # Errors
    /// [`Fault`]: the work stays to be done.
    pub async fn free_some(&self) -> Result<bool, Fault> {
        let noted = self.engine.scan(self.dataset, None, ORPHANS, b"", 1).await;
        let Some((name, _)) = noted.map_err(|e| self.fault(e))?.into_iter().next() else { return Ok(false) };
        let number = orphan_of(&name).map_err(|e| self.damage(e))?;
        // A clone that is being made is noted too, and held.
        let _held = self.locks.alone([number]).await;
        if self.get(None, &name).await?.is_none() {
            return Ok(true);
        }
        let content = self.engine.object(self.dataset, ObjectId(number));
        let mapped = content.changed_since(None, 0, 1).await.map_err(|e| self.fault(e))?;
        if let Some(range) = mapped.first() {
            let len = range.len.min(IO_MAX);
            let freed = content.write_zeroes(range.offset, len, &WriteOptions::default()).await;
            return freed.map(|()| true).map_err(|e| self.fault(e));
        }
        let prefix = xattrs_of(number);
        let some = self.engine.scan(self.dataset, None, &prefix, b"", XATTRS).await;
        let mut names: Vec<Vec<u8>> =
            some.map_err(|e| self.fault(e))?.into_iter().map(|(name, _)| name).collect();
        if names.is_empty() {
            names.push(orphan_key(number));
        }
        let gone = |name| EntryEdit { name, value: None, condition: EntryCondition::Any };
        let edits: Vec<EntryEdit> = names.into_iter().map(gone).collect();
        self.engine.edit(self.dataset, &edits, None).await.map_err(|e| self.fault(e))?;
        Ok(true)
    }

    /// Frees in the background until nobody has the tree any more.
    pub(crate) fn start(self: &Arc<Self>) {
        tokio::spawn(run(Arc::downgrade(self), self.work.clone()));
    }
}

async fn run(tree: Weak<Tree>, work: Arc<tokio::sync::Notify>) {
    while let Some(this) = tree.upgrade() {
        if this.engine.failure().is_some() {
            return;
        }
        let step = this.free_some().await;
        drop(this);
        match step {
            Ok(true) => tokio::time::sleep(PAUSE).await,
            Ok(false) => drop(tokio::time::timeout(LOOK, work.notified()).await),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}
