//! Ordering of data operations: conditions, allocation, the pointers that come and those that go.
//!
//! Three steps, so that a refusal changes nothing: check everything, allocate, then record the effects.

use super::merge::EntryRule;
use super::mutation::Mutation;
use super::op::{EntryChange, IoOp, Merged, OldEntry, Part, Reach, Reply, Source};
use super::{no_snapshot, not_found, Newest, State};
use crate::catalogue::{Branch, Record};
use crate::error::Error;
use crate::generation::PageKey;
use crate::held::Delta;
use crate::ids::{BranchId, Epoch, ObjectId, PageNo, PAGE_BLOCKS};
use crate::key::{DeathKey, LiveKey, PastKey};
use crate::map::{Partial, Pointer, Slot};
use block_layer::alloc::Purpose;
use block_layer::store::{Refusal, Tx};
use block_layer::{Pba, Seq, BLOCK};

/// The effects of one operation, gathered.
#[derive(Default)]
struct Gathered {
    partials: Vec<(PageKey, Partial)>,
    deltas: Vec<Delta>,
    inherited: i64,
    values: Vec<Mutation>,
    /// Blocks that became mapped, less those that are no longer.
    mapped: i64,
    merged: Vec<Merged>,
}

/// Consecutive slots of one page, and where they lie in the range they were cut from.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) page: PageNo,
    pub(crate) slot: u8,
    pub(crate) count: usize,
    pub(crate) offset: usize,
}

/// Cuts a range of blocks at page borders.
pub(crate) fn pieces(block: u64, count: u64) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let (page, slot) = PageNo::of_block(block + done);
        let count = (count - done).min((PAGE_BLOCKS - usize::from(slot)) as u64);
        let offset = done as usize;
        done += count;
        (count > 0).then_some(Piece { page, slot, count: count as usize, offset })
    })
}

impl State {
    pub(super) fn order_io(&mut self, op: &IoOp, tx: &mut Tx<'_>) -> Result<Reply, Refusal<Error>> {
        if op.session.as_ref().is_some_and(crate::session::Session::is_fenced) {
            return Err(Refusal::Refused(Error::Fenced));
        }
        let dataset =
            self.catalogue.datasets.get(&op.dataset).ok_or(Refusal::Refused(not_found(op.dataset)))?;
        let size = match op.reach {
            // Part of the last block would do for its pages, but not for the command.
            Reach::Inside(end) if end > dataset.size => {
                return Err(Refusal::Refused(Error::OutOfRange { size: dataset.size }))
            }
            Reach::Inside(_) => dataset.size,
            Reach::Anywhere => u64::MAX,
            // A rollback or a resize came between: what lies there may be content now.
            Reach::Behind(end) if end != dataset.size => return Err(Refusal::Bounce(Seq(0))),
            Reach::Behind(_) => u64::MAX,
        };
        if dataset.branch != op.branch {
            return Err(Refusal::Bounce(Seq(0)));
        }
        let rule = self.rule_of(dataset.kind);
        let branch = self.catalogue.branches[&op.branch].clone();
        for part in &op.parts {
            self.check_part(&branch, (size, rule), part, tx)?;
        }
        let purpose = if op.frees { Purpose::Reserved } else { Purpose::Write };
        let mut writes = op.parts.iter().map(Part::written_blocks).filter(|blocks| *blocks > 0);
        if let (Some(first), Some(second)) = (writes.next(), writes.next()) {
            tx.check_room((first + second + writes.sum::<usize>()) as u32, purpose)?;
        }
        if grows_index(&op.parts) {
            tx.check_index(purpose)?;
        }
        let mut runs = Vec::with_capacity(1);
        for part in &op.parts {
            if let Part::Write { blocks, .. } = part {
                tx.write(blocks, purpose, &mut runs)?;
            }
        }
        let mut addresses = runs.iter().flat_map(|r| (0..r.blocks).map(|i| r.at.plus_blocks(i.into())));
        let mut gathered = Gathered::default();
        for part in &op.parts {
            self.gather(&branch, rule, part, &mut addresses, tx, &mut gathered);
        }
        let merged = self.record(&branch, gathered, tx);
        Ok(if merged.is_empty() { Reply::Done } else { Reply::Merged(merged) })
    }

