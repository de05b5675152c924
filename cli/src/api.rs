//! What client and daemon say to each other: HTTP and JSON over a Unix socket, version 1.
//!
//! | call | what |
//! |---|---|
//! | GET `/v1/status` | [`Status`] |
//! | GET, POST `/v1/pools`; GET, DELETE `/v1/pools/{pool}` | pools |
//! | POST, PATCH `/v1/pools/{pool}/devices` | add a device, grow one |
//! | POST, PATCH `/v1/pools/{pool}/scrub` | verify, hold or go on |
//! | GET, POST `/v1/volumes`; GET, PATCH, DELETE `/v1/volumes/{pool}/{volume}` | volumes |
//! | GET, POST `/v1/snapshots`; DELETE `/v1/snapshots/{pool}/{volume}/{snapshot}` | snapshots |
//! | POST `.../rollback`, `.../clone`; GET `.../diff` | of a snapshot |
//! | GET, POST `/v1/shares`; GET, PATCH, DELETE `/v1/shares/{pool}/{share}` | shares |
//! | GET, POST `/v1/exports`; DELETE `/v1/exports/{pool}/{share}?clients=` | who may mount them |
//! | POST `/v1/files` | a file or volume made of another, by reference |
//! | GET, POST `/v1/hosts`; GET, DELETE `/v1/hosts/{host}` | hosts |
//! | GET, POST `/v1/luns`; DELETE `/v1/luns/{host}/{pool}/{volume}` | what hosts were given |
//!
//! An error is a status with a [`Fault`]. Listings are the types of `volume_manager::view`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use volume_manager::manager::{DeviceRequest, HostRequest, ShareSettings};
use volume_manager::view::{ChangedView, ExportView, LunView, PoolView};
use volume_manager::{FilePath, Name, SnapshotPath, VolumePath};
use zeroize::Zeroize;

/// Why a call was refused.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fault {
    /// A stable word.
    pub code: String,
    /// What, why, what to do.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An answer without content.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PoolCreate {
    pub name: Name,
    pub devices: Vec<DeviceRequest>,
    pub force: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeviceAdd {
    pub device: DeviceRequest,
    pub force: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ScrubStart {
    pub bytes_per_second: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ScrubChange {
    pub paused: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct VolumeChange {
    #[serde(default)]
    pub size: Option<u64>,
    #[serde(default)]
    pub name: Option<Name>,
    #[serde(default)]
    pub force: bool,
}

/// Query of a DELETE.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Deletion {
    #[serde(default)]
    pub force: bool,
    #[serde(default)]
    pub snapshots: bool,
}

/// Query of a listing.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Filter {
    #[serde(default)]
    pub pool: Option<Name>,
    #[serde(default)]
    pub volume: Option<VolumePath>,
    #[serde(default)]
    pub host: Option<Name>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotCreate {
    pub snapshots: Vec<SnapshotPath>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rollback {
    pub force: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CloneTo {
    pub to: VolumePath,
}

/// Query of a diff.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct DiffQuery {
    #[serde(default)]
    pub to: Option<Name>,
    #[serde(default)]
    pub start: u64,
}

/// Ranges that differ, and where to go on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Diff {
    pub ranges: Vec<ChangedView>,
    pub next: Option<u64>,
}

/// A name and its secret on their way to the daemon. Wiped when dropped, shown by nothing.
#[derive(Serialize, Deserialize)]
pub(crate) struct Login {
    pub user: String,
    pub secret: String,
}

impl Drop for Login {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct HostCreate {
    #[serde(flatten)]
    pub host: HostRequest,
    #[serde(default)]
    pub chap: Option<Login>,
    #[serde(default)]
    pub mutual: Option<Login>,
}

/// A volume given to a host, with all that the host needs to attach it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LunAnswer {
    /// The target's name.
    pub target: String,
    /// Where the host reaches it.
    pub portals: Vec<String>,
    #[serde(flatten)]
    pub view: LunView,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FileClone {
    pub from: FilePath,
    pub to: FilePath,
}

/// What was cloned.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FileCloned {
    pub to: FilePath,
    pub size: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ShareCreate {
    pub path: VolumePath,
    #[serde(default)]
    pub settings: ShareSettings,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ShareChange {
    #[serde(default)]
    pub settings: ShareSettings,
    #[serde(default)]
    pub name: Option<Name>,
}

/// Query of a listing of exports.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ExportFilter {
    #[serde(default)]
    pub share: Option<VolumePath>,
}

/// An export, with all that a client needs to mount it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExportAnswer {
    /// What is mounted.
    pub path: String,
    /// Where NFS answers; none if it is off.
    pub nfs: Option<String>,
    /// Where MOUNT answers.
    pub mount: Option<String>,
    #[serde(flatten)]
    pub view: ExportView,
}

/// A portal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PortalView {
    pub id: u16,
    pub address: SocketAddr,
}

/// The daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub version: String,
    /// Seconds since it was ready.
    pub uptime_s: u64,
    /// The target's name.
    pub target: String,
    pub portals: Vec<PortalView>,
    /// Sessions of hosts.
    pub sessions: usize,
    pub pools: Vec<PoolView>,
    pub volumes: usize,
    /// Where NFS is served.
    #[serde(default)]
    pub nfs: Vec<SocketAddr>,
    /// Where MOUNT is served.
    #[serde(default)]
    pub mount: Vec<SocketAddr>,
    #[serde(default)]
    pub shares: usize,
    pub hosts: usize,
    /// What needs an administrator: a sentence each.
    pub attention: Vec<String>,
}
