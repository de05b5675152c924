//! Who uses the target now: for whoever shows it, and for commands that must not meet a live user.

use super::inventory::{Naa, PortalId};
use super::nexus::Core;
use super::port::InitiatorPort;
use super::target::Target;
use crate::lun::LogicalUnit;
use std::sync::Arc;

/// A nexus that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveNexus {
    /// Who.
    pub initiator: InitiatorPort,
    /// Through which portal.
    pub portal: PortalId,
    /// The devices that it reaches, each once.
    pub devices: Vec<Naa>,
}

impl<L: LogicalUnit> Target<L> {
    /// The nexuses that are open.
    #[must_use]
    pub fn live(&self) -> Vec<LiveNexus> {
        let live = |core: &Arc<Core<L>>| LiveNexus {
            initiator: core.ports.initiator.clone(),
            portal: core.ports.portal,
            devices: devices(core),
        };
        self.cores().iter().map(live).collect()
    }

    /// Ends all nexuses that reach a device, so that it can be rolled back, shrunk or deleted (protocol rule
    /// 14). When it returns, nothing of theirs runs or will run. They may log in again.
    pub async fn evict(&self, device: Naa) {
        let mut fences = Vec::new();
        for core in self.cores().iter().filter(|core| devices(core).contains(&device)) {
            fences.extend(core.end());
        }
        for fence in fences {
            // An error says that the fence's task died with its runtime: then nothing runs either.
            let _ = fence.await;
        }
    }

    /// Ends all nexuses of an initiator, which has asked for it by a cold reset. Their commands were aborted
    /// by it before.
    pub(crate) fn end_initiator(&self, name: &str) {
        for core in self.cores().iter().filter(|core| core.ports.initiator.name == name) {
            drop(core.end());
        }
    }

    fn cores(&self) -> Vec<Arc<Core<L>>> {
        self.world().nexuses.iter().filter_map(|seat| seat.core.upgrade()).collect()
    }
}

fn devices<L: LogicalUnit>(core: &Core<L>) -> Vec<Naa> {
    let mut devices: Vec<Naa> = core.luns().values().map(|path| path.lu.identity.naa).collect();
    devices.sort_unstable();
    devices.dedup();
    devices
}