    /// Whether a part may be done now: nothing is changed here.
    fn check_part(
        &mut self,
        branch: &Branch,
        (size, rule): (u64, Option<EntryRule>),
        part: &Part,
        tx: &mut Tx<'_>,
    ) -> Result<(), Refusal<Error>> {
        match part {
            Part::Write { object, block, blocks } => {
                self.check_range(branch, size, *object, *block, blocks.len() as u64, tx)
            }
            Part::Unmap { object, block, count } => {
                self.check_range(branch, size, *object, *block, *count, tx)
            }
            Part::Share { object, block, from, pointers } => {
                self.check_range(branch, size, *object, *block, pointers.len() as u64, tx)?;
                self.check_source(*from, pointers)?;
                let needs = pointers.iter().flatten().any(|p| tx.needs_refs(p.pba()));
                if needs {
                    return Err(Refusal::Bounce(Seq(0)));
                }
                Ok(())
            }
            Part::Expect { object, block, pointers } => {
                self.check_pointers(branch.id, *object, *block, pointers)
            }
            Part::Entry(entry) => self.check_entry(branch.id, entry),
            Part::Merge(merging) => self.check_merge(branch, rule, merging),
            Part::Beside(dataset, branch, entry) => {
                let other = self.catalogue.datasets.get(dataset);
                let other = other.ok_or_else(|| Refusal::Refused(not_found(*dataset)))?;
                match other.branch == *branch {
                    true => self.check_entry(*branch, entry),
                    false => Err(Refusal::Bounce(Seq(0))),
                }
            }
        }
    }

    fn check_range(
        &mut self,
        branch: &Branch,
        size: u64,
        object: ObjectId,
        block: u64,
        count: u64,
        tx: &mut Tx<'_>,
    ) -> Result<(), Refusal<Error>> {
        let end = block.checked_add(count).ok_or(Refusal::Refused(Error::OutOfRange { size }))?;
        if object == ObjectId(0) && end > size.div_ceil(BLOCK as u64) {
            return Err(Refusal::Refused(Error::OutOfRange { size }));
        }
        for piece in pieces(block, count) {
            let key = PageKey { branch: branch.id, object, page: piece.page };
            if self.is_discarded(key) {
                return Err(Refusal::Bounce(Seq(0)));
            }
            let newest = self.newest(key).ok_or(Refusal::Bounce(Seq(0)))?;
            for slot in slots(piece) {
                let own = newest.get(slot).filter(|p| p.birth() >= branch.first);
                if own.is_some_and(|p| tx.needs_refs(p.pba())) {
                    return Err(Refusal::Bounce(Seq(0)));
                }
            }
        }
        Ok(())
    }

    fn check_source(&mut self, from: Source, pointers: &[Option<Pointer>]) -> Result<(), Refusal<Error>> {
        match from {
            Source::Live { dataset, branch, object, block } => {
                let source = self.catalogue.datasets.get(&dataset);
                let source = source.ok_or_else(|| Refusal::Refused(not_found(dataset)))?;
                // Blocks behind a smaller end stay mapped until they are cleared: they are content no more.
                let end = (block + pointers.len() as u64).saturating_mul(BLOCK as u64);
                if object == ObjectId(0) && end > source.size {
                    return Err(Refusal::Refused(Error::OutOfRange { size: source.size }));
                }
                // After a rollback the old branch is reclaimed: its pointers may be to blocks that are gone.
                if source.branch != branch {
                    return Err(Refusal::Bounce(Seq(0)));
                }
                self.check_pointers(branch, object, block, pointers)
            }
            Source::Snapshot(id) => match self.catalogue.snapshots.get(&id) {
                Some(snapshot) if snapshot.name.is_some() => Ok(()),
                _ => Err(Refusal::Refused(no_snapshot(id))),
            },
        }
    }

    fn check_pointers(
        &mut self,
        branch: BranchId,
        object: ObjectId,
        block: u64,
        pointers: &[Option<Pointer>],
    ) -> Result<(), Refusal<Error>> {
        for piece in pieces(block, pointers.len() as u64) {
            let key = PageKey { branch, object, page: piece.page };
            let expected = &pointers[piece.offset..];
            let is_so =
                |newest: Newest<'_>| slots(piece).zip(expected).all(|(slot, p)| newest.get(slot) == *p);
            if !self.newest(key).is_some_and(is_so) {
                return Err(Refusal::Bounce(self.ordered_seq(key)));
            }
        }
        Ok(())
    }

