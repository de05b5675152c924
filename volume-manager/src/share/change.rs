//! Changes of attributes, and objects made: what each puts into its plan.

use super::format::{NameRecord, ROOT};
use super::inode::{time_of, Inode, TARGET_MAX};
use super::locks::Held;
use super::plan::Plan;
use super::types::{
    Around, Change, Changed, Fault, FileName, Kind, New, ObjectRef, SetAttributes, SetTime, Time,
};
use super::{attributes, Object, Tree, BLOCK, FILE_MAX};
use snapshots::ObjectId;
use tokio::sync::OwnedMutexGuard;

/// A change that is ready to be committed, and the objects that it holds until then.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) changed: Changed,
    pub(super) held: Vec<Held>,
    /// The turn of moving directories, if one moves.
    pub(super) turn: Option<OwnedMutexGuard<()>>,
}

impl Tree {
    pub(super) async fn plan(&self, change: &Change) -> Result<Planned, Fault> {
        match change {
            Change::Set { object, attributes, guard } => self.plan_set(*object, attributes, *guard).await,
            Change::Make { directory, name, new } => {
                self.refuse_listing(*directory, name, Fault::Exists)?;
                self.plan_make(*directory, name, new).await
            }
            Change::Remove { directory, name } => {
                self.refuse_listing(*directory, name, Fault::IsDirectory)?;
                self.plan_remove(*directory, name, false).await
            }
            Change::RemoveDirectory { directory, name } => {
                self.refuse_listing(*directory, name, Fault::ReadOnly)?;
                self.plan_remove(*directory, name, true).await
            }
            Change::Rename { from, name, to, new_name } => {
                self.refuse_listing(*from, name, Fault::ReadOnly)?;
                self.refuse_listing(*to, new_name, Fault::Exists)?;
                self.plan_rename((*from, name), (*to, new_name)).await
            }
            Change::Link { object, directory, name } => {
                self.refuse_listing(*directory, name, Fault::Exists)?;
                self.plan_link(*object, *directory, name).await
            }
        }
    }

    fn refuse_listing(&self, directory: ObjectRef, name: &FileName, fault: Fault) -> Result<(), Fault> {
        match self.is_listing(directory, name) {
            true => Err(fault),
            false => Ok(()),
        }
    }

    /// An object that must be a directory.
    pub(super) async fn directory(&self, directory: ObjectRef) -> Result<Object, Fault> {
        let found = self.live(directory).await?;
        match found.inode.kind {
            Kind::Directory => Ok(found),
            _ => Err(Fault::NotDirectory),
        }
    }

    /// An object before and after.
    pub(super) fn around(&self, before: &Inode, after: &Inode) -> Around {
        Around { before: attributes(before, self.fsid), after: attributes(after, self.fsid) }
    }

    async fn plan_set(
        &self,
        object: ObjectRef,
        set: &SetAttributes,
        guard: Option<Time>,
    ) -> Result<Planned, Fault> {
        let held = self.locks.alone([object.inode]).await;
        let found = self.live(object).await?;
        if guard.is_some_and(|ctime| ctime != time_of(found.inode.ctime)) {
            return Err(Fault::NotSync);
        }
        let mut plan = Plan::default();
        let after = self.set(&found, set, &mut plan).await?;
        let first = self.around(&found.inode, &after);
        let changed = Changed { object: Some((object, first.after)), first, second: None };
        Ok(Planned { plan, changed, held, turn: None })
    }

    /// Sets attributes of an object that is held.
    async fn set(&self, object: &Object, set: &SetAttributes, plan: &mut Plan) -> Result<Inode, Fault> {
        let mut inode = object.inode.clone();
        let now = self.now();
        inode.touch(now);
        if let Some(size) = set.size {
            match inode.kind {
                Kind::Regular if size > FILE_MAX => return Err(Fault::TooLarge),
                Kind::Regular => {}
                Kind::Directory => return Err(Fault::IsDirectory),
                _ => return Err(Fault::Invalid),
            }
            if size < inode.size && inode.blocks > 0 {
                inode.blocks = self.blocks_after(object, size).await?;
                plan.cut = Some((object.number, size, inode.size));
            }
            inode.size = size;
            inode.touch_content(now);
        }
        let time = |set: SetTime| match set {
            SetTime::Now => Ok(time_of(inode.ctime)),
            SetTime::To(time) if time.nanos < 1_000_000_000 => Ok(time),
            SetTime::To(_) => Err(Fault::Invalid),
        };
        let (atime, mtime) = (set.atime.map(time).transpose()?, set.mtime.map(time).transpose()?);
        inode.atime = atime.unwrap_or(inode.atime);
        inode.mtime = mtime.unwrap_or(inode.mtime);
        inode.mode = set.mode.map_or(inode.mode, |mode| mode & 0o7777);
        inode.uid = set.uid.unwrap_or(inode.uid);
        inode.gid = set.gid.unwrap_or(inode.gid);
        plan.replace(object, &inode);
        Ok(inode)
    }

