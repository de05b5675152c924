//! One rule of an export: which clients it admits, and as whom they act there.
//!
//! Invariant: an address is compared in its plain form: an IPv4 address that came mapped into IPv6 is an IPv4
//! address.

use crate::access::{Credentials, MAX_GROUPS};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// The user and group that squashed callers become, unless a rule says otherwise: nobody.
pub const ANONYMOUS: u32 = 65_534;

/// A number that is no user and no group.
const NO_ID: u32 = u32::MAX;

/// Which clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// All of them.
    Any,
    /// Those of a network; one host is a network of one address.
    Network(IpNet),
}

impl Clients {
    /// How well it fits a client: the longer the common prefix the better; none if it does not fit.
    fn fits(&self, client: IpAddr) -> Option<u32> {
        match self {
            Clients::Any => Some(0),
            Clients::Network(network) => {
                network.contains(&client).then(|| 1 + u32::from(network.prefix_len()))
            }
        }
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Clients::Any => f.write_str("*"),
            Clients::Network(network) => network.trunc().fmt(f),
        }
    }
}

/// Whose claims are not believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Squash {
    /// Nobody's: all claims are believed.
    None,
    /// User 0 and group 0 become anonymous.
    #[default]
    Root,
    /// Everybody is anonymous.
    All,
}

/// What some clients may do with a share. The defaults of a new one: read-write, root squashed, any port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which clients.
    pub clients: Clients,
    /// Nothing can be changed.
    pub read_only: bool,
    /// Whose claims are not believed.
    pub squash: Squash,
    /// The user that squashed callers become.
    pub anonymous_uid: u32,
    /// Their group.
    pub anonymous_gid: u32,
    /// Calls must come from a port below 1024.
    pub secure_port: bool,
}

impl Rule {
    /// A rule with the defaults (protocol rule 21).
    #[must_use]
    pub fn new(clients: Clients) -> Rule {
        Rule {
            clients,
            read_only: false,
            squash: Squash::default(),
            anonymous_uid: ANONYMOUS,
            anonymous_gid: ANONYMOUS,
            secure_port: false,
        }
    }

    fn anonymous(&self) -> Credentials {
        Credentials { uid: self.anonymous_uid, gid: self.anonymous_gid, groups: Vec::new() }
    }

    /// As whom a caller acts.
    pub(super) fn squash(&self, claimed: Option<Credentials>) -> Credentials {
        let Some(mut who) = claimed.filter(|_| self.squash != Squash::All) else { return self.anonymous() };
        let root = self.squash == Squash::Root;
        let squashed = |id: u32, anonymous| if id == NO_ID || root && id == 0 { anonymous } else { id };
        who.uid = squashed(who.uid, self.anonymous_uid);
        who.gid = squashed(who.gid, self.anonymous_gid);
        who.groups.truncate(MAX_GROUPS);
        who.groups.iter_mut().for_each(|group| *group = squashed(*group, self.anonymous_gid));
        who
    }
}

/// The rule for a client: the most specific one that fits, of equal ones the last.
pub(super) fn find(rules: &[Rule], client: IpAddr) -> Option<&Rule> {
    let client = client.to_canonical();
    let fitting = rules.iter().filter_map(|rule| Some((rule.clients.fits(client)?, rule)));
    fitting.max_by_key(|(fits, _)| *fits).map(|(_, rule)| rule)
}
