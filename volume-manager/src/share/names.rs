//! Names that go, move and are added: what each puts into its plan.

use super::change::Planned;
use super::format::{NameRecord, ROOT};
use super::inode::Inode;
use super::plan::Plan;
use super::types::{Attributes, Changed, Fault, FileName, Kind, ObjectRef};
use super::views::LIVE;
use super::{attributes, Object, Tree, LINKS_MAX};

/// A name in a directory.
type Place<'a> = (ObjectRef, &'a FileName);

impl Tree {
    pub(super) async fn plan_remove(
        &self,
        directory: ObjectRef,
        name: &FileName,
        is_directory: bool,
    ) -> Result<Planned, Fault> {
        let (held, records) = self.hold(&[(directory, name)], &[]).await?;
        let above = self.directory(directory).await?;
        let record = records[0].ok_or(Fault::NotFound)?;
        let found = self.object(None, record.inode).await?;
        match (found.inode.kind == Kind::Directory, is_directory) {
            (true, false) => return Err(Fault::IsDirectory),
            (false, true) => return Err(Fault::NotDirectory),
            _ => {}
        }
        let (mut plan, now) = (Plan::default(), self.now());
        plan.unlink(above.number, name, record);
        let gone = self.let_go(&found, now, &mut plan)?;
        let mut after = above.inode.clone();
        lose(&mut after, &found.inode);
        after.touch_content(now);
        plan.replace(&above, &after);
        let object = Some((found.reference(LIVE), gone));
        let changed = Changed { object, first: self.around(&above.inode, &after), second: None };
        Ok(Planned { plan, changed, held, turn: None })
    }

    /// An object loses a name, and goes with its last one. Its attributes afterwards.
    fn let_go(&self, object: &Object, now: u64, plan: &mut Plan) -> Result<Attributes, Fault> {
        let mut inode = object.inode.clone();
        if inode.kind == Kind::Directory {
            if inode.names > 0 {
                return Err(Fault::NotEmpty);
            }
            inode.links = 0;
        } else {
            inode.links = inode.links.saturating_sub(1);
        }
        if inode.links > 0 {
            inode.touch(now);
            plan.replace(object, &inode);
        } else {
            plan.remove(object);
        }
        Ok(attributes(&inode, self.fsid))
    }

    pub(super) async fn plan_link(
        &self,
        object: ObjectRef,
        directory: ObjectRef,
        name: &FileName,
    ) -> Result<Planned, Fault> {
        let (held, records) = self.hold(&[(directory, name)], &[object.inode]).await?;
        let found = self.live(object).await?;
        let above = self.directory(directory).await?;
        if found.inode.kind == Kind::Directory {
            return Err(Fault::IsDirectory);
        }
        if records[0].is_some() {
            return Err(Fault::Exists);
        }
        if found.inode.links >= LINKS_MAX {
            return Err(Fault::TooManyLinks);
        }
        let cookie = self.number().await.map_err(|e| self.fault(e))?;
        let (mut plan, now) = (Plan::default(), self.now());
        let record = NameRecord { cookie, inode: found.number, generation: found.inode.generation };
        plan.link(above.number, name, record);
        let mut inode = found.inode.clone();
        inode.links += 1;
        inode.touch(now);
        plan.replace(&found, &inode);
        let mut after = above.inode.clone();
        after.names += 1;
        after.touch_content(now);
        plan.replace(&above, &after);
        let object = Some((object, attributes(&inode, self.fsid)));
        let changed = Changed { object, first: self.around(&above.inode, &after), second: None };
        Ok(Planned { plan, changed, held, turn: None })
    }