    /// Blocks that a file has when it ends at byte `size`. Of a long cut nobody counts what goes: then it is
    /// what a file without holes has, at most.
    async fn blocks_after(&self, object: &Object, size: u64) -> Result<u64, Fault> {
        let Inode { size: end, blocks, .. } = object.inode;
        let from = size.next_multiple_of(BLOCK);
        if end.next_multiple_of(BLOCK) - size > snapshots::engine::IO_MAX {
            return Ok(blocks.min(from / BLOCK));
        }
        if from >= end {
            return Ok(blocks);
        }
        let file = self.engine.object(self.dataset, ObjectId(object.number));
        let extents = file.extents(from, end.next_multiple_of(BLOCK) - from, usize::MAX).await;
        let extents = extents.map_err(|e| self.fault(e))?;
        let gone: u64 = extents.iter().filter(|e| e.mapped).map(|e| e.len / BLOCK).sum();
        Ok(blocks.saturating_sub(gone))
    }

    async fn plan_make(&self, directory: ObjectRef, name: &FileName, new: &New) -> Result<Planned, Fault> {
        let (held, records) = self.hold(&[(directory, name)], &[]).await?;
        let above = self.directory(directory).await?;
        if let Some(record) = records[0] {
            return self.plan_existing(&above, record, new, held).await;
        }
        let number = self.number().await.map_err(|e| self.fault(e))?;
        let inode = self.new_inode(&above, number, new)?;
        let mut plan = Plan::default();
        plan.make(number, &inode);
        plan.link(above.number, name, NameRecord { cookie: number, inode: number, generation: number });
        let mut after = above.inode.clone();
        after.names += 1;
        after.links += u32::from(inode.kind == Kind::Directory);
        after.touch_content(self.now());
        plan.replace(&above, &after);
        let made = ObjectRef { inode: number, generation: number, ..directory };
        let object = Some((made, attributes(&inode, self.fsid)));
        let changed = Changed { object, first: self.around(&above.inode, &after), second: None };
        Ok(Planned { plan, changed, held, turn: None })
    }

    /// What there is takes the place of what was to be made, if it may.
    async fn plan_existing(
        &self,
        above: &Object,
        record: NameRecord,
        new: &New,
        held: Vec<Held>,
    ) -> Result<Planned, Fault> {
        let found = self.object(None, record.inode).await?;
        let mut plan = Plan::default();
        let inode = match new {
            New::File(set) if found.inode.kind == Kind::Regular && set.size.is_some() => {
                let set = SetAttributes { size: set.size, ..SetAttributes::default() };
                self.set(&found, &set, &mut plan).await?
            }
            New::File(_) if found.inode.kind == Kind::Regular => found.inode.clone(),
            New::FileOnce { verifier, .. } if found.inode.verifier == Some(*verifier) => found.inode.clone(),
            _ => return Err(Fault::Exists),
        };
        let object = Some((found.reference(super::views::LIVE), attributes(&inode, self.fsid)));
        let changed = Changed { object, first: self.around(&above.inode, &above.inode), second: None };
        Ok(Planned { plan, changed, held, turn: None })
    }

    fn new_inode(&self, above: &Object, number: u64, new: &New) -> Result<Inode, Fault> {
        let (kind, set, mode) = match new {
            New::File(set) | New::FileOnly(set) => (Kind::Regular, set, 0o644),
            New::FileOnce { attributes, .. } => (Kind::Regular, attributes, 0o644),
            New::Directory(set) => (Kind::Directory, set, 0o755),
            New::Symlink(_, set) => (Kind::Symlink, set, 0o777),
            New::Node(kind @ (Kind::Regular | Kind::Directory | Kind::Symlink), _) => {
                tracing::debug!(?kind, "a node is none of these");
                return Err(Fault::Invalid);
            }
            New::Node(kind, set) => (*kind, set, 0o644),
        };
        let mut inode = Inode::new(kind, number, self.now());
        inode.mode = set.mode.unwrap_or(mode) & 0o7777;
        inode.uid = set.uid.unwrap_or(0);
        inode.gid = set.gid.unwrap_or(0);
        if above.inode.mode & 0o2000 != 0 {
            // The group stays in the family (set-group-id of a directory).
            inode.gid = above.inode.gid;
            inode.mode |= if kind == Kind::Directory { 0o2000 } else { 0 };
        }
        let time = |set: Option<SetTime>, now: Time| match set {
            Some(SetTime::To(time)) if time.nanos < 1_000_000_000 => Ok(time),
            Some(SetTime::To(_)) => Err(Fault::Invalid),
            _ => Ok(now),
        };
        inode.atime = time(set.atime, inode.atime)?;
        inode.mtime = time(set.mtime, inode.mtime)?;
        match new {
            New::Symlink(target, _) if target.is_empty() => return Err(Fault::Invalid),
            New::Symlink(target, _) if target.len() > TARGET_MAX => return Err(Fault::NameTooLong),
            New::Symlink(target, _) => {
                inode.size = target.len() as u64;
                inode.target = target.clone();
            }
            New::FileOnce { verifier, .. } => inode.verifier = Some(*verifier),
            New::File(_) | New::FileOnly(_) if set.size.is_some_and(|size| size > FILE_MAX) => {
                return Err(Fault::TooLarge);
            }
            New::File(_) | New::FileOnly(_) => inode.size = set.size.unwrap_or(0),
            New::Directory(_) => inode.parent = above.number,
            New::Node(..) => {}
        }
        debug_assert!(number > ROOT, "the root is made with the share");
        Ok(inode)
    }
}
