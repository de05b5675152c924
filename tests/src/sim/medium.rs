//! What a disk holds: the stable medium and, above it, the volatile cache. No time and no requests here.
//!
//! Invariants: reads see the cache; only a flush moves writes to the stable medium, in the order in which
//! they landed; a power cut leaves for each sector the stable version or one that was written since. Nothing
//! smaller than a sector is ever torn.

use super::Rng;
use block_layer::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a page of the sparse store; sectors divide it.
const PAGE: usize = 4096;

/// A sparse array of bytes; what was never written reads as zeros. Clones share pages until written.
#[derive(Clone, Default)]
struct Pages(BTreeMap<u64, Arc<[u8; PAGE]>>);

/// A write that reads see and no flush has covered.
struct Landed {
    /// Its place in the order of landing, from 1.
    nth: u64,
    at: u64,
    data: Bytes,
}

/// The contents of one disk.
pub(super) struct Medium {
    sector: usize,
    now: Pages,
    stable: Pages,
    /// In the order of landing.
    unflushed: Vec<Landed>,
    landings: u64,
}

impl Medium {
    /// All zeros; `sector` bytes are written whole.
    pub(super) fn new(sector: u32) -> Medium {
        let sector = sector as usize;
        assert!(sector > 0 && PAGE.is_multiple_of(sector), "sectors of {sector} bytes do not divide a page");
        let (now, stable) = (Pages::default(), Pages::default());
        Medium { sector, now, stable, unflushed: Vec::new(), landings: 0 }
    }

    /// What a read at `at` finds.
    pub(super) fn read(&self, at: u64, into: &mut [u8]) {
        self.now.read(at, into);
    }

    /// A write reaches the cache.
    pub(super) fn land(&mut self, at: u64, data: Bytes) {
        self.now.write(at, &data);
        self.landings += 1;
        self.unflushed.push(Landed { nth: self.landings, at, data });
    }

    /// Some sectors of a write, all or none of them among the possibilities, reach the cache.
    pub(super) fn land_torn(&mut self, at: u64, data: &Bytes, rng: &mut Rng) {
        for (from, to) in self.torn(data.len(), rng) {
            self.land(at + from as u64, data.slice(from..to));
        }
    }

    /// How many writes have landed: what a flush that begins now will cover.
    pub(super) fn mark(&self) -> u64 {
        self.landings
    }

    /// The first `mark` landings become stable.
    pub(super) fn flush(&mut self, mark: u64) {
        for write in self.take_landed(mark) {
            self.stable.write(write.at, &write.data);
        }
    }

    /// The flush of the first `mark` landings fails, and no later flush covers them: each becomes stable, or
    /// is lost at once, or is still read until the power cut that shows that it was lost.
    pub(super) fn fail_flush(&mut self, mark: u64, rng: &mut Rng) {
        for write in self.take_landed(mark) {
            match rng.below(3) {
                0 => {
                    self.stable.write(write.at, &write.data);
                    self.now.write(write.at, &write.data); // the loss of an older one may have hidden it
                }
                1 => {
                    let mut older = vec![0; write.data.len()];
                    self.stable.read(write.at, &mut older);
                    self.now.write(write.at, &older);
                }
                _ => {}
            }
        }
        // What landed after the mark is newer than what was just lost.
        for write in &self.unflushed {
            self.now.write(write.at, &write.data);
        }
    }

    /// The power goes: of every write that no flush covered, and of those `in_flight` (byte and data), any
    /// subset of the sectors becomes stable; the cache is lost.
    pub(super) fn power_cut(&mut self, in_flight: Vec<(u64, Bytes)>, rng: &mut Rng) {
        let landed = self.take_landed(u64::MAX).into_iter().map(|write| (write.at, write.data));
        // Uniform chance alone would hardly ever lose all or keep all, and both find bugs of their own.
        let keep_all = rng.chance(0.15);
        let lose_all = !keep_all && rng.chance(0.2);
        for (at, data) in landed.chain(in_flight) {
            let kept = match (keep_all, lose_all) {
                (true, _) => vec![(0, data.len())],
                (_, true) => Vec::new(),
                _ => self.torn(data.len(), rng),
            };
            for (from, to) in kept {
                self.stable.write(at + from as u64, &data[from..to]);
            }
        }
        self.now = self.stable.clone();
    }

    /// Rot: inverts bit `bit` (0..8) of byte `at`, in the cache and below.
    pub(super) fn flip(&mut self, at: u64, bit: u32) {
        self.now.flip(at, bit);
        self.stable.flip(at, bit);
        for write in &mut self.unflushed {
            if (write.at..write.at + write.data.len() as u64).contains(&at) {
                let mut rotten = write.data.to_vec();
                rotten[(at - write.at) as usize] ^= 1 << bit;
                write.data = rotten.into();
            }
        }
    }

    /// The byte offset of a random sector of a page, at or behind byte `from`, that was ever written.
    pub(super) fn random_sector(&self, from: u64, rng: &mut Rng) -> Option<u64> {
        let mut pages = self.now.0.range(from.div_ceil(PAGE as u64)..).map(|(page, _)| page);
        let chosen = rng.below(pages.clone().count().max(1) as u64) as usize;
        let page = pages.nth(chosen)?;
        Some(page * PAGE as u64 + rng.below((PAGE / self.sector) as u64) * self.sector as u64)
    }

    fn take_landed(&mut self, mark: u64) -> Vec<Landed> {
        let covered = self.unflushed.partition_point(|write| write.nth <= mark);
        self.unflushed.drain(..covered).collect()
    }

    /// Byte ranges of a write of `len` bytes that survive a tear: whole, nothing, a prefix, a suffix, all but
    /// one sector, or any sectors.
    fn torn(&self, len: usize, rng: &mut Rng) -> Vec<(usize, usize)> {
        let sectors = len / self.sector;
        let cut = rng.below(sectors as u64 + 1) as usize * self.sector;
        match rng.below(6) {
            0 => vec![(0, len)],
            1 => Vec::new(),
            2 => vec![(0, cut)],
            3 => vec![(cut, len)],
            4 if cut < len => vec![(0, cut), (cut + self.sector, len)],
            _ => (0..sectors)
                .filter(|_| rng.chance(0.5))
                .map(|sector| (sector * self.sector, (sector + 1) * self.sector))
                .collect(),
        }
        .into_iter()
        .filter(|(from, to)| from < to)
        .collect()
    }
}

impl Pages {
    fn read(&self, at: u64, into: &mut [u8]) {
        for_pages(at, into.len(), |page, within, range| match self.0.get(&page) {
            Some(bytes) => into[range.clone()].copy_from_slice(&bytes[within..within + range.len()]),
            None => into[range].fill(0),
        });
    }

    fn write(&mut self, at: u64, data: &[u8]) {
        for_pages(at, data.len(), |page, within, range| {
            let bytes = self.0.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(bytes)[within..within + range.len()].copy_from_slice(&data[range]);
        });
    }

    fn flip(&mut self, at: u64, bit: u32) {
        let mut byte = [0];
        self.read(at, &mut byte);
        self.write(at, &[byte[0] ^ (1 << bit)]);
    }
}

/// Calls `each` with every page that `len` bytes from `at` touch: its number, the first byte inside it, and
/// the range of the bytes.
fn for_pages(at: u64, len: usize, mut each: impl FnMut(u64, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < len {
        let position = at + done as u64;
        let within = (position % PAGE as u64) as usize;
        let piece = (PAGE - within).min(len - done);
        each(position / PAGE as u64, within, done..done + piece);
        done += piece;
    }
}