    fn check_entry(&self, branch: BranchId, entry: &EntryChange) -> Result<(), Refusal<Error>> {
        let key = LiveKey { branch, name: entry.name.clone() }.encode();
        match self.entry_orders.get(&key) {
            Some(seq) if *seq > entry.as_of => Err(Refusal::Bounce(*seq)),
            _ if entry.as_of < self.forgotten => Err(Refusal::Bounce(Seq(0))),
            _ => Ok(()),
        }
    }

    /// Gathers the effects of a part that was checked; the blocks that it writes go to the next `addresses`.
    fn gather(
        &mut self,
        branch: &Branch,
        rule: Option<EntryRule>,
        part: &Part,
        addresses: &mut impl Iterator<Item = Pba>,
        tx: &mut Tx<'_>,
        to: &mut Gathered,
    ) {
        match part {
            Part::Write { object, block, blocks } => {
                let pointers = blocks.iter().map(|(_, crc)| {
                    let pba = addresses.next().expect("as many addresses as blocks");
                    Some(Pointer::new(pba, *crc, branch.open))
                });
                self.gather_map(branch, *object, *block, pointers, tx, to);
            }
            Part::Unmap { object, block, count } => {
                let holes = std::iter::repeat_n(None, *count as usize);
                self.gather_map(branch, *object, *block, holes, tx, to);
            }
            Part::Share { object, block, pointers, .. } => {
                pointers.iter().flatten().for_each(|p| tx.share(p.pba()));
                let born =
                    |p: &Pointer| Pointer::stored(p.pba(), p.crc(), branch.open, p.sectors(), p.flags());
                let pointers = pointers.iter().map(|p| p.as_ref().map(born));
                self.gather_map(branch, *object, *block, pointers, tx, to);
            }
            Part::Expect { .. } => {}
            Part::Entry(EntryChange { name, value, old, .. }) => {
                self.gather_entry(branch, (name, value), old.as_ref(), tx.seq, to);
            }
            Part::Merge(merging) => {
                let (old, merged) = self.merge(branch, rule, merging, to.mapped);
                self.gather_entry(branch, (&merging.name, &merged.after), old.as_ref(), tx.seq, to);
                to.merged.push(merged);
            }
            Part::Beside(_, id, EntryChange { name, value, old, .. }) => {
                let branch = self.catalogue.branches[id].clone();
                self.gather_entry(&branch, (name, value), old.as_ref(), tx.seq, to);
            }
        }
    }

    /// Maps consecutive blocks to `pointers`, and lets go of what was there.
    fn gather_map(
        &self,
        branch: &Branch,
        object: ObjectId,
        block: u64,
        mut pointers: impl ExactSizeIterator<Item = Option<Pointer>>,
        tx: &mut Tx<'_>,
        to: &mut Gathered,
    ) {
        for piece in pieces(block, pointers.len() as u64) {
            let key = PageKey { branch: branch.id, object, page: piece.page };
            let holder = self.holder(branch.id, key);
            let newest = self.newest(key).expect("the page was checked to be in memory");
            let own = to.partials.iter().position(|(k, _)| *k == key).unwrap_or_else(|| {
                to.partials.push((key, Partial::with_capacity(piece.count)));
                to.partials.len() - 1
            });
            for (slot, new) in slots(piece).zip(&mut pointers) {
                let old = match to.partials[own].1.get(slot) {
                    Slot::Unset => newest.get(slot),
                    Slot::Hole => None,
                    Slot::Data(pointer) => Some(pointer),
                };
                match (old, new) {
                    (None, None) => continue,
                    (_, Some(pointer)) => {
                        to.mapped += i64::from(old.is_none());
                        to.deltas.push(Delta::add_live(Epoch::OPEN, 1));
                        to.partials[own].1.set(slot, Slot::Data(pointer));
                    }
                    (_, None) => {
                        to.mapped -= 1;
                        to.partials[own].1.set(slot, Slot::Hole);
                    }
                }
                if let Some(old) = old {
                    self.let_go_of(branch, holder, old, tx, (&mut to.deltas, &mut to.inherited));
                }
            }
        }
    }

