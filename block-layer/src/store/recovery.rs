//! Recovery: what a crash leaves, and how the journal makes it whole again.
//!
//! Records are taken in sequence while each is whole and, above the highest sequence known flushed, its data
//! matches its checksums; the first that is not ends the log. Below the mark a bad record is damage to report,
//! and so is every device error, anywhere.
//!
//! Two passes: the first only follows the chain and learns the mark; the second verifies data and applies.

use super::machine::{Contradiction, Machine};
use super::members::{grow, Members};
use super::open::OpenError;
use super::state::apply_effects;
use crate::alloc::Allocator;
use crate::device::Buf;
use crate::error::DiskError;
use crate::format::membership::MembershipChange;
use crate::format::record::{Effects, Kind, Written, HEADER};
use crate::pool::Membership;
use crate::journal::{Chain, Place, Reader, Ring};
use crate::units::{Seq, BLOCK};

/// What recovery works on.
pub(super) struct Recovery<'a, M: Machine> {
    pub(super) machine: &'a M,
    pub(super) membership: &'a mut Membership,
    pub(super) alloc: &'a mut Allocator,
    pub(super) chain: Chain,
    pub(super) ring: &'a Ring,
    /// The superblock's tail.
    pub(super) tail: Place,
    /// Records up to here are in the index already.
    pub(super) cut: Seq,
    /// The superblock's flushed mark.
    pub(super) flushed: Seq,
}

impl<M: Machine> Recovery<'_, M> {
    /// Replays the journal; returns the place after the last record that is valid.
    pub(super) async fn run(mut self) -> Result<Place, OpenError> {
        let (end, mark) = self.survey().await?;
        let mut reader = self.reader();
        while reader.place().seq < end.seq {
            let before = reader.place();
            let Some((header, record)) = reader.next().await? else {
                return Err(OpenError::JournalDamaged { at: before.seq, flushed: mark });
            };
            let body = &record[HEADER..];
            if !self.replay(header.kind, header.seq, body, header.seq > mark).await? {
                return Ok(before);
            }
        }
        Ok(end)
    }

    fn reader(&self) -> Reader {
        let (disk, ring) = Members::of(self.membership).ring_parts();
        Reader::new(disk, ring.offset, self.ring, self.chain, self.tail)
    }

    /// Follows the chain to its end; returns that place and the highest sequence known flushed.
    async fn survey(&self) -> Result<(Place, Seq), OpenError> {
        let mut reader = self.reader();
        while reader.next().await?.is_some() {}
        let end = reader.place();
        let mark = self.flushed.max(reader.highest_mark().await?).max(self.cut);
        if end.seq <= mark {
            return Err(OpenError::JournalDamaged { at: end.seq, flushed: mark });
        }
        Ok((end, mark))
    }

    /// Applies one record; `false` when its data did not survive: the log ends before it.
    async fn replay(&mut self, kind: Kind, seq: Seq, body: &[u8], verify: bool) -> Result<bool, OpenError> {
        if seq <= self.cut {
            return Ok(true);
        }
        match kind {
            Kind::Void | Kind::Mark => Ok(true),
            Kind::Membership => {
                let change = MembershipChange::decode(body)
                    .map_err(|e| Contradiction(format!("record {seq}: {e}")))?;
                let before = Members::of(self.membership);
                self.membership.apply(&change)?;
                grow(self.alloc, &before, &Members::of(self.membership))?;
                Ok(true)
            }
            Kind::Commit => {
                let effects = Effects::decode(body)
                    .ok_or_else(|| Contradiction(format!("record {seq} does not decode")))?;
                if verify && !self.survived(&effects.written).await? {
                    return Ok(false);
                }
                apply_effects(self.alloc, seq, &effects)?;
                if !effects.body.is_empty() {
                    self.machine.apply(seq, &effects.body)?;
                }
                Ok(true)
            }
        }
    }

    /// Whether all blocks of a record are on the devices as they were written.
    async fn survived(&self, written: &[Written]) -> Result<bool, DiskError> {
        let members = Members::of(self.membership);
        for w in written {
            let mut crcs = w.crcs.iter();
            let Ok(extents) = members.try_locate(w.run) else { return Ok(false) };
            for extent in extents {
                let buf = Buf::zeroed(extent.blocks as usize * BLOCK);
                let data = members.disk(&extent).read(extent.offset, buf).await?;
                if !data.chunks_exact(BLOCK).zip(&mut crcs).all(|(block, crc)| crc32c::crc32c(block) == *crc) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
