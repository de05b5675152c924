//! The engine: an open pool, as its users see it.
//!
//! What a caller does is *prepared* (pages loaded, conditions noted), then committed, then answered; when the
//! state moved between preparing and ordering, the operation bounces and is prepared again.
//!
//! Read next: `volume`, `read`, `write` (block data), `entries` (small entries), `admin` (datasets and
//! snapshots), `load` (how a page comes into memory), `reclaim` (how space comes back).

mod admin;
mod audit;
mod background;
mod copy;
mod diff;
mod edit;
mod entries;
mod facts;
mod files;
mod flatten;
mod load;
mod pool;
mod read;
mod reclaim;
mod scrub;
mod stats;
mod trim;
mod versions;
mod volume;
mod write;
mod zero;

pub use admin::{DatasetInfo, SnapshotInfo};
pub use audit::AuditError;
pub use background::Budget;
pub use diff::ChangedRange;
pub use edit::{Edits, EntryCondition, EntryEdit, EntryMerge};
pub(crate) use entries::{decode_value, split_live};
pub use files::{FilesError, OpenFiles, PoolFiles};
pub use read::Extent;
pub use scrub::{DamagedRange, ScrubProgress};
pub use stats::EngineStats;
pub use volume::{Volume, WriteOptions, IO_MAX};

use crate::error::{Error, Retry};
use crate::machine::merge::EntryRule;
use crate::machine::observe::Observer;
use crate::machine::op::{Admin, IoOp, Op, Reply};
use crate::machine::Keyspace;
use crate::pages::PAGE_BYTES;
use crate::session::Session;
use block_layer::index::Index;
use block_layer::pool::{CreateOptions, Warning};
use block_layer::runtime::unblock;
use block_layer::store::{format_index, Committed, Config, Durable, FailReason, OpenError, Parts};
use block_layer::{Disk, Runtime, Store};
use std::sync::Arc;
use std::time::Duration;

/// Merge rules of the index: give them to whatever index the engine is opened with.
pub const MERGE_RULES: &[block_layer::index::MergeRule] =
    &[crate::map::codec::MERGE, crate::touched::MERGE, block_layer::format::space_key::MERGE];

/// What an engine is made of.
pub struct EngineParts {
    /// Tasks, time, chance.
    pub runtime: Arc<dyn Runtime>,
    /// The devices, locked by whoever opened them.
    pub disks: Vec<Arc<dyn Disk>>,
    /// The index, made with [`MERGE_RULES`].
    pub index: Arc<dyn Index>,
    /// Budgets.
    pub config: EngineConfig,
}

/// Budgets of an engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// The store's.
    pub store: Config,
    /// Bytes of resolved map pages kept in memory.
    pub page_cache_bytes: u64,
    /// Bytes of small entries kept in memory.
    pub entry_cache_bytes: u64,
    /// How small entries of each kind of dataset are merged.
    pub entry_rules: &'static [EntryRule],
    /// What background work may take.
    pub background: Budget,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            store: Config::default(),
            page_cache_bytes: 64 << 20,
            entry_cache_bytes: 16 << 20,
            entry_rules: &[],
            background: Budget::default(),
        }
    }
}

impl EngineConfig {
    /// Usual budgets, but for the memory of blocks, of map pages, and of data in flight. Bytes.
    #[must_use]
    pub fn of_memory(blocks: u64, maps: u64, in_flight: u64) -> EngineConfig {
        let usual = EngineConfig::default();
        let store =
            Config { cache_bytes: blocks as usize, inflight_bytes: in_flight as usize, ..usual.store };
        EngineConfig { store, page_cache_bytes: maps, ..usual }
    }
}

/// Rest before an administrative operation that met background work is tried again.
const BOUNCED: Duration = Duration::from_millis(1);
/// Fewest pages that the page cache holds: an operation of the largest size needs 17 of them at once.
const PAGES_MIN: u64 = 256;

/// An open pool. See the module.
pub struct Engine {
    pub(crate) store: Arc<Store<Keyspace>>,
    pub(crate) space: Arc<Keyspace>,
    config: EngineConfig,
    background: background::Background,
    scrub: scrub::Scrub,
    loads: Arc<load::Loads>,
    /// One change of a size at a time: a shrink, its discards and a growth must not mix.
    resizing: tokio::sync::Mutex<()>,
}

