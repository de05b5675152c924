//! Procedures that change names: CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK.

use super::arguments::{Create, CreateHow, DirectoryName, Link, MkDir, MkNod, Node, Rename, Symlink};
use super::at::{bare, name, At, Caller};
use super::results::{Linked, Made, Renamed};
use super::types::{Failure, FileAttributes, Handle, Status, Wanted, Wcc};
use super::Nfs3;
use crate::access;
use crate::tree::{
    Attributes, Change, Changed, FileTree, Kind, Name, New, ObjectRef, SetAttributes, TreeFault,
};
use bytes::Bytes;

/// The mode of a symbolic link: nobody looks at it.
const LINK_MODE: u32 = 0o777;

impl<T: FileTree> Nfs3<T> {
    /// CREATE (RFC 1813 3.3.8).
    pub(super) async fn create(&self, caller: Caller, ask: Create) -> Result<Made, Failure<Wcc>> {
        let at = At::open(&self.exports, &caller, &ask.place.directory).map_err(bare)?;
        let made = async {
            let directory = directory(&at).await?;
            let name = new_name(ask.place.name)?;
            let may = |wanted: &SetAttributes| access::make(&at.user, &directory, Kind::Regular, wanted);
            let new = match ask.how {
                CreateHow::Unchecked(Wanted(wanted)) => {
                    if let Some(found) = found(&at, &directory, &name).await? {
                        return take(&at, &caller, &directory, found, wanted.size).await;
                    }
                    New::File(may(&wanted)?)
                }
                CreateHow::Guarded(Wanted(wanted)) => New::FileOnly(may(&wanted)?),
                CreateHow::Exclusive(verifier) => {
                    // What else it is to have comes by a SETATTR; until then nobody else can use it.
                    let attributes = may(&SetAttributes { mode: Some(0), ..SetAttributes::default() })?;
                    New::FileOnce { verifier, attributes }
                }
            };
            make(&at, &caller, name, new).await
        };
        at.explain_change(made.await).await
    }

    /// MKDIR (3.3.9).
    pub(super) async fn mkdir(&self, caller: Caller, ask: MkDir) -> Result<Made, Failure<Wcc>> {
        let Wanted(wanted) = ask.wanted;
        self.make(caller, ask.place, Kind::Directory, wanted, New::Directory).await
    }

    /// SYMLINK (3.3.10).
    pub(super) async fn symlink(&self, caller: Caller, ask: Symlink) -> Result<Made, Failure<Wcc>> {
        let wanted = SetAttributes { mode: Some(LINK_MODE), ..ask.wanted.0 };
        let target = ask.target;
        self.make(caller, ask.place, Kind::Symlink, wanted, |set| New::Symlink(target, set)).await
    }

    /// MKNOD (3.3.11).
    pub(super) async fn mknod(&self, caller: Caller, ask: MkNod) -> Result<Made, Failure<Wcc>> {
        match ask.node {
            Node::Of(kind, Wanted(wanted)) => {
                self.make(caller, ask.place, kind, wanted, |set| New::Node(kind, set)).await
            }
            Node::Other(_) => {
                let at = At::open(&self.exports, &caller, &ask.place.directory).map_err(bare)?;
                at.explain_change(Err(Status::BadType)).await
            }
        }
    }

    async fn make(
        &self,
        caller: Caller,
        place: DirectoryName,
        kind: Kind,
        wanted: SetAttributes,
        new: impl FnOnce(SetAttributes) -> New + Send,
    ) -> Result<Made, Failure<Wcc>> {
        let at = At::open(&self.exports, &caller, &place.directory).map_err(bare)?;
        let made = async {
            let directory = directory(&at).await?;
            let name = new_name(place.name)?;
            let set = access::make(&at.user, &directory, kind, &wanted)?;
            make(&at, &caller, name, new(set)).await
        };
        at.explain_change(made.await).await
    }

    /// REMOVE (3.3.12).
    pub(super) async fn remove(&self, caller: Caller, ask: DirectoryName) -> Result<Wcc, Failure<Wcc>> {
        self.take_away(caller, ask, false).await
    }

    /// RMDIR (3.3.13).
    pub(super) async fn rmdir(&self, caller: Caller, ask: DirectoryName) -> Result<Wcc, Failure<Wcc>> {
        self.take_away(caller, ask, true).await
    }

    async fn take_away(
        &self,
        caller: Caller,
        ask: DirectoryName,
        is_directory: bool,
    ) -> Result<Wcc, Failure<Wcc>> {
        let at = At::open(&self.exports, &caller, &ask.directory).map_err(bare)?;
        let gone = async {
            let attributes = directory(&at).await?;
            if is_directory && &ask.name[..] == b".." {
                return Err(Status::Exist); // the RFC says so; nothing above can be empty
            }
            let name = name(ask.name)?;
            let (_, object) = found(&at, &attributes, &name).await?.ok_or(Status::NoEnt)?;
            access::take(&at.user, &attributes, &object)?;
            let directory = at.object;
            let change = match is_directory {
                true => Change::RemoveDirectory { directory, name },
                false => Change::Remove { directory, name },
            };
            at.change(&caller, change, |changed| Wcc::new(directory.inode, &changed.first)).await
        };
        at.explain_change(gone.await).await
    }

