//! What listings show: the same types on both sides of the API.
//!
//! Sizes are bytes. Fields are only ever added.

use crate::identity::WriteCache;
use crate::name::{Name, SnapshotPath, VolumePath};
use crate::share::SnapshotDir;
use crate::state::{Clients, Initiators, OsKind, Squash};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolView {
    /// Its name.
    pub name: Name,
    /// `online`, or why not.
    pub health: String,
    /// Bytes for data.
    pub capacity: u64,
    /// Bytes in use.
    pub allocated: u64,
    /// Bytes that new data may take.
    pub free: u64,
    /// Its devices.
    pub devices: Vec<DeviceView>,
    /// Volumes in it.
    pub volumes: usize,
    /// The last scrub, or the one that runs.
    pub scrub: Option<ScrubView>,
}

/// How much room a pool has.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSpace {
    /// Its name.
    pub name: Name,
    /// Bytes for data.
    pub capacity: u64,
    /// Bytes that new data may take.
    pub free: u64,
}

/// A device of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its path.
    pub path: PathBuf,
    /// Its bytes; 0 while the pool is not open.
    pub size: u64,
    /// How it is driven.
    pub mode: String,
    /// Whether what was flushed survives the loss of power.
    pub survives_power_loss: bool,
}

impl DeviceView {
    pub(crate) fn absent(path: PathBuf) -> DeviceView {
        DeviceView { path, size: 0, mode: "not open".into(), survives_power_loss: false }
    }
}

/// A scrub's progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScrubView {
    /// Whether it runs now.
    pub running: bool,
    /// Whether it is held.
    #[serde(default)]
    pub paused: bool,
    /// Bytes verified.
    pub done: u64,
    /// Bytes to verify.
    pub total: u64,
    /// Damaged blocks found.
    pub damaged_blocks: u64,
    /// Where they are, the first of them.
    pub damaged: Vec<DamagedView>,
}

/// A damaged range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DamagedView {
    /// The volume.
    pub volume: String,
    /// The snapshot, if it is one.
    pub snapshot: Option<String>,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeView {
    /// Its name.
    pub path: VolumePath,
    /// Bytes it has for its hosts.
    pub size: u64,
    /// Bytes it sees.
    pub referenced: u64,
    /// Bytes that only it sees.
    pub unique: u64,
    /// The snapshot it was cloned from, if that still has a name.
    pub origin: Option<SnapshotPath>,
    /// Bytes of its logical blocks.
    pub block_bytes: u32,
    /// When writes are acknowledged.
    pub write_cache: WriteCache,
    /// Its serial number towards hosts.
    pub serial: String,
    /// Its worldwide identity.
    pub naa: String,
    /// Its snapshots.
    pub snapshots: usize,
    /// The hosts that it was given to.
    pub hosts: Vec<Name>,
}

/// A share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareView {
    /// Its name.
    pub path: VolumePath,
    /// Bytes of files that it sees.
    pub referenced: u64,
    /// Bytes that only it sees.
    pub unique: u64,
    /// Bytes that it may take; 0 = no limit.
    pub quota: u64,
    /// How its root shows its snapshots.
    pub snapshot_dir: SnapshotDir,
    /// The number of its file system: 16 hexadecimal digits.
    pub fsid: String,
    /// The snapshot it was cloned from, if that still has a name.
    pub origin: Option<SnapshotPath>,
    /// Its snapshots.
    pub snapshots: usize,
    /// Its exports.
    pub exports: usize,
}

/// An export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportView {
    /// The share.
    pub share: VolumePath,
    /// Which clients.
    pub clients: Clients,
    /// Whether they may only read.
    pub read_only: bool,
    /// Whose claims are not believed.
    pub squash: Squash,
    /// The user that squashed callers become.
    pub anonymous_uid: u32,
    /// Their group.
    pub anonymous_gid: u32,
    /// Whether calls must come from a port below 1024.
    pub secure_port: bool,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotView {
    /// Its name.
    pub path: SnapshotPath,
    /// The volume's size when it was taken.
    pub size: u64,
    /// Bytes it sees.
    pub referenced: u64,
    /// Bytes that deleting it frees.
    pub unique: u64,
    /// Clones that start from it.
    pub clones: u32,
}

/// A range that differs between two states of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangedView {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostView {
    /// Its name.
    pub name: Name,
    /// Who it is.
    pub initiators: Initiators,
    /// What it runs.
    pub os: OsKind,
    /// Where it may come from; anywhere when empty.
    pub networks: Vec<IpNet>,
    /// Which portals it may use; all when empty.
    pub portals: Vec<u16>,
    /// `none`, `one-way` or `mutual`.
    pub chap: String,
    /// What it was given.
    pub luns: Vec<LunView>,
}

/// A volume given to a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LunView {
    /// The host.
    pub host: Name,
    /// Its number there.
    pub lun: u16,
    /// The volume; `None` while its pool is not available.
    pub volume: Option<VolumePath>,
    /// Whether the host may only read.
    pub read_only: bool,
    /// Its serial number.
    pub serial: String,
    /// Its worldwide identity.
    pub naa: String,
}

/// What a command did, and what the administrator should know about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome<T> {
    /// What it answers.
    #[serde(flatten)]
    pub result: T,
    /// Each a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
