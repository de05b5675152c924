//! Recovery: what a crash leaves, and how the journal makes it whole again.
//!
//! Records are taken in sequence while each is whole and, above the highest sequence known flushed, its data
//! matches its checksums; the first that is not ends the log. Below the mark a bad record is damage to
//! report, and so is every device error, anywhere.
//!
//! Two passes: the first only follows the chain and learns the mark; the second verifies data and applies. Of
//! what is above the mark all data is read, and written again: many records' at a time, taken in order.

use super::machine::{Contradiction, Machine};
use super::members::{grow, Members};
use super::open::OpenError;
use super::state::apply_effects;
use crate::alloc::Allocator;
use crate::device::{Buf, Disk, Io};
use crate::error::DiskError;
use crate::format::cut::Sizes;
use crate::format::membership::MembershipChange;
use crate::format::record::{Effects, Header, Kind, HEADER};
use crate::journal::{Chain, Place, Reader, Ring};
use crate::pool::{Extent, Membership};
use crate::units::{Seq, BLOCK};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

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

/// A record that waits for its turn.
struct Ahead {
    /// The place before it.
    before: Place,
    /// Where it starts: at the place before it, or behind the end of the ring's lap.
    at: u64,
    header: Header,
    record: Vec<u8>,
    content: Content,
    /// Whether it may not be durable.
    unsure: bool,
}

/// What a record says.
enum Content {
    /// Nothing that the index lacks.
    Known,
    Membership(MembershipChange),
    /// A commit, and its data on the way; `None` when it lies on no device. Sure data is not read.
    Commit(Effects, Option<Vec<(Extent, Io<Buf>)>>),
}

/// Bytes that are read, or written again, at a time.
const AHEAD: usize = 4 << 20;

impl Journal<'_> {
    /// Follows the chain to its end. Members that joined or grew up to the index's `cut` are taken in at
    /// once: the index may count their space before the superblocks know of it.
    pub(super) async fn survey(&self, membership: &mut Membership, cut: Seq) -> Result<Survey, OpenError> {
        let mut reader = self.reader(membership);
        let mut mark = membership.state().journal.flushed.max(cut);
        while let Some((header, record)) = reader.next().await? {
            mark = mark.max(header.flushed);
            if header.kind == Kind::Membership && header.seq <= cut {
                membership.apply(&membership_change(header.seq, &record[HEADER..])?)?;
            }
        }
        let end = reader.place();
        let mark = mark.max(reader.mark_behind(self.tail.at).await?);
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
        let mut reader = journal.reader(self.membership);
        let mut writes = Writes::default();
        let mut valid_to = survey.end;
        let (mut ahead, mut members) = (VecDeque::new(), Members::of(self.membership));
        let mut bytes = 0;
        loop {
            // Behind a change of members, addresses mean what it says.
            let barred = |a: &Ahead| matches!(a.content, Content::Membership(_));
            while reader.place().seq < survey.end.seq && bytes < AHEAD && !ahead.back().is_some_and(barred) {
                let next = self.read_ahead(&mut reader, &members, survey.mark).await?;
                bytes += next.bytes();
                ahead.push_back(next);
            }
            let Some(mut next) = ahead.pop_front() else { break };
            bytes -= next.bytes();
            let Some(data) = next.survived().await? else {
                valid_to = next.before;
                break;
            };
            if next.unsure {
                writes.data(&members, data).await?;
                writes.record(&members, journal, &next).await?;
            }
            let moved = barred(&next);
            self.apply(next)?;
            if moved {
                members = Members::of(self.membership);
            }
        }
        // None may be under way when a record was given up and its space is used again.
        writes.end().await?;
        Ok(valid_to)
    }

    /// The next record; the reads of its data are begun.
    async fn read_ahead(
        &self,
        reader: &mut Reader,
        members: &Members,
        mark: Seq,
    ) -> Result<Ahead, OpenError> {
        let before = reader.place();
        let Some((header, record)) = reader.next().await? else {
            return Err(OpenError::JournalDamaged { at: before.seq, flushed: mark });
        };
        let (seq, body, unsure) = (header.seq, &record[HEADER..], header.seq > mark);
        let content = match header.kind {
            Kind::Void | Kind::Mark => Content::Known,
            _ if seq <= self.cut => Content::Known,
            Kind::Membership => Content::Membership(membership_change(seq, body)?),
            Kind::Commit => {
                let effects = Effects::decode(body)
                    .ok_or_else(|| Contradiction(format!("record {seq} does not decode")))?;
                let reads = if unsure { begin_reads(members, &effects) } else { Some(Vec::new()) };
                Content::Commit(effects, reads)
            }
        };
        let at = reader.place().at - reader.padded(record.len()) as u64;
        Ok(Ahead { before, at, header, record, content, unsure })
    }

    fn apply(&mut self, next: Ahead) -> Result<(), OpenError> {
        let seq = next.header.seq;
        match next.content {
            Content::Known => {}
            Content::Membership(change) => {
                let before = Sizes::of(self.membership.state());
                self.membership.apply(&change)?;
                grow(self.alloc, &before, &Sizes::of(self.membership.state()))?;
            }
            Content::Commit(effects, _) => {
                apply_effects(self.alloc, seq, &effects)?;
                // Nothing is handed out before all that is replayed is flushed, checkpointed, and stated by
                // the superblocks (design rule 2), and nobody reads: a quarantine would only be carried
                // along.
                self.alloc.release(seq);
                if !effects.body.is_empty() {
                    self.machine.apply(seq, &effects.body)?;
                }
            }
        }
        Ok(())
    }
}