    /// A pointer leaves the live view (design rule 7: who owns it now?).
    pub(super) fn let_go_of(
        &self,
        branch: &Branch,
        holder: Epoch,
        old: Pointer,
        tx: &mut Tx<'_>,
        (deltas, inherited): (&mut Vec<Delta>, &mut i64),
    ) {
        if old.birth() < branch.first {
            *inherited -= 1;
            return;
        }
        let interval = self.held[&branch.id].interval_of(old.birth());
        if old.birth() > holder {
            deltas.push(Delta::add_live(interval, -1));
            tx.release(old.pba());
        } else {
            deltas.extend(Delta::die(interval, 1));
        }
    }

    fn gather_entry(
        &mut self,
        branch: &Branch,
        (name, new): (&Vec<u8>, &Option<Vec<u8>>),
        old: Option<&OldEntry>,
        seq: Seq,
        to: &mut Gathered,
    ) {
        let live = LiveKey { branch: branch.id, name: name.clone() }.encode();
        let holder = self.entry_holder(branch.id);
        if let Some(old) = old.filter(|old| old.birth <= holder) {
            let (name, from) = (name.clone(), old.birth);
            let past = PastKey { branch: branch.id, name: name.clone(), to: holder, from }.encode();
            let death = DeathKey { branch: branch.id, to: holder, name }.encode();
            to.values.push(Mutation::Value { key: past, value: Some(encode_value(&old.value)) });
            to.values.push(Mutation::Value { key: death, value: Some(Vec::new()) });
        }
        // A branch with an origin, or with snapshots, keeps a removal as an entry that hides what lies below.
        let stays = new.is_some() || branch.origin.is_some();
        let value = stays.then(|| {
            let mut bytes = Vec::new();
            branch.open.encode(&mut bytes);
            bytes.extend(encode_value(new));
            bytes
        });
        self.entry_orders.insert(live.clone(), seq);
        self.ordered_entries.insert(live.clone(), (seq, value.clone()));
        to.values.push(Mutation::Value { key: live, value });
    }

    /// Hands the gathered effects to the batch, and to those that are ordered after it.
    fn record(&mut self, branch: &Branch, gathered: Gathered, tx: &mut Tx<'_>) -> Vec<Merged> {
        let Gathered { partials, mut deltas, inherited, values, merged, .. } = gathered;
        Delta::coalesce(&mut deltas);
        if !deltas.is_empty() || inherited != 0 {
            tx.mutate(|out| Mutation::Space { branch: branch.id, deltas, inherited }.encode(out));
        }
        for (key, partial) in partials.into_iter().filter(|(_, partial)| !partial.is_empty()) {
            let write = Mutation::Write { key, epoch: branch.open, partial };
            tx.mutate(|out| write.encode(out));
            let Mutation::Write { partial, .. } = write else { unreachable!("it was made above") };
            self.ordered.entry(key).or_default().push((tx.seq, partial));
        }
        for value in values {
            tx.mutate(|out| value.encode(out));
        }
        merged
    }
}

/// Whether an operation makes the index larger beside the data that it writes: by references to what is
/// mapped elsewhere, or by more new entries than it removes. (A removal mostly sets other entries anew.)
fn grows_index(parts: &[Part]) -> bool {
    let mut entries = 0;
    for part in parts {
        match part {
            Part::Share { pointers, .. } if pointers.iter().any(Option::is_some) => return true,
            Part::Entry(EntryChange { value, old, .. })
            | Part::Beside(_, _, EntryChange { value, old, .. }) => {
                let had = old.as_ref().is_some_and(|old| old.value.is_some());
                entries += i32::from(value.is_some()) - i32::from(had);
            }
            _ => {}
        }
    }
    entries > 0
}

/// The slots of a piece.
pub(crate) fn slots(piece: Piece) -> impl Iterator<Item = u8> {
    let first = usize::from(piece.slot);
    (first..first + piece.count).map(|slot| slot as u8)
}

/// A small entry's value as it is stored behind its birth (live) or alone (past): absent ones hide.
pub(crate) fn encode_value(value: &Option<Vec<u8>>) -> Vec<u8> {
    match value {
        None => vec![0],
        Some(value) => [&[1], &value[..]].concat(),
    }
}
