//! Reading blocks: the cache first, then the device; every block from a device is checked against the
//! CRC-32C in its pointer (promise P4) before anyone sees it.

use super::machine::Machine;
use super::Store;
use crate::alloc::{Pin, Run};
use crate::device::{Buf, Io};
use crate::error::DiskError;
use crate::pool::Unmapped;
use crate::units::{Pba, Seq, BLOCK};
use std::ops::Range;

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

    /// Fills `buf` with one block for each of `wanted`: from the cache, else from the device, checked; zeroes
    /// where none is wanted. What follows on the device is one read, of which the cache spares all or
    /// nothing.
    ///
    /// `keep`: whether what is read goes to the cache (large readers would only push others out).
    ///
    /// # Errors
    /// As [`Store::read_blocks`].
    pub async fn read(&self, wanted: &[Option<Wanted>], mut buf: Buf, keep: bool) -> Result<Buf, ReadError> {
        debug_assert_eq!(wanted.len() * BLOCK, buf.len());
        let mut missing = Vec::new();
        for run in runs(wanted) {
            let blocks = &mut buf[run.start * BLOCK..run.end * BLOCK];
            if wanted[run.start].is_none() {
                blocks.fill(0);
                continue;
            }
            let mut both = wanted[run.clone()].iter().flatten().zip(blocks.chunks_exact_mut(BLOCK));
            if !both.all(|(want, block)| self.cache.get(want.pba, want.crc, block)) {
                missing.push(run);
            }
        }
        if missing.is_empty() {
            return Ok(buf);
        }
        self.read_runs(&missing, wanted, buf, keep).await
    }

    /// Reads `wanted`, one block after the other into `buf`, from the device, and checks every block.
    ///
    /// `buf` has one block for each. `keep`: whether they go to the cache (background readers would only
    /// push others out).
    ///
    /// # Errors
    /// The first damage or device error; the rest is read all the same.
    pub async fn read_blocks(&self, wanted: &[Wanted], buf: Buf, keep: bool) -> Result<Buf, ReadError> {
        debug_assert_eq!(wanted.len() * BLOCK, buf.len());
        let wanted: Vec<_> = wanted.iter().copied().map(Some).collect();
        let all: Vec<_> = runs(&wanted).collect();
        self.read_runs(&all, &wanted, buf, keep).await
    }

    /// Reads some runs of `wanted` to their places in `buf`, and leaves the rest of it as it is.
    async fn read_runs(
        &self,
        missing: &[Range<usize>],
        wanted: &[Option<Wanted>],
        mut buf: Buf,
        keep: bool,
    ) -> Result<Buf, ReadError> {
        let members = self.members();
        let mut parts = Vec::with_capacity(missing.len());
        let mut done = 0;
        for run in missing {
            if run.start > done {
                parts.push((done, Io::ready(Ok(buf.split_to((run.start - done) * BLOCK))), false));
                done = run.start;
            }
            let at = wanted[done].expect("only what is wanted is read").pba;
            let run = Run { at, blocks: run.len() as u32 };
            for extent in members.try_locate(run).map_err(|Unmapped { pba, .. }| ReadError::Nowhere(pba))? {
                let part = buf.split_to(extent.blocks as usize * BLOCK);
                parts.push((done, members.disk(&extent).read(extent.offset, part), true));
                done += extent.blocks as usize;
            }
        }
        let (mut whole, mut failed) = (None::<Buf>, None);
        for (first, io, is_read) in parts {
            let checked = io.await.map_err(ReadError::Disk).and_then(|part| match is_read {
                true => self.check(&wanted[first..], part, keep),
                false => Ok(part),
            });
            match (checked, &mut whole) {
                (Err(e), _) => drop(failed.get_or_insert(e)),
                (Ok(part), Some(whole)) if failed.is_none() => whole.join(part),
                (Ok(part), None) if failed.is_none() => whole = Some(part),
                (Ok(_), _) => {}
            }
        }
        match (failed, whole) {
            (Some(e), _) => Err(e),
            (None, Some(mut whole)) => {
                whole.join(buf);
                Ok(whole)
            }
            // Nothing was wanted.
            (None, None) => Ok(buf),
        }
    }

    /// Checks what was read against the checksums of its pointers.
    fn check(&self, wanted: &[Option<Wanted>], part: Buf, keep: bool) -> Result<Buf, ReadError> {
        let mut failed = None;
        for (block, want) in part.chunks_exact(BLOCK).zip(wanted.iter().flatten()) {
            let found = crate::crc32c(block);
            if found != want.crc {
                failed.get_or_insert(ReadError::Corrupt { pba: want.pba, expected: want.crc, found });
            } else if keep {
                self.cache.insert(want.pba, want.crc, block);
            }
        }
        failed.map_or(Ok(part), Err)
    }
}

/// The runs of `wanted`: consecutive blocks of one segment, or places where none is wanted.
fn runs(wanted: &[Option<Wanted>]) -> impl Iterator<Item = Range<usize>> + '_ {
    let follows = |n: &usize| match (wanted[n - 1], wanted[*n]) {
        (None, None) => true,
        (Some(a), Some(b)) => b.pba == a.pba.plus_blocks(1) && b.pba.segment() == a.pba.segment(),
        _ => false,
    };
    let mut next = 0;
    std::iter::from_fn(move || {
        let start = next;
        next = (start + 1..wanted.len()).find(|n| !follows(n)).unwrap_or(wanted.len());
        (start < wanted.len()).then_some(start..next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_what_follows_in_one_segment_or_a_hole() {
        let want = |segment, slot| Some(Wanted { pba: Pba::of_block(segment, slot), crc: slot });
        let wanted = [want(1, 16_382), want(1, 16_383), want(2, 0), None, None, want(2, 1), want(2, 3)];
        let found: Vec<_> = runs(&wanted).collect();
        assert_eq!(found, [0..2, 2..3, 3..5, 5..6, 6..7]);
        assert_eq!(runs(&[]).count(), 0);
    }
}
