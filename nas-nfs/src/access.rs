//! Who may do what: pure decisions over attributes and credentials, as POSIX has them.
//!
//! Invariants: nothing here looks anything up or changes anything. Credentials come in after the export's
//! squash. Who owns a file may read and write it whatever its bits say, since a client checks at open, once,
//! and a server at every call (RFC 1813 4.4). User 0 may do all but execute what nobody may execute.

#[cfg(test)]
mod tests;

use crate::tree::{Attributes, Kind, SetAttributes, SetTime};

/// Groups that credentials can have besides the first (RFC 5531 appendix A).
pub const MAX_GROUPS: usize = 16;

/// Bits of a mode, for one class of users.
const READ: u32 = 4;
const WRITE: u32 = 2;
const EXECUTE: u32 = 1;
const STICKY: u32 = 0o1000;
const SET_GID: u32 = 0o2000;
const SET_IDS: u32 = 0o6000;

/// Bits of ACCESS (RFC 1813 3.3.4).
pub mod bits {
    /// Read a file, or the names of a directory.
    pub const READ: u32 = 0x01;
    /// Look up a name in a directory.
    pub const LOOKUP: u32 = 0x02;
    /// Change what a file holds, or names that a directory has.
    pub const MODIFY: u32 = 0x04;
    /// Write beyond a file's end, or add names to a directory.
    pub const EXTEND: u32 = 0x08;
    /// Remove names from a directory.
    pub const DELETE: u32 = 0x10;
    /// Execute a file.
    pub const EXECUTE: u32 = 0x20;
}

/// Whose call it is, after squash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub uid: u32,
    /// The first group.
    pub gid: u32,
    /// Further groups: at most [`MAX_GROUPS`].
    pub groups: Vec<u32>,
}

impl Credentials {
    fn is_root(&self) -> bool {
        self.uid == 0
    }

    fn owns(&self, of: &Attributes) -> bool {
        self.is_root() || self.uid == of.uid
    }

    /// Whether the group is one of theirs.
    #[must_use]
    pub fn has_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// Whether the bits of a mode allow all of `wanted`.
    fn allowed(&self, of: &Attributes, wanted: u32) -> bool {
        if self.is_root() {
            let nobody = of.kind != Kind::Directory && of.mode & 0o111 == 0;
            return !(nobody && wanted & EXECUTE != 0);
        }
        let class = if self.uid == of.uid {
            of.mode >> 6
        } else if self.has_group(of.gid) {
            of.mode >> 3
        } else {
            of.mode
        };
        class & wanted == wanted
    }
}

/// Why a change is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bits say no: `NFS3ERR_ACCES`.
    #[error("permission denied")]
    Access,
    /// Only the owner or user 0 may: `NFS3ERR_PERM`.
    #[error("not the owner")]
    Owner,
}

fn need(allowed: bool, refusal: Refusal) -> Result<(), Refusal> {
    if allowed {
        Ok(())
    } else {
        Err(refusal)
    }
}

/// Whether content may be read. Who may execute a file may read it: a client cannot run it otherwise.
///
/// # Errors
/// [`Refusal::Access`].
pub fn read(who: &Credentials, file: &Attributes) -> Result<(), Refusal> {
    let may = who.owns(file) || who.allowed(file, READ) || who.allowed(file, EXECUTE);
    need(may, Refusal::Access)
}

/// Whether content may be written, or cut.
///
/// # Errors
/// [`Refusal::Access`].
pub fn write(who: &Credentials, file: &Attributes) -> Result<(), Refusal> {
    need(who.owns(file) || who.allowed(file, WRITE), Refusal::Access)
}

/// Whether names may be looked up in a directory.
///
/// # Errors
/// [`Refusal::Access`].
pub fn search(who: &Credentials, directory: &Attributes) -> Result<(), Refusal> {
    need(who.allowed(directory, EXECUTE), Refusal::Access)
}

/// Whether a directory's names may be listed.
///
/// # Errors
/// [`Refusal::Access`].
pub fn list(who: &Credentials, directory: &Attributes) -> Result<(), Refusal> {
    need(who.allowed(directory, READ), Refusal::Access)
}

/// Whether names may be added to a directory, for new objects and for links to old ones.
///
/// # Errors
/// [`Refusal::Access`].
pub fn add(who: &Credentials, directory: &Attributes) -> Result<(), Refusal> {
    need(who.allowed(directory, WRITE | EXECUTE), Refusal::Access)
}

/// Whether a name may be taken from a directory, or be replaced there; in a sticky one only by who owns the
/// object or the directory.
///
/// # Errors
/// [`Refusal::Access`], or [`Refusal::Owner`] in a sticky directory.
pub fn take(who: &Credentials, directory: &Attributes, object: &Attributes) -> Result<(), Refusal> {
    add(who, directory)?;
    let sticky = directory.mode & STICKY != 0;
    need(!sticky || who.owns(directory) || who.owns(object), Refusal::Owner)
}

/// Whether an object may move from one directory to another (POSIX rename); `replaced` = what has the new
/// name. A directory that moves gets another `..`, which is a change of its content.
///
/// # Errors
/// [`Refusal::Access`], or [`Refusal::Owner`] in a sticky directory.
pub fn rename(
    who: &Credentials,
    from: &Attributes,
    object: &Attributes,
    to: &Attributes,
    replaced: Option<&Attributes>,
    same_directory: bool,
) -> Result<(), Refusal> {
    take(who, from, object)?;
    match replaced {
        Some(replaced) => take(who, to, replaced)?,
        None => add(who, to)?,
    }
    let moves = object.kind == Kind::Directory && !same_directory;
    need(!moves || who.allowed(object, WRITE), Refusal::Access)
}

