//! The target: what it serves now, to whom, and the nexuses that use it.
//!
//! [`Target::apply`] is the only thing that changes what is served. It works out what each live nexus sees
//! from now on, takes away first, and returns when nothing of what was taken away runs or will run (protocol
//! rule 14). What did not change is not touched: no command notices.

use super::inventory::{Credentials, Device, Host, Initiators, Inventory, Login, Naa, PortalId, Secret};
use super::limits::{LUNS_PER_HOST, LUN_NUMBERS};
use super::lu::{Lu, Path, LUNS_CHANGED, MODE_CHANGED, POWER_ON, THRESHOLD};
use super::nexus::{Core, Face, Luns, Nexus};
use super::port::{InitiatorPort, Ports};
use super::runtime::Runtime;
use crate::lun::LogicalUnit;
use rustc_hash::{FxHashMap, FxHashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::oneshot;

/// Why an inventory is refused: nothing of it was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InventoryFault {
    /// Two devices have one NAA.
    #[error("two devices have the identifier {0:02x?}")]
    DeviceTwice(Naa),
    /// An initiator belongs to one host.
    #[error("initiator {0} belongs to two hosts")]
    InitiatorTwice(String),
    /// Only one host can be for all that no other names.
    #[error("two hosts are for any initiator: {0} and {1}")]
    AnyTwice(String, String),
    /// A LUN stands for a device that is not there.
    #[error("LUN {lun} of host {host} stands for a device that is not there")]
    NoDevice {
        /// Host.
        host: String,
        /// LUN.
        lun: u16,
    },
    /// More LUNs than a host may have, or a number that cannot be said.
    #[error("host {0} has too many LUNs, or one with too high a number")]
    Luns(String),
    /// Both directions of CHAP have one secret.
    #[error("host {0} has one secret for both directions")]
    SameSecret(String),
    /// The saved reservations of a device are damaged.
    #[error("the saved reservations of device {0:02x?} are damaged")]
    Reservations(Naa),
}

/// What is served now.
pub(super) struct World<L: LogicalUnit> {
    units: FxHashMap<Naa, Arc<Lu<L>>>,
    hosts: Vec<Arc<Host>>,
    pub(super) nexuses: Vec<Seat<L>>,
}

/// A live nexus, and what it was admitted by.
pub(super) struct Seat<L: LogicalUnit> {
    pub(super) core: Weak<Core<L>>,
    initiator: String,
    source: IpAddr,
    credentials: Option<Credentials>,
}

/// An iSCSI target and all that it serves.
pub struct Target<L: LogicalUnit> {
    face: Arc<Face>,
    world: Mutex<World<L>>,
    /// Held while an inventory is applied.
    applying: tokio::sync::Mutex<()>,
}

/// What an initiator may do, before it has proved who it is. One that nobody knows gets one too, with
/// credentials that nobody has where others need some: the login takes the same steps and the same time, and
/// [`Target::attach`] refuses it at the end.
#[derive(Debug)]
pub struct Grant {
    initiator: String,
    source: IpAddr,
    portal: PortalId,
    credentials: Option<Credentials>,
    known: bool,
}

impl Grant {
    /// Whose it is.
    #[must_use]
    pub fn initiator(&self) -> &str {
        &self.initiator
    }

    /// What it must prove; none: nothing.
    #[must_use]
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

impl<L: LogicalUnit> Target<L> {
    /// A target with this iSCSI name and these portals, which serves nothing yet.
    #[must_use]
    pub fn new(name: String, portals: Vec<PortalId>, runtime: Arc<dyn Runtime>) -> Arc<Target<L>> {
        let world = World { units: FxHashMap::default(), hosts: Vec::new(), nexuses: Vec::new() };
        Arc::new(Target {
            face: Arc::new(Face { name, portals, runtime }),
            world: Mutex::new(world),
            applying: tokio::sync::Mutex::new(()),
        })
    }

    /// Its iSCSI name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.face.name
    }