/// Begins to read the data of a commit; `None` when it lies on no device.
fn begin_reads(members: &Members, effects: &Effects) -> Option<Vec<(Extent, Io<Buf>)>> {
    let mut reads = Vec::new();
    for written in &effects.written {
        for extent in members.try_locate(written.run).ok()? {
            let buf = Buf::zeroed(extent.blocks as usize * BLOCK);
            reads.push((extent, members.disk(&extent).read(extent.offset, buf)));
        }
    }
    Some(reads)
}

impl Ahead {
    /// Memory that it and its data take.
    fn bytes(&self) -> usize {
        let blocks = match &self.content {
            Content::Commit(effects, _) if self.unsure => effects.written.iter().map(|w| w.crcs.len()).sum(),
            _ => 0,
        };
        self.record.len() + blocks * BLOCK
    }

    /// Its data, if all of it is on the devices as it was written; `None`: the log ends before this record.
    async fn survived(&mut self) -> Result<Option<Vec<(Extent, Bytes)>>, DiskError> {
        let Content::Commit(effects, reads) = &mut self.content else { return Ok(Some(Vec::new())) };
        let Some(reads) = reads.take() else { return Ok(None) };
        let mut crcs = effects.written.iter().flat_map(|w| &w.crcs);
        let mut whole = Vec::with_capacity(reads.len());
        for (extent, read) in reads {
            let data = read.await?;
            if !data.chunks_exact(BLOCK).zip(&mut crcs).all(|(block, crc)| crate::crc32c(block) == *crc) {
                return Ok(None);
            }
            whole.push((extent, data.freeze()));
        }
        Ok(Some(whole))
    }
}

/// What is being written again.
#[derive(Default)]
struct Writes {
    under_way: VecDeque<(usize, Io<()>)>,
    bytes: usize,
}

impl Writes {
    async fn data(&mut self, members: &Members, data: Vec<(Extent, Bytes)>) -> Result<(), DiskError> {
        for (extent, data) in data {
            self.begin(members.disk(&extent), extent.offset, data).await?;
        }
        Ok(())
    }

    async fn record(
        &mut self,
        members: &Members,
        journal: &Journal<'_>,
        next: &Ahead,
    ) -> Result<(), DiskError> {
        let mut record = Buf::zeroed(journal.ring.padded(next.record.len()));
        record[..next.record.len()].copy_from_slice(&next.record);
        let (disk, base) = members.ring();
        self.begin(disk, base + journal.ring.offset(next.at), record.freeze()).await
    }

    async fn begin(&mut self, disk: &Arc<dyn Disk>, at: u64, data: Bytes) -> Result<(), DiskError> {
        self.bytes += data.len();
        self.under_way.push_back((data.len(), disk.write(at, vec![data])));
        while self.bytes > AHEAD {
            self.end_first().await?;
        }
        Ok(())
    }

    async fn end_first(&mut self) -> Result<bool, DiskError> {
        let Some((len, write)) = self.under_way.pop_front() else { return Ok(false) };
        self.bytes -= len;
        write.await.map(|()| true)
    }

    /// Waits for all of them.
    async fn end(mut self) -> Result<(), DiskError> {
        while self.end_first().await? {}
        Ok(())
    }
}

fn membership_change(seq: Seq, body: &[u8]) -> Result<MembershipChange, OpenError> {
    Ok(MembershipChange::decode(body).map_err(|e| Contradiction(format!("record {seq}: {e}")))?)
}
