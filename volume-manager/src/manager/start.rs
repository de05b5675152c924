//! Start and stop: every pool opened, what was begun finished or undone, the servers told.

use super::{Known, Manager};
use crate::border::{Border, NoBorder};
use crate::error::Error;
use crate::pool::{Pool, PoolSettings};
use crate::state::{Document, Intent, Secrets, StateDir};
use block_layer::Runtime;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

impl Manager {
    /// Opens the state and every pool. A pool that does not open is listed as failed, with the reason: the
    /// others are served.
    ///
    /// # Errors
    /// The state is damaged or cannot be written.
    pub async fn open(dir: StateDir, settings: PoolSettings) -> Result<Arc<Manager>, Error> {
        let (document, secrets) = match dir.load()? {
            Some(state) => state,
            None => {
                let id = settings.runtime.random() & 0xffff_ffff_ffff;
                let new = Document::new(format!("{id:012x}"));
                dir.save(&new)?;
                (new, Secrets::new())
            }
        };
        let manager = Arc::new(Manager {
            dir: Arc::new(dir),
            settings,
            known: Mutex::new(Known {
                document,
                secrets,
                pools: BTreeMap::new(),
                rollbacks: BTreeMap::new(),
            }),
            turn: tokio::sync::Mutex::new(()),
            border: Mutex::new(Arc::new(NoBorder)),
        });
        manager.undo_creations().await?;
        manager.open_pools().await;
        manager.finish_deletions().await?;
        manager.drop_orphaned_secrets().await?;
        Ok(manager)
    }

    /// Tells `border` what is exported, now and after every change.
    pub async fn attach(&self, border: Arc<dyn Border>) {
        let _turn = self.turn.lock().await;
        *self.border.lock().expect("no holder of the border panics") = border.clone();
        border.apply(self.exports().await).await;
    }

    /// The numbers of portals at these addresses, the same after every restart.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn portals(&self, addresses: &[SocketAddr]) -> Result<Vec<u16>, Error> {
        let _turn = self.turn.lock().await;
        self.change(|document| Ok(addresses.iter().map(|address| document.portal(*address)).collect())).await
    }

    /// Closes every pool. Nothing is served any more.
    pub async fn close(&self) {
        let _turn = self.turn.lock().await;
        for pool in self.pools() {
            pool.close().await;
        }
    }

    async fn open_pools(&self) {
        let records = self.document().pools;
        for (name, record) in records {
            let pool = Pool::new(name.clone(), &record, self.settings.clone());
            if let Err(e) = pool.open().await {
                tracing::error!(pool = %name, "the pool does not open: {e}");
            }
            self.known().pools.insert(name, pool);
        }
    }

    /// Pools that were being made are not, before any pool is opened.
    async fn undo_creations(&self) -> Result<(), Error> {
        for intent in self.document().intents {
            if let Intent::CreatePool { name, created } = &intent {
                tracing::warn!(pool = %name, "its creation was interrupted: undone");
                for file in created {
                    super::pools::remove_file(file)?;
                }
                self.forget_pool(name).await?;
            }
        }
        Ok(())
    }

    /// Pools and volumes that were being deleted are gone; a pool that does not open now is tried again at
    /// the next start.
    async fn finish_deletions(&self) -> Result<(), Error> {
        for intent in self.document().intents {
            match &intent {
                Intent::CreatePool { .. } => {}
                Intent::DeletePool { name } => {
                    tracing::warn!(pool = %name, "its deletion was interrupted: finished now");
                    self.finish_pool_deletion(name).await?;
                }
                Intent::DeleteVolume { volume } => {
                    if let Some(pool) = self.pool_of(&volume.pool) {
                        if pool.try_engine().is_none() {
                            continue;
                        }
                    }
                    self.finish_volume_deletion(volume).await?;
                }
            }
        }
        Ok(())
    }

    /// Secrets are written before the host that has them: those of a host that never came to be go.
    async fn drop_orphaned_secrets(&self) -> Result<(), Error> {
        let document = self.document();
        let orphaned = self.known().secrets.keys().any(|id| document.host(*id).is_none());
        if orphaned {
            self.change_secrets(|secrets| secrets.retain(|id, _| document.host(*id).is_some())).await?;
        }
        Ok(())
    }

    /// Removes a pool from the state, and its index directory.
    pub(super) async fn forget_pool(&self, name: &crate::Name) -> Result<(), Error> {
        let record = self.document().pools.get(name).cloned();
        if let Some(record) = record {
            let index = self.dir.path().join(record.index);
            match fs::remove_dir_all(&index) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(index)(e)),
                _ => {}
            }
        }
        self.change(|document| {
            document.pools.remove(name);
            document.intents.retain(|intent| match intent {
                Intent::CreatePool { name: n, .. } | Intent::DeletePool { name: n } => n != name,
                Intent::DeleteVolume { .. } => true,
            });
            Ok(())
        })
        .await
    }
}
