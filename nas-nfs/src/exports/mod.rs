//! What is exported to whom: shares by path and by handle, and the rules that admit clients.
//!
//! Invariants: a table is replaced as a whole, and a call sees one table from its start to its end. For a
//! client without a rule a share does not exist: MNT says NOENT as for any path, EXPORT does not list it, and
//! every handle that names it is STALE, as is one that names no share at all; whether its MAC is right is not
//! even looked at. (Linux's server answers STALE there too.) A client with a rule gets BADHANDLE for a handle
//! that was not made by the share's key, and ACCES when its port must be below 1024 and is not: that much it
//! may know, and whoever set it up needs to.
//!
//! | module | job |
//! |---|---|
//! | `rule` | one rule: which clients, and as whom they act |
//! | this one | the table of shares, looked up by path and handle |

mod rule;
#[cfg(test)]
mod tests;

pub use rule::{Clients, Rule, Squash, ANONYMOUS};

use crate::access::Credentials;
use crate::handle::{self, BadHandle, Handle, HandleKey, ShareId};
use crate::tree::{Name, ObjectRef};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a path that MNT may ask for (RFC 1813 MNTPATHLEN).
pub const MAX_PATH: usize = 1024;
/// Ports below this one are root's on a client.
const FIRST_FREE_PORT: u16 = 1024;

/// A share as it is exported.
#[derive(Debug)]
pub struct Share<T> {
    /// What stands in its handles.
    pub id: ShareId,
    /// What clients mount: `/POOL/SHARE`.
    pub path: String,
    /// The tree and the key of its handles; none while its pool is not open.
    pub tree: Option<(Arc<T>, HandleKey)>,
    /// Who may do what.
    pub rules: Vec<Rule>,
}

/// All that is exported, changed while it is served.
#[derive(Debug)]
pub struct Exports<T>(Mutex<Arc<Table<T>>>);

#[derive(Debug)]
struct Table<T> {
    shares: Vec<Arc<Share<T>>>,
    by_id: FxHashMap<ShareId, usize>,
}

/// What a client is given: a share, and the rule that admits it.
#[derive(Debug)]
pub struct Grant<T> {
    /// The share's tree.
    pub tree: Arc<T>,
    /// The rule.
    pub rule: Rule,
    id: ShareId,
    key: HandleKey,
}

impl<T> Grant<T> {
    /// The handle of an object of the share.
    #[must_use]
    pub fn seal(&self, object: ObjectRef) -> Handle {
        self.key.seal(self.id, object)
    }

    /// The object that a handle leads to, if it is of this very share.
    ///
    /// # Errors
    /// It is no handle of this share.
    pub fn open(&self, handle: &[u8]) -> Result<ObjectRef, BadHandle> {
        self.key.open(handle)
    }

    /// Which share.
    #[must_use]
    pub fn share(&self) -> ShareId {
        self.id
    }

    /// As whom a caller acts; `None` = it does not say who it is.
    #[must_use]
    pub fn credentials(&self, claimed: Option<Credentials>) -> Credentials {
        self.rule.squash(claimed)
    }
}

/// Why a client is not given what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such share, or not for this client: `MNT3ERR_NOENT`, `NFS3ERR_STALE`.
    #[error("there is no such share")]
    Absent,
    /// The client must call from a port below 1024: `MNT3ERR_ACCES`, `NFS3ERR_ACCES`.
    #[error("the client's port is not a privileged one")]
    Port,
    /// The handle was not made by the share's key: `NFS3ERR_BADHANDLE`.
    #[error("{0}")]
    BadHandle(#[from] BadHandle),
    /// The share's pool is not open: `MNT3ERR_SERVERFAULT`, `NFS3ERR_JUKEBOX`, never STALE.
    #[error("the share is not available now")]
    Unavailable,
}

/// A line of MOUNT's EXPORT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The path.
    pub path: String,
    /// The clients of the rule that admits who asks; other rules are not its business.
    pub clients: String,
}

