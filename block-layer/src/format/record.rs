//! The journal record: the unit of commit and of recovery.
//!
//! Header, version 1, little-endian, 64 bytes:
//!
//! | bytes  | field       | meaning                                                               |
//! |--------|-------------|-----------------------------------------------------------------------|
//! | 0..4   | crc         | crc32c of bytes 4..64 and of the body                                 |
//! | 4..8   | len         | body bytes, 0..=[`BODY_MAX`]                                          |
//! | 8..16  | seq         | sequence number, one more than the record before                      |
//! | 16..24 | incarnation | the pool's incarnation that wrote it: an abandoned future is refused  |
//! | 24..28 | previous    | `crc` of the record before: a record follows exactly one other        |
//! | 28     | version     | 1                                                                     |
//! | 29     | kind        | [`Kind`]                                                              |
//! | 30..32 | reserved    | zero                                                                  |
//! | 32..48 | pool        | pool UUID: a stale record of another pool is never replayed           |
//! | 48..56 | flushed     | the highest sequence known flushed when it was formed                 |
//! | 56..64 | reserved    | zero                                                                  |
//!
//! The body of a commit is [`Effects`]' counted lists: runs written (address, count, one CRC a block),
//! runs freed, reference changes, then the mutations of the machine above, opaque here.
//!
//! A record that does not check is the end of the log when it lies above the highest sequence known
//! flushed, and damage to report below it.

use crate::alloc::Run;
use crate::units::{Pba, Seq, BLOCKS_PER_SEGMENT, SECTORS_PER_BLOCK};
use bytes::{Buf as _, BufMut};

/// Bytes of a header.
pub const HEADER: usize = 64;
/// Most bytes of a body: what one call may hold, with room.
pub const BODY_MAX: usize = 1 << 20;
const VERSION: u8 = 1;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Effects of one batch.
    Commit,
    /// Takes the place of a batch that failed: nothing happened at this sequence number.
    Void,
    /// States the flushed mark, nothing else.
    Mark,
    /// A change of the pool's members.
    Membership,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Commit, Kind::Void, Kind::Mark, Kind::Membership].into_iter().find(|k| *k as u8 == byte)
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Checksum of the rest of the header and of the body.
    pub crc: u32,
    /// Body bytes.
    pub len: u32,
    /// Its place in the commit order.
    pub seq: Seq,
    /// The incarnation that wrote it.
    pub incarnation: u64,
    /// Checksum field of its predecessor.
    pub previous: u32,
    /// What the body is.
    pub kind: Kind,
    /// The pool.
    pub pool: [u8; 16],
    /// The highest sequence known flushed when it was formed.
    pub flushed: Seq,
}

impl Header {
    /// Decodes the fixed fields without judging the checksum; `None` when no record can start here.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Header> {
        let mut b = bytes.get(..HEADER)?;
        let (crc, len, seq) = (b.get_u32_le(), b.get_u32_le(), Seq(b.get_u64_le()));
        let (incarnation, previous) = (b.get_u64_le(), b.get_u32_le());
        let (version, kind, reserved) = (b.get_u8(), b.get_u8(), b.get_u16_le());
        let mut pool = [0; 16];
        b.copy_to_slice(&mut pool);
        let (flushed, reserved_2) = (Seq(b.get_u64_le()), b.get_u64_le());
        if version != VERSION || reserved != 0 || reserved_2 != 0 || len as usize > BODY_MAX {
            return None;
        }
        Some(Header { crc, len, seq, incarnation, previous, kind: Kind::from_byte(kind)?, pool, flushed })
    }

    /// Whether the checksum holds for `record`: this header's bytes and the body.
    #[must_use]
    pub fn checks(&self, record: &[u8]) -> bool {
        record.get(4..HEADER + self.len as usize).is_some_and(|covered| crate::crc32c(covered) == self.crc)
    }

    /// Writes the header over the first [`HEADER`] bytes of `record`, whose body follows; returns the
    /// checksum.
    ///
    /// # Panics
    /// When the body is longer than [`BODY_MAX`]: the committer bounds batches.
    pub fn seal(mut self, record: &mut [u8]) -> Header {
        let body = record.len() - HEADER;
        assert!(body <= BODY_MAX, "a record of {body} bytes");
        self.len = body as u32;
        let mut b = &mut record[4..HEADER];
        b.put_u32_le(self.len);
        b.put_u64_le(self.seq.0);
        b.put_u64_le(self.incarnation);
        b.put_u32_le(self.previous);
        b.put_u8(VERSION);
        b.put_u8(self.kind as u8);
        b.put_u16_le(0);
        b.put_slice(&self.pool);
        b.put_u64_le(self.flushed.0);
        b.put_u64_le(0);
        self.crc = crate::crc32c(&record[4..]);
        record[..4].copy_from_slice(&self.crc.to_le_bytes());
        self
    }
}