    /// What drives it.
    #[must_use]
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.face.runtime
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World<L>> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves `inventory` from now on. When it returns, nothing that was taken away runs or will run.
    ///
    /// # Errors
    /// The inventory contradicts itself; what was served before still is.
    pub async fn apply(&self, inventory: Inventory<L>) -> Result<(), InventoryFault> {
        check(&inventory)?;
        let _applying = self.applying.lock().await;
        let fences = {
            let mut world = self.world();
            let replaced = world.take_devices(&inventory.devices)?;
            world.hosts = inventory.hosts.into_iter().map(Arc::new).collect();
            world.nexuses.retain(|seat| seat.core.strong_count() > 0);
            let seats = std::mem::take(&mut world.nexuses);
            let mut fences = Vec::new();
            for seat in seats {
                if let Some(core) = seat.core.upgrade() {
                    if world.reseat(&seat, &core, &replaced, &mut fences) {
                        world.nexuses.push(seat);
                    }
                }
            }
            fences
        };
        for fence in fences {
            // An error says that the fence's task died with its runtime: then nothing runs either.
            let _ = fence.await;
        }
        Ok(())
    }

    /// What `initiator` may do that comes from `source` to `portal`.
    #[must_use]
    pub fn admit(&self, initiator: &str, source: IpAddr, portal: PortalId) -> Grant {
        let world = self.world();
        let host = world.host(initiator, source, portal);
        let credentials = match host {
            Some(host) => host.credentials.clone(),
            None => world.hosts.iter().any(|host| host.credentials.is_some()).then(decoy),
        };
        Grant { initiator: initiator.to_owned(), source, portal, credentials, known: host.is_some() }
    }

    /// The portals that a discovery session lists, once it has proved what its grant asks for; none for an
    /// initiator that nobody knows: its login fails with 0201.
    #[must_use]
    pub fn discover(&self, grant: &Grant) -> Option<Vec<PortalId>> {
        let world = self.world();
        let host = world.granted(grant)?;
        let portals = self.face.portals.iter().copied();
        Some(portals.filter(|portal| host.portals.is_empty() || host.portals.contains(portal)).collect())
    }

    /// Opens a nexus, once the initiator has proved what its grant asks for. An older nexus of the same ports
    /// has been detached before. None: the login fails with 0201.
    #[must_use]
    pub fn attach(&self, grant: &Grant, port: InitiatorPort) -> Option<Arc<Nexus<L>>> {
        let mut world = self.world();
        let host = world.granted(grant).filter(|_| port.name == grant.initiator)?;
        let ports = Arc::new(Ports { initiator: port, portal: grant.portal });
        let nexus = Nexus::new(&self.face, Arc::clone(&ports));
        {
            let mut luns = nexus.core.luns.write().unwrap_or_else(PoisonError::into_inner);
            for (number, mapping) in &host.luns {
                if let Some(lu) = world.units.get(&mapping.device) {
                    luns.insert(*number, Path::open(lu, *mapping, &ports, &[POWER_ON]));
                }
            }
        }
        world.nexuses.retain(|seat| seat.core.strong_count() > 0);
        world.nexuses.push(Seat {
            core: Arc::downgrade(&nexus.core),
            initiator: grant.initiator.clone(),
            source: grant.source,
            credentials: grant.credentials.clone(),
        });
        Some(Arc::new(nexus))
    }

    /// Tells all nexuses that see the device that its space has become short (38/07).
    pub fn space_is_short(&self, device: Naa) {
        if let Some(lu) = self.world().units.get(&device) {
            lu.raise(THRESHOLD, None);
        }
    }
}

/// Credentials that nobody has: whoever is asked for them fails at the same place as one with a wrong secret.
fn decoy() -> Credentials {
    let secret = Secret::new(b"nobody knows this".to_vec()).expect("it has more than 12 bytes");
    Credentials { initiator: Login { user: String::new(), secret }, target: None }
}

/// Whether an inventory is consistent.
fn check<L>(inventory: &Inventory<L>) -> Result<(), InventoryFault> {
    let mut devices = FxHashSet::default();
    for device in &inventory.devices {
        if !devices.insert(device.identity.naa) {
            return Err(InventoryFault::DeviceTwice(device.identity.naa));
        }
    }
    let mut initiators = FxHashSet::default();
    let mut any: Option<&Host> = None;
    for host in &inventory.hosts {
        match &host.initiators {
            Initiators::Named(names) => {
                if let Some(name) = names.iter().find(|name| !initiators.insert(name.as_str())) {
                    return Err(InventoryFault::InitiatorTwice(name.clone()));
                }
            }
            Initiators::Any => {
                if let Some(other) = any.replace(host) {
                    return Err(InventoryFault::AnyTwice(other.name.clone(), host.name.clone()));
                }
            }
        }
        if host.luns.len() > LUNS_PER_HOST || host.luns.keys().any(|number| *number >= LUN_NUMBERS) {
            return Err(InventoryFault::Luns(host.name.clone()));
        }
        if let Some((lun, _)) = host.luns.iter().find(|(_, m)| !devices.contains(&m.device)) {
            return Err(InventoryFault::NoDevice { host: host.name.clone(), lun: *lun });
        }
        let same = |c: &Credentials| c.target.as_ref().is_some_and(|t| t.secret == c.initiator.secret);
        if host.credentials.as_ref().is_some_and(same) {
            return Err(InventoryFault::SameSecret(host.name.clone()));
        }
    }
    Ok(())
}

