//! [`FileDisk`]: a regular file or a block device as a [`Disk`].
//!
//! Invariants: the device stays open and locked until the disk is dropped *and* its last request is answered;
//! nothing beyond its present end is read or written, so that a wrong address never makes a file longer.

use super::open::{self, Backend, DiskOptions, OpenError};
use super::request::{OpenFile, Request};
use super::{sys, threads, uring};
use super::{Buf, Disk, Geometry, Io};
use crate::error::{DiskError, IoCause};
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// A file or block device, opened, locked, and driven by io_uring or threads.
pub struct FileDisk {
    open: Arc<OpenFile>,
    len: AtomicU64,
    sector: u32,
    regular: bool,
    direct: bool,
    uring: bool,
    volatile: bool,
}

impl FileDisk {
    /// Makes a new file of `len` bytes, its space reserved but not written, durable with its name; blocks.
    ///
    /// # Errors
    /// `Exists` when there is such a file; it is not touched. On any other error no file is left.
    pub fn create(path: &Path, len: u64) -> Result<(), OpenError> {
        open::create(path, len)
    }

    /// Opens and locks the file or block device at `path`; blocks.
    ///
    /// # Errors
    /// `Busy` while any other opener, of this process or another, holds it.
    pub fn open(path: &Path, options: &DiskOptions) -> Result<FileDisk, OpenError> {
        let uring = options.backend != Backend::Threads && uring::available();
        if options.backend == Backend::Uring && !uring {
            return Err(OpenError::Unavailable { path: path.to_path_buf(), what: "io_uring" });
        }
        let opened = open::open(path, options.direct)?;
        let volatile = opened.regular && sys::is_in_memory(&opened.file);
        let open = OpenFile {
            file: opened.file,
            name: path.display().to_string().into(),
            memory_align: opened.alignment.memory as usize,
        };
        let disk = FileDisk {
            open: Arc::new(open),
            len: AtomicU64::new(0),
            sector: opened.alignment.offset,
            regular: opened.regular,
            direct: opened.direct,
            uring,
            volatile,
        };
        disk.take_size().map_err(|cause| OpenError::Io { path: path.to_path_buf(), cause })?;
        Ok(disk)
    }

    /// Makes a file `len` bytes long, its new space reserved, durably; blocks. On a block device, which
    /// others resize, it only takes note of the present size.
    ///
    /// # Errors
    /// When `len` is less than the present size, or the system refuses (out of space).
    pub fn grow(&self, len: u64) -> Result<(), DiskError> {
        let grown = if len < self.len.load(Ordering::Acquire) {
            Err(io::ErrorKind::InvalidInput.into())
        } else if self.regular {
            sys::allocate(&self.open.file, len).and_then(|()| self.open.file.sync_all())
        } else {
            Ok(())
        };
        grown.and_then(|()| self.take_size()).map_err(|e| self.error("grow", 0, len, (&e).into()))
    }

    /// Takes note of the present size, after someone else changed it.
    ///
    /// # Errors
    /// What the system says.
    pub fn refresh(&self) -> Result<(), DiskError> {
        self.take_size().map_err(|e| self.error("refresh", 0, 0, (&e).into()))
    }

    fn take_size(&self) -> io::Result<()> {
        let size = open::size_of(&self.open.file)?;
        self.len.store(size - size % u64::from(self.sector), Ordering::Release);
        Ok(())
    }

    /// Refuses what is not whole sectors inside the device.
    fn check(&self, op: &'static str, at: u64, len: u64) -> Result<(), DiskError> {
        let sector = u64::from(self.sector);
        let end = at.checked_add(len).filter(|end| *end <= self.len.load(Ordering::Acquire));
        if end.is_some() && at.is_multiple_of(sector) && len.is_multiple_of(sector) {
            return Ok(());
        }
        let cause = IoCause { errno: None, kind: io::ErrorKind::InvalidInput };
        Err(self.error(op, at, len, cause))
    }

    fn error(&self, op: &'static str, at: u64, len: u64, cause: IoCause) -> DiskError {
        DiskError::Io { device: self.open.name.to_string(), op, at, len, cause }
    }

    fn start(&self, request: Request) {
        if self.uring {
            uring::submit(request);
        } else {
            threads::submit(request);
        }
    }
}

impl Disk for FileDisk {
    fn name(&self) -> &str {
        &self.open.name
    }

    fn geometry(&self) -> Geometry {
        Geometry { len: self.len.load(Ordering::Acquire), sector: self.sector, sparse: self.regular }
    }

    fn mode(&self) -> &'static str {
        match (self.uring, self.direct) {
            (true, true) => "io_uring, O_DIRECT",
            (true, false) => "io_uring, buffered with O_DSYNC",
            (false, true) => "threads, O_DIRECT",
            (false, false) => "threads, buffered with O_DSYNC",
        }
    }

    fn is_volatile(&self) -> bool {
        self.volatile
    }

    fn extend(&self, len: u64) -> Result<(), DiskError> {
        self.refresh()?;
        match len > self.geometry().len {
            true => self.grow(len),
            false => Ok(()),
        }
    }

    fn read(&self, at: u64, buf: Buf) -> Io<Buf> {
        if let Err(refused) = self.check("read", at, buf.len() as u64) {
            return Io::ready(Err(refused));
        }
        let (answer, io) = Io::pending(self.open.name.clone());
        self.start(Request::read(self.open.clone(), at, buf, answer));
        io
    }

    fn write(&self, at: u64, data: Vec<Bytes>) -> Io<()> {
        let len = data.iter().map(|piece| piece.len() as u64).sum();
        let pieces = data.iter().try_for_each(|piece| self.check("write", at, piece.len() as u64));
        if let Err(refused) = pieces.and_then(|()| self.check("write", at, len)) {
            return Io::ready(Err(refused));
        }
        if len == 0 {
            return Io::ready(Ok(()));
        }
        let (answer, io) = Io::pending(self.open.name.clone());
        self.start(Request::write(self.open.clone(), at, data, answer));
        io
    }

    fn flush(&self) -> Io<()> {
        let (answer, io) = Io::pending(self.open.name.clone());
        self.start(Request::flush(self.open.clone(), answer));
        io
    }
}
