//! `san-iscsi`'s target over disks in memory, or over none, as a process that ends with this value.

use crate::example::Example;

/// The target, until it is dropped.
pub struct MemoryTarget {
    process: Example,
    /// Its name.
    pub name: String,
    /// Its portals, as `ADDR:PORT`.
    pub portals: Vec<String>,
}

impl MemoryTarget {
    /// Starts the one that cargo builds beside the running test, on a free port of 127.0.0.1 and on what
    /// `flags` name besides.
    ///
    /// # Panics
    /// When it cannot be built or does not start.
    #[must_use]
    pub fn start(flags: &[&str]) -> MemoryTarget {
        let flags = [&["--listen", "127.0.0.1:0"], flags].concat();
        let process = Example::start("san-iscsi", "memory_target", &[], &flags);
        let (name, portals) = process.words.split_first().expect("its name");
        let (name, portals) = (name.clone(), portals.to_vec());
        MemoryTarget { process, name, portals }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}