/// A run that a batch wrote, with the checksum of each block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where.
    pub run: Run,
    /// CRC-32C of each block, `run.blocks` of them.
    pub crcs: Vec<u32>,
}

/// A change of a block's count of extra references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefChange {
    /// The block.
    pub pba: Pba,
    /// The count before.
    pub before: u32,
    /// The count after: one more or one less.
    pub after: u32,
}

/// Everything that one batch does to the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Blocks written; they become allocated.
    pub written: Vec<Written>,
    /// Blocks freed.
    pub freed: Vec<Run>,
    /// Extra reference counts: the block, the count before and the count after.
    pub refs: Vec<RefChange>,
    /// The machine's mutations, encoded.
    pub body: Vec<u8>,
}

impl Effects {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written.is_empty() && self.freed.is_empty() && self.refs.is_empty() && self.body.is_empty()
    }

    /// Bytes that [`Effects::encode`] appends.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let crcs: usize = self.written.iter().map(|w| w.crcs.len()).sum();
        16 + 8 * (self.written.len() + self.freed.len()) + 4 * crcs + 16 * self.refs.len() + self.body.len()
    }

    /// Appends the body of a commit record.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u32_le(self.written.len() as u32);
        for w in &self.written {
            put_run(out, w.run);
            w.crcs.iter().for_each(|crc| out.put_u32_le(*crc));
        }
        out.put_u32_le(self.freed.len() as u32);
        self.freed.iter().for_each(|run| put_run(out, *run));
        out.put_u32_le(self.refs.len() as u32);
        for change in &self.refs {
            out.put_u64_le(change.pba.sectors());
            out.put_u32_le(change.before);
            out.put_u32_le(change.after);
        }
        out.put_u32_le(self.body.len() as u32);
        out.put_slice(&self.body);
    }

    /// Decodes a commit's body; `None` when it is damaged (its checksum held, so this is rot or a bug).
    #[must_use]
    pub fn decode(mut b: &[u8]) -> Option<Effects> {
        let mut effects = Effects::default();
        for _ in 0..count(&mut b, 12)? {
            let run = get_run(&mut b)?;
            let bytes = 4 * run.blocks as usize;
            let crcs = b.get(..bytes)?.chunks_exact(4).map(|mut c| c.get_u32_le()).collect();
            b.advance(bytes);
            effects.written.push(Written { run, crcs });
        }
        for _ in 0..count(&mut b, 8)? {
            effects.freed.push(get_run(&mut b)?);
        }
        for _ in 0..count(&mut b, 16)? {
            let sectors = b.get_u64_le();
            let pba = (sectors < Pba::LIMIT).then(|| Pba::new(sectors))?;
            effects.refs.push(RefChange { pba, before: b.get_u32_le(), after: b.get_u32_le() });
        }
        let len = count(&mut b, 1)?;
        (b.len() == len).then(|| effects.body.extend_from_slice(b))?;
        Some(effects)
    }
}

