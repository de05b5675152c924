//! Procedures on one object: GETATTR, SETATTR, LOOKUP, ACCESS, READLINK.

use super::arguments::{Access, DirectoryName, SetAttr};
use super::at::{bare, name, At, Caller};
use super::results::{Accessible, Found, Known, LinkTarget};
use super::types::{Failure, FileAttributes, Handle, PostAttributes, Status, Wcc};
use super::Nfs3;
use crate::access;
use crate::tree::{Attributes, Change, FileTree, Kind, ObjectRef};
use bytes::Bytes;

impl<T: FileTree> Nfs3<T> {
    /// GETATTR (RFC 1813 3.3.1).
    pub(super) async fn get_attr(&self, caller: Caller, object: Handle) -> Result<Known, Failure<()>> {
        let at = At::open(&self.exports, &caller, &object).map_err(bare)?;
        let attributes = at.attributes().await.map_err(bare)?;
        Ok(Known { attributes: at.told(&attributes) })
    }

    /// SETATTR (3.3.2).
    pub(super) async fn set_attr(&self, caller: Caller, ask: SetAttr) -> Result<Wcc, Failure<Wcc>> {
        let at = At::open(&self.exports, &caller, &ask.object).map_err(bare)?;
        let done = async {
            let attributes = access::set(&at.user, &at.changeable().await?, &ask.wanted.0)?;
            let change = Change::Set { object: at.object, attributes, guard: ask.guard };
            at.change(&caller, change, |changed| Wcc::new(at.object.inode, &changed.first)).await
        };
        at.explain_change(done.await).await
    }

    /// LOOKUP (3.3.3).
    pub(super) async fn lookup(
        &self,
        caller: Caller,
        ask: DirectoryName,
    ) -> Result<Found, Failure<PostAttributes>> {
        let at = At::open(&self.exports, &caller, &ask.directory).map_err(bare)?;
        let found = async {
            let directory = at.attributes().await?;
            let (object, attributes) = find(&at, &directory, ask.name).await?;
            Ok(Found {
                object: at.handle(object),
                attributes: Some(FileAttributes::new(object.inode, &attributes)),
                directory: Some(at.told(&directory)),
            })
        };
        at.explain(found.await).await
    }

    /// ACCESS (3.3.4).
    pub(super) async fn access(
        &self,
        caller: Caller,
        ask: Access,
    ) -> Result<Accessible, Failure<PostAttributes>> {
        let at = At::open(&self.exports, &caller, &ask.object).map_err(bare)?;
        let attributes = at.attributes().await.map_err(bare)?;
        let access = access::granted(&at.user, &attributes, ask.access, at.is_read_only());
        Ok(Accessible { attributes: Some(at.told(&attributes)), access })
    }

    /// READLINK (3.3.5).
    pub(super) async fn read_link(
        &self,
        caller: Caller,
        link: Handle,
    ) -> Result<LinkTarget, Failure<PostAttributes>> {
        let at = At::open(&self.exports, &caller, &link).map_err(bare)?;
        let read = async {
            let (target, attributes) = at.tree().read_link(at.object).await?;
            Ok(LinkTarget { attributes: Some(at.told(&attributes)), target })
        };
        at.explain(read.await).await
    }
}

/// The object with a name, which may be `.` or `..`.
async fn find<T: FileTree>(
    at: &At<T>,
    directory: &Attributes,
    bytes: Bytes,
) -> Result<(ObjectRef, Attributes), Status> {
    if directory.kind != Kind::Directory {
        return Err(Status::NotDir);
    }
    access::search(&at.user, directory)?;
    match &bytes[..] {
        b"." => Ok((at.object, *directory)),
        b".." => {
            let parent = at.tree().parent(at.object).await?;
            Ok((parent, at.tree().attributes(parent).await?))
        }
        _ => Ok(at.tree().lookup(at.object, &name(bytes)?).await?),
    }
}
