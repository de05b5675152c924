//! Shares of a pool: the tree of the present opening, and what is kept beside it.

use super::Pool;
use crate::error::Error;
use crate::share::attributes::Attributes;
use crate::share::format::{kept_of, numbers_key};
use crate::share::types::Fault;
use crate::share::{Tree, TreeParts};
use snapshots::engine::{EntryCondition, EntryEdit};
use snapshots::DatasetId;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// Entries removed in one commit.
const STEP: usize = 64;

/// A handle of a share; valid as long as the share exists, through reopening of its pool.
#[derive(Clone)]
pub struct Share {
    pool: Arc<Pool>,
    shared: Arc<Shared>,
}

/// What all handles of a share have in common.
pub(super) struct Shared {
    dataset: DatasetId,
    tree: Mutex<Option<Arc<Tree>>>,
    /// The key of its handles, once it was looked up: it never changes.
    key: OnceLock<[u8; 32]>,
    opening: tokio::sync::Mutex<()>,
}

impl Shared {
    /// Lets go of the tree: its pool is not open any more.
    pub(super) fn forget(&self) {
        *self.tree.lock().expect("no holder of the tree panics") = None;
    }
}

impl Share {
    /// The share's tree, as long as its pool is open.
    ///
    /// # Errors
    /// [`Fault::Unavailable`]: not now. [`Fault::Corrupt`].
    pub async fn tree(&self) -> Result<Arc<Tree>, Fault> {
        if let Some(tree) = self.present() {
            return Ok(tree);
        }
        let _turn = self.shared.opening.lock().await;
        if let Some(tree) = self.present() {
            return Ok(tree);
        }
        let engine = self.pool.try_engine().ok_or(Fault::Unavailable)?;
        let dataset = self.shared.dataset;
        let info = engine.dataset(dataset).map_err(|_| Fault::Unavailable)?;
        let attributes = Attributes::decode(&info.attributes).map_err(|_| Fault::Corrupt)?;
        let system = self.pool.system(&engine).await.map_err(|_| Fault::Unavailable)?;
        let (fsid, first_number) = (attributes.fsid, attributes.first_number);
        let clock = Arc::new(nanos);
        let parts = TreeParts { engine: engine.clone(), dataset, system, clock, fsid, first_number };
        let tree = Tree::open(parts).await?;
        tree.set_quota(attributes.quota);
        tree.set_snapshot_dir(attributes.snapshot_dir);
        let mut present = self.shared.tree.lock().expect("no holder of the tree panics");
        // Asked under the lock: whoever closes the pool clears this after the pool says so.
        if !self.pool.try_engine().is_some_and(|now| Arc::ptr_eq(&now, &engine)) {
            return Err(Fault::Unavailable);
        }
        tree.start();
        *present = Some(tree.clone());
        Ok(tree)
    }

    fn present(&self) -> Option<Arc<Tree>> {
        let tree = self.shared.tree.lock().expect("no holder of the tree panics").clone()?;
        if tree.engine().failure().is_some() {
            self.pool.failed.notify_one();
            return None;
        }
        Some(tree)
    }

    /// The key of its handles, if its pool was ever open since the start.
    pub(crate) fn key(&self) -> Option<[u8; 32]> {
        if let Some(engine) = self.pool.try_engine() {
            let info = engine.dataset(self.shared.dataset).ok();
            let attributes = info.and_then(|info| Attributes::decode(&info.attributes).ok());
            if let Some(attributes) = attributes {
                return Some(*self.shared.key.get_or_init(|| attributes.key));
            }
        }
        self.shared.key.get().copied()
    }

    /// Changes whenever unstable writes may have been lost; 0 while the pool is not open.
    #[must_use]
    pub fn verifier(&self) -> u64 {
        self.pool.try_engine().map_or(0, |engine| engine.verifier())
    }
}

/// Nanoseconds since 1970.
fn nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl Pool {
    /// A handle of one of its shares.
    pub(crate) fn share(self: &Arc<Self>, dataset: DatasetId) -> Share {
        let mut shares = self.shares.lock().expect("no holder of the table panics");
        let new = || {
            let (tree, opening) = (Mutex::default(), tokio::sync::Mutex::default());
            Arc::new(Shared { dataset, tree, key: OnceLock::new(), opening })
        };
        let shared = shares.entry(dataset).or_insert_with(new).clone();
        Share { pool: self.clone(), shared }
    }

    /// The handle of a share whose pool may not be open now.
    pub(crate) fn known_share(self: &Arc<Self>, dataset: DatasetId) -> Option<Share> {
        let shares = self.shares.lock().expect("no holder of the table panics");
        shares.get(&dataset).map(|shared| Share { pool: self.clone(), shared: shared.clone() })
    }

    /// Lets go of all trees.
    pub(super) fn forget_trees(&self) {
        let shares = self.shares.lock().expect("no holder of the table panics");
        shares.values().for_each(|shared| shared.forget());
    }

    /// Removes what is kept beside a share that is deleted.
    pub(crate) async fn forget_share(&self, share: DatasetId) -> Result<(), Error> {
        self.shares.lock().expect("no holder of the table panics").remove(&share);
        let engine = self.engine()?;
        let system = self.system(&engine).await?;
        let gone = |name| EntryEdit { name, value: None, condition: EntryCondition::Any };
        let mut names = vec![numbers_key(share)];
        while !names.is_empty() {
            let edits: Vec<EntryEdit> = names.into_iter().map(gone).collect();
            engine.edit(system, &edits, None).await.map_err(|e| self.fault_of(e))?;
            let kept = engine.scan(system, None, &kept_of(share), b"", STEP).await;
            names = kept.map_err(|e| self.fault_of(e))?.into_iter().map(|(name, _)| name).collect();
        }
        Ok(())
    }
}