    /// RENAME (3.3.14).
    pub(super) async fn rename(&self, caller: Caller, ask: Rename) -> Result<Renamed, Failure<Renamed>> {
        let from = At::open(&self.exports, &caller, &ask.from.directory).map_err(bare)?;
        let to = At::open(&self.exports, &caller, &ask.to.directory).map_err(bare)?;
        match rename(&caller, &from, ask.from.name, &to, ask.to.name).await {
            Ok(renamed) => Ok(renamed),
            Err(status) => {
                let (from, to) = (Wcc::unchanged(from.post().await), Wcc::unchanged(to.post().await));
                Err(Failure { status, body: Renamed { from, to } })
            }
        }
    }

    /// LINK (3.3.15).
    pub(super) async fn link(&self, caller: Caller, ask: Link) -> Result<Linked, Failure<Linked>> {
        let at = At::open(&self.exports, &caller, &ask.object).map_err(bare)?;
        let to = At::open(&self.exports, &caller, &ask.place.directory).map_err(bare)?;
        let linked = async {
            if !at.shares_with(&to) {
                return Err(Status::XDev);
            }
            access::add(&to.user, &directory(&to).await?)?;
            let (object, inode) = (at.object, to.object.inode);
            let change = Change::Link { object, directory: to.object, name: new_name(ask.place.name)? };
            let told = |changed: &Changed| Linked {
                attributes: told(changed).map(|(_, attributes)| attributes),
                directory: Wcc::new(inode, &changed.first),
            };
            at.change(&caller, change, told).await
        };
        match linked.await {
            Ok(linked) => Ok(linked),
            Err(status) => {
                let (attributes, directory) = (at.post().await, Wcc::unchanged(to.post().await));
                Err(Failure { status, body: Linked { attributes, directory } })
            }
        }
    }
}

/// The attributes of a directory that may be changed.
async fn directory<T: FileTree>(at: &At<T>) -> Result<Attributes, Status> {
    let attributes = at.changeable().await?;
    if attributes.kind == Kind::Directory {
        Ok(attributes)
    } else {
        Err(Status::NotDir)
    }
}

/// A name for something new: `.` and `..` are there already.
fn new_name(bytes: Bytes) -> Result<Name, Status> {
    match &bytes[..] {
        b"." | b".." => Err(Status::Exist),
        _ => name(bytes),
    }
}

/// What has a name, if anything has.
async fn found<T: FileTree>(
    at: &At<T>,
    directory: &Attributes,
    name: &Name,
) -> Result<Option<(ObjectRef, Attributes)>, Status> {
    access::search(&at.user, directory)?;
    match at.tree().lookup(at.object, name).await {
        Ok(found) => Ok(Some(found)),
        Err(TreeFault::NotFound) => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

fn told(changed: &Changed) -> Option<(ObjectRef, FileAttributes)> {
    changed.object.map(|(object, attributes)| (object, FileAttributes::new(object.inode, &attributes)))
}

async fn make<T: FileTree>(at: &At<T>, caller: &Caller, name: Name, new: New) -> Result<Made, Status> {
    let change = Change::Make { directory: at.object, name, new };
    let result = |changed: &Changed| {
        let (object, attributes) = told(changed).unzip();
        let object: Option<Handle> = object.map(|object| at.handle(object));
        Made { object, attributes, directory: Wcc::new(at.object.inode, &changed.first) }
    };
    at.change(caller, change, result).await
}

/// An unchecked CREATE of what is there: it needs no right to add names, only one to the file if it is cut.
async fn take<T: FileTree>(
    at: &At<T>,
    caller: &Caller,
    directory: &Attributes,
    (object, attributes): (ObjectRef, Attributes),
    size: Option<u64>,
) -> Result<Made, Status> {
    if attributes.kind != Kind::Regular {
        return Err(Status::Exist);
    }
    let made = |attributes: &Attributes| Made {
        object: Some(at.handle(object)),
        attributes: Some(FileAttributes::new(object.inode, attributes)),
        directory: Wcc::unchanged(Some(at.told(directory))),
    };
    if size.is_none() {
        return Ok(made(&attributes));
    }
    let wanted = SetAttributes { size, ..SetAttributes::default() };
    let change =
        Change::Set { object, attributes: access::set(&at.user, &attributes, &wanted)?, guard: None };
    at.change(caller, change, |changed| made(&changed.first.after)).await
}

async fn rename<T: FileTree>(
    caller: &Caller,
    from: &At<T>,
    old: Bytes,
    to: &At<T>,
    new: Bytes,
) -> Result<Renamed, Status> {
    if !from.shares_with(to) {
        return Err(Status::XDev);
    }
    let (left, entered) = (directory(from).await?, directory(to).await?);
    let (old, new) = (name(old)?, name(new)?);
    let (_, object) = found(from, &left, &old).await?.ok_or(Status::NoEnt)?;
    let replaced = found(to, &entered, &new).await?.map(|(_, attributes)| attributes);
    let same = from.object == to.object;
    access::rename(&from.user, &left, &object, &entered, replaced.as_ref(), same)?;
    let change = Change::Rename { from: from.object, name: old, to: to.object, new_name: new };
    let (one, other) = (from.object.inode, to.object.inode);
    let result = |changed: &Changed| Renamed {
        from: Wcc::new(one, &changed.first),
        to: Wcc::new(other, changed.second.as_ref().unwrap_or(&changed.first)),
    };
    from.change(caller, change, result).await
}
