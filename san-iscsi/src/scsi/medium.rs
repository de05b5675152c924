//! What is done to the medium: each command as one call to storage, or a few.
//!
//! A modification is a future that owns all it needs, so that it can be left to itself if storage hangs.

use super::command::Response;
use super::limits::{CALL_MAX, STATUS_DESCRIPTORS, UNMAP_MAX};
use super::lu::Path;
use super::plan::{Compare, Range, Work};
use super::sense::{Detail, Key, Sense};
use crate::lun::{Durability, LogicalUnit, LunFault};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// How often ORWRITE starts again because another write came between.
const OR_WRITE_TRIES: usize = 64;

/// Does a modification.
pub(crate) async fn modify<L: LogicalUnit>(
    path: Arc<Path<L>>,
    work: Work,
    data: Bytes,
) -> Result<Response, Sense> {
    let (unit, source) = path.storage.as_ref().ok_or(Sense::NOT_READY)?;
    match work {
        Work::Write { range, durability } => {
            if range.len > 0 {
                unit.write(source, range.offset, data, durability).await.map_err(Sense::of)?;
            }
        }
        Work::WriteVerify { range, compare } => {
            if range.len > 0 {
                let durable = Durability::Durable;
                unit.write(source, range.offset, data.clone(), durable).await.map_err(Sense::of)?;
                verify(&path, range, compare, &data).await?;
            }
        }
        Work::CompareAndWrite(range) => {
            if range.len > 0 {
                let (expected, new) = halves(&data, range.len)?;
                unit.compare_and_write(source, range.offset, expected, new).await.map_err(Sense::of)?;
            }
        }
        Work::OrWrite(range) => or_write(&path, range, &data).await?,
        Work::WriteSame { range, zeroes, durability } => {
            let zeroes = zeroes || data.iter().all(|byte| *byte == 0);
            for piece in pieces(range) {
                let Range { offset, len } = piece;
                if zeroes {
                    unit.write_zeroes(source, offset, len, durability).await.map_err(Sense::of)?;
                } else {
                    let block = data.clone();
                    unit.write_same(source, offset, len, block, durability).await.map_err(Sense::of)?;
                }
            }
        }
        Work::Unmap { durability } => {
            for range in unmap_list(&path, &data)? {
                for Range { offset, len } in pieces(range) {
                    unit.write_zeroes(source, offset, len, durability).await.map_err(Sense::of)?;
                }
            }
        }
        _ => unit.flush(source).await.map_err(Sense::of)?,
    }
    Ok(Response::written(0))
}

/// A range in pieces that one call takes.
pub(crate) fn pieces(range: Range) -> impl Iterator<Item = Range> {
    let end = range.offset + range.len;
    (range.offset..end)
        .step_by(CALL_MAX as usize)
        .map(move |offset| Range { offset, len: CALL_MAX.min(end - offset) })
}

/// The two halves of COMPARE AND WRITE's data, each a buffer of its own.
fn halves(data: &Bytes, len: u64) -> Result<(Bytes, Bytes), Sense> {
    let len = usize::try_from(len).map_err(|_| Sense::PARAMETER_LIST_LENGTH)?;
    if data.len() != 2 * len {
        return Err(Sense::PARAMETER_LIST_LENGTH);
    }
    Ok((data.slice(..len), data.slice(len..)))
}

/// Reads a range, and compares it with data.
pub(crate) async fn verify<L: LogicalUnit>(
    path: &Path<L>,
    range: Range,
    compare: Compare,
    data: &[u8],
) -> Result<(), Sense> {
    let (unit, _) = path.storage.as_ref().ok_or(Sense::NOT_READY)?;
    if range.len == 0 {
        return Ok(());
    }
    let found = unit.read(range.offset, range.len).await.map_err(Sense::of)?;
    let block = path.lu.block_size.bytes() as usize;
    let differs = match compare {
        Compare::Nothing => None,
        Compare::All => difference(&found, data),
        Compare::Block => {
            let mut blocks = found.chunks(block).enumerate();
            blocks.find_map(|(n, found)| Some(n * block + difference(found, data)?))
        }
    };
    match differs {
        Some(at) => Err(Sense::of(LunFault::Miscompare { at: at as u64 })),
        None => Ok(()),
    }
}

