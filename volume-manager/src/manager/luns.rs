//! Which volumes hosts were given: map, unmap, list; and what the servers are told.

use super::{Found, Manager};
use crate::border::{ExportedChap, ExportedHost, ExportedLun, ExportedVolume, Exports};
use crate::error::{Error, Kind};
use crate::identity::{Attributes, Naa, WriteCache};
use crate::name::{Name, VolumePath};
use crate::state::{Document, HostId, HostRecord, LunRecord, OsKind, VolumeKey};
use crate::view::{LunView, Outcome};
use serde::{Deserialize, Serialize};
use snapshots::DatasetId;
use std::collections::BTreeMap;

/// Most volumes of a host, and one more than the highest number.
const LUNS_MAX: u16 = 1024;

/// A volume to be given to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapRequest {
    /// The volume.
    pub volume: VolumePath,
    /// The host.
    pub host: Name,
    /// Its number there; the lowest free one without.
    #[serde(default)]
    pub lun: Option<u16>,
    /// Whether the host may only read.
    #[serde(default)]
    pub read_only: bool,
}

impl Manager {
    /// Gives a volume to a host.
    ///
    /// # Errors
    /// One does not exist, the host has the volume already, or the number is taken.
    pub async fn map(&self, request: &MapRequest) -> Result<Outcome<LunView>, Error> {
        let _turn = self.turn.lock().await;
        let Found { pool, engine, id, key, .. } = self.find(&request.volume)?;
        let info = engine.dataset(id).map_err(|e| pool.fault_of(e))?;
        let attributes = Attributes::decode(&info.attributes);
        let attributes = attributes.ok_or_else(|| Error::not_found(Kind::Volume, &request.volume))?;
        let host = self.show_host_id(&request.host)?;
        let document = self.document();
        let number = free_number(&document, host, &key, request)?;
        let warnings = warnings(&document, host, &key, number, attributes.write_cache);
        self.change(|document| {
            document.luns.push(LunRecord {
                host,
                number,
                volume: key.clone(),
                read_only: request.read_only,
                naa: attributes.naa.to_string(),
                block_bytes: attributes.block_bytes,
                write_cache: attributes.write_cache,
            });
            Ok(())
        })
        .await?;
        self.tell_border().await;
        let luns = self.list_luns(Some(&request.host))?;
        let view = luns.into_iter().find(|lun| lun.lun == number);
        let result = view.ok_or_else(|| Error::not_found(Kind::Lun, number))?;
        Ok(Outcome { result, warnings })
    }