/// A count of items that take at least `each` bytes: never more than the bytes that are left can hold.
fn count(b: &mut &[u8], each: usize) -> Option<usize> {
    let n = b.try_get_u32_le().ok()? as usize;
    (n.checked_mul(each)? <= b.len()).then_some(n)
}

fn put_run(out: &mut impl BufMut, run: Run) {
    out.put_u64_le(run.at.sectors() | u64::from(run.blocks - 1) << 48);
}

fn get_run(b: &mut &[u8]) -> Option<Run> {
    let packed = b.try_get_u64_le().ok()?;
    let pba = Pba::new(packed & (Pba::LIMIT - 1));
    let blocks = (packed >> 48) as u32 + 1;
    let inside = pba.sectors().is_multiple_of(SECTORS_PER_BLOCK) && pba.slot() + blocks <= BLOCKS_PER_SEGMENT;
    inside.then_some(Run { at: pba, blocks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::Dice;

    fn effects() -> Effects {
        let run = |segment, slot, blocks| Run { at: Pba::of_block(segment, slot), blocks };
        Effects {
            written: vec![
                Written { run: run(3, 16_382, 2), crcs: vec![0x1122_3344, 0x5566_7788] },
                Written { run: run(9, 0, 1), crcs: vec![0xffff_ffff] },
            ],
            freed: vec![run(1, 5, 1), run(2, 0, BLOCKS_PER_SEGMENT)],
            refs: vec![RefChange { pba: Pba::of_block(4, 4), before: 7, after: 6 }],
            body: b"the machine's own".to_vec(),
        }
    }

    fn header() -> Header {
        Header {
            crc: 0,
            len: 0,
            seq: Seq(0x0102_0304_0506_0708),
            incarnation: 12,
            previous: 0xdead_beef,
            kind: Kind::Commit,
            pool: [0xa5; 16],
            flushed: Seq(0x0102_0304_0506_0000),
        }
    }

    fn sample() -> (Header, Vec<u8>) {
        let mut record = vec![0; HEADER];
        effects().encode(&mut record);
        (header().seal(&mut record), record)
    }

    #[test]
    fn record_keeps_its_golden_bytes() {
        let golden = include_bytes!("../../golden/record-v1.bin");
        let (sealed, record) = sample();
        assert_eq!(record, golden);
        let found = Header::decode(golden).unwrap();
        assert_eq!(found, sealed);
        assert!(found.checks(golden));
        assert_eq!(Effects::decode(&golden[HEADER..]), Some(effects()));
        assert_eq!(golden.len() - HEADER, effects().encoded_len());
    }

    #[test]
    fn a_record_with_any_bit_turned_or_cut_short_does_not_check() {
        let (_, record) = sample();
        let whole = |bytes: &[u8]| Header::decode(bytes).is_some_and(|h| h.checks(bytes));
        for bit in 0..record.len() * 8 {
            let mut bad = record.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!whole(&bad), "bit {bit}");
        }
        assert!((0..record.len()).all(|len| !whole(&record[..len])));
    }

    #[test]
    fn random_bodies_decode_to_themselves_or_not_at_all() {
        let mut dice = Dice(3);
        for _ in 0..50_000 {
            let mut body = Vec::new();
            effects().encode(&mut body);
            for _ in 0..1 + dice.below(4) {
                let at = dice.below(body.len() as u32) as usize;
                body[at] = [0, 1, 0xff, dice.below(256) as u8][dice.below(4) as usize];
            }
            body.truncate(body.len() - [0, dice.below(40) as usize][dice.below(2) as usize]);
            if let Some(effects) = Effects::decode(&body) {
                let mut again = Vec::new();
                effects.encode(&mut again);
                assert_eq!(again, body);
            }
        }
    }

    #[test]
    fn a_count_beyond_the_record_is_refused_before_anything_is_allocated() {
        for counts in [&[0xff; 4][..], &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f], &[0; 12], &[0; 15]] {
            assert_eq!(Effects::decode(counts), None);
        }
        assert_eq!(Effects::decode(&[0; 16]), Some(Effects::default()));
    }
}
