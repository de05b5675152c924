//! What an administrator gives to a target: devices, hosts, and which host sees which device as which LUN.
//!
//! An inventory is whole and declarative: [`super::Target::apply`] finds out what changed. Secrets are wiped
//! when they are dropped, and no debug output shows them.

use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use zeroize::Zeroize;

/// The number of a portal, persisted by the daemon: target portal group tag and relative target port
/// identifier in one (protocol rule 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortalId(pub u16);

/// The name of a device for ever: an NAA identifier of 16 bytes (NAA 6). The same on all paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Naa(pub [u8; 16]);

/// How a device presents itself. Strings are ASCII, cut to their fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// VPD 83; also the key of the device in the inventory.
    pub naa: Naa,
    /// Unit serial number, VPD 80: at most 32 characters.
    pub serial: String,
    /// T10 vendor: 8 characters.
    pub vendor: String,
    /// Product: 16 characters.
    pub product: String,
    /// Revision: 4 characters.
    pub revision: String,
}

/// Bytes in a logical block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlockSize {
    /// 512 bytes, eight of them in a physical block.
    #[default]
    B512,
    /// 4096 bytes.
    B4096,
}

impl BlockSize {
    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        1 << self.shift()
    }

    /// The power of two.
    #[must_use]
    pub const fn shift(self) -> u32 {
        match self {
            BlockSize::B512 => 9,
            BlockSize::B4096 => 12,
        }
    }
}

/// A device that LUNs may stand for.
pub struct Device<L> {
    /// How it presents itself.
    pub identity: Identity,
    /// Its storage; none while its pool cannot be used: the LUN stays, and answers NOT READY. Another one
    /// than before gives each nexus a new source: what must tell lost writes to those who wrote stays the
    /// same.
    pub unit: Option<Arc<L>>,
    /// Bytes in a logical block.
    pub block_size: BlockSize,
    /// Another number than before says that the content was replaced under the hosts (a rollback): they get
    /// 29/00.
    pub content: u64,
    /// What [`crate::LogicalUnit::save_reservations`] kept last; empty if nothing.
    pub saved_reservations: Bytes,
}

/// Which initiators are a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Initiators {
    /// These iSCSI names.
    Named(Vec<String>),
    /// Every one that no other host names.
    Any,
}

/// A network: an address and how many leading bits of it count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// An address in it, v4-mapped ones normalised.
    pub address: IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

impl Network {
    /// Whether `peer` is in it. A v4-mapped peer counts as the v4 address that it is.
    #[must_use]
    pub fn contains(&self, peer: IpAddr) -> bool {
        let keep = |width: u32| width.saturating_sub(u32::from(self.prefix));
        match (self.address.to_canonical(), peer.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u32::from(a) ^ u32::from(b)).checked_shr(keep(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (u128::from(a) ^ u128::from(b)).checked_shr(keep(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// A CHAP secret: 12 to 255 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// A secret that is too short or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret has 12 to 255 bytes, this one has {0}")]
pub struct SecretLength(pub usize);

impl Secret {
    /// Takes a secret.
    ///
    /// # Errors
    /// It has less than 12 or more than 255 bytes.
    pub fn new(mut bytes: Vec<u8>) -> Result<Secret, SecretLength> {
        if (12..=255).contains(&bytes.len()) {
            return Ok(Secret(bytes));
        }
        let len = bytes.len();
        bytes.zeroize();
        Err(SecretLength(len))
    }

    /// The bytes, for the one computation that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A name and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// CHAP_N.
    pub user: String,
    /// What the response is computed with.
    pub secret: Secret,
}

/// What an initiator must know, and, with mutual CHAP, what the target proves in return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The initiator's.
    pub initiator: Login,
    /// The target's.
    pub target: Option<Login>,
}

/// What a LUN stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Which device.
    pub device: Naa,
    /// Refuses every write.
    pub read_only: bool,
    /// WCE: a write is answered when committed; otherwise when durable (protocol rule 1).
    pub write_cache: bool,
}

/// A machine, or a cluster of them, and what it sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name among hosts.
    pub name: String,
    /// Who it is.
    pub initiators: Initiators,
    /// Where it may come from; empty: from anywhere.
    pub networks: Vec<Network>,
    /// Through which portals; empty: all.
    pub portals: Vec<PortalId>,
    /// What it must prove; none: nothing.
    pub credentials: Option<Credentials>,
    /// LUN by number, at most [`super::limits::LUNS_PER_HOST`].
    pub luns: FxHashMap<u16, Mapping>,
}

/// All that a target serves, and to whom.
pub struct Inventory<L> {
    /// Devices, each with an NAA of its own.
    pub devices: Vec<Device<L>>,
    /// Hosts.
    pub hosts: Vec<Host>,
}

impl<L> Default for Inventory<L> {
    fn default() -> Inventory<L> {
        Inventory { devices: Vec::new(), hosts: Vec::new() }
    }
}
