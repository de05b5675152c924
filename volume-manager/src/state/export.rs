//! What the state file holds of exports.

use super::document::VolumeKey;
use crate::name::VolumePath;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Which clients an export is for: `any`, a network, or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Clients {
    /// All.
    Any,
    /// Those of a network; one host is a network of one address.
    Network(IpNet),
}

/// A text that names no clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no clients: write any, an address, or a network as 10.0.0.0/24 or fd00::/8")]
pub struct BadClients(String);

impl Clients {
    /// The same clients, written in the one usual way.
    #[must_use]
    pub fn trunc(&self) -> Clients {
        match self {
            Clients::Any => Clients::Any,
            Clients::Network(network) => Clients::Network(network.trunc()),
        }
    }
}

impl FromStr for Clients {
    type Err = BadClients;

    fn from_str(text: &str) -> Result<Clients, BadClients> {
        if text == "any" {
            return Ok(Clients::Any);
        }
        let address = || text.parse::<IpAddr>().map(IpNet::from).ok();
        let network = text.parse::<IpNet>().ok().or_else(address);
        network.map(|network| Clients::Network(network).trunc()).ok_or_else(|| BadClients(text.into()))
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Clients::Any => f.write_str("any"),
            Clients::Network(network) => network.fmt(f),
        }
    }
}

impl TryFrom<String> for Clients {
    type Error = BadClients;
    fn try_from(text: String) -> Result<Clients, BadClients> {
        text.parse()
    }
}

impl From<Clients> for String {
    fn from(clients: Clients) -> String {
        clients.to_string()
    }
}

/// Whose claims are not believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Squash {
    /// All claims are believed.
    None,
    /// User 0 and group 0 become anonymous.
    #[default]
    Root,
    /// Everybody is anonymous.
    All,
}

/// An export: who may mount a share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportRecord {
    /// The share.
    pub share: VolumeKey,
    /// Its name, so that it is known while its pool is away.
    pub path: VolumePath,
    /// What stands in its handles, likewise: 16 hexadecimal digits.
    pub fsid: String,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_written_in_one_way() {
        for (text, shown) in [("any", "any"), ("10.0.0.7/24", "10.0.0.0/24"), ("::1", "::1/128")] {
            assert_eq!(text.parse::<Clients>().unwrap().to_string(), shown);
        }
        for bad in ["", "all", "10.0.0.0/33", "host"] {
            assert!(bad.parse::<Clients>().is_err(), "{bad}");
        }
    }
}
