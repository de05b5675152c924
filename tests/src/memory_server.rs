//! `nas-nfs`'s server over a tree in memory, as a process that ends with this value.

use crate::example::Example;

/// The server, until it is dropped.
pub struct MemoryServer {
    process: Example,
    /// What it exports.
    pub path: String,
    /// Where NFS and MOUNT answer, as `ADDR:PORT`.
    pub nfs: String,
    /// Where they answer besides.
    pub mount: String,
}

impl MemoryServer {
    /// Starts the one that cargo builds beside the running test, on free ports of 127.0.0.1 unless `flags`
    /// say otherwise.
    ///
    /// # Panics
    /// When it cannot be built or does not start.
    #[must_use]
    pub fn start(flags: &[&str]) -> MemoryServer {
        MemoryServer::start_by(&[], flags)
    }

    /// The same, started by another program: inside a network namespace, say.
    ///
    /// # Panics
    /// As [`MemoryServer::start`].
    #[must_use]
    pub fn start_by(before: &[String], flags: &[&str]) -> MemoryServer {
        let flags = [&["--listen", "127.0.0.1:0"], flags].concat();
        let process = Example::start("nas-nfs", "memory_server", before, &flags);
        let [path, nfs, mount] = process.words.clone().try_into().expect("its path and two addresses");
        MemoryServer { process, path, nfs, mount }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}
