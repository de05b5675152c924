//! A share as a tree of files: the two borders, joined. Both say the same in words of their own.

use bytes::Bytes;
use nas_nfs::tree as nfs;
use nas_nfs::{FileTree, TreeFault};
use volume_manager::share::types as own;
use volume_manager::Share;

/// A share of the catalogue.
pub(super) struct ShareTree(pub(super) Share);

fn fault(fault: own::Fault) -> TreeFault {
    match fault {
        own::Fault::Stale => TreeFault::Stale,
        own::Fault::NotFound => TreeFault::NotFound,
        own::Fault::Exists => TreeFault::Exists,
        own::Fault::NotDirectory => TreeFault::NotDirectory,
        own::Fault::IsDirectory => TreeFault::IsDirectory,
        own::Fault::NotEmpty => TreeFault::NotEmpty,
        own::Fault::Invalid => TreeFault::Invalid,
        own::Fault::NameTooLong => TreeFault::NameTooLong,
        own::Fault::TooLarge => TreeFault::TooLarge,
        own::Fault::TooManyLinks => TreeFault::TooManyLinks,
        own::Fault::CrossTree => TreeFault::CrossTree,
        own::Fault::ReadOnly => TreeFault::ReadOnly,
        own::Fault::NotSync => TreeFault::NotSync,
        own::Fault::BadCookie => TreeFault::BadCookie,
        own::Fault::NoSpace => TreeFault::NoSpace,
        own::Fault::Quota => TreeFault::Quota,
        own::Fault::Corrupt => TreeFault::Corrupt,
        own::Fault::Unavailable => TreeFault::Unavailable,
    }
}

fn to_own(object: nfs::ObjectRef) -> own::ObjectRef {
    own::ObjectRef { view: object.view, inode: object.inode, generation: object.generation }
}

fn to_nfs(object: own::ObjectRef) -> nfs::ObjectRef {
    nfs::ObjectRef { view: object.view, inode: object.inode, generation: object.generation }
}

fn name(name: &nfs::Name) -> Result<own::FileName, TreeFault> {
    own::FileName::new(Bytes::copy_from_slice(name.as_bytes())).map_err(fault)
}

fn kind(kind: own::Kind) -> nfs::Kind {
    match kind {
        own::Kind::Regular => nfs::Kind::Regular,
        own::Kind::Directory => nfs::Kind::Directory,
        own::Kind::Symlink => nfs::Kind::Symlink,
        own::Kind::Block(major, minor) => nfs::Kind::Block(major, minor),
        own::Kind::Character(major, minor) => nfs::Kind::Character(major, minor),
        own::Kind::Fifo => nfs::Kind::Fifo,
        own::Kind::Socket => nfs::Kind::Socket,
    }
}

fn kind_to_own(kind: nfs::Kind) -> own::Kind {
    match kind {
        nfs::Kind::Regular => own::Kind::Regular,
        nfs::Kind::Directory => own::Kind::Directory,
        nfs::Kind::Symlink => own::Kind::Symlink,
        nfs::Kind::Block(major, minor) => own::Kind::Block(major, minor),
        nfs::Kind::Character(major, minor) => own::Kind::Character(major, minor),
        nfs::Kind::Fifo => own::Kind::Fifo,
        nfs::Kind::Socket => own::Kind::Socket,
    }
}

fn time(time: own::Time) -> nfs::Time {
    nfs::Time { seconds: time.seconds, nanos: time.nanos }
}

fn time_to_own(time: nfs::Time) -> own::Time {
    own::Time { seconds: time.seconds, nanos: time.nanos }
}

fn attributes(a: own::Attributes) -> nfs::Attributes {
    nfs::Attributes {
        kind: kind(a.kind),
        mode: a.mode,
        links: a.links,
        uid: a.uid,
        gid: a.gid,
        size: a.size,
        used: a.used,
        fsid: a.fsid,
        atime: time(a.atime),
        mtime: time(a.mtime),
        ctime: time(a.ctime),
        change: a.change,
    }
}

fn around(around: own::Around) -> nfs::Around {
    nfs::Around { before: attributes(around.before), after: attributes(around.after) }
}

fn found((object, found): (own::ObjectRef, own::Attributes)) -> (nfs::ObjectRef, nfs::Attributes) {
    (to_nfs(object), attributes(found))
}

fn changed(changed: &own::Changed) -> nfs::Changed {
    nfs::Changed {
        object: changed.object.map(found),
        first: around(changed.first),
        second: changed.second.map(around),
    }
}