impl<T> Default for Exports<T> {
    fn default() -> Exports<T> {
        Exports(Mutex::new(Arc::new(Table { shares: Vec::new(), by_id: FxHashMap::default() })))
    }
}

impl<T> Exports<T> {
    /// Replaces the table. Of two shares with one id or path the later one counts.
    pub fn replace(&self, shares: Vec<Share<T>>) {
        let shares: Vec<Arc<Share<T>>> = shares.into_iter().map(Arc::new).collect();
        let by_id = shares.iter().enumerate().map(|(at, share)| (share.id, at)).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Table { shares, by_id });
    }

    fn table(&self) -> Arc<Table<T>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The share that a path leads into, for this client, and the names that remain of the path: a directory
    /// in a share can be mounted too.
    ///
    /// # Errors
    /// [`Refused::Absent`], [`Refused::Port`] or [`Refused::Unavailable`].
    pub fn mount(&self, client: SocketAddr, path: &[u8]) -> Result<(Grant<T>, Vec<Name>), Refused> {
        let names = split(path).ok_or(Refused::Absent)?;
        let table = self.table();
        let matches = |share: &&Arc<Share<T>>| {
            let own: Vec<&[u8]> = components(share.path.as_bytes()).collect();
            own.len() <= names.len() && own.iter().zip(&names).all(|(a, b)| *a == b.as_bytes())
        };
        let depth = |share: &&Arc<Share<T>>| components(share.path.as_bytes()).count();
        let share = table.shares.iter().filter(matches).max_by_key(depth).ok_or(Refused::Absent)?;
        let rest = names[depth(&share)..].to_vec();
        Ok((grant(share, client)?, rest))
    }

    /// The share and the object that a handle leads to, for this client.
    ///
    /// # Errors
    /// Any of [`Refused`].
    pub fn open(&self, client: SocketAddr, handle: &[u8]) -> Result<(Grant<T>, ObjectRef), Refused> {
        let id = handle::share(handle)?;
        let table = self.table();
        let share = table.by_id.get(&id).map(|at| &table.shares[*at]).ok_or(Refused::Absent)?;
        let grant = grant(share, client)?;
        let object = grant.open(handle)?;
        Ok((grant, object))
    }

    /// What this client may mount.
    #[must_use]
    pub fn list(&self, client: IpAddr) -> Vec<Listed> {
        let table = self.table();
        let line = |share: &Arc<Share<T>>| {
            let rule = rule::find(&share.rules, client)?;
            Some(Listed { path: share.path.clone(), clients: rule.clients.to_string() })
        };
        table.shares.iter().filter_map(line).collect()
    }

    /// Whether a share is exported to this client.
    #[must_use]
    pub fn admits_to(&self, share: ShareId, client: IpAddr) -> bool {
        let table = self.table();
        let rules = table.by_id.get(&share).map_or(&[][..], |at| &table.shares[*at].rules);
        rule::find(rules, client).is_some()
    }

    /// Whether any share is exported to this client (protocol rule 20: others get no answer over UDP).
    #[must_use]
    pub fn admits(&self, client: IpAddr) -> bool {
        let table = self.table();
        let admitted = table.shares.iter().any(|share| rule::find(&share.rules, client).is_some());
        admitted
    }
}

fn grant<T>(share: &Share<T>, client: SocketAddr) -> Result<Grant<T>, Refused> {
    let rule = rule::find(&share.rules, client.ip()).ok_or(Refused::Absent)?;
    if rule.secure_port && client.port() >= FIRST_FREE_PORT {
        return Err(Refused::Port);
    }
    let (tree, key) = share.tree.as_ref().ok_or(Refused::Unavailable)?;
    Ok(Grant { tree: Arc::clone(tree), rule: rule.clone(), id: share.id, key: key.clone() })
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

/// The names of an absolute path; `.` and `..` are none.
fn split(path: &[u8]) -> Option<Vec<Name>> {
    if path.len() > MAX_PATH || path.first() != Some(&b'/') {
        return None;
    }
    components(path).map(|part| Name::new(Bytes::copy_from_slice(part)).ok()).collect()
}