impl<L: LogicalUnit> World<L> {
    /// Takes over the devices. Returns those whose nexuses must be led to another storage.
    fn take_devices(&mut self, devices: &[Device<L>]) -> Result<FxHashSet<Naa>, InventoryFault> {
        let mut units = FxHashMap::default();
        let mut replaced = FxHashSet::default();
        for device in devices {
            let naa = device.identity.naa;
            let known = self.units.get(&naa);
            let same =
                known.filter(|lu| lu.identity == device.identity && lu.block_size == device.block_size);
            let lu = match same {
                Some(lu) => Arc::clone(lu),
                None => Arc::new(Lu::new(device).ok_or(InventoryFault::Reservations(naa))?),
            };
            units.insert(naa, lu);
        }
        for device in devices {
            let naa = device.identity.naa;
            let same = self.units.get(&naa).is_some_and(|old| Arc::ptr_eq(old, &units[&naa]));
            if units[&naa].update(device) || !same {
                replaced.insert(naa);
            }
        }
        self.units = units;
        Ok(replaced)
    }

    /// The host that an initiator is: one that names it beats one for any.
    fn host(&self, initiator: &str, source: IpAddr, portal: PortalId) -> Option<&Arc<Host>> {
        let names = |host: &&Arc<Host>| match &host.initiators {
            Initiators::Named(names) => names.iter().any(|name| name == initiator),
            Initiators::Any => false,
        };
        let any = |host: &&Arc<Host>| host.initiators == Initiators::Any;
        let host = self.hosts.iter().find(names).or_else(|| self.hosts.iter().find(any))?;
        let from = host.networks.is_empty() || host.networks.iter().any(|net| net.contains(source));
        let to = host.portals.is_empty() || host.portals.contains(&portal);
        (from && to).then_some(host)
    }

    /// The host of a grant, if all is still as it was granted.
    fn granted(&self, grant: &Grant) -> Option<&Arc<Host>> {
        let host = self.host(&grant.initiator, grant.source, grant.portal)?;
        (grant.known && host.credentials == grant.credentials).then_some(host)
    }

    /// Gives a nexus what its host sees now; false if it must end.
    fn reseat(
        &self,
        seat: &Seat<L>,
        core: &Arc<Core<L>>,
        replaced: &FxHashSet<Naa>,
        fences: &mut Vec<oneshot::Receiver<()>>,
    ) -> bool {
        let host = self.host(&seat.initiator, seat.source, core.ports.portal);
        let Some(host) = host.filter(|host| host.credentials == seat.credentials) else {
            fences.extend(core.end());
            return false;
        };
        let mut luns = core.luns.write().unwrap_or_else(PoisonError::into_inner);
        if core.is_closed() {
            return false;
        }
        let mut changed = false;
        let mut kept = Luns::default();
        for (number, mapping) in &host.luns {
            let Some(lu) = self.units.get(&mapping.device) else { continue };
            let old = luns.remove(number);
            let path = match old {
                Some(old) if old.mapping == *mapping && !replaced.contains(&mapping.device) => old,
                Some(old) if old.mapping.device == mapping.device => {
                    let mut attentions = old.tasks.attentions();
                    if old.mapping != *mapping {
                        attentions.push(MODE_CHANGED);
                    }
                    fences.push(old.close(&*core.face.runtime));
                    Path::open(lu, *mapping, &core.ports, &attentions)
                }
                old => {
                    changed = true;
                    fences.extend(old.map(|old| core.take_away(&old)));
                    Path::open(lu, *mapping, &core.ports, &[POWER_ON])
                }
            };
            kept.insert(*number, path);
        }
        for old in luns.values() {
            changed = true;
            fences.push(core.take_away(old));
        }
        if changed {
            kept.values().for_each(|path| path.tasks.raise(LUNS_CHANGED));
        }
        *luns = kept;
        drop(luns);
        if changed {
            core.tell_luns_changed();
        }
        true
    }
}
