//! The crate's errors: a variant for each reaction that a caller can have.

use std::io;
use std::path::PathBuf;

/// What a device answered instead of doing what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DiskError {
    /// The device reported a failure; what it did of the request is unknown.
    #[error("{device}: {op} of {len} bytes at {at} failed: {cause}")]
    Io {
        /// The device as the administrator named it.
        device: String,
        /// `read`, `write` or `flush`.
        op: &'static str,
        /// Byte offset on the device.
        at: u64,
        /// Bytes asked for.
        len: u64,
        /// What the system said.
        cause: IoCause,
    },
    /// The driver of this device is gone (its thread ended): the outcome is unknown.
    #[error("{device}: the I/O driver stopped before the request was answered")]
    Gone {
        /// The device as the administrator named it.
        device: String,
    },
}

/// The system's reason, kept as a kind and an errno so that errors can be cloned to many waiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoCause {
    /// The errno, when there was one.
    pub errno: Option<i32>,
    /// The kind, for matching.
    pub kind: io::ErrorKind,
}

impl From<&io::Error> for IoCause {
    fn from(e: &io::Error) -> Self {
        IoCause { errno: e.raw_os_error(), kind: e.kind() }
    }
}

impl std::fmt::Display for IoCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.errno {
            Some(errno) => write!(f, "{}", io::Error::from_raw_os_error(errno)),
            None => write!(f, "{}", io::Error::from(self.kind)),
        }
    }
}

/// What the index answered instead of doing what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IndexError {
    /// The library or the file system under it failed.
    #[error("index: {0}")]
    Backend(String),
    /// A value does not decode: the index is damaged.
    #[error("index: the entry at key {key:02x?} is damaged: {what}")]
    Damaged {
        /// The raw key.
        key: Vec<u8>,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The files of the index are damaged: it must be repaired or rebuilt, a retry will not help.
    #[error("index: its files are damaged: {0}: restore the index directory")]
    Corrupt(String),
    /// The directory holds no index: it is missing, empty, or something else's.
    #[error("index: {} holds no index: name the pool's own index directory", .dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// A new index was asked for in a directory that is not empty.
    #[error("index: {} is not empty; a new index needs an empty directory", .dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// The index is open already, in this process or another one.
    #[error("index: {} is in use by another process: stop that process", .dir.display())]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
    /// No space left on the file system of the index.
    #[error("index: no space left on its file system: free some")]
    Full,
}
