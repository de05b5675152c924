//! The iSCSI target of the daemon: what the catalogue exports, as an inventory; and the threads that serve
//! it.

use super::config::Config;
use super::reach::reachable;
use super::unit::VolumeUnit;
use super::ServeError;
use san_iscsi::scsi::inventory::{
    BlockSize, Credentials, Device, Host, Identity, Initiators, Inventory, Login, Mapping, Naa, Network,
    PortalId, Secret,
};
use san_iscsi::scsi::runtime::{Detached, Runtime};
use san_iscsi::scsi::Target;
use san_iscsi::server::{self, PortalConfig, Server};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use volume_manager::border::{Border, Done, ExportedChap, ExportedHost, ExportedVolume, Exports};
use volume_manager::state::{Initiators as Names, OsKind, VolumeKey};
use volume_manager::WriteCache;

/// How units present themselves; fixed for ever (decision 0007).
const VENDOR: &str = "ASHLAR";
const PRODUCT: &str = "Volume";
const REVISION: &str = "0001";
/// The date and authority of target names (RFC 7143 4.2.7.4).
const TARGET: &str = "iqn.2026-11.io.ashlar";

/// The target and its server.
pub(super) struct San {
    target: Arc<Target<VolumeUnit>>,
    server: Server<VolumeUnit>,
    portals: Vec<(u16, SocketAddr)>,
    advertise: Vec<SocketAddr>,
    /// One for each volume that was exported: a new one would be another unit to its hosts.
    units: Mutex<BTreeMap<VolumeKey, Arc<VolumeUnit>>>,
    /// The identities of exported volumes.
    known: Mutex<BTreeMap<VolumeKey, Naa>>,
}

/// Tasks and time on the executor of the calling thread.
struct Here;

impl Runtime for Here {
    fn spawn(&self, task: Detached) {
        drop(tokio::spawn(task));
    }

    fn sleep(&self, time: Duration) -> Detached {
        Box::pin(tokio::time::sleep(time))
    }
}

/// Finds out early, before pools are opened, whether an address can be listened on.
pub(super) fn check_free(addresses: &[SocketAddr]) -> Result<(), ServeError> {
    for address in addresses {
        let refused = |source| ServeError::Listen { what: address.to_string(), source };
        drop(std::net::TcpListener::bind(address).map_err(refused)?);
    }
    Ok(())
}

impl San {
    /// Listens on each portal; logins are told to come back until [`San::open`].
    pub(super) fn start(
        config: &Config,
        server_id: &str,
        portals: Vec<(u16, SocketAddr)>,
        workers: Vec<tokio::runtime::Handle>,
    ) -> Result<Arc<San>, ServeError> {
        let ids = portals.iter().map(|(id, _)| PortalId(*id)).collect();
        let target = Target::new(format!("{TARGET}:{server_id}"), ids, Arc::new(Here));
        let portal = |(id, listen): &(u16, SocketAddr)| PortalConfig {
            id: PortalId(*id),
            listen: *listen,
            advertise: config.advertise.clone(),
        };
        let server = Server::start(
            &target,
            server::Config {
                portals: portals.iter().map(portal).collect(),
                memory: config.staging_bytes as usize,
                workers,
            },
        )?;
        let advertise = config.advertise.clone();
        let (units, known) = (Mutex::default(), Mutex::default());
        Ok(Arc::new(San { target, server, portals, advertise, units, known }))
    }

    /// Takes logins from now on.
    pub(super) fn open(&self) {
        self.server.open();
    }

    /// Ends all sessions, politely.
    pub(super) async fn stop(&self) {
        self.server.stop().await;
    }

    pub(super) fn target_name(&self) -> &str {
        self.target.name()
    }

    /// Portals: number and address.
    pub(super) fn portals(&self) -> &[(u16, SocketAddr)] {
        &self.portals
    }

