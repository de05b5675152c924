//! The target: what it serves now, to whom, and the nexuses that use it.

use super::inventory::{Credentials, Inventory, PortalId};
use super::nexus::{InitiatorPort, Nexus};
use super::runtime::Runtime;
use crate::lun::LogicalUnit;
use std::net::IpAddr;
use std::sync::Arc;

/// An iSCSI target and all that it serves.
pub struct Target<L: LogicalUnit> {
    name: String,
    portals: Vec<PortalId>,
    runtime: Arc<dyn Runtime>,
    _unit: std::marker::PhantomData<L>,
}

/// What an initiator may do, before it has proved who it is. One that nobody knows gets one too, with
/// credentials that nobody has where others need some: the login takes the same steps and the same time, and
/// [`Target::attach`] refuses it at the end.
#[derive(Debug)]
pub struct Grant {
    credentials: Option<Credentials>,
}

impl Grant {
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
        Arc::new(Target { name, portals, runtime, _unit: std::marker::PhantomData })
    }

    /// Its iSCSI name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What drives it.
    #[must_use]
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    /// Serves `inventory` from now on. When it returns, nothing that was taken away runs or will run.
    pub async fn apply(&self, _inventory: Inventory<L>) {}

    /// What `initiator` may do that comes from `source` to `portal`.
    #[must_use]
    pub fn admit(&self, _initiator: &str, _source: IpAddr, _portal: PortalId) -> Grant {
        Grant { credentials: None }
    }

    /// The portals that a discovery session lists, once it has proved what its grant asks for; none for an
    /// initiator that nobody knows: its login fails with 0201.
    #[must_use]
    pub fn discover(&self, _grant: &Grant) -> Option<Vec<PortalId>> {
        Some(self.portals.clone())
    }

    /// Opens a nexus, once the initiator has proved what its grant asks for. An older nexus of the same ports
    /// has been detached before. None: the login fails with 0201.
    #[must_use]
    pub fn attach(&self, _grant: &Grant, _port: InitiatorPort) -> Option<Arc<Nexus<L>>> {
        None
    }
}
