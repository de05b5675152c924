//! EXTENDED COPY (LID1) and its results (SPC-4 6.4, 6.20 to 6.23): copies inside storage, block to block.
//!
//! Devices are named by identification descriptors (E4h), and found only among the LUNs that the nexus sees.
//! A copy is done when the command is answered: no list identifier is ever busy, and results are kept for
//! the last [`COPY_RESULTS`] copies of a nexus.

use super::command::{Cdb, Response, TaskAttribute};
use super::limits::{COPY_DEVICES, COPY_RESULTS, COPY_SEGMENTS, COPY_SEGMENT_MAX};
use super::lu::{Lu, Path};
use super::medium::pieces;
use super::nexus::Core;
use super::opcodes::Access;
use super::plan::Range;
use super::sense::{Key, Sense};
use crate::lun::{LogicalUnit, LunFault};
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

const HEAD: usize = 16;
const DEVICE: usize = 32;
const SEGMENT: usize = 28;
const IDENTIFICATION: u8 = 0xe4;
const BLOCK_TO_BLOCK: u8 = 0x02;

const TOO_MANY_DEVICES: Sense = Sense::new(Key::IllegalRequest, 0x26, 0x06);
const UNSUPPORTED_DEVICE: Sense = Sense::new(Key::IllegalRequest, 0x26, 0x07);
const TOO_MANY_SEGMENTS: Sense = Sense::new(Key::IllegalRequest, 0x26, 0x08);
const UNSUPPORTED_SEGMENT: Sense = Sense::new(Key::IllegalRequest, 0x26, 0x09);
const INLINE_DATA: Sense = Sense::new(Key::IllegalRequest, 0x26, 0x0b);
const UNREACHABLE: Sense = Sense::new(Key::CopyAborted, 0x0d, 0x02);
const ABORTED: Sense = Sense::new(Key::CopyAborted, 0x00, 0x00);

/// How the last copies of a nexus ended, by list identifier.
#[derive(Debug, Default)]
pub(crate) struct Copies(VecDeque<Outcome>);

#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    list: u8,
    segments: u16,
    bytes: u64,
    failed: bool,
}

/// A segment, found and checked.
struct Segment<L: LogicalUnit> {
    from: Arc<Path<L>>,
    to: Arc<Path<L>>,
    from_offset: u64,
    range: Range,
}

/// A parameter list, its frame checked.
struct List<'a> {
    id: Option<u8>,
    devices: &'a [u8],
    segments: &'a [u8],
}

fn list(bytes: &[u8]) -> Result<List<'_>, Sense> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    let devices = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let segments = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
    let inline = u32::from_be_bytes([head[12], head[13], head[14], head[15]]);
    if devices + segments > COPY_DEVICES * DEVICE + COPY_SEGMENTS * SEGMENT {
        return Err(Sense::PARAMETER_LIST_LENGTH);
    }
    if devices > COPY_DEVICES * DEVICE {
        return Err(TOO_MANY_DEVICES);
    }
    if inline > 0 {
        return Err(INLINE_DATA);
    }
    let (devices, rest) = rest.split_at_checked(devices).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    let segments = rest.get(..segments).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    if !devices.len().is_multiple_of(DEVICE) {
        return Err(Sense::parameter(2));
    }
    // LIST ID USAGE 11b: no identifier, no results.
    let id = (head[1] >> 3 & 0x03 != 3).then_some(head[0]);
    Ok(List { id, devices, segments })
}

/// A copy that can begin: all that it names was found and checked.
pub(crate) struct Copy<L: LogicalUnit> {
    id: Option<u8>,
    segments: Vec<Segment<L>>,
}

