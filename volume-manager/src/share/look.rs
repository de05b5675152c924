//! Looking: attributes, names, listings, room, and what is kept for clients.

use super::format::{
    cookies_of, decode_totals, inode_key, kept_by, kept_of, name_key, NameRecord, ROOT, TOTALS,
};
use super::types::{Attributes, Entry, Fault, FileName, Kept, Kind, Listing, ObjectRef, Room};
use super::views::{self, View};
use super::{attributes, Object, SnapshotDir, Tree};
use bytes::Bytes;
use snapshots::SnapshotId;
use std::sync::atomic::Ordering;

/// Most entries of one listing.
const LIST_MAX: usize = 4096;

impl Tree {
    /// The object that a reference means, in its view.
    pub(super) async fn find(&self, object: ObjectRef) -> Result<Found, Fault> {
        let snapshot = match self.view(object)? {
            View::Tree(snapshot) => snapshot,
            View::Listing => return Ok(Found::Listing),
        };
        let found = self.object(snapshot, object.inode).await?;
        match found.inode.generation == object.generation {
            true => Ok(Found::Object(snapshot, found)),
            false => Err(Fault::Stale),
        }
    }

    /// The attributes of an object.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn attributes(&self, object: ObjectRef) -> Result<Attributes, Fault> {
        match self.find(object).await? {
            Found::Object(_, found) => Ok(attributes(&found.inode, self.fsid_of(object.view))),
            Found::Listing => self.listing_attributes().await,
        }
    }

    /// The object with a name, and its attributes.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn lookup(
        &self,
        directory: ObjectRef,
        name: &FileName,
    ) -> Result<(ObjectRef, Attributes), Fault> {
        let Found::Object(snapshot, parent) = self.find(directory).await? else {
            return self.snapshot_named(name.as_bytes()).await;
        };
        if parent.inode.kind != Kind::Directory {
            return Err(Fault::NotDirectory);
        }
        if self.is_listing(directory, name) {
            return Ok((views::DIRECTORY, self.listing_attributes().await?));
        }
        loop {
            let record = self.name(snapshot, parent.number, name).await?.ok_or(Fault::NotFound)?;
            match self.object(snapshot, record.inode).await {
                // Its last name went meanwhile; the next look tells.
                Err(Fault::Stale) if snapshot.is_none() => {
                    if self.name(snapshot, parent.number, name).await? == Some(record) {
                        return Err(Fault::Corrupt);
                    }
                }
                found => {
                    let found = found?;
                    let attributes = attributes(&found.inode, self.fsid_of(directory.view));
                    return Ok((found.reference(directory.view), attributes));
                }
            }
        }
    }

    /// Whether a name means the directory of snapshots.
    pub(super) fn is_listing(&self, directory: ObjectRef, name: &FileName) -> bool {
        directory.view == views::LIVE
            && directory.inode == ROOT
            && name.as_bytes() == views::NAME
            && self.snapshot_dir() != SnapshotDir::Off
    }

    pub(super) async fn name(
        &self,
        snapshot: Option<SnapshotId>,
        directory: u64,
        name: &FileName,
    ) -> Result<Option<NameRecord>, Fault> {
        let stored = self.get(snapshot, &name_key(directory, name.as_bytes())).await?;
        stored.map(|bytes| NameRecord::decode(&bytes).map_err(|e| self.damage(e))).transpose()
    }

    /// The directory above a directory; the root's is itself.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn parent(&self, directory: ObjectRef) -> Result<ObjectRef, Fault> {
        match self.find(directory).await? {
            Found::Listing => Ok(self.root()),
            Found::Object(snapshot, found) => self.parent_of(directory, snapshot, &found).await,
        }
    }

    async fn parent_of(
        &self,
        directory: ObjectRef,
        snapshot: Option<SnapshotId>,
        found: &Object,
    ) -> Result<ObjectRef, Fault> {
        match found.inode.kind {
            Kind::Directory if found.number == ROOT && snapshot.is_some() => Ok(views::DIRECTORY),
            Kind::Directory if found.number == ROOT => Ok(directory),
            Kind::Directory => {
                let above = self.object(snapshot, found.inode.parent).await?;
                Ok(above.reference(directory.view))
            }
            _ => Err(Fault::NotDirectory),
        }
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn read_link(&self, link: ObjectRef) -> Result<(Bytes, Attributes), Fault> {
        match self.find(link).await? {
            Found::Object(_, found) if found.inode.kind == Kind::Symlink => {
                let attributes = attributes(&found.inode, self.fsid_of(link.view));
                Ok((found.inode.target, attributes))
            }
            _ => Err(Fault::Invalid),
        }
    }

    /// Up to `limit` entries of a directory behind `cookie`; 0 = from the start. `verifier` is that of the
    /// listing which gave the cookie.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn list(
        &self,
        directory: ObjectRef,
        cookie: u64,
        verifier: u64,
        limit: usize,
        with_attributes: bool,
    ) -> Result<Listing, Fault> {
        let limit = limit.clamp(1, LIST_MAX);
        let Found::Object(snapshot, found) = self.find(directory).await? else {
            return self.list_snapshots(cookie, limit, with_attributes).await;
        };
        if found.inode.kind != Kind::Directory {
            return Err(Fault::NotDirectory);
        }
        let history = self.history_of(snapshot)?;
        if cookie != 0 && (verifier != history || cookie < views::COOKIE) {
            return Err(Fault::BadCookie);
        }
        let mut entries = Vec::new();
        let is_live_root = directory.view == views::LIVE && directory.inode == ROOT;
        if is_live_root && cookie == 0 && self.snapshot_dir() == SnapshotDir::Visible {
            let attributes = if with_attributes { Some(self.listing_attributes().await?) } else { None };
            let name = Bytes::from_static(views::NAME);
            entries.push(Entry { cookie: views::COOKIE, name, object: views::DIRECTORY, attributes });
        }
        let (records, end) = self.records(snapshot, found.number, cookie, limit - entries.len()).await?;
        if with_attributes {
            let keys: Vec<Vec<u8>> = records.iter().map(|(record, _)| inode_key(record.inode)).collect();
            self.engine.warm(self.dataset, snapshot, &keys).await.map_err(|e| self.fault(e))?;
        }
        for (record, name) in records {
            let object =
                ObjectRef { view: directory.view, inode: record.inode, generation: record.generation };
            let attributes = match with_attributes {
                true => match self.object(snapshot, record.inode).await {
                    Err(Fault::Stale) => continue, // it went meanwhile
                    found => Some(attributes(&found?.inode, self.fsid_of(directory.view))),
                },
                false => None,
            };
            entries.push(Entry { cookie: record.cookie, name, object, attributes });
        }
        Ok(Listing {
            entries,
            end,
            verifier: history,
            attributes: attributes(&found.inode, self.fsid_of(directory.view)),
            parent: self.parent_of(directory, snapshot, &found).await?,
        })
    }

    /// The names of a directory behind a cookie, and whether nothing comes behind them.
    async fn records(
        &self,
        snapshot: Option<SnapshotId>,
        directory: u64,
        cookie: u64,
        limit: usize,
    ) -> Result<(Vec<(NameRecord, Bytes)>, bool), Fault> {
        let prefix = cookies_of(directory);
        let Some(next) = cookie.checked_add(1) else { return Ok((Vec::new(), true)) };
        let from = [&prefix[..], &next.to_be_bytes()].concat();
        let found = self.engine.scan(self.dataset, snapshot, &prefix, &from, limit + 1).await;
        let mut found = found.map_err(|e| self.fault(e))?;
        let end = found.len() <= limit;
        found.truncate(limit);
        let decoded = found.iter().map(|(key, value)| NameRecord::decode_listed(key, value));
        Ok((decoded.collect::<Result<_, _>>().map_err(|e| self.damage(e))?, end))
    }

    /// Which history cookies are of: another one after a rollback.
    fn history_of(&self, snapshot: Option<SnapshotId>) -> Result<u64, Fault> {
        match snapshot {
            Some(id) => Ok(u64::from(id.branch.0)),
            None => self.engine.history(self.dataset).map_err(|e| self.fault(e)),
        }
    }

    /// Space and inodes now.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn room(&self) -> Result<Room, Fault> {
        let inodes = match self.get(None, TOTALS).await? {
            Some(totals) => decode_totals(&totals).map_err(|e| self.damage(e))?,
            None => 0,
        };
        let pool = self.engine.pool();
        let used = self.engine.referenced(self.dataset).map_err(|e| self.fault(e))?;
        let free = pool.free.saturating_sub(pool.reserve);
        Ok(match self.quota.load(Ordering::Relaxed) {
            0 => Room { total: used + free, free, inodes },
            quota => Room { total: quota, free: quota.saturating_sub(used).min(free), inodes },
        })
    }

    /// All that was kept with changes, in no order.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn kept(&self) -> Result<Vec<Kept>, Fault> {
        let (prefix, mut from, mut all) = (kept_of(self.dataset), Vec::new(), Vec::new());
        loop {
            let some = self.engine.scan(self.system, None, &prefix, &from, LIST_MAX).await;
            let some = some.map_err(|e| self.fault(e))?;
            let Some((last, _)) = some.last() else { return Ok(all) };
            from = [&last[..], &[0]].concat();
            for (name, bytes) in some {
                let (client, slot) = kept_by(self.dataset, &name).map_err(|e| self.damage(e))?;
                all.push(Kept { client, slot, bytes: Bytes::from(bytes) });
            }
        }
    }
}

/// What a reference means.
#[allow(clippy::large_enum_variant)] // it lives on the stack, for a moment
pub(super) enum Found {
    /// An object, live or of a snapshot.
    Object(Option<SnapshotId>, Object),
    /// The directory of snapshots.
    Listing,
}
