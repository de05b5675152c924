//! Exports: which clients may mount which share, and as whom they act there.

use super::{Found, Manager};
use crate::border::ExportedShare;
use crate::error::{Error, Kind};
use crate::name::VolumePath;
use crate::state::{Clients, ExportRecord, Squash};
use crate::view::ExportView;
use serde::{Deserialize, Serialize};
use snapshots::DatasetId;
use std::collections::BTreeMap;

/// Most exports of a share.
const EXPORTS_MAX: usize = 1024;
/// The user and group that nobody is.
const NOBODY: u32 = 65_534;

/// An export to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// The share.
    pub share: VolumePath,
    /// Which clients.
    pub clients: Clients,
    /// Whether they may only read.
    #[serde(default)]
    pub read_only: bool,
    /// Whose claims are not believed.
    #[serde(default)]
    pub squash: Squash,
    /// The user that squashed callers become; nobody without.
    #[serde(default)]
    pub anonymous_uid: Option<u32>,
    /// Their group; nobody's without.
    #[serde(default)]
    pub anonymous_gid: Option<u32>,
    /// Whether calls must come from a port below 1024.
    #[serde(default)]
    pub secure_port: bool,
}

impl Manager {
    /// Lets clients mount a share.
    ///
    /// # Errors
    /// The share does not exist, or these clients have it already.
    pub async fn add_export(&self, request: &ExportRequest) -> Result<ExportView, Error> {
        let _turn = self.turn.lock().await;
        let Found { engine, key, .. } = self.find_share(&request.share)?;
        let attributes = self.share_attributes(&engine, &request.share)?;
        let record = ExportRecord {
            share: key.clone(),
            path: request.share.clone(),
            fsid: format!("{:016x}", attributes.fsid),
            clients: request.clients.trunc(),
            read_only: request.read_only,
            squash: request.squash,
            anonymous_uid: request.anonymous_uid.unwrap_or(NOBODY),
            anonymous_gid: request.anonymous_gid.unwrap_or(NOBODY),
            secure_port: request.secure_port,
        };
        let view = view(&record);
        self.change(|document| {
            let own = || document.exports.iter().filter(|export| export.share == key);
            if own().any(|export| export.clients == record.clients) {
                let name = format!("of {} to {}", request.share, record.clients);
                return Err(Error::Exists { kind: Kind::Export, name });
            }
            if own().count() >= EXPORTS_MAX {
                let what = format!("{} has {EXPORTS_MAX} exports, which is the most", request.share);
                return Err(Error::invalid(what, "give a network instead of single hosts"));
            }
            document.exports.push(record);
            Ok(())
        })
        .await?;
        self.tell_border().await;
        Ok(view)
    }

    /// Takes a share away from clients: when it returns, no call of theirs is begun any more.
    ///
    /// # Errors
    /// They do not have it.
    pub async fn remove_export(&self, share: &VolumePath, clients: &Clients) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let key = self.find_share(share)?.key;
        let clients = clients.trunc();
        self.change(|document| {
            let before = document.exports.len();
            document.exports.retain(|export| export.share != key || export.clients != clients);
            match document.exports.len() < before {
                true => Ok(()),
                false => Err(Error::not_found(Kind::Export, format!("of {share} to {clients}"))),
            }
        })
        .await?;
        self.tell_border().await;
        Ok(())
    }

    /// The exports (of one share).
    #[must_use]
    pub fn list_exports(&self, share: Option<&VolumePath>) -> Vec<ExportView> {
        let document = self.document();
        let wanted = document.exports.iter().filter(|export| share.is_none_or(|path| export.path == *path));
        let mut views: Vec<ExportView> = wanted.map(view).collect();
        views.sort_by(|a, b| (&a.share, a.clients).cmp(&(&b.share, b.clients)));
        views
    }

    /// The shares that are exported now.
    pub(super) fn exported_shares(&self) -> Vec<ExportedShare> {
        let document = self.document();
        let mut shares: BTreeMap<_, ExportedShare> = BTreeMap::new();
        for record in document.exports {
            let entry = shares.entry(record.share.clone()).or_insert_with(|| self.exported_share(&record));
            entry.rules.push(record);
        }
        shares.into_values().collect()
    }

    fn exported_share(&self, record: &ExportRecord) -> ExportedShare {
        let id = DatasetId(record.share.volume);
        // While its pool is opened again, it is the same share under the same key: clients are told to wait.
        let share = match self.volume_of(&record.share) {
            Some((pool, _)) => Some(pool.share(id)),
            None => self.pool_of(&record.share.pool).and_then(|pool| pool.known_share(id)),
        };
        ExportedShare {
            path: record.path.clone(),
            id: u64::from_str_radix(&record.fsid, 16).unwrap_or(0),
            share: share.and_then(|share| Some((share.clone(), share.key()?))),
            rules: Vec::new(),
        }
    }
}

fn view(record: &ExportRecord) -> ExportView {
    ExportView {
        share: record.path.clone(),
        clients: record.clients,
        read_only: record.read_only,
        squash: record.squash,
        anonymous_uid: record.anonymous_uid,
        anonymous_gid: record.anonymous_gid,
        secure_port: record.secure_port,
    }
}