impl<L: LogicalUnit> Copy<L> {
    /// Understands EXTENDED COPY's parameter list.
    pub(crate) fn parse(core: &Core<L>, data: &[u8]) -> Result<Copy<L>, Sense> {
        if data.is_empty() {
            return Ok(Copy { id: None, segments: Vec::new() });
        }
        let list = list(data)?;
        let mut devices = Vec::new();
        for (n, descriptor) in list.devices.chunks_exact(DEVICE).enumerate() {
            devices.push(device(core, descriptor, (HEAD + n * DEVICE) as u16)?);
        }
        let mut rest = list.segments;
        let mut descriptors = Vec::new();
        while !rest.is_empty() {
            if rest[0] != BLOCK_TO_BLOCK {
                return Err(UNSUPPORTED_SEGMENT);
            }
            let (descriptor, next) = rest.split_at_checked(SEGMENT).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
            descriptors.push(descriptor);
            rest = next;
        }
        if descriptors.len() > COPY_SEGMENTS {
            return Err(TOO_MANY_SEGMENTS);
        }
        let segments = descriptors.into_iter().map(|descriptor| segment(&devices, descriptor));
        let segments: Result<Vec<Segment<L>>, Sense> = segments.collect();
        if segments.is_err() {
            core.keep(list.id, Outcome { failed: true, ..Outcome::default() });
        }
        Ok(Copy { id: list.id, segments: segments? })
    }

    /// The units that it writes to.
    pub(crate) fn units(&self) -> Vec<Arc<Lu<L>>> {
        self.segments.iter().map(|segment| Arc::clone(&segment.to.lu)).collect()
    }

    /// Does it.
    pub(crate) async fn run(self, core: Arc<Core<L>>) -> Result<Response, Sense> {
        let mut outcome = Outcome::default();
        let mut result = Ok(());
        for segment in &self.segments {
            result = copy(segment).await;
            if result.is_err() {
                outcome.failed = true;
                break;
            }
            outcome.segments += 1;
            outcome.bytes += segment.range.len;
        }
        core.keep(self.id, outcome);
        result.map(|()| Response::written(0))
    }
}

impl<L: LogicalUnit> Core<L> {
    /// Keeps the result of a copy, if it had a list identifier.
    fn keep(&self, id: Option<u8>, outcome: Outcome) {
        if let Some(list) = id {
            self.copies.lock().unwrap_or_else(PoisonError::into_inner).keep(Outcome { list, ..outcome });
        }
    }
}

/// Finds a device among those that the nexus sees. One that it does not see is not there.
fn device<L: LogicalUnit>(core: &Core<L>, descriptor: &[u8], at: u16) -> Result<Option<Arc<Path<L>>>, Sense> {
    const NAA: u8 = 0x03;
    if descriptor[0] != IDENTIFICATION {
        return Err(UNSUPPORTED_DEVICE);
    }
    if descriptor[1] & 0x1f != 0 {
        return Err(Sense::parameter(at + 1));
    }
    let (code_set, kind, len) = (descriptor[4] & 0x0f, descriptor[5] & 0x3f, usize::from(descriptor[7]));
    let name = descriptor[8..28].get(..len).ok_or(Sense::parameter(at + 7))?;
    if code_set != 0x01 || kind != NAA {
        return Ok(None);
    }
    let mut numbers: Vec<(u16, Arc<Path<L>>)> = {
        let luns = core.luns();
        let same = luns.iter().filter(|(_, path)| path.lu.identity.naa.0 == name);
        same.map(|(number, path)| (*number, Arc::clone(path))).collect()
    };
    numbers.sort_by_key(|(number, _)| *number);
    Ok(numbers.into_iter().next().map(|(_, path)| path))
}

fn segment<L: LogicalUnit>(devices: &[Option<Arc<Path<L>>>], descriptor: &[u8]) -> Result<Segment<L>, Sense> {
    let be16 = |at: usize| u16::from_be_bytes([descriptor[at], descriptor[at + 1]]);
    let be64 = |at: usize| descriptor[at..at + 8].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    if usize::from(be16(2)) != SEGMENT - 4 {
        return Err(ABORTED);
    }
    let find = |index: u16| {
        let device = devices.get(usize::from(index)).ok_or(ABORTED)?;
        device.clone().ok_or(UNREACHABLE)
    };
    let (from, to) = (find(be16(4))?, find(be16(6))?);
    // DC says whose blocks are counted.
    let counted = if descriptor[1] & 0x02 != 0 { &to } else { &from };
    let len = u64::from(be16(10)) << counted.lu.block_size.shift();
    let whole = len.is_multiple_of(u64::from(from.lu.block_size.bytes().max(to.lu.block_size.bytes())));
    if len > COPY_SEGMENT_MAX || !whole {
        return Err(ABORTED);
    }
    let place = |path: &Path<L>, lba: u64| {
        let end = path.blocks().ok_or(UNREACHABLE)?;
        let shift = path.lu.block_size.shift();
        if lba > end || len >> shift > end - lba {
            return Err(ABORTED);
        }
        Ok(lba << shift)
    };
    let from_offset = place(&from, be64(12))?;
    let range = Range { offset: place(&to, be64(20))?, len };
    if to.is_read_only() {
        return Err(Sense::new(Key::CopyAborted, 0x27, 0x00));
    }
    Ok(Segment { from, to, from_offset, range })
}