/// Whether attributes may be set, and what is really set: set-id bits are dropped from what its owner gives
/// away, and set-group-id from a mode that somebody sets who is not of the group (POSIX chmod, chown).
///
/// # Errors
/// [`Refusal::Owner`] for mode, owner, group and times of somebody else's object; [`Refusal::Access`] for
/// size and for the current time, which who may write may set.
pub fn set(who: &Credentials, of: &Attributes, wanted: &SetAttributes) -> Result<SetAttributes, Refusal> {
    let mut set = *wanted;
    set.mode = wanted.mode.map(|mode| mode & 0o7777);
    if wanted.size.is_some() {
        write(who, of)?;
    }
    set_times(who, of, wanted)?;
    need(wanted.mode.is_none() || who.owns(of), Refusal::Owner)?;
    let gives = wanted.uid.is_some_and(|uid| uid != of.uid);
    let regroups = wanted.gid.is_some_and(|gid| gid != of.gid);
    if !who.is_root() {
        need(!gives, Refusal::Owner)?;
        // To set what is set already is the owner's right too, and nobody else's.
        need(wanted.uid.is_none() && wanted.gid.is_none() || who.owns(of), Refusal::Owner)?;
        need(!regroups || wanted.gid.is_some_and(|gid| who.has_group(gid)), Refusal::Owner)?;
    }
    let gid = wanted.gid.unwrap_or(of.gid);
    if let Some(mode) = set.mode {
        if !who.is_root() && !who.has_group(gid) {
            set.mode = Some(mode & !SET_GID);
        }
    } else if (wanted.uid.is_some() || wanted.gid.is_some()) && of.kind != Kind::Directory {
        let kept = without_ids(of.mode);
        set.mode = (kept != of.mode).then_some(kept);
    }
    if set.mode.is_none() && wanted.size.is_some() && clears_ids(who, of) {
        set.mode = Some(without_ids(of.mode));
    }
    Ok(set)
}

fn set_times(who: &Credentials, of: &Attributes, wanted: &SetAttributes) -> Result<(), Refusal> {
    let times = [wanted.atime, wanted.mtime];
    let given = times.iter().any(|time| matches!(time, Some(SetTime::To(_))));
    need(!given || who.owns(of), Refusal::Owner)?;
    let current = times.iter().any(Option::is_some);
    need(!current || who.owns(of) || who.allowed(of, WRITE), Refusal::Access)
}

/// A mode without set-user-id, and without set-group-id where the group may execute (else the bit means
/// mandatory locking, and stays).
#[must_use]
pub fn without_ids(mode: u32) -> u32 {
    let group_executes = mode & 0o010 != 0;
    mode & !if group_executes { SET_IDS } else { 0o4000 }
}

/// Whether this user's write to a file drops its set-id bits: everybody's but user 0's.
#[must_use]
pub fn clears_ids(who: &Credentials, file: &Attributes) -> bool {
    !who.is_root() && file.kind == Kind::Regular && without_ids(file.mode) != file.mode
}

/// What a new object gets: who makes it owns it; in a set-group-id directory it is of the directory's group,
/// and a directory has the bit itself. What the maker asked for holds as far as the maker could set it.
///
/// # Errors
/// [`Refusal::Access`] without the right to add names, [`Refusal::Owner`] for an owner or group that the
/// maker may not give, and for devices that are not made by user 0.
pub fn make(
    who: &Credentials,
    directory: &Attributes,
    kind: Kind,
    wanted: &SetAttributes,
) -> Result<SetAttributes, Refusal> {
    add(who, directory)?;
    let device = matches!(kind, Kind::Block(..) | Kind::Character(..));
    need(!device || who.is_root(), Refusal::Owner)?;
    let inherits = directory.mode & SET_GID != 0;
    let natural = if inherits { directory.gid } else { who.gid };
    let (uid, gid) = (wanted.uid.unwrap_or(who.uid), wanted.gid.unwrap_or(natural));
    need(who.is_root() || uid == who.uid, Refusal::Owner)?;
    need(who.is_root() || gid == natural || who.has_group(gid), Refusal::Owner)?;
    let mut mode = wanted.mode.map(|mode| mode & 0o7777);
    if kind == Kind::Directory && inherits {
        mode = Some(mode.unwrap_or(0o755) | SET_GID);
    } else if !who.is_root() && !who.has_group(gid) {
        mode = mode.map(|mode| mode & !SET_GID);
    }
    Ok(SetAttributes { mode, uid: Some(uid), gid: Some(gid), ..*wanted })
}

/// Which of the `asked` [`bits`] are granted (RFC 1813 3.3.4). `read_only` = the export or the view is.
#[must_use]
pub fn granted(who: &Credentials, of: &Attributes, asked: u32, read_only: bool) -> u32 {
    let directory = of.kind == Kind::Directory;
    // Bits, and not the owner's privilege of reads and writes, which is for files that are open already.
    let may = |wanted| who.allowed(of, wanted);
    let changes = !read_only || !matches!(of.kind, Kind::Regular | Kind::Directory | Kind::Symlink);
    let mut granted = 0;
    if may(READ) {
        granted |= bits::READ;
    }
    if directory && may(EXECUTE) {
        granted |= bits::LOOKUP;
    }
    if !directory && may(EXECUTE) {
        granted |= bits::EXECUTE;
    }
    let modify = if directory { may(WRITE | EXECUTE) } else { may(WRITE) };
    if changes && modify {
        granted |= bits::MODIFY | bits::EXTEND;
        if directory {
            granted |= bits::DELETE;
        }
    }
    granted & asked
}
