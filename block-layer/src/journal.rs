//! The journal ring: where the next record goes, and how records are found again.
//!
//! Positions are *virtual*: bytes since the ring was made, never turning back; the place on the device is the
//! position modulo the ring's length. A record starts on a sector, never straddles the ring's end, and is
//! read back by following the chain: sequence, incarnation and the predecessor's checksum must all fit.
//!
//! No I/O but reading lives here; the committer writes.

use crate::device::{Buf, Disk};
use crate::error::DiskError;
use crate::format::record::{Header, HEADER};
use crate::units::Seq;
use std::sync::Arc;

/// A place in the journal: after the record `seq - 1`, before the record `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Virtual position in bytes.
    pub at: u64,
    /// The sequence number of the record that starts here.
    pub seq: Seq,
    /// Checksum field of the record before.
    pub previous: u32,
}

/// The space of a ring.
#[derive(Clone, Debug)]
pub struct Ring {
    len: u64,
    sector: u64,
    head: u64,
    tail: u64,
}

impl Ring {
    /// A ring of `len` bytes whose records start on multiples of `sector`, empty at `at`.
    #[must_use]
    pub fn new(len: u64, sector: u32, at: u64) -> Ring {
        Ring { len, sector: u64::from(sector), head: at, tail: at }
    }

    /// Bytes from the tail to the head.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.head - self.tail
    }

    /// Bytes in all.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing lies between tail and head.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used() == 0
    }

    /// Bytes that a record of `record` bytes takes on the device.
    #[must_use]
    pub fn padded(&self, record: usize) -> usize {
        (record as u64).next_multiple_of(self.sector) as usize
    }

    /// The virtual position for the next record of `record` bytes, or `None` when the ring is too full.
    /// The head moves only with [`Ring::advance`].
    #[must_use]
    pub fn place(&self, record: usize) -> Option<u64> {
        let need = self.padded(record) as u64;
        let left = self.len - self.head % self.len;
        let at = if left < need { self.head + left } else { self.head };
        (at + need - self.tail <= self.len).then_some(at)
    }

    /// Takes the space of a record that was placed at `at`.
    pub fn advance(&mut self, at: u64, record: usize) {
        debug_assert!(at >= self.head);
        self.head = at + self.padded(record) as u64;
    }

    /// Takes everything up to `at`: records that were found there.
    pub fn advance_to(&mut self, at: u64) {
        debug_assert!(at >= self.head);
        self.head = at;
    }

    /// Gives the space from `at` on back: the records there were replaced.
    pub fn rewind(&mut self, at: u64) {
        debug_assert!((self.tail..=self.head).contains(&at));
        self.head = at;
    }

    /// Frees the space before `at`: a checkpoint and its superblock are durable.
    pub fn trim(&mut self, at: u64) {
        debug_assert!((self.tail..=self.head).contains(&at));
        self.tail = at;
    }

    /// The offset in the ring of a virtual position.
    #[must_use]
    pub fn offset(&self, at: u64) -> u64 {
        at % self.len
    }
}

/// What a chain's records must share.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    /// The pool.
    pub pool: [u8; 16],
    /// The incarnation that wrote them.
    pub incarnation: u64,
}

impl Chain {
    fn owns(&self, header: &Header) -> bool {
        header.pool == self.pool && header.incarnation == self.incarnation
    }
}

/// Reads a chain of records, front to back.
pub struct Reader {
    disk: Arc<dyn Disk>,
    base: u64,
    ring: Ring,
    chain: Chain,
    next: Place,
    window: Option<(u64, Buf)>,
}

/// Bytes read at a time.
const WINDOW: u64 = 1 << 20;

impl Reader {
    /// A reader of the ring at byte `base` of `disk`, starting at `from`.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, base: u64, ring: &Ring, chain: Chain, from: Place) -> Reader {
        Reader { disk, base, ring: ring.clone(), chain, next: from, window: None }
    }

    /// Bytes that a record of `record` bytes takes on the device.
    #[must_use]
    pub fn padded(&self, record: usize) -> usize {
        self.ring.padded(record)
    }

    /// Where the next record is expected.
    #[must_use]
    pub fn place(&self) -> Place {
        self.next
    }

    /// The next whole record of the chain: header and bytes (header included); `None` at the chain's end.
    ///
    /// # Errors
    /// Only what the device answered: an unreadable journal is damage, never the log's end.
    pub async fn next(&mut self) -> Result<Option<(Header, Vec<u8>)>, DiskError> {
        let offset = self.ring.offset(self.next.at);
        let mut found =
            self.record_at(offset).await?.filter(|(h, _)| self.follows(h)).map(|r| (self.next.at, r));
        if found.is_none() && offset != 0 {
            let wrapped = self.next.at + (self.ring.len - offset);
            found = self.record_at(0).await?.filter(|(h, _)| self.follows(h)).map(|r| (wrapped, r));
        }
        let Some((at, (header, record))) = found else { return Ok(None) };
        let at = at + self.ring.padded(record.len()) as u64;
        self.next = Place { at, seq: header.seq.next(), previous: header.crc };
        Ok(Some((header, record)))
    }

    /// The highest flushed mark in any whole record of this chain's incarnation behind the chain's end, round
    /// to `tail`, where the chain began: proof that records up to there once were durable.
    ///
    /// # Errors
    /// What the device answered.
    pub async fn mark_behind(&mut self, tail: u64) -> Result<Seq, DiskError> {
        let mut highest = Seq(0);
        let mut at = self.next.at;
        while at < tail + self.ring.len {
            let found = self.record_at(self.ring.offset(at)).await?.filter(|(h, _)| self.chain.owns(h));
            at += match found {
                Some((header, record)) => {
                    highest = highest.max(header.flushed);
                    self.ring.padded(record.len()) as u64
                }
                None => self.ring.sector,
            };
        }
        Ok(highest)
    }

    fn follows(&self, header: &Header) -> bool {
        self.chain.owns(header) && header.seq == self.next.seq && header.previous == self.next.previous
    }

    async fn record_at(&mut self, offset: u64) -> Result<Option<(Header, Vec<u8>)>, DiskError> {
        if self.ring.len - offset < HEADER as u64 {
            return Ok(None);
        }
        let Some(header) = Header::decode(self.bytes(offset, HEADER).await?) else { return Ok(None) };
        let total = HEADER + header.len as usize;
        if !self.chain.owns(&header) || self.ring.len - offset < total as u64 {
            return Ok(None);
        }
        let record = self.bytes(offset, total).await?.to_vec();
        Ok(header.checks(&record).then_some((header, record)))
    }

    /// `len` bytes at `offset` of the ring, through the window.
    async fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8], DiskError> {
        let inside =
            |start: u64, window: &Buf| offset >= start && offset + len as u64 <= start + window.len() as u64;
        if !self.window.as_ref().is_some_and(|(start, window)| inside(*start, window)) {
            let start = offset - offset % self.ring.sector;
            let want = WINDOW.max((offset - start + len as u64).next_multiple_of(self.ring.sector));
            let want = want.min(self.ring.len - start) as usize;
            // The last window's memory, where it fits.
            let buf = self.window.take().map(|(_, buf)| buf).filter(|buf| buf.len() == want);
            let buf = buf.unwrap_or_else(|| Buf::zeroed(want));
            self.window = Some((start, self.disk.read(self.base + start, buf).await?));
        }
        let (start, window) = self.window.as_ref().expect("just filled");
        let from = (offset - start) as usize;
        Ok(&window[from..from + len])
    }
}