async fn copy<L: LogicalUnit>(segment: &Segment<L>) -> Result<(), Sense> {
    let Segment { from, to, from_offset, range } = segment;
    // Counted among what runs at the destination, so that whoever fences it waits for this.
    let ticket = to.tasks.begin(TaskAttribute::HeadOfQueue).map_err(|_| ABORTED)?;
    let _running = ticket.run().await.map_err(|_| ABORTED)?;
    let allowed = from.lu.allow(&from.ports, Access::Read) && to.lu.allow(&to.ports, Access::Write);
    if !allowed {
        return Err(ABORTED);
    }
    let (Some((source_unit, _)), Some((unit, source))) = (&from.storage, &to.storage) else {
        return Err(UNREACHABLE);
    };
    for piece in pieces(*range) {
        let from_offset = from_offset + (piece.offset - range.offset);
        unit.copy_from(source, piece.offset, source_unit, from_offset, piece.len).await.map_err(failed)?;
    }
    Ok(())
}

/// A fault of storage while copying. Out of space keeps its own answer: hosts act on it.
fn failed(fault: LunFault) -> Sense {
    match fault {
        LunFault::NoSpace => Sense::of(fault),
        _ => Sense { key: Key::CopyAborted, ..Sense::of(fault) },
    }
}

impl Copies {
    fn keep(&mut self, outcome: Outcome) {
        self.0.retain(|known| known.list != outcome.list);
        if self.0.len() == COPY_RESULTS {
            self.0.pop_front();
        }
        self.0.push_back(outcome);
    }

    /// RECEIVE COPY RESULTS: copy status, operating parameters, failed segment details.
    pub(crate) fn results<L: LogicalUnit>(&mut self, path: &Path<L>, cdb: &Cdb) -> Result<Vec<u8>, Sense> {
        let at = self.0.iter().position(|known| known.list == cdb.0[2]);
        match cdb.0[1] & 0x1f {
            0x03 => Ok(operating_parameters(path.lu.block_size.shift())),
            0x00 => {
                let outcome = self.0[at.ok_or(Sense::cdb(2))?];
                let [s0, s1] = outcome.segments.to_be_bytes();
                let mut bytes = vec![0, 0, 0, 8, if outcome.failed { 0x02 } else { 0x01 }, s0, s1, 0x01];
                bytes.extend(u32::try_from(outcome.bytes >> 10).unwrap_or(u32::MAX).to_be_bytes());
                Ok(bytes)
            }
            _ => {
                // Details are kept for failures only, and told once.
                let at = at.filter(|at| self.0[*at].failed).ok_or(Sense::cdb(2))?;
                self.0.remove(at);
                let mut bytes = vec![0; 60];
                bytes[3] = 56;
                bytes[56] = 0x02;
                Ok(bytes)
            }
        }
    }
}

fn operating_parameters(shift: u32) -> Vec<u8> {
    let mut bytes = vec![0; 44];
    bytes[3] = 40 + 2;
    bytes[4] = 0x01; // no list identifier needed
    bytes[8..10].copy_from_slice(&(COPY_DEVICES as u16).to_be_bytes());
    bytes[10..12].copy_from_slice(&(COPY_SEGMENTS as u16).to_be_bytes());
    let descriptors = (COPY_DEVICES * DEVICE + COPY_SEGMENTS * SEGMENT) as u32;
    bytes[12..16].copy_from_slice(&descriptors.to_be_bytes());
    bytes[16..20].copy_from_slice(&(COPY_SEGMENT_MAX as u32).to_be_bytes());
    bytes[34..36].copy_from_slice(&1_u16.to_be_bytes()); // copies at once in the target
    bytes[36] = 1; // copies at once in a unit
    bytes[37] = shift as u8; // data segment granularity
    bytes[43] = 2;
    bytes.extend([BLOCK_TO_BLOCK, IDENTIFICATION]);
    bytes
}
