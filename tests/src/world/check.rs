//! Checks of a whole pool at rest: what it holds, what it lists, what its accounts say.

use super::content::{stamps_of, Block, Data, SECTORS};
use super::model::{Content, Dataset, Entries, Model, Snapshot, OBJECTS, SHARE};
use block_layer::{Buf, BLOCK, SECTOR};
use snapshots::engine::{ChangedRange, Volume};
use snapshots::{DatasetId, Engine, Error, ObjectId, SnapshotId};
use std::sync::Arc;

/// Bytes of a read.
const READ: u64 = 1 << 20;

/// Everything that the engine holds, read through its public interface.
///
/// # Errors
/// What a read answered; a sector that no stamp has is a panic.
pub(super) async fn everything(engine: &Arc<Engine>) -> Result<Model, Error> {
    let mut model = Model::default();
    for info in engine.datasets() {
        let content = Arc::new(content(engine, info.id, None, info.kind, info.size).await?);
        let (name, kind, attributes) = (info.name, info.kind, info.attributes);
        model.datasets.insert(info.id, Dataset { name, kind, attributes, content });
        for snapshot in engine.snapshots(info.id) {
            let (id, size) = (snapshot.id, snapshot.size);
            let content = Arc::new(content_at(engine, info.id, id, kind, size).await?);
            model.snapshots.insert(id, Snapshot { dataset: info.id, name: snapshot.name, kind, content });
        }
    }
    Ok(model)
}

async fn content_at(
    engine: &Arc<Engine>,
    dataset: DatasetId,
    id: SnapshotId,
    kind: u8,
    size: u64,
) -> Result<Content, Error> {
    content(engine, dataset, Some(id), kind, size).await
}

async fn content(
    engine: &Arc<Engine>,
    dataset: DatasetId,
    snapshot: Option<SnapshotId>,
    kind: u8,
    size: u64,
) -> Result<Content, Error> {
    let entries: Entries = engine.scan(dataset, snapshot, b"", b"", 1 << 20).await?.into_iter().collect();
    let mut content = Content { size, entries: Arc::new(entries), ..Content::default() };
    let objects = if kind == SHARE { 0..=*OBJECTS.end() } else { 0..=0 };
    for object in objects {
        let volume = at(engine.object(dataset, ObjectId(object)), snapshot);
        let data = data(&volume).await?;
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

/// The data of an object: whatever is mapped.
async fn data(volume: &Volume) -> Result<Data, Error> {
    let mut data = Data::default();
    for ChangedRange { offset, len } in volume.changed_since(None, 0, usize::MAX).await? {
        let mut done = 0;
        while done < len {
            let piece = READ.min(len - done);
            let bytes = volume.read(offset + done, Buf::zeroed(piece as usize)).await?;
            for (nth, block) in bytes.chunks(BLOCK).enumerate() {
                let number = (offset + done) / BLOCK as u64 + nth as u64;
                let mut stamps = Block::default();
                for (place, stamp) in stamps_of(block).into_iter().enumerate() {
                    stamps[place] = stamp.unwrap_or_else(|| {
                        let sector = number * SECTORS + place as u64;
                        panic!(
                            "{:?} {:?} sector {sector} reads as garbage",
                            volume.dataset(),
                            volume.snapshot_id()
                        )
                    });
                }
                data.put(number, stamps);
            }
            done += piece;
        }
    }
    Ok(data)
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

/// Checks what the engine says about extents and changes against the model, at rest.
///
/// # Errors
/// What the engine answered.
pub(super) async fn listings(engine: &Arc<Engine>, model: &Model) -> Result<(), Error> {
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
                changes(&now, &(volume.at(old), content)).await?;
            }
            older = Some((*snapshot, &record.content));
            changes(&(volume, &*dataset.content), &now).await?;
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
async fn changes(new: &(Volume, &Content), old: &(Volume, &Content)) -> Result<(), Error> {
    let ranges = new.0.changed_since(Some(&old.0), 0, usize::MAX).await?;
    let listed = |block: u64| {
        let at = block * BLOCK as u64;
        ranges.iter().any(|range| range.offset <= at && at < range.offset + range.len)
    };
    let (a, b) = (new.1.data(0), old.1.data(0));
    // What a shrink left behind the end of the last block is no difference that anyone can see.
    let whole = new.1.size / (SECTOR as u64 * SECTORS);
    let last = new.1.size == old.1.size && !new.1.size.is_multiple_of(SECTOR as u64 * SECTORS);
    let visible = whole + u64::from(last);
    for (block, _) in a.blocks().chain(b.blocks()).filter(|(block, _)| *block < visible) {
        let same = a.block(block) == b.block(block);
        let between = (new.0.snapshot_id(), old.0.snapshot_id());
        assert!(
            same || listed(block),
            "dataset {}: block {block} differs between {between:?} and is not listed",
            new.0.dataset()
        );
    }
    Ok(())
}
