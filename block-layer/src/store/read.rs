//! Reading blocks: the cache first, then the device; every block from a device is checked against the
//! CRC-32C in its pointer (promise P4) before anyone sees it.

use super::machine::Machine;
use super::Store;
use crate::alloc::{Pin, Run};
use crate::device::Buf;
use crate::error::DiskError;
use crate::pool::Unmapped;
use crate::units::{Pba, Seq, BLOCK};

/// Why blocks could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The bytes on the device are not those that were written.
    #[error("block {pba} is corrupt: crc32c is {found:#010x}, its pointer says {expected:#010x}")]
    Corrupt {
        /// The block.
        pba: Pba,
        /// The checksum in its pointer.
        expected: u32,
        /// The checksum of what was read.
        found: u32,
    },
    /// Its address is not of this pool.
    #[error("a pointer is damaged: block {0} is on no device of the pool")]
    Nowhere(Pba),
    /// The device failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Keeps blocks that are visible now from being given to new data, until dropped.
///
/// Take it *before* looking up the addresses that it is to protect.
pub type Pinned<'a> = Pin<'a>;

/// One block to read: where, and what its checksum must be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The block.
    pub pba: Pba,
    /// CRC-32C from its pointer.
    pub crc: u32,
}

impl<M: Machine> Store<M> {
    /// Pins what is visible now.
    pub fn pin(&self) -> Pinned<'_> {
        let seq = Seq(self.applied.load(std::sync::atomic::Ordering::Acquire));
        self.pins.pin(seq)
    }

    /// Copies a block from the cache into `out`; `false` when it is not there.
    #[must_use]
    pub fn read_cached(&self, want: Wanted, out: &mut [u8]) -> bool {
        self.cache.get(want.pba, want.crc, out)
    }

    /// Reads `wanted`, one block after the other into `buf`, from the device, and checks every block.
    ///
    /// `buf` has one block for each. `keep`: whether they go to the cache (background readers would only
    /// push others out).
    ///
    /// # Errors
    /// The first damage or device error; the rest is read all the same.
    pub async fn read_blocks(&self, wanted: &[Wanted], mut buf: Buf, keep: bool) -> Result<Buf, ReadError> {
        debug_assert_eq!(wanted.len() * BLOCK, buf.len());
        let members = self.members();
        let mut started = Vec::new();
        let mut done = 0;
        while done < wanted.len() {
            let run = first_run(&wanted[done..]);
            for extent in members.try_locate(run).map_err(|Unmapped { pba, .. }| ReadError::Nowhere(pba))? {
                let part = buf.split_to(extent.blocks as usize * BLOCK);
                started.push((done, members.disk(&extent).read(extent.offset, part)));
                done += extent.blocks as usize;
            }
        }
        let mut whole: Option<Buf> = None;
        let mut failed = None;
        for (first, io) in started {
            let part = match io.await {
                Ok(part) => part,
                Err(e) => {
                    failed.get_or_insert(ReadError::Disk(e));
                    continue;
                }
            };
            for (block, want) in part.chunks_exact(BLOCK).zip(&wanted[first..]) {
                let found = crc32c::crc32c(block);
                if found != want.crc {
                    failed.get_or_insert(ReadError::Corrupt { pba: want.pba, expected: want.crc, found });
                } else if keep {
                    self.cache.insert(want.pba, want.crc, block);
                }
            }
            match &mut whole {
                _ if failed.is_some() => {}
                Some(whole) => whole.join(part),
                None => whole = Some(part),
            }
        }
        match failed {
            Some(e) => Err(e),
            // Nothing was wanted: what was given is empty.
            None => Ok(whole.unwrap_or(buf)),
        }
    }
}

/// The consecutive blocks at the front of `wanted`, within one segment.
fn first_run(wanted: &[Wanted]) -> Run {
    let first = wanted[0].pba;
    let follows = |(i, w): &(usize, &Wanted)| {
        w.pba == first.plus_blocks(*i as u64) && w.pba.segment() == first.segment()
    };
    let blocks = wanted.iter().enumerate().take_while(follows).count();
    Run { at: first, blocks: blocks as u32 }
}