impl Engine {
    /// Makes a pool of `parts.disks` and opens it. `parts.index` is empty.
    ///
    /// # Errors
    /// A device that is in use, too small or failing; an index that is not empty.
    pub async fn create(parts: EngineParts, options: &CreateOptions) -> Result<Arc<Engine>, Error> {
        let runtime = parts.runtime.clone();
        let mut random = move || runtime.random();
        let membership =
            block_layer::pool::create(&parts.disks, options, &mut random).await.map_err(OpenError::Pool)?;
        format_index(&parts.store_parts(), &membership).await?;
        Engine::open(parts).await.map(|(engine, _)| engine)
    }

    /// Opens the pool on `parts.disks`, recovering what a crash left. The warnings say what was found that an
    /// administrator should know.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(parts: EngineParts) -> Result<(Arc<Engine>, Vec<Warning>), Error> {
        let (index, config) = (parts.index.clone(), parts.config);
        let pages = (config.page_cache_bytes / PAGE_BYTES).max(PAGES_MIN) as usize;
        let (entries, rules) = (config.entry_cache_bytes as usize, config.entry_rules);
        let load = move || Keyspace::load(&*index, pages, entries, rules);
        let loaded = unblock(&*parts.runtime, load).await?;
        let space = Arc::new(loaded);
        let (store, warnings) = Store::open(parts.store_parts(), space.clone()).await?;
        let engine = Arc::new(Engine {
            store,
            space,
            config,
            background: background::Background::default(),
            scrub: scrub::Scrub::default(),
            loads: Arc::default(),
            resizing: tokio::sync::Mutex::new(()),
        });
        engine.start_background();
        Ok((engine, warnings))
    }

    /// Finishes everything, checkpoints and closes the pool. Later operations are refused.
    ///
    /// # Errors
    /// The pool has failed, now or before; the next open recovers.
    pub async fn close(&self) -> Result<(), FailReason> {
        self.background.stop();
        self.store.close().await
    }

    /// Makes every command answered before this call survive the loss of power.
    ///
    /// # Errors
    /// The pool has failed: reopen it; its verifier changes.
    pub async fn flush(&self) -> Result<Durable, Error> {
        self.store.flush().await.map_err(|e| match Retry::from(e) {
            Retry::Failed(e) => e,
            Retry::After(_) => Error::Closed,
        })
    }

    /// A value that changes whenever acknowledged, unflushed writes may have been lost: at every open.
    #[must_use]
    pub fn verifier(&self) -> u64 {
        self.store.verifier()
    }

    /// Why the pool has stopped acknowledging, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<FailReason> {
        self.store.failure()
    }

    /// Writes a checkpoint now: recovery will have nothing to replay of what was committed before.
    ///
    /// # Errors
    /// The pool has failed.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        self.store.checkpoint().await.map_err(Error::PoolFailed)
    }

    /// Fences a session: when this returns, each of its commands has taken effect or never will.
    pub async fn fence(&self, session: &Session) {
        session.fence();
        self.store.drain().await;
    }

    /// Tells `observer` the commit order from now on: for simulations. Only the first observer is heard.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.space.observe(observer);
    }

    /// Commits one administrative operation.
    pub(crate) async fn admin(&self, mut make: impl FnMut() -> Admin) -> Result<Reply, Error> {
        loop {
            match self.admin_once(make()).await {
                Ok(reply) => return Ok(reply),
                Err(Retry::Failed(e)) => return Err(e),
                Err(Retry::After(_)) => {}
            }
        }
    }

    /// As [`Engine::admin`], once: when it bounces, what it met has been waited for.
    pub(crate) async fn admin_once(&self, admin: Admin) -> Result<Reply, Retry> {
        match self.store.commit(Op::Admin(admin)).await.map_err(Retry::from) {
            Ok(committed) => Ok(committed.reply),
            Err(Retry::Failed(e)) => Err(Retry::Failed(e)),
            Err(Retry::After(seq)) => {
                self.store.wait_visible(seq).await;
                if !self.help_discards().await.map_err(Retry::Failed)? {
                    self.store.runtime().sleep(BOUNCED).await;
                }
                Err(Retry::After(seq))
            }
        }
    }

    /// Commits one data operation; a bounce is the caller's to prepare again.
    pub(crate) async fn io(&self, op: IoOp) -> Result<Committed<Reply>, Retry> {
        self.store.commit(Op::Io(op)).await.map_err(Retry::from)
    }
}

impl EngineParts {
    fn store_parts(&self) -> Parts {
        Parts {
            runtime: self.runtime.clone(),
            disks: self.disks.clone(),
            index: self.index.clone(),
            config: self.config.store,
        }
    }
}