fn set(set: &nfs::SetAttributes) -> own::SetAttributes {
    let time = |time: nfs::SetTime| match time {
        nfs::SetTime::Now => own::SetTime::Now,
        nfs::SetTime::To(time) => own::SetTime::To(time_to_own(time)),
    };
    own::SetAttributes {
        mode: set.mode,
        uid: set.uid,
        gid: set.gid,
        size: set.size,
        atime: set.atime.map(time),
        mtime: set.mtime.map(time),
    }
}

fn new(new: &nfs::New) -> own::New {
    match new {
        nfs::New::File(attributes) => own::New::File(set(attributes)),
        nfs::New::FileOnly(attributes) => own::New::FileOnly(set(attributes)),
        nfs::New::FileOnce { verifier, attributes } => {
            own::New::FileOnce { verifier: *verifier, attributes: set(attributes) }
        }
        nfs::New::Directory(attributes) => own::New::Directory(set(attributes)),
        nfs::New::Symlink(target, attributes) => own::New::Symlink(target.clone(), set(attributes)),
        nfs::New::Node(kind, attributes) => own::New::Node(kind_to_own(*kind), set(attributes)),
    }
}

fn change(change: &nfs::Change) -> Result<own::Change, TreeFault> {
    Ok(match change {
        nfs::Change::Set { object, attributes, guard } => own::Change::Set {
            object: to_own(*object),
            attributes: set(attributes),
            guard: guard.map(time_to_own),
        },
        nfs::Change::Make { directory, name: n, new: what } => {
            own::Change::Make { directory: to_own(*directory), name: name(n)?, new: new(what) }
        }
        nfs::Change::Remove { directory, name: n } => {
            own::Change::Remove { directory: to_own(*directory), name: name(n)? }
        }
        nfs::Change::RemoveDirectory { directory, name: n } => {
            own::Change::RemoveDirectory { directory: to_own(*directory), name: name(n)? }
        }
        nfs::Change::Rename { from, name: n, to, new_name } => own::Change::Rename {
            from: to_own(*from),
            name: name(n)?,
            to: to_own(*to),
            new_name: name(new_name)?,
        },
        nfs::Change::Link { object, directory, name: n } => {
            own::Change::Link { object: to_own(*object), directory: to_own(*directory), name: name(n)? }
        }
    })
}

impl FileTree for ShareTree {
    fn root(&self) -> nfs::ObjectRef {
        to_nfs(volume_manager::share::Tree::ROOT)
    }

    fn verifier(&self) -> u64 {
        self.0.verifier()
    }

    async fn room(&self) -> Result<nfs::Room, TreeFault> {
        let tree = self.0.tree().await.map_err(fault)?;
        let room = tree.room().await.map_err(fault)?;
        Ok(nfs::Room { total: room.total, free: room.free, inodes: room.inodes })
    }

    async fn attributes(&self, object: nfs::ObjectRef) -> Result<nfs::Attributes, TreeFault> {
        let tree = self.0.tree().await.map_err(fault)?;
        tree.attributes(to_own(object)).await.map(attributes).map_err(fault)
    }

    async fn lookup(
        &self,
        directory: nfs::ObjectRef,
        wanted: &nfs::Name,
    ) -> Result<(nfs::ObjectRef, nfs::Attributes), TreeFault> {
        let tree = self.0.tree().await.map_err(fault)?;
        tree.lookup(to_own(directory), &name(wanted)?).await.map(found).map_err(fault)
    }

    async fn parent(&self, directory: nfs::ObjectRef) -> Result<nfs::ObjectRef, TreeFault> {
        let tree = self.0.tree().await.map_err(fault)?;
        tree.parent(to_own(directory)).await.map(to_nfs).map_err(fault)
    }

    async fn read_link(&self, link: nfs::ObjectRef) -> Result<(Bytes, nfs::Attributes), TreeFault> {
        let tree = self.0.tree().await.map_err(fault)?;
        let (target, link) = tree.read_link(to_own(link)).await.map_err(fault)?;
        Ok((target, attributes(link)))
    }

    async fn list(
        &self,
        directory: nfs::ObjectRef,
        cookie: u64,
        verifier: u64,
        limit: usize,
        with: bool,
    ) -> Result<nfs::Listing, TreeFault> {
        let tree = self.0.tree().await.map_err(fault)?;
        let listing = tree.list(to_own(directory), cookie, verifier, limit, with).await.map_err(fault)?;
        let entry = |entry: own::Entry| nfs::Entry {
            cookie: entry.cookie,
            name: entry.name,
            object: to_nfs(entry.object),
            attributes: entry.attributes.map(attributes),
        };
        Ok(nfs::Listing {
            entries: listing.entries.into_iter().map(entry).collect(),
            end: listing.end,
            verifier: listing.verifier,
            attributes: attributes(listing.attributes),
            parent: to_nfs(listing.parent),
        })
    }