fn difference(a: &[u8], b: &[u8]) -> Option<usize> {
    a.iter().zip(b).position(|(a, b)| a != b)
}

/// ORWRITE is atomic: it writes only over what it has read.
async fn or_write<L: LogicalUnit>(path: &Path<L>, range: Range, data: &[u8]) -> Result<(), Sense> {
    let (unit, source) = path.storage.as_ref().ok_or(Sense::NOT_READY)?;
    if range.len == 0 {
        return Ok(());
    }
    for _ in 0..OR_WRITE_TRIES {
        let old = unit.read(range.offset, range.len).await.map_err(Sense::of)?;
        let new: BytesMut = old.iter().zip(data).map(|(a, b)| a | b).collect();
        match unit.compare_and_write(source, range.offset, old, new.freeze()).await {
            Err(LunFault::Miscompare { .. }) => {}
            result => return result.map_err(Sense::of),
        }
    }
    Err(Sense::new(Key::AbortedCommand, 0x00, 0x00))
}

/// Understands UNMAP's parameter list: all of it, before anything is unmapped.
fn unmap_list<L: LogicalUnit>(path: &Path<L>, list: &[u8]) -> Result<Vec<Range>, Sense> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let (head, descriptors) = list.split_first_chunk::<8>().ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let descriptors = &descriptors[..len.min(descriptors.len())];
    let shift = path.lu.block_size.shift();
    let end = path.blocks().unwrap_or(0);
    let mut ranges = Vec::new();
    let mut total = 0;
    for (n, descriptor) in descriptors.chunks_exact(16).enumerate() {
        let (lba, rest) = descriptor.split_first_chunk::<8>().expect("a descriptor has 16 bytes");
        let (count, _) = rest.split_first_chunk::<4>().expect("8 bytes are left of it");
        let (lba, count) = (u64::from_be_bytes(*lba), u64::from(u32::from_be_bytes(*count)));
        if lba > end || count > end - lba {
            return Err(Sense::LBA_OUT_OF_RANGE);
        }
        total += count << shift;
        if total > UNMAP_MAX {
            let detail = Detail::ParameterField(8 + 16 * n as u16 + 8, None);
            return Err(Sense { detail, ..Sense::new(Key::IllegalRequest, 0x26, 0x00) });
        }
        if count > 0 {
            ranges.push(Range { offset: lba << shift, len: count << shift });
        }
    }
    Ok(ranges)
}

/// GET LBA STATUS: which runs are mapped.
pub(crate) async fn lba_status<L: LogicalUnit>(
    path: &Path<L>,
    range: Range,
    allocation: usize,
) -> Result<Bytes, Sense> {
    let (unit, _) = path.storage.as_ref().ok_or(Sense::NOT_READY)?;
    let len = range.len.min(CALL_MAX);
    let descriptors = (allocation.saturating_sub(8) / 16).clamp(1, STATUS_DESCRIPTORS);
    let extents = unit.extents(range.offset, len, descriptors).await.map_err(Sense::of)?;
    let shift = path.lu.block_size.shift();
    let mut bytes = vec![0; 8];
    for extent in extents.iter().take(descriptors) {
        bytes.extend((extent.offset >> shift).to_be_bytes());
        bytes.extend(((extent.len >> shift) as u32).to_be_bytes());
        bytes.extend([u8::from(!extent.mapped), 0, 0, 0]);
    }
    let rest = bytes.len() as u32 - 4;
    bytes[..4].copy_from_slice(&rest.to_be_bytes());
    bytes.truncate(allocation);
    Ok(Bytes::from(bytes))
}
