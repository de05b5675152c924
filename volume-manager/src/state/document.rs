//! What the state file holds, as it stands there (JSON, version 1).

use crate::identity::WriteCache;
use crate::initiator::InitiatorName;
use crate::name::Name;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The version that this release writes, and the only one there has been.
pub(super) const VERSION: u32 = 1;

/// All that is not kept in a pool. Whole after every change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Version of this layout.
    pub version: u32,
    /// Identity of this server, for target names: 12 hexadecimal digits, for ever.
    pub server_id: String,
    /// Portals ever used, by address. A portal's number never changes and is never used again.
    pub portals: Vec<PortalRecord>,
    /// Pools, by name.
    pub pools: BTreeMap<Name, PoolRecord>,
    /// Hosts, by name.
    pub hosts: BTreeMap<Name, HostRecord>,
    /// Volumes given to hosts.
    pub luns: Vec<LunRecord>,
    /// Shares given to clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<super::ExportRecord>,
    /// The number of the next host.
    pub next_host: u32,
    /// What was begun and must be finished or undone at the next start.
    pub intents: Vec<Intent>,
}

/// A portal: an address that the target was reached at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortalRecord {
    /// Target portal group tag and relative target port identifier, from 1.
    pub id: u16,
    /// The address it listened on.
    pub address: std::net::SocketAddr,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolRecord {
    /// Its devices.
    pub devices: Vec<PathBuf>,
    /// The directory of its index, inside the state directory.
    pub index: PathBuf,
    /// Its UUID, once it is made.
    pub id: Option<String>,
}

/// A host's number: what its volumes and secrets refer to, since it may be renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostId(pub u32);

/// Which initiators a host is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initiators {
    /// Any that no other host names.
    Any,
    /// These.
    Named(Vec<InitiatorName>),
}

/// What a host runs: some systems need to be answered differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OsKind {
    /// Linux: QEMU/KVM, Proxmox.
    #[default]
    Linux,
    /// VMware ESXi.
    Esxi,
    /// Windows, Hyper-V.
    Windows,
    /// Xen, XCP-ng.
    Xen,
    /// Anything else.
    Other,
}

/// A host: one or more initiators that see the same volumes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its number.
    pub id: HostId,
    /// Who it is.
    pub initiators: Initiators,
    /// What it runs.
    pub os: OsKind,
    /// Where it may come from; anywhere when empty.
    pub networks: Vec<IpNet>,
    /// Which portals it may use; all when empty.
    pub portals: Vec<u16>,
    /// The name it answers CHAP with; its secret is in the file of secrets. No CHAP without.
    pub chap_user: Option<String>,
    /// The name that we answer its CHAP with (mutual).
    pub mutual_user: Option<String>,
}

/// A volume, whatever it is called: its pool's UUID and its number there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VolumeKey {
    /// UUID of the pool.
    pub pool: String,
    /// Its number in the pool; never used again.
    pub volume: u64,
}

/// A volume given to a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LunRecord {
    /// The host.
    pub host: HostId,
    /// Its logical unit number there.
    pub number: u16,
    /// The volume.
    pub volume: VolumeKey,
    /// Whether the host may only read.
    pub read_only: bool,
    /// The volume's identity, so that it answers as itself while its pool is away: 32 hexadecimal digits.
    pub naa: String,
    /// Bytes of its logical blocks, likewise.
    pub block_bytes: u32,
    /// When its writes are acknowledged, likewise: it must not change while the pool is opened again.
    pub write_cache: WriteCache,
}

/// A command that touches a pool and the state file, begun and not yet known to be finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    /// A pool is being made: undone by removing what was made.
    CreatePool {
        /// Its name.
        name: Name,
        /// Device files that did not exist before.
        created: Vec<PathBuf>,
    },
    /// A pool is being deleted: finished at the next start.
    DeletePool {
        /// Its name.
        name: Name,
    },
    /// A volume or a share is being deleted: finished at the next start.
    DeleteVolume {
        /// Which.
        volume: VolumeKey,
    },
}

impl Document {
    /// That of a new server.
    #[must_use]
    pub fn new(server_id: String) -> Document {
        Document {
            version: VERSION,
            server_id,
            portals: Vec::new(),
            pools: BTreeMap::new(),
            hosts: BTreeMap::new(),
            luns: Vec::new(),
            exports: Vec::new(),
            next_host: 1,
            intents: Vec::new(),
        }
    }

    /// The host with this number, and its name.
    #[must_use]
    pub fn host(&self, id: HostId) -> Option<(&Name, &HostRecord)> {
        self.hosts.iter().find(|(_, host)| host.id == id)
    }

    /// The number of the portal at `address`, noted if it is new.
    pub fn portal(&mut self, address: std::net::SocketAddr) -> u16 {
        if let Some(known) = self.portals.iter().find(|portal| portal.address == address) {
            return known.id;
        }
        let id = self.portals.iter().map(|portal| portal.id).max().unwrap_or(0) + 1;
        self.portals.push(PortalRecord { id, address });
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portal_keeps_its_number_whatever_the_order() {
        let mut document = Document::new("0123456789ab".into());
        let (a, b) = ("127.0.0.1:3260".parse().unwrap(), "[::1]:3260".parse().unwrap());
        assert_eq!((document.portal(a), document.portal(b), document.portal(a)), (1, 2, 1));
        document.portals.remove(0);
        assert_eq!(document.portal("127.0.0.1:3261".parse().unwrap()), 3);
    }

    #[test]
    fn unknown_fields_are_refused_and_known_ones_come_back() {
        let document = Document::new("0123456789ab".into());
        let json = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<Document>(&json).unwrap(), document);
        let newer = json.replacen('{', "{\"surprise\":1,", 1);
        assert!(serde_json::from_str::<Document>(&newer).is_err());
    }
}
