//! Checks of a whole pool at rest: what it holds, what it lists, what its accounts say.

use super::content::{stamps_of, Block, Data, SECTORS};
use super::model::{Content, Dataset, Entries, Model, Snapshot, Target, OBJECTS, SHARE};
use super::rot::{Place, Rot};
use block_layer::store::ReadError;
use block_layer::{Buf, BLOCK, SECTOR};
use snapshots::engine::{ChangedRange, DamagedRange, Volume};
use snapshots::{DatasetId, Engine, Error, ObjectId, SnapshotId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes of a read.
const READ: u64 = 1 << 20;

/// What was found in a pool.
pub(super) struct Found {
    /// Everything but what is damaged.
    pub(super) model: Model,
    /// The blocks that are damaged on their device.
    pub(super) damaged: BTreeSet<Place>,
}

impl Found {
    /// Whether it is `state`, what is damaged being rot that happened.
    #[must_use]
    pub(super) fn is(&self, state: &Model, rot: &Rot) -> bool {
        if self.damaged.is_empty() {
            return self.model == *state;
        }
        let mut patched = self.model.clone();
        for place in &self.damaged {
            let block = place.content(state).filter(|_| place.may_be_damaged(state, rot));
            let Some(block) = block else { return false };
            patched.mend(*place, block);
        }
        patched == *state
    }
}

/// Everything that the engine holds, read through its public interface.
///
/// # Errors
/// What a read answered, damage aside; a sector that no stamp has is a panic.
pub(super) async fn everything(engine: &Arc<Engine>) -> Result<Found, Error> {
    let mut found = Found { model: Model::default(), damaged: BTreeSet::new() };
    for info in engine.datasets() {
        let content = Arc::new(content(engine, info.id, None, (info.kind, info.size), &mut found).await?);
        let (name, kind, attributes) = (info.name, info.kind, info.attributes);
        found.model.datasets.insert(info.id, Dataset { name, kind, attributes, content });
        for snapshot in engine.snapshots(info.id) {
            let (id, size) = (snapshot.id, snapshot.size);
            let content = Arc::new(content_at(engine, info.id, id, (kind, size), &mut found).await?);
            found
                .model
                .snapshots
                .insert(id, Snapshot { dataset: info.id, name: snapshot.name, kind, content });
        }
    }
    Ok(found)
}

async fn content_at(
    engine: &Arc<Engine>,
    dataset: DatasetId,
    id: SnapshotId,
    shape: (u8, u64),
    found: &mut Found,
) -> Result<Content, Error> {
    content(engine, dataset, Some(id), shape, found).await
}

async fn content(
    engine: &Arc<Engine>,
    dataset: DatasetId,
    snapshot: Option<SnapshotId>,
    (kind, size): (u8, u64),
    found: &mut Found,
) -> Result<Content, Error> {
    let entries: Entries = engine.scan(dataset, snapshot, b"", b"", 1 << 20).await?.into_iter().collect();
    let mut content = Content { size, entries: Arc::new(entries), ..Content::default() };
    let objects = if kind == SHARE { 0..=*OBJECTS.end() } else { 0..=0 };
    for object in objects {
        let volume = at(engine.object(dataset, ObjectId(object)), snapshot);
        let (data, damaged) = data(&volume).await?;
        let place = |block| Place { dataset, snapshot, object, block };
        found.damaged.extend(damaged.into_iter().map(place));
        if !data.is_empty() {
            content.objects.insert(object, data);
        }
    }
    Ok(content)
}

fn at(volume: Volume, snapshot: Option<SnapshotId>) -> Volume {
    match snapshot {
        Some(id) => volume.at(id),
        None => volume,
    }
}

/// The data of an object: whatever is mapped; and the blocks of it that are damaged.
async fn data(volume: &Volume) -> Result<(Data, Vec<u64>), Error> {
    let (mut data, mut damaged) = (Data::default(), Vec::new());
    for ChangedRange { offset, len } in volume.changed_since(None, 0, usize::MAX).await? {
        let mut done = 0;
        while done < len {
            let (at, piece) = (offset + done, READ.min(len - done));
            done += piece;
            match volume.read(at, Buf::zeroed(piece as usize)).await {
                Ok(bytes) => bytes
                    .chunks(BLOCK)
                    .enumerate()
                    .for_each(|(nth, bytes)| put(&mut data, volume, at / BLOCK as u64 + nth as u64, bytes)),
                Err(Error::Read(ReadError::Corrupt { .. })) => {
                    for at in (at..at + piece).step_by(BLOCK) {
                        let block = at / BLOCK as u64;
                        let len = BLOCK.min((offset + len - at) as usize);
                        match volume.read(at, Buf::zeroed(len)).await {
                            Ok(bytes) => put(&mut data, volume, block, &bytes),
                            Err(Error::Read(ReadError::Corrupt { .. })) => damaged.push(block),
                            Err(e) => return Err(e),
                        }
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }
    Ok((data, damaged))
}

fn put(data: &mut Data, volume: &Volume, number: u64, bytes: &[u8]) {
    let mut stamps = Block::default();
    for (place, stamp) in stamps_of(bytes).into_iter().enumerate() {
        stamps[place] = stamp.unwrap_or_else(|| {
            let sector = number * SECTORS + place as u64;
            panic!("{:?} {:?} sector {sector} reads as garbage", volume.dataset(), volume.snapshot_id())
        });
    }
    data.put(number, stamps);
}

/// Scrubs a pool at rest: what is damaged is found, each with who sees it, and nothing else.
///
/// # Errors
/// What the engine answered.
pub(super) async fn scrub(
    engine: &Arc<Engine>,
    state: &Model,
    damaged: &BTreeSet<Place>,
) -> Result<(), Error> {
    let report = engine.scrub(0).await?;
    let holds = |range: &DamagedRange, place: &Place| {
        (range.object.0, range.offset) == (place.object, place.block * BLOCK as u64)
    };
    // Nobody can look into a snapshot without a name, or behind the end of what a shrink has left.
    let hidden = |range: &DamagedRange| {
        let (Some(dataset), object) = (range.dataset, range.object.0) else { return true };
        let content = state.content(Target { dataset, object, snapshot: range.snapshot });
        content.is_none_or(|content| object == 0 && range.offset >= content.size)
    };
    for range in &report.damaged {
        let seen = |place: &Place| {
            holds(range, place) && (Some(place.dataset), place.snapshot) == (range.dataset, range.snapshot)
        };
        assert!(
            hidden(range) || damaged.iter().any(seen),
            "a scrub finds damage where nobody else does: {range:?}"
        );
    }
    for place in damaged {
        // Whoever sees it may have it from another dataset, under the same content.
        let told = |range: &DamagedRange| {
            let dataset = range.dataset.unwrap_or(place.dataset);
            let there = Place { dataset, snapshot: range.snapshot, ..*place };
            // What two see of one block differs where one of them ends in it.
            let end = (place.block + 1) * BLOCK as u64;
            let cuts = |place: Place| state.content(place.target()).is_none_or(|content| content.size < end);
            // Several states may fit what nobody can read: then `state` may have two where the pool has one.
            let same = there.content(state) == place.content(state) || damaged.contains(&there);
            let cut = place.object == 0 && (cuts(there) || cuts(*place));
            holds(range, place) && (hidden(range) || same || cut)
        };
        let content = place.content(state);
        assert!(report.damaged.iter().any(told), "{place:?} {content:x?} is missed: {:?}", report.damaged);
    }
    Ok(())
}

/// Checks the accounts by a full walk. Background work may move meanwhile: then the walk is done again.
///
/// # Panics
/// When a figure is wrong though nothing moved.
pub(super) async fn audit(engine: &Arc<Engine>) {
    for _ in 0..64 {
        let before = engine.stats().store.visible;
        let result = engine.audit().await;
        match result {
            Ok(()) => return,
            Err(e) if engine.stats().store.visible == before => panic!("audit: {e}"),
            Err(_) => {}
        }
    }
}

/// Checks what the engine says about extents and changes against the model, at rest. What is `damaged` is not
/// looked at: several states fit a block that nobody can read, and `model` is only one of them.
///
/// # Errors
/// What the engine answered.
pub(super) async fn listings(
    engine: &Arc<Engine>,
    model: &Model,
    damaged: &BTreeSet<Place>,
) -> Result<(), Error> {
    for (id, dataset) in &model.datasets {
        let size = dataset.content.size;
        if size > 0 && size <= 16 << 20 {
            extents(&engine.volume(*id), &dataset.content).await?;
        }
        let mut older: Option<(SnapshotId, &Content)> = None;
        for (snapshot, record) in model.snapshots.iter().filter(|(_, s)| s.dataset == *id) {
            let volume = engine.volume(*id);
            let now = (volume.at(*snapshot), &*record.content);
            if let Some((old, content)) = older {
                changes(&now, &(volume.at(old), content), damaged).await?;
            }
            older = Some((*snapshot, &record.content));
            changes(&(volume, &*dataset.content), &now, damaged).await?;
        }
    }
    Ok(())
}

async fn extents(volume: &Volume, content: &Content) -> Result<(), Error> {
    let data = content.data(0);
    for extent in volume.extents(0, content.size, usize::MAX).await? {
        for block in extent.offset / BLOCK as u64..(extent.offset + extent.len).div_ceil(BLOCK as u64) {
            let mapped = data.block(block).is_some();
            assert_eq!(extent.mapped, mapped, "{:?}: block {block} of {extent:?}", volume.dataset());
        }
    }
    Ok(())
}

/// Every block that differs must be listed.
async fn changes(
    new: &(Volume, &Content),
    old: &(Volume, &Content),
    damaged: &BTreeSet<Place>,
) -> Result<(), Error> {
    let ranges = new.0.changed_since(Some(&old.0), 0, usize::MAX).await?;
    let between = (new.0.snapshot_id(), old.0.snapshot_id());
    let dataset = new.0.dataset();
    let is_damaged = |block: u64| {
        let place = |snapshot| Place { dataset, snapshot, object: 0, block };
        damaged.contains(&place(between.0)) || damaged.contains(&place(between.1))
    };
    let mut missing = unlisted(&ranges, (new.1, old.1), 0);
    missing.retain(|block| !is_damaged(*block));
    assert!(
        missing.is_empty(),
        "dataset {dataset}: {missing:?} differ between {between:?}, sizes {:?}, and are not listed",
        (new.1.size, old.1.size)
    );
    Ok(())
}

/// The blocks of an object that differ and are not in `ranges`.
#[must_use]
pub(super) fn unlisted(ranges: &[ChangedRange], (new, old): (&Content, &Content), object: u64) -> Vec<u64> {
    let listed = |block: u64| {
        let at = block * BLOCK as u64;
        ranges.iter().any(|range| range.offset <= at && at < range.offset + range.len)
    };
    let (a, b) = (new.data(object), old.data(object));
    // What a shrink left behind the end, in the last block too, is no difference that anyone can see.
    let whole = new.size / (SECTOR as u64 * SECTORS);
    let last = new.size == old.size && !new.size.is_multiple_of(SECTOR as u64 * SECTORS);
    let visible = if object == 0 { whole + u64::from(last) } else { u64::MAX };
    let same = |block: u64| match object == 0 && block == whole {
        true => (block * SECTORS..new.size / SECTOR as u64).all(|at| a.sector(at) == b.sector(at)),
        false => a.block(block) == b.block(block),
    };
    let blocks = a.blocks().chain(b.blocks()).map(|(block, _)| block).filter(|block| *block < visible);
    blocks.filter(|block| !same(*block) && !listed(*block)).collect()
}
