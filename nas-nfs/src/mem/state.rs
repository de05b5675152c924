//! The objects of a tree in memory, and what each change does to them.
//!
//! Invariants: every check of a change comes before its first effect. An object lives as long as a name leads
//! to it. A directory has two links and one for each directory in it. ctime and the change number of an
//! object rise with each of its changes. A cookie belongs to one name for ever.

use super::data::{Sparse, BLOCK};
use crate::limits::{FILE_MAX, LINKS_MAX};
use crate::tree::{
    Around, Attributes, Change, Changed, Kind, Name, New, ObjectRef, SetAttributes, SetTime, Time, TreeFault,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Longest target of a symbolic link, in bytes.
const MAX_TARGET: usize = 4095;
/// The first cookie of a directory: those below are for `.` and `..`.
const FIRST_COOKIE: u64 = 3;
/// The inode number of the root.
pub(super) const ROOT: u64 = 1;

/// The object with an inode number: numbers are never used again.
pub(super) fn object_of(inode: u64) -> ObjectRef {
    ObjectRef { view: 0, inode, generation: 1 }
}

pub(super) struct Node {
    pub(super) attributes: Attributes,
    pub(super) body: Body,
    /// Of a file that was made exclusively: with this verifier.
    made_with: Option<[u8; 8]>,
}

pub(super) enum Body {
    File(Sparse),
    Directory(Directory),
    Symlink(Bytes),
    Other,
}

pub(super) struct Directory {
    pub(super) parent: u64,
    /// Cookie and inode by name.
    names: BTreeMap<Bytes, (u64, u64)>,
    pub(super) by_cookie: BTreeMap<u64, (Bytes, u64)>,
    pub(super) next_cookie: u64,
}

impl Directory {
    fn new(parent: u64) -> Directory {
        Directory { parent, names: BTreeMap::new(), by_cookie: BTreeMap::new(), next_cookie: FIRST_COOKIE }
    }

    pub(super) fn get(&self, name: &Name) -> Option<u64> {
        self.names.get(name.as_bytes()).map(|(_, inode)| *inode)
    }

    fn add(&mut self, name: &Name, inode: u64) {
        let name = Bytes::copy_from_slice(name.as_bytes());
        self.by_cookie.insert(self.next_cookie, (name.clone(), inode));
        self.names.insert(name, (self.next_cookie, inode));
        self.next_cookie += 1;
    }

    fn remove(&mut self, name: &Name) {
        if let Some((cookie, _)) = self.names.remove(name.as_bytes()) {
            self.by_cookie.remove(&cookie);
        }
    }
}

pub(super) struct State {
    nodes: BTreeMap<u64, Node>,
    next_inode: u64,
    fsid: u64,
    /// Blocks that all files together may hold.
    pub(super) room: u64,
    /// Blocks that they hold.
    pub(super) held: u64,
}

type Outcome<T> = Result<T, TreeFault>;

impl State {
    pub(super) fn new(fsid: u64, now: Time) -> State {
        let mut state =
            State { nodes: BTreeMap::new(), next_inode: ROOT, fsid, room: FILE_MAX / BLOCK, held: 0 };
        let body = Body::Directory(Directory::new(ROOT));
        state.insert(Kind::Directory, body, &SetAttributes::default(), now);
        state
    }

    pub(super) fn objects(&self) -> u64 {
        self.nodes.len() as u64
    }

    pub(super) fn node(&self, object: ObjectRef) -> Outcome<&Node> {
        let known = object == object_of(object.inode);
        self.nodes.get(&object.inode).filter(|_| known).ok_or(TreeFault::Stale)
    }

    pub(super) fn directory(&self, object: ObjectRef) -> Outcome<&Directory> {
        match &self.node(object)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(TreeFault::NotDirectory),
        }
    }

    pub(super) fn attributes(&self, inode: u64) -> Attributes {
        self.nodes[&inode].attributes
    }

    /// What a file holds.
    pub(super) fn file(&self, object: ObjectRef) -> Outcome<(&Sparse, Attributes)> {
        let node = self.node(object)?;
        match &node.body {
            Body::File(data) => Ok((data, node.attributes)),
            Body::Directory(_) => Err(TreeFault::IsDirectory),
            _ => Err(TreeFault::Invalid),
        }
    }

    pub(super) fn write(
        &mut self,
        file: ObjectRef,
        at: u64,
        data: &[u8],
        ids: bool,
        now: Time,
    ) -> Outcome<Around> {
        let (held, before) = self.file(file)?;
        let end =
            at.checked_add(data.len() as u64).filter(|end| *end <= FILE_MAX).ok_or(TreeFault::TooLarge)?;
        if data.is_empty() {
            return Ok(Around { before, after: before });
        }
        if held.needed(at, data.len() as u64) > self.room.saturating_sub(self.held) {
            return Err(TreeFault::NoSpace);
        }
        let node = self.nodes.get_mut(&file.inode).expect("it was found above");
        let Body::File(held) = &mut node.body else { return Err(TreeFault::Invalid) };
        held.write(at, data);
        node.attributes.size = before.size.max(end);
        if ids {
            node.attributes.mode &= !0o6000;
        }
        self.account(file.inode);
        self.touch(file.inode, true, now);
        Ok(Around { before, after: self.attributes(file.inode) })
    }

    pub(super) fn change(&mut self, change: Change, now: Time) -> Outcome<Changed> {
        match change {
            Change::Set { object, attributes, guard } => self.set(object, &attributes, guard, now),
            Change::Make { directory, name, new } => self.make(directory, &name, new, now),
            Change::Remove { directory, name } => self.remove(directory, &name, false, now),
            Change::RemoveDirectory { directory, name } => self.remove(directory, &name, true, now),
            Change::Rename { from, name, to, new_name } => self.rename(from, &name, to, &new_name, now),
            Change::Link { object, directory, name } => self.link(object, directory, &name, now),
        }
    }

    fn set(
        &mut self,
        object: ObjectRef,
        set: &SetAttributes,
        guard: Option<Time>,
        now: Time,
    ) -> Outcome<Changed> {
        let before = self.node(object)?.attributes;
        if guard.is_some_and(|guard| guard != before.ctime) {
            return Err(TreeFault::NotSync);
        }
        self.check_size(object, set)?;
        self.apply(object.inode, set, now);
        let after = self.attributes(object.inode);
        Ok(Changed { object: Some((object, after)), first: Around { before, after }, second: None })
    }

    /// Whether an object can be given that size.
    fn check_size(&self, object: ObjectRef, set: &SetAttributes) -> Outcome<()> {
        let Some(size) = set.size else { return Ok(()) };
        self.file(object)?;
        if size > FILE_MAX {
            return Err(TreeFault::TooLarge);
        }
        Ok(())
    }

    fn apply(&mut self, inode: u64, set: &SetAttributes, now: Time) {
        let node = self.nodes.get_mut(&inode).expect("callers have found it");
        let attributes = &mut node.attributes;
        let resized = set.size.is_some_and(|size| size != attributes.size);
        if let (Some(size), Body::File(data)) = (set.size, &mut node.body) {
            data.cut(size);
            attributes.size = size;
        }
        attributes.mode = set.mode.map_or(attributes.mode, |mode| mode & 0o7777);
        attributes.uid = set.uid.unwrap_or(attributes.uid);
        attributes.gid = set.gid.unwrap_or(attributes.gid);
        self.account(inode);
        self.touch(inode, resized, now);
        let attributes = &mut self.nodes.get_mut(&inode).expect("callers have found it").attributes;
        let moment = |set: SetTime| match set {
            SetTime::Now => now,
            SetTime::To(time) => time,
        };
        attributes.atime = set.atime.map_or(attributes.atime, moment);
        attributes.mtime = set.mtime.map_or(attributes.mtime, moment);
    }

    fn make(&mut self, directory: ObjectRef, name: &Name, new: New, now: Time) -> Outcome<Changed> {
        let before = self.node(directory)?.attributes;
        let found = self.directory(directory)?.get(name);
        if let Some(inode) = found {
            return self.take(directory, inode, &new, now);
        }
        let mut made_with = None;
        let (kind, body, set) = match new {
            New::File(set) | New::FileOnly(set) => (Kind::Regular, Body::File(Sparse::default()), set),
            New::FileOnce { verifier, attributes } => {
                made_with = Some(verifier);
                (Kind::Regular, Body::File(Sparse::default()), attributes)
            }
            New::Directory(set) => (Kind::Directory, Body::Directory(Directory::new(directory.inode)), set),
            New::Symlink(target, _) if target.is_empty() => return Err(TreeFault::Invalid),
            New::Symlink(target, _) if target.len() > MAX_TARGET => return Err(TreeFault::NameTooLong),
            New::Symlink(target, set) => (Kind::Symlink, Body::Symlink(target), set),
            New::Node(Kind::Regular | Kind::Directory | Kind::Symlink, _) => return Err(TreeFault::Invalid),
            New::Node(kind, set) => (kind, Body::Other, set),
        };
        if set.size.is_some_and(|size| size > FILE_MAX) {
            return Err(TreeFault::TooLarge);
        }
        if kind == Kind::Directory && before.links == LINKS_MAX {
            return Err(TreeFault::TooManyLinks);
        }
        let inode = self.insert(kind, body, &set, now);
        self.nodes.get_mut(&inode).expect("it was just inserted").made_with = made_with;
        self.names(directory.inode, kind == Kind::Directory, now, |names| names.add(name, inode));
        Ok(self.done(Some(inode), directory, before))
    }

    /// A file is to be made where something has the name.
    fn take(&mut self, directory: ObjectRef, inode: u64, new: &New, now: Time) -> Outcome<Changed> {
        let before = self.attributes(directory.inode);
        let found = &self.nodes[&inode];
        match new {
            New::File(set) if found.attributes.kind == Kind::Regular => {
                let size = SetAttributes { size: set.size, ..SetAttributes::default() };
                self.check_size(object_of(inode), &size)?;
                if size.size.is_some() {
                    self.apply(inode, &size, now);
                }
            }
            New::FileOnce { verifier, .. } if found.made_with == Some(*verifier) => {}
            _ => return Err(TreeFault::Exists),
        }
        Ok(self.done(Some(inode), directory, before))
    }

    fn remove(&mut self, directory: ObjectRef, name: &Name, empty: bool, now: Time) -> Outcome<Changed> {
        let inode = self.directory(directory)?.get(name).ok_or(TreeFault::NotFound)?;
        let before = self.attributes(directory.inode);
        match &self.nodes[&inode].body {
            Body::Directory(_) if !empty => return Err(TreeFault::IsDirectory),
            Body::Directory(names) if !names.names.is_empty() => return Err(TreeFault::NotEmpty),
            Body::Directory(_) => {}
            _ if empty => return Err(TreeFault::NotDirectory),
            _ => {}
        }
        self.names(directory.inode, false, now, |names| names.remove(name));
        let last = self.unlink(inode, directory.inode, now);
        let mut changed = self.done(None, directory, before);
        changed.object = Some((object_of(inode), last));
        Ok(changed)
    }

    fn rename(
        &mut self,
        from: ObjectRef,
        name: &Name,
        to: ObjectRef,
        new_name: &Name,
        now: Time,
    ) -> Outcome<Changed> {
        let inode = self.directory(from)?.get(name).ok_or(TreeFault::NotFound)?;
        let found = self.directory(to)?.get(new_name);
        let (from_before, to_before) = (self.attributes(from.inode), self.attributes(to.inode));
        if found != Some(inode) {
            self.check_rename(inode, found, from.inode, to.inode)?;
            let is_directory = self.attributes(inode).kind == Kind::Directory;
            self.names(from.inode, false, now, |names| names.remove(name));
            if let Some(found) = found {
                self.names(to.inode, false, now, |names| names.remove(new_name));
                self.unlink(found, to.inode, now);
            }
            if is_directory {
                self.nodes.get_mut(&from.inode).expect("it was found above").attributes.links -= 1;
            }
            self.names(to.inode, is_directory, now, |names| names.add(new_name, inode));
            if let Body::Directory(moved) = &mut self.nodes.get_mut(&inode).expect("it has a name").body {
                moved.parent = to.inode;
            }
            self.touch(inode, false, now);
        }
        let mut changed = self.done(None, from, from_before);
        changed.second = Some(Around { before: to_before, after: self.attributes(to.inode) });
        Ok(changed)
    }

    fn check_rename(&self, inode: u64, found: Option<u64>, from: u64, to: u64) -> Outcome<()> {
        let is_directory = self.attributes(inode).kind == Kind::Directory;
        let mut above = to;
        while is_directory && above != ROOT {
            if above == inode {
                return Err(TreeFault::Invalid);
            }
            above = self.directory(object_of(above))?.parent;
        }
        match found.map(|found| &self.nodes[&found].body) {
            Some(Body::Directory(_)) if !is_directory => Err(TreeFault::IsDirectory),
            Some(Body::Directory(names)) if !names.names.is_empty() => Err(TreeFault::NotEmpty),
            Some(Body::Directory(_)) => Ok(()),
            Some(_) if is_directory => Err(TreeFault::NotDirectory),
            None if is_directory && from != to && self.attributes(to).links == LINKS_MAX => {
                Err(TreeFault::TooManyLinks)
            }
            _ => Ok(()),
        }
    }

    fn link(&mut self, object: ObjectRef, directory: ObjectRef, name: &Name, now: Time) -> Outcome<Changed> {
        let attributes = self.node(object)?.attributes;
        let before = self.node(directory)?.attributes;
        if self.directory(directory)?.get(name).is_some() {
            return Err(TreeFault::Exists);
        }
        if attributes.kind == Kind::Directory {
            return Err(TreeFault::IsDirectory);
        }
        if attributes.links == LINKS_MAX {
            return Err(TreeFault::TooManyLinks);
        }
        self.nodes.get_mut(&object.inode).expect("it was found above").attributes.links += 1;
        self.touch(object.inode, false, now);
        self.names(directory.inode, false, now, |names| names.add(name, object.inode));
        Ok(self.done(Some(object.inode), directory, before))
    }

    fn done(&self, inode: Option<u64>, directory: ObjectRef, before: Attributes) -> Changed {
        let after = self.attributes(directory.inode);
        let object = inode.map(|inode| (object_of(inode), self.attributes(inode)));
        Changed { object, first: Around { before, after }, second: None }
    }

    /// Puts a new object into the tree, with no name yet but counted as though it had one.
    fn insert(&mut self, kind: Kind, body: Body, set: &SetAttributes, now: Time) -> u64 {
        let inode = self.next_inode;
        self.next_inode += 1;
        let (links, mode) = match kind {
            Kind::Directory => (2, 0o755),
            Kind::Symlink => (1, 0o777),
            _ => (1, 0o644),
        };
        let size = match &body {
            Body::Symlink(target) => target.len() as u64,
            _ => 0,
        };
        let attributes = Attributes {
            kind,
            mode,
            links,
            uid: 0,
            gid: 0,
            size,
            used: 0,
            fsid: self.fsid,
            atime: now,
            mtime: now,
            ctime: now,
            change: 0,
        };
        self.nodes.insert(inode, Node { attributes, body, made_with: None });
        self.apply(inode, set, now);
        inode
    }

    /// Changes the names of a directory, which gains a directory or not.
    fn names(&mut self, directory: u64, gains: bool, now: Time, change: impl FnOnce(&mut Directory)) {
        let node = self.nodes.get_mut(&directory).expect("callers have found it");
        if let Body::Directory(names) = &mut node.body {
            change(names);
        }
        node.attributes.links += u32::from(gains);
        self.touch(directory, true, now);
    }

    /// Takes a name from an object, which goes with its last one. Its attributes then.
    fn unlink(&mut self, inode: u64, directory: u64, now: Time) -> Attributes {
        self.touch(inode, false, now);
        let node = self.nodes.get_mut(&inode).expect("callers have found it");
        let is_directory = node.attributes.kind == Kind::Directory;
        node.attributes.links = if is_directory { 0 } else { node.attributes.links - 1 };
        let last = node.attributes;
        if last.links == 0 {
            self.held -= last.used / BLOCK;
            self.nodes.remove(&inode);
        }
        if is_directory {
            self.nodes.get_mut(&directory).expect("callers have found it").attributes.links -= 1;
        }
        last
    }

    /// Brings the space that a file takes up to date.
    fn account(&mut self, inode: u64) {
        let node = self.nodes.get_mut(&inode).expect("callers have found it");
        if let Body::File(data) = &node.body {
            self.held = self.held - node.attributes.used / BLOCK + data.held();
            node.attributes.used = data.held() * BLOCK;
        }
    }

    /// Notes that an object has changed; `content` = not only its attributes.
    fn touch(&mut self, inode: u64, content: bool, now: Time) {
        let attributes = &mut self.nodes.get_mut(&inode).expect("callers have found it").attributes;
        attributes.ctime = now.max(after(attributes.ctime));
        attributes.change += 1;
        if content {
            attributes.mtime = attributes.ctime;
        }
    }
}

/// The next instant.
fn after(time: Time) -> Time {
    match time.nanos {
        999_999_999 => Time { seconds: time.seconds + 1, nanos: 0 },
        nanos => Time { seconds: time.seconds, nanos: nanos + 1 },
    }
}
