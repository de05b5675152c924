//! Operations of the tiny machine, the mutations they make, and the contents of their blocks.

use block_layer::alloc::Purpose;
use block_layer::{Bytes, Pba, BLOCK};

/// A named block: where it is, its checksum, and the tag that its content follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub pba: Pba,
    /// Its CRC-32C.
    pub crc: u32,
    /// See [`content`].
    pub tag: u64,
}

/// An operation.
#[derive(Clone, Debug)]
pub struct Op {
    /// Its number, unique in a run.
    pub id: u64,
    /// Ordered alone.
    pub barrier: bool,
    /// Bounces unless the newest entry of this key is at this address.
    pub guard: Option<(u32, Option<Pba>)>,
    /// Whether that is looked at when the effects are there already, so that they must be taken back.
    pub late: bool,
    /// What it does.
    pub act: Act,
    /// Bytes that its mutation has beside: they fill the journal.
    pub ballast: usize,
}

/// What an operation does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Writes blocks to consecutive keys.
    Write {
        /// The first key.
        key: u32,
        /// The blocks and their checksums.
        blocks: Vec<(Bytes, u32)>,
        /// Whether the reserve may be used.
        purpose: Purpose,
    },
    /// Forgets consecutive keys.
    Delete {
        /// The first key.
        key: u32,
        /// How many.
        count: u32,
    },
    /// Lets `to` name the block that `from` names.
    Share {
        /// The key that has the block.
        from: u32,
        /// The key that gets it too.
        to: u32,
    },
}

impl Op {
    /// The keys that it looks at.
    pub(super) fn keys(&self) -> Vec<u32> {
        match &self.act {
            Act::Write { key, blocks, .. } => (*key..*key + blocks.len() as u32).collect(),
            Act::Delete { key, count } => (*key..*key + *count).collect(),
            Act::Share { from, to } => vec![*from, *to],
        }
    }
}

/// A change of one key.
pub(super) type Change = (u32, Option<Entry>);

/// The block of a tag, and its checksum.
pub(super) fn content(tag: u64) -> (Bytes, u32) {
    let mut block = Vec::with_capacity(BLOCK);
    for word in 0..BLOCK as u64 / 8 {
        block.extend((tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word).to_le_bytes());
    }
    let crc = crc32c::crc32c(&block);
    (block.into(), crc)
}

/// Appends the mutation of an operation: its number, the number of changes, bytes of ballast, the
/// changes, the ballast.
pub(super) fn encode(id: u64, changes: &[Change], ballast: usize, out: &mut Vec<u8>) {
    out.extend(id.to_le_bytes());
    out.extend((changes.len() as u32).to_le_bytes());
    out.extend((ballast as u32).to_le_bytes());
    changes.iter().for_each(|change| encode_change(change, out));
    out.resize(out.len() + ballast, 0);
}

pub(super) fn encode_change((key, entry): &Change, out: &mut Vec<u8>) {
    out.extend(key.to_le_bytes());
    // Zero is an address too: one more is stored, and zero is "none".
    let (pba, crc, tag) = entry.map_or((0, 0, 0), |e| (e.pba.sectors() + 1, e.crc, e.tag));
    out.extend(pba.to_le_bytes()[..6].iter());
    out.extend(crc.to_le_bytes());
    out.extend(tag.to_le_bytes());
}

const CHANGE: usize = 22;

pub(super) fn decode_change(b: &[u8]) -> Option<Change> {
    let b: &[u8; CHANGE] = b.try_into().ok()?;
    let word = |from: usize, len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&b[from..from + len]);
        u64::from_le_bytes(bytes)
    };
    let (pba, crc, tag) = (word(4, 6), word(10, 4) as u32, word(14, 8));
    let entry = (pba > 0).then(|| Entry { pba: Pba::new(pba - 1), crc, tag });
    Some((word(0, 4) as u32, entry))
}

/// The operations in a record's body; `None` when it is not one.
pub(super) fn decode(mut body: &[u8]) -> Option<Vec<(u64, Vec<Change>)>> {
    let mut ops = Vec::new();
    while !body.is_empty() {
        let (id, rest) = body.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (ballast, rest) = rest.split_first_chunk::<4>()?;
        let len = (u32::from_le_bytes(*count) as usize).checked_mul(CHANGE)?;
        let changes = rest.get(..len)?.chunks_exact(CHANGE).map(decode_change).collect::<Option<_>>()?;
        ops.push((u64::from_le_bytes(*id), changes));
        body = rest.get(len.checked_add(u32::from_le_bytes(*ballast) as usize)?..)?;
    }
    Some(ops)
}
