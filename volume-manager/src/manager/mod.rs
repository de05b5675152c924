//! The changes an administrator makes, and the listings of what is.
//!
//! Invariants: one change at a time (`turn`). A change is checked, then written to the state file or the
//! pool, then told to the servers, in this order; a change that touches both a pool and the state file notes
//! first what it is about to do, and the next start finishes or undoes it.
//!
//! | file | subject |
//! |---|---|
//! | `pools` | create, list, grow, scrub, delete |
//! | `volumes` | create, list, resize, rename, delete |
//! | `snapshots` | create, list, delete, rollback, clone, diff |
//! | `files` | clones across files and volumes |
//! | `shares`, `exports` | create, list, set, delete; who may mount them |
//! | `hosts` | create, list, delete |
//! | `luns` | map, unmap, list; what the servers are told |
//! | `start` | opening everything, finishing what was begun |

mod exports;
mod files;
mod hosts;
mod luns;
mod pools;
mod shares;
mod snapshots;
mod start;
mod volumes;

pub use exports::ExportRequest;
pub use hosts::{ChapRequest, HostRequest};
pub use luns::MapRequest;
pub use pools::DeviceRequest;
pub use shares::ShareSettings;
pub use snapshots::Made;
pub use volumes::VolumeRequest;

use crate::border::Border;
use crate::error::{Error, Kind};
use crate::name::{Name, VolumePath};
use crate::pool::{Pool, PoolSettings, KIND_SHARE};
use crate::state::{Document, Secrets, StateDir, VolumeKey};
use ::snapshots::engine::DatasetInfo;
use ::snapshots::{DatasetId, Engine};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// A running server's catalogue. See the module.
pub struct Manager {
    dir: Arc<StateDir>,
    settings: PoolSettings,
    known: Mutex<Known>,
    /// Held by whoever changes something.
    turn: tokio::sync::Mutex<()>,
    border: Mutex<Arc<dyn Border>>,
}

/// What is in memory of the state.
struct Known {
    document: Document,
    secrets: Secrets,
    pools: BTreeMap<Name, Arc<Pool>>,
    /// How often volumes were rolled back since the start.
    rollbacks: BTreeMap<VolumeKey, u64>,
}

/// A volume or a share, found.
struct Found {
    pool: Arc<Pool>,
    engine: Arc<Engine>,
    id: DatasetId,
    key: VolumeKey,
    is_share: bool,
}

impl Manager {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of the state panics")
    }

    fn document(&self) -> Document {
        self.known().document.clone()
    }

    fn border(&self) -> Arc<dyn Border> {
        self.border.lock().expect("no holder of the border panics").clone()
    }

    /// Identity of this server, for target names.
    #[must_use]
    pub fn server_id(&self) -> String {
        self.known().document.server_id.clone()
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Changes the state file: `edit` is made on a copy, which counts only once it is durable. The caller has
    /// the turn.
    async fn change<T>(&self, edit: impl FnOnce(&mut Document) -> Result<T, Error>) -> Result<T, Error> {
        let mut next = self.document();
        let result = edit(&mut next)?;
        let (dir, copy) = (self.dir.clone(), next.clone());
        let save = tokio::task::spawn_blocking(move || dir.save(&copy));
        save.await.expect("saving the state does not panic")?;
        self.known().document = next;
        Ok(result)
    }

    /// As [`Manager::change`], of the secrets.
    async fn change_secrets(&self, edit: impl FnOnce(&mut Secrets)) -> Result<(), Error> {
        let mut next = self.known().secrets.clone();
        edit(&mut next);
        let (dir, copy) = (self.dir.clone(), next.clone());
        let save = tokio::task::spawn_blocking(move || dir.save_secrets(&copy));
        save.await.expect("saving the secrets does not panic")?;
        self.known().secrets = next;
        Ok(())
    }

    fn pool(&self, name: &Name) -> Result<Arc<Pool>, Error> {
        let pool = self.known().pools.get(name).cloned();
        pool.ok_or_else(|| Error::not_found(Kind::Pool, name))
    }

    fn pools(&self) -> Vec<Arc<Pool>> {
        self.known().pools.values().cloned().collect()
    }

    /// The UUID of a pool, as the state file has it.
    fn pool_id(&self, name: &Name) -> String {
        self.known().document.pools.get(name).and_then(|record| record.id.clone()).unwrap_or_default()
    }

    /// A volume.
    fn find(&self, path: &VolumePath) -> Result<Found, Error> {
        match self.find_any(path)? {
            found if found.is_share => Err(Error::not_found(Kind::Volume, path)),
            found => Ok(found),
        }
    }

    /// A share.
    fn find_share(&self, path: &VolumePath) -> Result<Found, Error> {
        match self.find_any(path) {
            Ok(found) if found.is_share => Ok(found),
            Ok(_) | Err(Error::NotFound { kind: Kind::Volume, .. }) => {
                Err(Error::not_found(Kind::Share, path))
            }
            Err(e) => Err(e),
        }
    }

    /// What has snapshots: a volume or a share.
    fn find_any(&self, path: &VolumePath) -> Result<Found, Error> {
        let pool = self.pool(&path.pool)?;
        let engine = pool.engine()?;
        let id = engine.find_dataset(path.volume.as_str());
        let info = id.and_then(|id| engine.dataset(id));
        let info = info.map_err(|_| Error::not_found(Kind::Volume, path))?;
        let key = VolumeKey { pool: self.pool_id(&path.pool), volume: info.id.0 };
        Ok(Found { pool, engine, id: info.id, key, is_share: info.kind == KIND_SHARE })
    }

    /// The pool with this UUID.
    fn pool_of(&self, id: &str) -> Option<Arc<Pool>> {
        let known = self.known();
        let (name, _) = known.document.pools.iter().find(|(_, r)| r.id.as_deref() == Some(id))?;
        known.pools.get(name).cloned()
    }

    /// A volume by its key, if its pool is in use and it exists.
    fn volume_of(&self, key: &VolumeKey) -> Option<(Arc<Pool>, DatasetInfo)> {
        let pool = self.pool_of(&key.pool)?;
        let info = pool.try_engine()?.dataset(DatasetId(key.volume)).ok()?;
        Some((pool, info))
    }

    /// Refuses what a volume's hosts would not survive, unless `force`: then their sessions are ended first.
    async fn without_sessions(&self, path: &VolumePath, key: &VolumeKey, force: bool) -> Result<(), Error> {
        let border = self.border();
        match border.sessions(key) {
            0 => Ok(()),
            sessions if !force => Err(Error::InUse {
                what: format!("volume {path}"),
                why: format!("{sessions} session(s) of its hosts can reach it"),
                remedy: "stop the hosts' use of it first, or give --force to end their sessions".into(),
            }),
            _ => {
                border.end_sessions(key).await;
                Ok(())
            }
        }
    }
}