    /// Takes a volume away from a host: when it returns, nothing of that host's I/O to it runs or will run.
    ///
    /// # Errors
    /// The host does not have it.
    pub async fn unmap(&self, volume: &VolumePath, host: &Name) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let id = self.show_host_id(host)?;
        let key = self.find(volume)?.key;
        self.change(|document| {
            let before = document.luns.len();
            document.luns.retain(|lun| lun.host != id || lun.volume != key);
            match document.luns.len() < before {
                true => Ok(()),
                false => Err(Error::not_found(Kind::Lun, format!("{volume} of host {host}"))),
            }
        })
        .await?;
        self.tell_border().await;
        Ok(())
    }

    /// What hosts were given, or one host.
    ///
    /// # Errors
    /// The host does not exist.
    pub fn list_luns(&self, host: Option<&Name>) -> Result<Vec<LunView>, Error> {
        let only = host.map(|name| self.show_host_id(name)).transpose()?;
        let document = self.document();
        let view = |lun: &LunRecord| {
            let (host, _) = document.host(lun.host)?;
            Some(LunView {
                host: host.clone(),
                lun: lun.number,
                volume: self.path_of(&lun.volume),
                read_only: lun.read_only,
                serial: Naa::parse(&lun.naa).map(Naa::serial).unwrap_or_default(),
                naa: lun.naa.clone(),
            })
        };
        let wanted = document.luns.iter().filter(|lun| only.is_none_or(|id| lun.host == id));
        let mut views: Vec<LunView> = wanted.filter_map(view).collect();
        views.sort_by(|a, b| (&a.host, a.lun).cmp(&(&b.host, b.lun)));
        Ok(views)
    }

    fn path_of(&self, key: &VolumeKey) -> Option<VolumePath> {
        let (pool, info) = self.volume_of(key)?;
        Some(VolumePath { pool: pool.name().clone(), volume: info.name.parse().ok()? })
    }

    pub(super) async fn tell_border(&self) {
        let exports = self.exports().await;
        self.border().apply(exports).await;
    }

    /// All that is exported now.
    pub(super) async fn exports(&self) -> Exports {
        let document = self.document();
        let secrets = self.known().secrets.clone();
        let mut volumes = BTreeMap::new();
        for lun in &document.luns {
            if !volumes.contains_key(&lun.volume) {
                volumes.insert(lun.volume.clone(), self.exported(lun).await);
            }
        }
        let chap = |host: &HostRecord| {
            let (user, secrets) = (host.chap_user.clone()?, secrets.get(&host.id)?.clone());
            Some(ExportedChap { user, mutual_user: host.mutual_user.clone(), secrets })
        };
        let luns_of = |id: HostId| {
            let own = document.luns.iter().filter(move |lun| lun.host == id);
            own.map(|lun| ExportedLun {
                number: lun.number,
                volume: lun.volume.clone(),
                read_only: lun.read_only,
            })
        };
        // A host whose secret is lost must not become one that needs none.
        let whole = document.hosts.iter().filter(|(name, host)| {
            let lost = host.chap_user.is_some() && !secrets.contains_key(&host.id);
            if lost {
                tracing::error!(host = %name, "its secret is missing, it is not served: make it anew");
            }
            !lost
        });
        let hosts = whole.map(|(name, host)| ExportedHost {
            id: host.id,
            name: name.to_string(),
            initiators: host.initiators.clone(),
            os: host.os,
            networks: host.networks.clone(),
            portals: host.portals.clone(),
            chap: chap(host),
            luns: luns_of(host.id).collect(),
        });
        Exports {
            shares: self.exported_shares(),
            hosts: hosts.collect(),
            volumes: volumes.into_values().collect(),
        }
    }

    async fn exported(&self, lun: &LunRecord) -> ExportedVolume {
        let id = DatasetId(lun.volume.volume);
        // A pool that is being opened again keeps its handles: to hosts the unit is the same.
        let mut volume = ExportedVolume {
            key: lun.volume.clone(),
            naa: Naa::parse(&lun.naa).unwrap_or(Naa([0; 16])),
            block_bytes: lun.block_bytes,
            write_cache: lun.write_cache,
            io: self.pool_of(&lun.volume.pool).and_then(|pool| pool.known_io(id)),
            content: self.known().rollbacks.get(&lun.volume).copied().unwrap_or(0),
            reservations: None,
        };
        let Some((pool, info)) = self.volume_of(&lun.volume) else { return volume };
        match pool.reservations(id).await {
            Ok(saved) => {
                volume.reservations = saved;
                volume.io = Some(pool.volume_io(info.id));
            }
            // Served without its reservations, a host could write what another has reserved.
            Err(e) => tracing::error!(pool = %pool.name(), volume = %info.name, "reservations: {e}"),
        }
        volume
    }
}

fn free_number(
    document: &Document,
    host: HostId,
    volume: &VolumeKey,
    request: &MapRequest,
) -> Result<u16, Error> {
    let own: Vec<&LunRecord> = document.luns.iter().filter(|lun| lun.host == host).collect();
    if let Some(lun) = own.iter().find(|lun| lun.volume == *volume) {
        let name = format!("{} of host {} (number {})", request.volume, request.host, lun.number);
        return Err(Error::Exists { kind: Kind::Lun, name });
    }
    let taken = |number: u16| own.iter().any(|lun| lun.number == number);
    match request.lun {
        Some(number) if number >= LUNS_MAX => {
            let remedy = format!("choose 0 to {}", LUNS_MAX - 1);
            Err(Error::invalid(format!("LUN {number} is impossible"), remedy))
        }
        Some(number) if taken(number) => {
            Err(Error::Exists { kind: Kind::Lun, name: format!("{number} of host {}", request.host) })
        }
        Some(number) => Ok(number),
        None => (0..LUNS_MAX).find(|number| !taken(*number)).ok_or_else(|| {
            let what = format!("host {} has {LUNS_MAX} volumes, which is the most", request.host);
            Error::invalid(what, "unmap one first")
        }),
    }
}

/// What an administrator may not have meant.
fn warnings(
    document: &Document,
    host: HostId,
    volume: &VolumeKey,
    number: u16,
    cache: WriteCache,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let os = document.host(host).map(|(_, host)| host.os);
    for other in document.luns.iter().filter(|lun| lun.volume == *volume) {
        let Some((name, record)) = document.host(other.host) else { continue };
        if other.number != number {
            let theirs = other.number;
            warnings.push(format!("host {name} has this volume as LUN {theirs}: use one number everywhere"));
        }
        if Some(record.os) != os {
            warnings.push(format!(
                "host {name} runs another kind of system: they would destroy each other's data"
            ));
        }
    }
    if cache == WriteCache::On && os == Some(OsKind::Esxi) {
        warnings.push(
            "ESXi does not pass its guests' flushes on: with the write cache on, a loss of power loses \
             what guests think is safe; use --write-cache auto"
                .into(),
        );
    }
    warnings
}
