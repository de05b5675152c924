//! The results of the procedures of NFSv3 (RFC 1813 3.3), each as it travels when the procedure succeeded.

use super::types::{FileAttributes, Handle, PostAttributes, StableHow, Wcc};
use crate::tree::Time;
use crate::xdr::{xdr_struct, List, Payload};
use bytes::Bytes;

xdr_struct! {
    /// LOOKUP (3.3.3).
    pub struct Found {
        /// The object.
        pub object: Handle,
        /// Its attributes.
        pub attributes: PostAttributes,
        /// Those of the directory.
        pub directory: PostAttributes,
    }

    /// ACCESS (3.3.4).
    pub struct Accessible {
        /// Of the object.
        pub attributes: PostAttributes,
        /// What is allowed of what was asked about.
        pub access: u32,
    }

    /// READLINK (3.3.5).
    pub struct LinkTarget {
        /// Of the link.
        pub attributes: PostAttributes,
        /// What it says.
        pub target: Bytes,
    }

    /// READ (3.3.6).
    pub struct ReadDone {
        /// Of the file.
        pub attributes: PostAttributes,
        /// Bytes read.
        pub count: u32,
        /// Whether the file ends with them.
        pub end: bool,
        /// These.
        pub data: Payload,
    }

    /// WRITE (3.3.7).
    pub struct WriteDone {
        /// Of the file.
        pub wcc: Wcc,
        /// Bytes written.
        pub count: u32,
        /// How durable they are.
        pub committed: StableHow,
        /// Another one than before: what was not durable may be gone.
        pub verifier: u64,
    }

    /// CREATE, MKDIR, SYMLINK and MKNOD (3.3.8 to 3.3.11).
    pub struct Made {
        /// The object.
        pub object: Option<Handle>,
        /// Its attributes.
        pub attributes: PostAttributes,
        /// Of the directory.
        pub directory: Wcc,
    }

    /// RENAME (3.3.14), whether it succeeded or not.
    #[derive(Default)]
    pub struct Renamed {
        /// Of the directory that the name left.
        pub from: Wcc,
        /// Of the one that it came to.
        pub to: Wcc,
    }

    /// LINK (3.3.15), whether it succeeded or not.
    #[derive(Default)]
    pub struct Linked {
        /// Of the object.
        pub attributes: PostAttributes,
        /// Of the directory.
        pub directory: Wcc,
    }

    /// A name (entry3).
    pub struct Entry {
        /// Of its object.
        pub fileid: u64,
        /// The name.
        pub name: Bytes,
        /// Where to go on.
        pub cookie: u64,
    }

    /// READDIR (3.3.16).
    pub struct Names {
        /// Of the directory.
        pub attributes: PostAttributes,
        /// What the cookies belong to.
        pub verifier: u64,
        /// The names.
        pub entries: List<Entry>,
        /// Whether there are no more.
        pub end: bool,
    }

    /// A name and its object (entryplus3).
    pub struct EntryPlus {
        /// The name.
        pub entry: Entry,
        /// Attributes of its object.
        pub attributes: PostAttributes,
        /// The object.
        pub object: Option<Handle>,
    }

    /// READDIRPLUS (3.3.17).
    pub struct NamesPlus {
        /// Of the directory.
        pub attributes: PostAttributes,
        /// What the cookies belong to.
        pub verifier: u64,
        /// The names.
        pub entries: List<EntryPlus>,
        /// Whether there are no more.
        pub end: bool,
    }

    /// FSSTAT (3.3.18).
    pub struct FsStat {
        /// Of the root.
        pub attributes: PostAttributes,
        /// Bytes in all.
        pub total_bytes: u64,
        /// Bytes free.
        pub free_bytes: u64,
        /// Bytes free to this user.
        pub available_bytes: u64,
        /// Inodes in all.
        pub total_files: u64,
        /// Inodes free.
        pub free_files: u64,
        /// Inodes free to this user.
        pub available_files: u64,
        /// Seconds for which this stays true.
        pub invariant_s: u32,
    }

    /// FSINFO (3.3.19).
    pub struct FsInfo {
        /// Of the root.
        pub attributes: PostAttributes,
        /// Largest READ, in bytes.
        pub read_max: u32,
        /// Best READ.
        pub read_preferred: u32,
        /// A good divisor.
        pub read_multiple: u32,
        /// Largest WRITE, in bytes.
        pub write_max: u32,
        /// Best WRITE.
        pub write_preferred: u32,
        /// A good divisor.
        pub write_multiple: u32,
        /// Best READDIR.
        pub names_preferred: u32,
        /// Largest file, in bytes.
        pub file_max: u64,
        /// How fine times are.
        pub time_delta: Time,
        /// What the file system can.
        pub properties: u32,
    }

    /// PATHCONF (3.3.20).
    pub struct PathConf {
        /// Of the object.
        pub attributes: PostAttributes,
        /// Names of an object, at most.
        pub links_max: u32,
        /// Bytes of a name, at most.
        pub name_max: u32,
        /// Longer names are refused, not cut.
        pub no_truncation: bool,
        /// Only user 0 gives files away.
        pub chown_restricted: bool,
        /// Names that differ in case only are one.
        pub case_insensitive: bool,
        /// Names keep their case.
        pub case_preserving: bool,
    }

    /// COMMIT (3.3.21).
    pub struct CommitDone {
        /// Of the file.
        pub wcc: Wcc,
        /// Another one than before: what was not durable may be gone.
        pub verifier: u64,
    }

    /// GETATTR (3.3.1).
    pub struct Known {
        /// Of the object.
        pub attributes: FileAttributes,
    }
}
