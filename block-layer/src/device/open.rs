//! Opening a device: the lock, the way its bytes are reached, and what can stand in the way.
//!
//! Invariants: the lock belongs to the very open file description that carries the I/O, so that after a
//! `kill -9` the device is free only when its last write has drained. A device that is not reached directly
//! is opened with O_DSYNC: an answered write is then durable.

use super::buf::Buf;
use super::sys::{self, Alignment};
use crate::units::{BLOCK, SECTOR};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How a device is driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// io_uring where the system offers it, else threads.
    #[default]
    Auto,
    /// io_uring, or an error.
    Uring,
    /// A pool of threads.
    Threads,
}

/// Whether the system's page cache is passed by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direct {
    /// O_DIRECT where it works, else buffered.
    #[default]
    Auto,
    /// O_DIRECT, or an error.
    Direct,
    /// Through the page cache, every write with O_DSYNC.
    Buffered,
}

/// How to open a device; the default chooses the best that works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskOptions {
    /// How it is driven.
    pub backend: Backend,
    /// Whether the page cache is passed by.
    pub direct: Direct,
}

/// Why a device could not be opened or created.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such file or device.
    #[error("{}: no such file or device: check the path", path.display())]
    Missing {
        /// The path as it was given.
        path: PathBuf,
    },
    /// This process may not read and write it.
    #[error("{}: permission to read and write is denied: grant it to this process", path.display())]
    NoPermission {
        /// The path as it was given.
        path: PathBuf,
    },
    /// Another opener holds it: a server, a mount, or one that was killed and whose writes still drain.
    #[error("{}: in use by another process: stop that process, or name each device once", path.display())]
    Busy {
        /// The path as it was given.
        path: PathBuf,
    },
    /// A directory, a socket, a terminal...
    #[error("{}: neither a regular file nor a block device: name one of these", path.display())]
    NotADisk {
        /// The path as it was given.
        path: PathBuf,
    },
    /// A file that was to be created is there already.
    #[error("{}: exists already and is not overwritten: choose another path, or remove it", path.display())]
    Exists {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The options insist on what this system or device cannot do.
    #[error("{}: {what} is not available here: let the mode be chosen automatically", path.display())]
    Unavailable {
        /// The path as it was given.
        path: PathBuf,
        /// `io_uring` or `O_DIRECT`.
        what: &'static str,
    },
    /// Anything else.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The path as it was given.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

impl OpenError {
    fn from_io(path: &Path, cause: io::Error) -> OpenError {
        let path = path.to_path_buf();
        match cause.kind() {
            io::ErrorKind::NotFound => OpenError::Missing { path },
            io::ErrorKind::PermissionDenied => OpenError::NoPermission { path },
            io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock => OpenError::Busy { path },
            io::ErrorKind::IsADirectory => OpenError::NotADisk { path },
            io::ErrorKind::AlreadyExists => OpenError::Exists { path },
            _ => OpenError::Io { path, cause },
        }
    }
}

/// An opened and locked device.
pub(super) struct Opened {
    pub(super) file: File,
    /// A regular file, not a block device.
    pub(super) regular: bool,
    /// Whether the page cache is passed by.
    pub(super) direct: bool,
    pub(super) alignment: Alignment,
}

/// Opens and locks the device at `path`.
pub(super) fn open(path: &Path, direct: Direct) -> Result<Opened, OpenError> {
    let fail = |cause| OpenError::from_io(path, cause);
    let kind = fs::metadata(path).map_err(fail)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(OpenError::NotADisk { path: path.to_path_buf() });
    }
    let regular = kind.is_file();
    if direct != Direct::Buffered {
        if let Some((file, alignment)) = open_direct(path, regular).map_err(fail)? {
            return Ok(Opened { file, regular, direct: true, alignment });
        }
        if direct == Direct::Direct {
            return Err(OpenError::Unavailable { path: path.to_path_buf(), what: "O_DIRECT" });
        }
    }
    let file = open_locked(path, regular, libc::O_DSYNC).map_err(fail)?;
    let sector = candidates(&file).first().map_or(SECTOR as u32, |told| told.offset);
    Ok(Opened { file, regular, direct: false, alignment: Alignment { memory: 1, offset: sector } })
}

/// Makes a new file of `len` bytes with its space reserved, durably.
pub(super) fn create(path: &Path, len: u64) -> Result<(), OpenError> {
    let fail = |cause| OpenError::from_io(path, cause);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let made = sys::allocate(&file, len)
        .and_then(|()| file.sync_all())
        .and_then(|()| File::open(directory)?.sync_all());
    made.map_err(|cause| {
        // Best effort: what failed is reported, and the half-made file has never held data.
        let _ = fs::remove_file(path);
        fail(cause)
    })
}

/// The present size in bytes of a file or block device.
pub(super) fn size_of(mut file: &File) -> io::Result<u64> {
    // The position that this moves is used by nobody.
    file.seek(SeekFrom::End(0))
}

fn open_locked(path: &Path, regular: bool, flags: i32) -> io::Result<File> {
    let exclusive = if regular { 0 } else { libc::O_EXCL };
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags | exclusive).open(path)?;
    sys::lock(&file)?;
    Ok(file)
}

/// Opens with O_DIRECT and proves with a read that it works; `None` when it does not.
fn open_direct(path: &Path, regular: bool) -> io::Result<Option<(File, Alignment)>> {
    let file = match open_locked(path, regular, libc::O_DIRECT) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => return Ok(None),
        other => other?,
    };
    for alignment in candidates(&file) {
        match file.read_at(&mut Buf::zeroed(alignment.offset as usize), 0) {
            Ok(_) => return Ok(Some((file, alignment))),
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

/// The alignments worth trying: the one that the system tells, else the usual ones.
fn candidates(file: &File) -> Vec<Alignment> {
    let both = |bytes| Alignment { memory: bytes, offset: bytes };
    let told = sys::direct_alignment(file).or_else(|| sys::logical_sector(file).map(both));
    match told {
        Some(Alignment { memory, offset }) => {
            let offset = offset.max(SECTOR as u32);
            let usable = memory.is_power_of_two()
                && memory as usize <= BLOCK
                && [SECTOR, BLOCK].contains(&(offset as usize));
            usable.then_some(Alignment { memory, offset }).into_iter().collect()
        }
        None => vec![both(SECTOR as u32), both(BLOCK as u32)],
    }
}
