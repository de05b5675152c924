//! Recovery: what a crash leaves, and how the journal makes it whole again.
//!
//! Records are taken in sequence while each is whole and, above the highest sequence known flushed, its data
//! matches its checksums; the first that is not ends the log. Below the mark a bad record is damage to
//! report, and so is every device error, anywhere.
//!
//! Two passes: the first only follows the chain and learns the mark; the second verifies data and applies.

use super::machine::{Contradiction, Machine};
use super::members::{grow, Members};
use super::open::OpenError;
use super::state::apply_effects;
use crate::alloc::Allocator;
use crate::device::Buf;
use crate::error::DiskError;
use crate::format::cut::Sizes;
use crate::format::membership::MembershipChange;
use crate::format::record::{Effects, Kind, Written, HEADER};
use crate::journal::{Chain, Place, Reader, Ring};
use crate::pool::Membership;
use crate::units::{Seq, BLOCK};

/// Where the journal is.
pub(super) struct Journal<'a> {
    pub(super) chain: Chain,
    pub(super) ring: &'a Ring,
    /// The superblock's tail.
    pub(super) tail: Place,
}

/// What the first pass found.
pub(super) struct Survey {
    /// The chain's end.
    end: Place,
    /// The highest sequence known flushed.
    mark: Seq,
}

/// What the second pass works on.
pub(super) struct Recovery<'a, M: Machine> {
    pub(super) machine: &'a M,
    pub(super) membership: &'a mut Membership,
    pub(super) alloc: &'a mut Allocator,
    /// Records up to here are in the index already.
    pub(super) cut: Seq,
}

impl Journal<'_> {
    /// Follows the chain to its end. Members that joined or grew up to the index's `cut` are taken in at
    /// once: the index may count their space before the superblocks know of it.
    pub(super) async fn survey(&self, membership: &mut Membership, cut: Seq) -> Result<Survey, OpenError> {
        let mut reader = self.reader(membership);
        while let Some((header, record)) = reader.next().await? {
            if header.kind == Kind::Membership && header.seq <= cut {
                membership.apply(&membership_change(header.seq, &record[HEADER..])?)?;
            }
        }
        let end = reader.place();
        let mark = membership.state().journal.flushed.max(reader.highest_mark().await?).max(cut);
        if end.seq <= mark {
            return Err(OpenError::JournalDamaged { at: end.seq, flushed: mark });
        }
        Ok(Survey { end, mark })
    }

    fn reader(&self, membership: &Membership) -> Reader {
        let (disk, ring) = Members::of(membership).ring_parts();
        Reader::new(disk, ring.offset, self.ring, self.chain, self.tail)
    }
}

impl<M: Machine> Recovery<'_, M> {
    /// Replays the journal; returns the place after the last record that is valid.
    ///
    /// What may not be durable yet is written once more, the same bytes to the same place: after a flush that
    /// failed, a device may show writes that no later flush covers.
    pub(super) async fn replay(mut self, journal: &Journal<'_>, survey: Survey) -> Result<Place, OpenError> {
        let Survey { end, mark } = survey;
        let mut reader = journal.reader(self.membership);
        let (disk, base) = Members::of(self.membership).ring_parts();
        while reader.place().seq < end.seq {
            let before = reader.place();
            let Some((header, mut record)) = reader.next().await? else {
                return Err(OpenError::JournalDamaged { at: before.seq, flushed: mark });
            };
            let unsure = header.seq > mark;
            if header.seq > self.cut && !self.take(header.kind, header.seq, &record[HEADER..], unsure).await?
            {
                return Ok(before);
            }
            if unsure {
                record.resize(journal.ring.padded(record.len()), 0);
                let at = journal.ring.offset(reader.place().at - record.len() as u64);
                disk.write(base.offset + at, vec![Buf::copy_of(&record).freeze()]).await?;
            }
        }
        Ok(end)
    }

    /// Applies one record; `false` when its data did not survive: the log ends before it.
    async fn take(&mut self, kind: Kind, seq: Seq, body: &[u8], unsure: bool) -> Result<bool, OpenError> {
        match kind {
            Kind::Void | Kind::Mark => {}
            Kind::Membership => {
                let change = membership_change(seq, body)?;
                let before = Sizes::of(self.membership.state());
                self.membership.apply(&change)?;
                grow(self.alloc, &before, &Sizes::of(self.membership.state()))?;
            }
            Kind::Commit => {
                let effects = Effects::decode(body)
                    .ok_or_else(|| Contradiction(format!("record {seq} does not decode")))?;
                if unsure && !self.survived(&effects.written).await? {
                    return Ok(false);
                }
                apply_effects(self.alloc, seq, &effects)?;
                if !effects.body.is_empty() {
                    self.machine.apply(seq, &effects.body)?;
                }
            }
        }
        Ok(true)
    }

    /// Whether all blocks of a record are on the devices as they were written; if so, they are written again.
    async fn survived(&self, written: &[Written]) -> Result<bool, DiskError> {
        let members = Members::of(self.membership);
        let mut whole = Vec::new();
        for w in written {
            let mut crcs = w.crcs.iter();
            let Ok(extents) = members.try_locate(w.run) else { return Ok(false) };
            for extent in extents {
                let buf = Buf::zeroed(extent.blocks as usize * BLOCK);
                let data = members.disk(&extent).read(extent.offset, buf).await?;
                if !data.chunks_exact(BLOCK).zip(&mut crcs).all(|(block, crc)| crc32c::crc32c(block) == *crc)
                {
                    return Ok(false);
                }
                whole.push((extent, data.freeze()));
            }
        }
        // Only now: none may be under way when the record is given up and its space used again.
        for (extent, data) in whole {
            members.disk(&extent).write(extent.offset, vec![data]).await?;
        }
        Ok(true)
    }
}

fn membership_change(seq: Seq, body: &[u8]) -> Result<MembershipChange, OpenError> {
    Ok(MembershipChange::decode(body).map_err(|e| Contradiction(format!("record {seq}: {e}")))?)
}
