//! The crate's errors: what was refused, why, and what to do about it.
//!
//! [`Error::code`] is stable: programs rely on it. The texts are for people and may change.

use crate::name::BadName;
use snapshots::engine::FilesError;
use std::path::PathBuf;

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pool.
    Pool,
    /// A volume.
    Volume,
    /// A snapshot.
    Snapshot,
    /// A host.
    Host,
    /// A volume given to a host.
    Lun,
    /// A tree of files.
    Share,
    /// A share given to clients.
    Export,
    /// A file of a share.
    File,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Pool => "pool",
            Kind::Volume => "volume",
            Kind::Snapshot => "snapshot",
            Kind::Host => "host",
            Kind::Lun => "LUN",
            Kind::Share => "share",
            Kind::Export => "export",
            Kind::File => "file",
        })
    }
}

/// Why an administrator's command was not done. Nothing was changed, unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of that name.
    #[error("{kind} {name} does not exist: see `ashlar {command}`")]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// Its name.
        name: String,
        /// The command that lists what there is.
        command: &'static str,
    },
    /// The name is taken.
    #[error("{kind} {name} exists already: choose another name")]
    Exists {
        /// What exists.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The request makes no sense.
    #[error("{what}: {remedy}")]
    Invalid {
        /// What is wrong.
        what: String,
        /// What would be right.
        remedy: String,
    },
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] BadName),
    /// Something still needs it.
    #[error("{what} is in use: {why}: {remedy}")]
    InUse {
        /// What is in use.
        what: String,
        /// By whom or what.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// The pool did not open, or has failed.
    #[error("pool {pool} is not available: {why}: repair it and start the server again")]
    PoolFailed {
        /// The pool.
        pool: String,
        /// Why.
        why: String,
    },
    /// No space.
    #[error("no space is left in pool {pool}: delete or unmap something, or add a device")]
    NoSpace {
        /// The pool.
        pool: String,
    },
    /// The devices of a pool cannot be opened.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(snapshots::Error),
    /// The state directory is used by another server.
    #[error("another server uses {}: stop it, or choose another --state-dir", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// A file of the state directory does not make sense.
    #[error("{} is damaged ({why}): restore it from a backup", file.display())]
    BadState {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file or directory cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Error::NotFound { .. } => "not-found",
            Error::Exists { .. } => "exists",
            Error::Invalid { .. } | Error::Name(_) => "invalid",
            Error::InUse { .. } => "in-use",
            Error::PoolFailed { .. } => "pool-failed",
            Error::NoSpace { .. } => "no-space",
            Error::Files(_) => "device",
            Error::Engine(_) => "storage",
            Error::Locked { .. } => "locked",
            Error::BadState { .. } => "bad-state",
            Error::Io { .. } => "io",
        }
    }

    pub(crate) fn not_found(kind: Kind, name: impl ToString) -> Error {
        let command = match kind {
            Kind::Pool => "pool list",
            Kind::Volume => "volume list",
            Kind::Snapshot => "snapshot list",
            Kind::Host => "host list",
            Kind::Lun => "lun list",
            Kind::Share => "share list",
            Kind::Export => "export list",
            Kind::File => "share list",
        };
        Error::NotFound { kind, name: name.to_string(), command }
    }

    pub(crate) fn invalid(what: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Invalid { what: what.into(), remedy: remedy.into() }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        |source| Error::Io { path, source }
    }
}
