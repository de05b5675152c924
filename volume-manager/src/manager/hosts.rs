//! Hosts: create, list, delete.

use super::Manager;
use crate::error::{Error, Kind};
use crate::name::Name;
use crate::secret::Secret;
use crate::state::{HostId, HostRecord, HostSecrets, Initiators, OsKind};
use crate::view::{HostView, Outcome};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A host to be made, without its secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostRequest {
    /// Its name.
    pub name: Name,
    /// Who it is.
    pub initiators: Initiators,
    /// What it runs.
    #[serde(default)]
    pub os: OsKind,
    /// Where it may come from; anywhere when empty.
    #[serde(default)]
    pub networks: Vec<IpNet>,
    /// Which portals it may use; all when empty.
    #[serde(default)]
    pub portals: Vec<u16>,
}

/// How a host proves who it is.
#[derive(Clone, Debug)]
pub struct ChapRequest {
    /// The name it answers with.
    pub user: String,
    /// What it proves to know.
    pub secret: Secret,
    /// The name we answer with and what we prove to know, in mutual CHAP.
    pub mutual: Option<(String, Secret)>,
}

impl Manager {
    /// Makes a host. It sees nothing until volumes are mapped to it.
    ///
    /// # Errors
    /// The name or an initiator is taken, or the secrets are of no use.
    pub async fn create_host(
        &self,
        request: HostRequest,
        chap: Option<ChapRequest>,
    ) -> Result<Outcome<HostView>, Error> {
        let _turn = self.turn.lock().await;
        self.check_host(&request)?;
        let id = HostId(self.document().next_host);
        if let Some(chap) = &chap {
            check_chap(chap)?;
            let mutual = chap.mutual.as_ref().map(|(_, secret)| secret.clone());
            let secrets = HostSecrets { secret: chap.secret.clone(), mutual };
            self.change_secrets(|all| drop(all.insert(id, secrets))).await?;
        }
        let record = HostRecord {
            id,
            initiators: request.initiators,
            os: request.os,
            networks: request.networks,
            portals: request.portals,
            mutual_user: chap.as_ref().and_then(|c| c.mutual.as_ref()).map(|(user, _)| user.clone()),
            chap_user: chap.map(|chap| chap.user),
        };
        let mut warnings = Vec::new();
        if record.initiators == Initiators::Any {
            warnings.push(format!("host {} admits any initiator that no other host names", request.name));
        }
        if is_unprotected(&record) {
            let name = &request.name;
            warnings.push(format!("host {name} is unprotected: it has neither CHAP nor a network limit"));
        }
        let name = request.name;
        self.change(|document| {
            document.next_host += 1;
            document.hosts.insert(name.clone(), record);
            Ok(())
        })
        .await?;
        self.tell_border().await;
        Ok(Outcome { result: self.show_host(&name)?, warnings })
    }

    fn check_host(&self, request: &HostRequest) -> Result<(), Error> {
        let document = self.document();
        if document.hosts.contains_key(&request.name) {
            return Err(Error::Exists { kind: Kind::Host, name: request.name.to_string() });
        }
        for portal in &request.portals {
            if !document.portals.iter().any(|known| known.id == *portal) {
                let remedy = "see the portals in `ashlar status`";
                return Err(Error::invalid(format!("there is no portal {portal}"), remedy));
            }
        }
        for (name, host) in &document.hosts {
            let clash = match (&host.initiators, &request.initiators) {
                (Initiators::Any, Initiators::Any) => Some("any initiator".to_owned()),
                (Initiators::Named(old), Initiators::Named(new)) => {
                    new.iter().find(|initiator| old.contains(initiator)).map(ToString::to_string)
                }
                _ => None,
            };
            if let Some(what) = clash {
                let remedy = format!("an initiator is one host: map volumes to {name}, or delete it first");
                return Err(Error::invalid(format!("{what} is host {name} already"), remedy));
            }
        }
        match &request.initiators {
            Initiators::Named(names) if names.is_empty() => {
                Err(Error::invalid("no initiator was named", "name at least one with --iqn"))
            }
            _ => Ok(()),
        }
    }

    /// All hosts, by name.
    #[must_use]
    pub fn list_hosts(&self) -> Vec<HostView> {
        let names: Vec<Name> = self.document().hosts.keys().cloned().collect();
        names.iter().filter_map(|name| self.show_host(name).ok()).collect()
    }

    /// One host.
    ///
    /// # Errors
    /// It does not exist.
    pub fn show_host(&self, name: &Name) -> Result<HostView, Error> {
        let document = self.document();
        let host = document.hosts.get(name).ok_or_else(|| Error::not_found(Kind::Host, name))?;
        Ok(HostView {
            name: name.clone(),
            initiators: host.initiators.clone(),
            os: host.os,
            networks: host.networks.clone(),
            portals: host.portals.clone(),
            chap: match (&host.chap_user, &host.mutual_user) {
                (None, _) => "none",
                (Some(_), None) => "one-way",
                (Some(_), Some(_)) => "mutual",
            }
            .into(),
            luns: self.list_luns(Some(name))?,
        })
    }

    /// The hosts that anybody who knows their name can be.
    #[must_use]
    pub fn unprotected_hosts(&self) -> Vec<Name> {
        let document = self.document();
        let open = document.hosts.iter().filter(|(_, host)| is_unprotected(host));
        open.map(|(name, _)| name.clone()).collect()
    }

    /// Deletes a host: when it returns, nothing of its I/O runs or will run. One that has volumes needs
    /// `force`.
    ///
    /// # Errors
    /// It does not exist, or has volumes.
    pub async fn delete_host(&self, name: &Name, force: bool) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let id = self.show_host_id(name)?;
        let given = self.document().luns.iter().filter(|lun| lun.host == id).count();
        if given > 0 && !force {
            return Err(Error::InUse {
                what: format!("host {name}"),
                why: format!("{given} volume(s) are mapped to it"),
                remedy: "unmap them first, or give --force to take them away".into(),
            });
        }
        self.change(|document| {
            document.hosts.remove(name);
            document.luns.retain(|lun| lun.host != id);
            Ok(())
        })
        .await?;
        self.tell_border().await;
        self.change_secrets(|secrets| drop(secrets.remove(&id))).await
    }

    pub(super) fn show_host_id(&self, name: &Name) -> Result<HostId, Error> {
        let id = self.known().document.hosts.get(name).map(|host| host.id);
        id.ok_or_else(|| Error::not_found(Kind::Host, name))
    }
}

fn is_unprotected(host: &HostRecord) -> bool {
    host.chap_user.is_none() && host.networks.is_empty()
}

fn check_chap(chap: &ChapRequest) -> Result<(), Error> {
    let named = |user: &str| !user.is_empty() && user.len() <= 255 && !user.contains(char::is_control);
    let users = [Some(chap.user.as_str()), chap.mutual.as_ref().map(|(user, _)| user.as_str())];
    if !users.iter().flatten().all(|user| named(user)) {
        return Err(Error::invalid(
            "a CHAP user is impossible",
            "use 1 to 255 bytes without control characters",
        ));
    }
    match &chap.mutual {
        Some((_, mutual)) if *mutual == chap.secret => Err(Error::invalid(
            "the mutual secret is the same as the other",
            "use two different secrets: with one, an answer could be played back",
        )),
        _ => Ok(()),
    }
}
