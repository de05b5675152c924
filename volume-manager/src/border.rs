//! What the manager needs from whatever exports volumes: to be told what is exported, and who uses it.
//!
//! Two implementations exist: the daemon's, over its servers, and a recorder in tests.

use crate::identity::{Naa, WriteCache};
use crate::name::VolumePath;
use crate::pool::{Share, VolumeIo};
use crate::state::{ExportRecord, HostId, HostSecrets, Initiators, OsKind, VolumeKey};
use ipnet::IpNet;
use std::future::Future;
use std::pin::Pin;

/// A future of a border's call.
pub type Done<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A volume that some host was given.
#[derive(Clone)]
pub struct ExportedVolume {
    /// Which.
    pub key: VolumeKey,
    /// Its identity towards hosts.
    pub naa: Naa,
    /// Bytes of its logical blocks.
    pub block_bytes: u32,
    /// When writes are acknowledged.
    pub write_cache: WriteCache,
    /// Its I/O; `None` while its pool is not available, or it is gone.
    pub io: Option<VolumeIo>,
    /// Another number than before says that its content was replaced behind its hosts' backs.
    pub content: u64,
    /// Its reservations as they were saved.
    pub reservations: Option<Vec<u8>>,
}

/// A volume's place among those that a host was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedLun {
    /// Its number there.
    pub number: u16,
    /// Which volume.
    pub volume: VolumeKey,
    /// Whether the host may only read.
    pub read_only: bool,
}

/// A host and what it was given.
#[derive(Clone, Debug)]
pub struct ExportedHost {
    /// Its number.
    pub id: HostId,
    /// Its name, for messages.
    pub name: String,
    /// Who it is.
    pub initiators: Initiators,
    /// What it runs.
    pub os: OsKind,
    /// Where it may come from; anywhere when empty.
    pub networks: Vec<IpNet>,
    /// Which portals it may use; all when empty.
    pub portals: Vec<u16>,
    /// The names and secrets of CHAP, if it has to prove who it is.
    pub chap: Option<ExportedChap>,
    /// What it was given.
    pub luns: Vec<ExportedLun>,
}

/// CHAP of a host.
#[derive(Clone, Debug)]
pub struct ExportedChap {
    /// The name it answers with.
    pub user: String,
    /// The name we answer with, in mutual CHAP.
    pub mutual_user: Option<String>,
    /// The secrets.
    pub secrets: HostSecrets,
}

/// A share that some clients were given.
#[derive(Clone)]
pub struct ExportedShare {
    /// Its name: clients mount `/POOL/SHARE`.
    pub path: VolumePath,
    /// What stands in its handles, for ever.
    pub id: u64,
    /// The share and the key of its handles; `None` while its pool is not available, or it is gone.
    pub share: Option<(Share, [u8; 32])>,
    /// Who may mount it, and as whom they act.
    pub rules: Vec<ExportRecord>,
}

/// All that is exported; whole each time.
#[derive(Clone)]
pub struct Exports {
    /// The shares.
    pub shares: Vec<ExportedShare>,
    /// The volumes.
    pub volumes: Vec<ExportedVolume>,
    /// The hosts.
    pub hosts: Vec<ExportedHost>,
}

/// Whatever exports volumes.
pub trait Border: Send + Sync {
    /// Makes what is exported be `exports`. When it ends, nothing that is no longer exported is being done or
    /// will be.
    fn apply(&self, exports: Exports) -> Done<'_>;

    /// Sessions that can reach a volume now.
    fn sessions(&self, volume: &VolumeKey) -> usize;

    /// Ends those sessions; when it ends, nothing of theirs is being done or will be.
    fn end_sessions(&self, volume: &VolumeKey) -> Done<'_>;
}

/// Exports nothing: the state before the servers run.
pub struct NoBorder;

impl Border for NoBorder {
    fn apply(&self, _: Exports) -> Done<'_> {
        Box::pin(async {})
    }
    fn sessions(&self, _: &VolumeKey) -> usize {
        0
    }
    fn end_sessions(&self, _: &VolumeKey) -> Done<'_> {
        Box::pin(async {})
    }
}