    async fn change(
        &self,
        wanted: nfs::Change,
        record: Option<nfs::Record<'_>>,
    ) -> Result<nfs::Changed, TreeFault> {
        let tree = self.0.tree().await.map_err(fault)?;
        let wanted = change(&wanted)?;
        let done = match record {
            None => tree.change(wanted, None).await,
            Some(nfs::Record { client, slot, encode }) => {
                let encode = |done: &own::Changed| encode(&changed(done));
                tree.change(wanted, Some(own::Record { client, slot, encode: &encode })).await
            }
        };
        done.map(|done| changed(&done)).map_err(fault)
    }

    async fn kept(&self) -> Result<Vec<nfs::Kept>, TreeFault> {
        let tree = self.0.tree().await.map_err(fault)?;
        let kept = tree.kept().await.map_err(fault)?;
        let own = |kept: own::Kept| nfs::Kept { client: kept.client, slot: kept.slot, bytes: kept.bytes };
        Ok(kept.into_iter().map(own).collect())
    }

    async fn read(&self, file: nfs::ObjectRef, offset: u64, len: u32) -> Result<nfs::ReadData, TreeFault> {
        let tree = self.0.tree().await.map_err(fault)?;
        let read = tree.read(to_own(file), offset, len).await.map_err(fault)?;
        Ok(nfs::ReadData { data: read.data, end: read.end, attributes: attributes(read.attributes) })
    }

    async fn write(
        &self,
        file: nfs::ObjectRef,
        offset: u64,
        data: Bytes,
        stability: nfs::Stability,
        clear_ids: bool,
    ) -> Result<nfs::Written, TreeFault> {
        let tree = self.0.tree().await.map_err(fault)?;
        let wanted = match stability {
            nfs::Stability::Unstable => own::Stability::Unstable,
            nfs::Stability::Data => own::Stability::Data,
            nfs::Stability::File => own::Stability::File,
        };
        let written = tree.write(to_own(file), offset, data, wanted, clear_ids).await.map_err(fault)?;
        Ok(nfs::Written { file: around(written.file), stability })
    }

    async fn commit(&self, file: nfs::ObjectRef) -> Result<nfs::Around, TreeFault> {
        let tree = self.0.tree().await.map_err(fault)?;
        tree.commit(to_own(file)).await.map(around).map_err(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use volume_manager::border::{Border, Done, Exports};
    use volume_manager::manager::{DeviceRequest, ExportRequest, ShareSettings};
    use volume_manager::state::{Clients, Squash, StateDir, VolumeKey};
    use volume_manager::{Manager, PoolSettings};

    /// Notes the shares that it is told.
    #[derive(Default)]
    struct Told(std::sync::Mutex<Vec<Share>>);

    impl Border for Told {
        fn apply(&self, exports: Exports) -> Done<'_> {
            let shares = exports.shares.into_iter().filter_map(|shared| Some(shared.share?.0));
            *self.0.lock().unwrap() = shares.collect();
            Box::pin(async {})
        }
        fn sessions(&self, _: &VolumeKey) -> usize {
            0
        }
        fn end_sessions(&self, _: &VolumeKey) -> Done<'_> {
            Box::pin(async {})
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_share_does_what_every_tree_must() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let settings = PoolSettings::new(dir.path().join("state"));
        let manager = Manager::open(state, settings).await.unwrap();
        let device = DeviceRequest { path: dir.path().join("disk"), size: Some(512 << 20) };
        manager.create_pool("fast".parse().unwrap(), &[device], false).await.unwrap();
        let share: volume_manager::VolumePath = "fast/files".parse().unwrap();
        manager.create_share(&share, &ShareSettings::default()).await.unwrap();
        let export = ExportRequest {
            share,
            clients: Clients::Any,
            read_only: false,
            squash: Squash::Root,
            anonymous_uid: None,
            anonymous_gid: None,
            secure_port: false,
        };
        manager.add_export(&export).await.unwrap();
        let told = std::sync::Arc::new(Told::default());
        manager.attach(told.clone()).await;
        let share = told.0.lock().unwrap()[0].clone();
        nas_nfs::suite::run(&ShareTree(share)).await;
        manager.close().await;
    }
}