    pub(super) async fn plan_rename(&self, from: Place<'_>, to: Place<'_>) -> Result<Planned, Fault> {
        let moves_directory = async {
            let record = self.name(None, from.0.inode, from.1).await?;
            match record {
                Some(record) => Ok(self.object(None, record.inode).await?.inode.kind == Kind::Directory),
                None => Ok(false),
            }
        };
        let turn = match from.0.inode != to.0.inode && moves_directory.await? {
            true => Some(self.moving.clone().lock_owned().await),
            false => None,
        };
        let (held, records) = self.hold(&[from, to], &[]).await?;
        let source = self.directory(from.0).await?;
        let target = self.directory(to.0).await?;
        let record = records[0].ok_or(Fault::NotFound)?;
        let found = self.object(None, record.inode).await?;
        if found.inode.kind == Kind::Directory && source.number != target.number {
            if turn.is_none() {
                // Another object has the name since it was looked at: once more from the start.
                drop((held, turn));
                return Box::pin(self.plan_rename(from, to)).await;
            }
            self.check_above(target.number, found.number).await?;
        }
        let replaced = match records[1] {
            Some(other) if other.inode == record.inode => {
                return Ok(self.unmoved(&source, &target, &found, held));
            }
            Some(other) => Some((other, self.object(None, other.inode).await?)),
            None => None,
        };
        let cookie = self.number().await.map_err(|e| self.fault(e))?;
        let ends = Ends { source: &source, target: &target, found: &found, replaced: replaced.as_ref() };
        let new = NameRecord { cookie, ..record };
        let (plan, changed) = self.moved(&ends, (from.1, record), (to.1, new))?;
        Ok(Planned { plan, changed, held, turn })
    }

    /// Refuses to move a directory into itself.
    async fn check_above(&self, directory: u64, moved: u64) -> Result<(), Fault> {
        let mut at = directory;
        while at != ROOT {
            if at == moved {
                return Err(Fault::Invalid);
            }
            at = self.object(None, at).await?.inode.parent;
        }
        Ok(())
    }

    /// Both names are of one object: nothing happens.
    fn unmoved(
        &self,
        source: &Object,
        target: &Object,
        found: &Object,
        held: Vec<super::locks::Held>,
    ) -> Planned {
        let changed = Changed {
            object: Some((found.reference(LIVE), attributes(&found.inode, self.fsid))),
            first: self.around(&source.inode, &source.inode),
            second: Some(self.around(&target.inode, &target.inode)),
        };
        Planned { plan: Plan::default(), changed, held, turn: None }
    }

    fn moved(
        &self,
        ends: &Ends<'_>,
        (name, old): (&FileName, NameRecord),
        (new_name, new): (&FileName, NameRecord),
    ) -> Result<(Plan, Changed), Fault> {
        let Ends { source, target, found, replaced } = *ends;
        let (mut plan, now) = (Plan::default(), self.now());
        let is_directory = found.inode.kind == Kind::Directory;
        let (mut from, mut to) = (source.inode.clone(), target.inode.clone());
        plan.unlink(source.number, name, old);
        plan.edits.frees = replaced.is_some();
        let same = source.number == target.number;
        lose(&mut from, &found.inode);
        let to_after = if same { &mut from } else { &mut to };
        match replaced {
            Some((record, other)) => {
                match (is_directory, other.inode.kind == Kind::Directory) {
                    (true, false) => return Err(Fault::NotDirectory),
                    (false, true) => return Err(Fault::IsDirectory),
                    _ => {}
                }
                self.let_go(other, now, &mut plan)?;
                plan.relink(target.number, new_name, *record, new);
                lose(to_after, &other.inode);
            }
            None => plan.link(target.number, new_name, new),
        }
        to_after.names += 1;
        to_after.links += u32::from(is_directory);
        from.touch_content(now);
        to.touch_content(now);
        plan.replace(source, &from);
        if same {
            to = from.clone();
        } else {
            plan.replace(target, &to);
        }
        let mut inode = found.inode.clone();
        if is_directory {
            inode.parent = target.number;
        }
        inode.touch(now);
        plan.replace(found, &inode);
        let object = Some((found.reference(LIVE), attributes(&inode, self.fsid)));
        let first = self.around(&source.inode, &from);
        let second = Some(self.around(&target.inode, &to));
        Ok((plan, Changed { object, first, second }))
    }
}

/// What a rename is about.
#[derive(Clone, Copy)]
struct Ends<'a> {
    source: &'a Object,
    target: &'a Object,
    found: &'a Object,
    replaced: Option<&'a (NameRecord, Object)>,
}

/// A directory loses the name of an object.
fn lose(directory: &mut Inode, object: &Inode) {
    directory.names = directory.names.saturating_sub(1);
    directory.links -= u32::from(object.kind == Kind::Directory && directory.links > 2);
}
