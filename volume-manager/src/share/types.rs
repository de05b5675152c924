//! What a tree of files says and is told: objects, attributes, changes, faults.
//!
//! The words and their meaning are POSIX's. Offsets, sizes and lengths are in bytes.

use bytes::Bytes;

/// Which object: stable for its whole life, over restarts, renames and rollbacks, and never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// 0 = the live tree; otherwise one of its snapshots, or the directory that lists them.
    pub view: u64,
    /// The inode number.
    pub inode: u64,
    /// Tells two uses of one number apart.
    pub generation: u64,
}

/// What kind of object (RFC 1813 ftype3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A block device, with its major and minor number.
    Block(u32, u32),
    /// A character device, with its major and minor number.
    Character(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// A point in time since 1970, UTC. Seconds may be before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds, below 10^9.
    pub nanos: u32,
}

/// What is known of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with set-user-id, set-group-id and sticky: 0o7777.
    pub mode: u32,
    /// Names that lead to it; of a directory 2 and one for each directory in it.
    pub links: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Bytes of content; of a symbolic link the length of its target.
    pub size: u64,
    /// Bytes of space that it takes.
    pub used: u64,
    /// The file system: each snapshot of a tree is one of its own.
    pub fsid: u64,
    /// Last read. It may lag.
    pub atime: Time,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of anything; strictly increases for an object, whatever the clock does.
    pub ctime: Time,
    /// Rises with every change of the object (RFC 8881 5.8.1.4).
    pub change: u64,
}

/// How a time is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// To the tree's clock.
    Now,
    /// To this.
    To(Time),
}

/// Attributes to set; `None` = as they are, or the default of a new object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// Bytes of a file: what is cut off is freed in the background, what is added reads as zeroes.
    pub size: Option<u64>,
    /// Last read.
    pub atime: Option<SetTime>,
    /// Last change of content.
    pub mtime: Option<SetTime>,
}

/// An object's attributes before and after a change, taken in the instant of the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around {
    /// Before.
    pub before: Attributes,
    /// After.
    pub after: Attributes,
}

/// A name in a directory: 1 to 255 bytes, no `/` and no NUL, neither `.` nor `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(Bytes);

impl FileName {
    /// Longest name, in bytes.
    pub const MAX: usize = 255;

    /// The name with these bytes.
    ///
    /// # Errors
    /// [`Fault::NameTooLong`], or [`Fault::Invalid`] for what can be no name.
    pub fn new(bytes: Bytes) -> Result<FileName, Fault> {
        if bytes.len() > FileName::MAX {
            return Err(Fault::NameTooLong);
        }
        let special = bytes.is_empty() || &bytes[..] == b"." || &bytes[..] == b"..";
        if special || bytes.iter().any(|b| matches!(b, 0 | b'/')) {
            return Err(Fault::Invalid);
        }
        Ok(FileName(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What is made at a new name, or found there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum New {
    /// A file; if there is one of this name, it is taken, and only its size is set (UNCHECKED).
    File(SetAttributes),
    /// A file that must not be there yet (GUARDED).
    FileOnly(SetAttributes),
    /// A file that must not be there yet, unless it was made with this very verifier (EXCLUSIVE). The owner
    /// is set, the rest comes later.
    FileOnce {
        /// The client's verifier.
        verifier: [u8; 8],
        /// Owner and mode.
        attributes: SetAttributes,
    },
    /// A directory.
    Directory(SetAttributes),
    /// A symbolic link and its target, 1 to 4095 bytes.
    Symlink(Bytes, SetAttributes),
    /// A device, pipe or socket.
    Node(Kind, SetAttributes),
}

/// A change of the tree, atomic and durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets attributes; `guard` is the ctime that the object must have.
    Set {
        /// The object.
        object: ObjectRef,
        /// What to set.
        attributes: SetAttributes,
        /// Refused with [`Fault::NotSync`] when the ctime is another.
        guard: Option<Time>,
    },
    /// Makes an object.
    Make {
        /// In this directory.
        directory: ObjectRef,
        /// With this name.
        name: FileName,
        /// What.
        new: New,
    },
    /// Removes a name that is not a directory's; the object goes with its last name.
    Remove {
        /// From this directory.
        directory: ObjectRef,
        /// The name.
        name: FileName,
    },
    /// Removes an empty directory.
    RemoveDirectory {
        /// From this directory.
        directory: ObjectRef,
        /// Its name.
        name: FileName,
    },
    /// Moves a name; what has the new name is replaced, if it is of the same sort and, a directory, empty.
    /// Two names of one object: nothing happens (POSIX rename).
    Rename {
        /// From this directory.
        from: ObjectRef,
        /// The old name.
        name: FileName,
        /// To this directory.
        to: ObjectRef,
        /// The new name.
        new_name: FileName,
    },
    /// Gives an object that is no directory one more name.
    Link {
        /// The object.
        object: ObjectRef,
        /// In this directory.
        directory: ObjectRef,
        /// The name.
        name: FileName,
    },
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The object made, linked, set or removed, and its attributes now. Of one whose last name went: as they
    /// were, with no links.
    pub object: Option<(ObjectRef, Attributes)>,
    /// The object of a `Set`; otherwise the directory, of a rename the one that the name left.
    pub first: Around,
    /// The directory that a renamed object came to.
    pub second: Option<Around>,
}

/// Where the answer to a change is kept, in the same commit as its effect (protocol rule 18).
///
/// A tree keeps one record for each client and slot, the newest, and asks nothing about it.
pub struct Record<'a> {
    /// The client: its address, as IPv6.
    pub client: [u8; 16],
    /// Which of the client's records it replaces.
    pub slot: u16,
    /// Makes the bytes to keep, at most 1 KiB, of what was done.
    pub encode: &'a (dyn Fn(&Changed) -> Vec<u8> + Send + Sync),
}

/// What was kept for a client: see [`Record`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The client.
    pub client: [u8; 16],
    /// Its slot.
    pub slot: u16,
    /// What was kept.
    pub bytes: Bytes,
}

/// How far a write has got when it is answered (RFC 1813 stable_how).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stability {
    /// It survives the death of the process (P1); a commit makes it durable.
    Unstable,
    /// Its data, and what is needed to read it back, survives the loss of power (P2).
    Data,
    /// So do the times.
    File,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub file: Around,
    /// At least what was asked for.
    pub stability: Stability,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadData {
    /// The bytes: fewer than asked for only at the end of the file.
    pub data: Bytes,
    /// Whether they reach the end.
    pub end: bool,
    /// The file.
    pub attributes: Attributes,
}

/// A name found in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where to go on behind it; at least 3. Stays valid while names come and go.
    pub cookie: u64,
    /// The name.
    pub name: Bytes,
    /// The object.
    pub object: ObjectRef,
    /// Its attributes, if they were asked for.
    pub attributes: Option<Attributes>,
}

