//! Reads: the pointers of a range, then each block from the cache or, verified, from its device.
//!
//! The pointers are looked up and the blocks read under one pin: no block found in the map is given to
//! another write meanwhile.

use super::volume::Span;
use super::Volume;
use crate::error::Error;
use crate::ids::{BranchId, ObjectId, PAGE_BLOCKS};
use crate::map::Pointer;
use crate::pages::View;
use block_layer::store::Wanted;
use block_layer::{Buf, BLOCK};

/// Reads up to this many bytes go to the block cache.
const KEEP_MAX: u64 = 256 << 10;

/// A run of a volume that is all mapped, or all not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Byte offset.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Whether it takes space.
    pub mapped: bool,
}
impl Volume {
    /// Fills `buf` from byte `offset`. What was never written, or was unmapped, reads as zeroes.
    ///
    /// # Errors
    /// Out of range or unaligned; [`Error::Read`] when a block is damaged or a device fails.
    pub async fn read(&self, offset: u64, buf: Buf) -> Result<Buf, Error> {
        let len = buf.len();
        let mut buf = Some(buf);
        loop {
            let (branch, view, size) = self.view()?;
            let span = self.span(offset, len as u64, size)?;
            let whole = match buf.take().filter(|_| span.is_aligned()) {
                Some(buf) => buf,
                None => Buf::zeroed(span.blocks() as usize * BLOCK),
            };
            match self.read_span(branch, view, span, whole).await {
                Ok((data, _)) => {
                    // A shrink meanwhile has made zeroes of what lies behind the end: they are no content.
                    let now = self.view()?;
                    self.span(offset, len as u64, now.2)?;
                    if (now.0, now.1) != (branch, view) {
                        continue;
                    }
                    return Ok(match span.is_aligned() {
                        true => data,
                        false => Buf::copy_of(&data[span.lead()..span.lead() + len]),
                    });
                }
                Err(e) if self.has_moved(&e, (branch, view)) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads the whole blocks that `span` touches, and tells their pointers.
    pub(super) async fn read_span(
        &self,
        branch: BranchId,
        view: View,
        span: Span,
        out: Buf,
    ) -> Result<(Buf, Vec<Option<Pointer>>), Error> {
        let store = &self.engine.store;
        let _pin = store.pin();
        let pointers = self.engine.pointers(branch, self.object, view, span.first(), span.blocks()).await?;
        let wanted = |pointer: &Pointer| Wanted { pba: pointer.pba(), crc: pointer.crc() };
        let wanted: Vec<Option<Wanted>> = pointers.iter().map(|p| p.as_ref().map(wanted)).collect();
        // Large reads pass the cache by: they would only push others out of it.
        let out = store.read(&wanted, out, span.len <= KEEP_MAX).await?;
        Ok((out, pointers))
    }

    /// Which parts of a range take space, from `offset` on; at most `limit` extents.
    ///
    /// # Errors
    /// Out of range.
    pub async fn extents(&self, offset: u64, len: u64, limit: usize) -> Result<Vec<Extent>, Error> {
        let (branch, view, size) = self.view()?;
        let size = if self.object == ObjectId(0) { size } else { u64::MAX };
        let end = offset.saturating_add(len).min(size);
        if offset >= end {
            return Err(Error::OutOfRange { size });
        }
        let mut extents: Vec<Extent> = Vec::new();
        let last = end.div_ceil(BLOCK as u64);
        let mut block = offset / BLOCK as u64;
        while block < last {
            let count = (last - block).min(PAGE_BLOCKS as u64);
            let pointers = match self.engine.pointers(branch, self.object, view, block, count).await {
                Err(e) if self.has_moved(&e, (branch, view)) => {
                    return Box::pin(self.extents(offset, len, limit)).await
                }
                pointers => pointers?,
            };
            for pointer in pointers {
                let (from, to) = ((block * BLOCK as u64).max(offset), ((block + 1) * BLOCK as u64).min(end));
                block += 1;
                let mapped = pointer.is_some();
                let full = extents.len() == limit;
                match extents.last_mut() {
                    Some(extent) if extent.mapped == mapped => extent.len += to - from,
                    _ if full => return Ok(extents),
                    _ => extents.push(Extent { offset: from, len: to - from, mapped }),
                }
            }
        }
        Ok(extents)
    }
}