    /// Where a host reaches those of `usable`; none named = all.
    pub(super) fn reachable_portals(&self, usable: &[u16]) -> Vec<SocketAddr> {
        let usable = self.portals.iter().filter(|(id, _)| usable.is_empty() || usable.contains(id));
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in usable.flat_map(|(_, listen)| reachable(*listen, &self.advertise)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// Tells those who see the volume, named by its NAA in hexadecimal, that space is short.
    pub(super) fn space_is_short(&self, naa: &str) {
        if let Ok(naa) = u128::from_str_radix(naa, 16) {
            self.target.space_is_short(Naa(naa.to_be_bytes()));
        }
    }

    pub(super) fn session_count(&self) -> usize {
        self.server.sessions().len()
    }

    fn inventory(&self, exports: &Exports) -> Inventory<VolumeUnit> {
        let mut units = self.units.lock().expect("no holder of the units panics");
        units.retain(|key, _| exports.volumes.iter().any(|volume| volume.key == *key));
        let mut device = |volume: &ExportedVolume| Device {
            identity: identity(volume),
            unit: volume.io.as_ref().map(|io| {
                let new = || Arc::new(VolumeUnit(io.clone()));
                units.entry(volume.key.clone()).or_insert_with(new).clone()
            }),
            block_size: if volume.block_bytes == 4096 { BlockSize::B4096 } else { BlockSize::B512 },
            content: volume.content,
            saved_reservations: volume.reservations.clone().unwrap_or_default().into(),
        };
        let devices = exports.volumes.iter().map(&mut device).collect();
        Inventory {
            devices,
            hosts: exports.hosts.iter().filter_map(|host| self::host(host, exports)).collect(),
        }
    }

    /// The identity of an exported volume.
    fn known(&self, volume: &VolumeKey) -> Option<Naa> {
        self.known.lock().expect("no holder of the table panics").get(volume).copied()
    }
}

fn identity(volume: &ExportedVolume) -> Identity {
    Identity {
        naa: Naa(volume.naa.0),
        serial: volume.naa.serial(),
        vendor: VENDOR.into(),
        product: PRODUCT.into(),
        revision: REVISION.into(),
    }
}

/// A host as the target knows it; none if its secrets are of no use, which was said when it was made.
fn host(host: &ExportedHost, exports: &Exports) -> Option<Host> {
    let credentials = match &host.chap {
        Some(chap) => Some(credentials(chap)?),
        None => None,
    };
    let mapping = |lun: &volume_manager::border::ExportedLun| {
        let volume = exports.volumes.iter().find(|volume| volume.key == lun.volume)?;
        let write_cache = match volume.write_cache {
            WriteCache::On => true,
            WriteCache::Off => false,
            WriteCache::Auto => host.os != OsKind::Esxi,
        };
        Some((lun.number, Mapping { device: Naa(volume.naa.0), read_only: lun.read_only, write_cache }))
    };
    Some(Host {
        name: host.name.clone(),
        initiators: match &host.initiators {
            Names::Any => Initiators::Any,
            Names::Named(names) => Initiators::Named(names.iter().map(ToString::to_string).collect()),
        },
        networks: host
            .networks
            .iter()
            .map(|net| Network { address: net.addr(), prefix: net.prefix_len() })
            .collect(),
        portals: host.portals.iter().copied().map(PortalId).collect(),
        credentials,
        luns: host.luns.iter().filter_map(mapping).collect(),
    })
}

fn credentials(chap: &ExportedChap) -> Option<Credentials> {
    let login = |user: &str, secret: &volume_manager::Secret| {
        Some(Login { user: user.to_owned(), secret: Secret::new(secret.expose().to_vec()).ok()? })
    };
    let target = match (&chap.mutual_user, &chap.secrets.mutual) {
        (Some(user), Some(secret)) => Some(login(user, secret)?),
        _ => None,
    };
    Some(Credentials { initiator: login(&chap.user, &chap.secrets.secret)?, target })
}

impl Border for San {
    fn apply(&self, exports: Exports) -> Done<'_> {
        Box::pin(async move {
            let inventory = self.inventory(&exports);
            let known = exports.volumes.iter().map(|v| (v.key.clone(), Naa(v.naa.0))).collect();
            *self.known.lock().expect("no holder of the table panics") = known;
            if let Err(e) = self.target.apply(inventory).await {
                tracing::error!("what hosts were given did not take effect: {e}");
            }
        })
    }

    fn sessions(&self, volume: &VolumeKey) -> usize {
        let reach = |naa| self.target.live().iter().filter(|nexus| nexus.devices.contains(&naa)).count();
        self.known(volume).map_or(0, reach)
    }

    fn end_sessions(&self, volume: &VolumeKey) -> Done<'_> {
        let known = self.known(volume);
        Box::pin(async move {
            if let Some(naa) = known {
                self.target.evict(naa).await;
            }
        })
    }
}
