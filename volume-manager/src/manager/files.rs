//! Clones by reference across files and volumes of a pool: a file of a file, of a volume, a volume of a file.

use super::shares::unusable;
use super::{Found, Manager};
use crate::error::{Error, Kind};
use crate::name::{FilePath, VolumePath};
use crate::pool::KIND_VOLUME;
use crate::share::types::{Fault, FileName, ObjectRef};
use crate::share::{Content, Tree};
use crate::state::{Intent, VolumeKey};
use crate::WriteCache;
use bytes::Bytes;
use std::sync::Arc;

impl Manager {
    /// Makes `to` what `from` is, by reference: no data is copied. Each is a file of a share
    /// (`POOL/SHARE/path`, or `POOL/SHARE@SNAPSHOT/path` of what is there to be read) or a volume
    /// (`POOL/VOLUME`). Bytes cloned.
    ///
    /// # Errors
    /// They are in different pools, `from` does not exist, or `to` does.
    pub async fn clone_file(&self, from: &FilePath, to: &FilePath) -> Result<u64, Error> {
        let _turn = self.turn.lock().await;
        if from.of.pool != to.of.pool {
            let remedy = "clone inside the pool: only there can data be shared";
            return Err(Error::invalid(format!("{from} and {to} are in different pools"), remedy));
        }
        if to.snapshot.is_some() {
            return Err(Error::invalid(format!("{to} is in a snapshot"), "a snapshot cannot be changed"));
        }
        let content = self.content(from).await?;
        let size = content.size();
        match &to.path {
            Some(path) => self.clone_to_file(content, to, path).await?,
            None => self.clone_to_volume(&content, &to.of).await?,
        }
        Ok(size)
    }

    /// What is to be cloned.
    async fn content(&self, from: &FilePath) -> Result<Content, Error> {
        let Some(path) = &from.path else {
            let Found { pool, engine, id, .. } = self.find(&from.of)?;
            let live = engine.volume(id);
            let missing = |_| Error::not_found(Kind::Snapshot, from);
            let Some(name) = &from.snapshot else {
                let size = engine.dataset(id).map_err(|e| pool.fault_of(e))?.size;
                return Ok(Content::of_volume(live, size));
            };
            let snapshot = engine.find_snapshot(id, name.as_str()).map_err(missing)?;
            let size =
                engine.snapshots(id).iter().find(|info| info.id == snapshot).map_or(0, |info| info.size);
            return Ok(Content::of_volume(live.at(snapshot), size));
        };
        let found = self.find_share(&from.of)?;
        let tree = found.pool.share(found.id).tree().await.map_err(|f| unusable(&found.pool, f))?;
        let root = match &from.snapshot {
            None => tree.root(),
            Some(name) => {
                let found = tree.snapshot_root(name.as_str()).await;
                found.map_err(|_| Error::not_found(Kind::Snapshot, from))?
            }
        };
        let file = walk(&tree, root, path).await.map_err(|fault| refused(from, fault))?;
        tree.content_of(file).await.map_err(|fault| refused(from, fault))
    }

    async fn clone_to_file(&self, content: Content, to: &FilePath, path: &str) -> Result<(), Error> {
        let found = self.find_share(&to.of)?;
        let tree = found.pool.share(found.id).tree().await.map_err(|f| unusable(&found.pool, f))?;
        let (above, last) = path.rsplit_once('/').unwrap_or(("", path));
        let cloned = async {
            let directory = walk(&tree, tree.root(), above).await?;
            tree.clone_file(content, directory, &name(last)?).await
        };
        cloned.await.map(drop).map_err(|fault| refused(to, fault))
    }

    /// A volume is filled before it is known to be whole: a crash meanwhile deletes it at the next start.
    async fn clone_to_volume(&self, content: &Content, to: &VolumePath) -> Result<(), Error> {
        let pool = self.pool(&to.pool)?;
        let engine = pool.engine()?;
        let size = content.size().next_multiple_of(4096).max(4096);
        let attributes = self.new_attributes(512, WriteCache::Auto).encode();
        let made = engine.create_dataset(to.volume.as_str(), KIND_VOLUME, size, &attributes).await;
        let id = made.map_err(|e| super::volumes::naming(&pool, e, to))?;
        let key = VolumeKey { pool: self.pool_id(&to.pool), volume: id.0 };
        let intent = Intent::DeleteVolume { volume: key.clone() };
        let noted = intent.clone();
        self.change(|document| {
            document.intents.push(noted);
            Ok(())
        })
        .await?;
        let filled = match content.clone_to(&engine.volume(id)).await {
            Ok(_) => engine.flush().await.map(drop),
            Err(e) => Err(e),
        };
        if let Err(e) = filled {
            self.finish_volume_deletion(&key).await?;
            return Err(pool.fault_of(e));
        }
        self.change(|document| {
            document.intents.retain(|other| *other != intent);
            Ok(())
        })
        .await
    }
}

fn name(text: &str) -> Result<FileName, Fault> {
    FileName::new(Bytes::copy_from_slice(text.as_bytes()))
}

/// The object at a path below `root`.
async fn walk(tree: &Arc<Tree>, root: ObjectRef, path: &str) -> Result<ObjectRef, Fault> {
    let mut at = root;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        at = tree.lookup(at, &name(part)?).await?.0;
    }
    Ok(at)
}

/// Why a file cannot be cloned, for an administrator.
fn refused(path: &FilePath, fault: Fault) -> Error {
    match fault {
        Fault::NotFound => Error::not_found(Kind::File, path),
        Fault::Exists => Error::Exists { kind: Kind::File, name: path.to_string() },
        Fault::NoSpace => Error::NoSpace { pool: path.of.pool.to_string() },
        Fault::Unavailable => Error::PoolFailed { pool: path.of.pool.to_string(), why: fault.to_string() },
        fault => Error::invalid(format!("{path}: {fault}"), "name a regular file, and a place where it fits"),
    }
}
