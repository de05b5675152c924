//! The place where a connection arrived, and what an initiator is told about places (protocol rule 11).

use crate::lun::LogicalUnit;
use crate::scsi::inventory::PortalId;
use crate::scsi::Target;
use crate::wire::text::put;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Where a portal is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalAddress {
    /// Which portal.
    pub id: PortalId,
    /// What its listener is bound to; a wildcard is told to nobody.
    pub bound: SocketAddr,
    /// What initiators are told besides.
    pub advertised: Vec<SocketAddr>,
}

/// A portal of a target, as its sessions see it.
pub struct Portal<L: LogicalUnit> {
    /// Its number.
    pub id: PortalId,
    /// What is behind it.
    pub target: Arc<Target<L>>,
    /// All portals of the target.
    pub addresses: Arc<[PortalAddress]>,
    /// Whether logins are taken; otherwise they are told to come back (0301).
    pub open: Arc<AtomicBool>,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The initiator's address.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
}

impl Ends {
    /// The two, with v4-mapped addresses made the v4 addresses that they are.
    #[must_use]
    pub fn new(peer: SocketAddr, local: SocketAddr) -> Ends {
        let plain = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
        Ends { peer: plain(peer), local: plain(local) }
    }

    /// The initiator's address without its port.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.peer.ip()
    }
}

impl<L: LogicalUnit> Portal<L> {
    /// Whether logins are taken now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// The answer to SendTargets: the target, and the addresses of those of its portals that are `allowed`.
    pub(super) fn put_target(&self, ends: Ends, allowed: &[PortalId], out: &mut Vec<u8>) {
        put(out, "TargetName", self.target.name());
        let mut told: Vec<(SocketAddr, PortalId)> = Vec::new();
        // The address that works for sure comes first.
        let own = self.addresses.iter().filter(|p| p.id == self.id);
        for portal in own.chain(self.addresses.iter().filter(|p| p.id != self.id)) {
            if !allowed.contains(&portal.id) {
                continue;
            }
            let bound = match portal.bound.ip().is_unspecified() {
                true => SocketAddr::new(ends.local.ip(), portal.bound.port()),
                false => portal.bound,
            };
            let first = if portal.id == self.id { ends.local } else { bound };
            for address in std::iter::once(first).chain(portal.advertised.iter().copied()) {
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                if !told.contains(&(address, portal.id)) {
                    told.push((address, portal.id));
                    put(out, "TargetAddress", format_args!("{address},{}", portal.id.0));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::driver::World;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn v4_mapped_addresses_are_the_v4_addresses_that_they_are() {
        let ends = Ends::new(address("[::ffff:10.0.0.2]:40000"), address("[::ffff:10.0.0.1]:3260"));
        assert_eq!((ends.peer, ends.local), (address("10.0.0.2:40000"), address("10.0.0.1:3260")));
        assert_eq!(ends.source(), IpAddr::from([10, 0, 0, 2]));
    }

    #[test]
    fn addresses_are_told_once_in_brackets_where_v6_and_only_where_allowed() {
        let world = World::new(1 << 20, 1 << 20, None);
        let portal = |id, bound: &str, advertised: &[&str]| PortalAddress {
            id: PortalId(id),
            bound: address(bound),
            advertised: advertised.iter().map(|text| address(text)).collect(),
        };
        let told = Portal {
            id: PortalId(1),
            target: Arc::clone(&world.target),
            addresses: Arc::new([
                portal(2, "[fd00::2]:3261", &["192.0.2.1:3261", "[fd00::2]:3261"]),
                portal(1, "[::]:3260", &["[::ffff:192.0.2.1]:3260"]),
                portal(3, "10.0.0.3:3260", &[]),
            ]),
            open: Arc::default(),
        };
        let mut out = Vec::new();
        let ends = Ends::new(address("[fd00::9]:40000"), address("[fd00::1]:3260"));
        told.put_target(ends, &[PortalId(1), PortalId(2)], &mut out);
        let text = String::from_utf8(out).expect("text");
        let addresses: Vec<&str> =
            text.split('\0').filter_map(|pair| pair.strip_prefix("TargetAddress=")).collect();
        let expected = ["[fd00::1]:3260,1", "192.0.2.1:3260,1", "[fd00::2]:3261,2", "192.0.2.1:3261,2"];
        assert_eq!(addresses, expected);
    }
}