/// Part of a directory, without `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The entries, in order of their cookies.
    pub entries: Vec<Entry>,
    /// Whether nothing comes behind them.
    pub end: bool,
    /// Changes when cookies of this directory became invalid, by a rollback.
    pub verifier: u64,
    /// The directory.
    pub attributes: Attributes,
    /// The directory above; the root's is itself.
    pub parent: ObjectRef,
}

/// Space and inodes of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes in all: the quota, or what the pool could give.
    pub total: u64,
    /// Bytes free.
    pub free: u64,
    /// Inodes in use.
    pub inodes: u64,
}

/// Why a tree did not do as it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The object is gone for good.
    #[error("the object does not exist any more")]
    Stale,
    /// No such name.
    #[error("no such name")]
    NotFound,
    /// The name is taken.
    #[error("the name exists")]
    Exists,
    /// It must be a directory and is none.
    #[error("not a directory")]
    NotDirectory,
    /// It is a directory and must be none.
    #[error("a directory")]
    IsDirectory,
    /// The directory has names.
    #[error("the directory is not empty")]
    NotEmpty,
    /// The object is of another kind than the call is for, or a name or number makes no sense.
    #[error("makes no sense for this object")]
    Invalid,
    /// The name has more than 255 bytes, or the link target more than 4095.
    #[error("the name is too long")]
    NameTooLong,
    /// The file would become larger than 16 TiB.
    #[error("the file would be too large")]
    TooLarge,
    /// The object has as many names as it can have.
    #[error("too many links")]
    TooManyLinks,
    /// Both objects must be of one tree.
    #[error("not in the same tree")]
    CrossTree,
    /// A snapshot does not change.
    #[error("a snapshot cannot be changed")]
    ReadOnly,
    /// The guard does not hold.
    #[error("the object has changed")]
    NotSync,
    /// The cookie is of a time before a rollback, or never was one.
    #[error("the cookie is not valid")]
    BadCookie,
    /// No space is left: nothing was done, and a retry may succeed once space was freed.
    #[error("no space is left")]
    NoSpace,
    /// The quota is reached: nothing was done.
    #[error("the quota is reached")]
    Quota,
    /// Data is damaged and no good copy exists (P4): never returned as data.
    #[error("data is damaged")]
    Corrupt,
    /// The storage behind it is not there now: try again.
    #[error("the tree's storage is not available")]
    Unavailable,
}
