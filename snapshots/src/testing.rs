//! What the crate's tests share: a seeded generator and golden files.

use std::path::Path;

/// Set it to write the golden files instead of comparing with them: a change of format.
const REGENERATE: &str = "ASHLAR_REGENERATE_GOLDEN";

/// A small generator (splitmix64): the same seed, the same numbers, on every machine.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Fewer than `max` random bytes, zeros and ones more often than chance has them.
    pub(crate) fn bytes(&mut self, max: u64) -> Vec<u8> {
        let len = self.below(max);
        (0..len).map(|_| [0, 1, 0xff, self.next() as u8][self.below(4) as usize]).collect()
    }

    /// `bytes` with one of them changed, cut off or added.
    pub(crate) fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut mutated = bytes.to_vec();
        let at = self.below(bytes.len() as u64) as usize;
        match self.below(4) {
            0 => mutated.truncate(at),
            1 => mutated.insert(at, self.next() as u8),
            2 => mutated[at] ^= 1 << self.below(8),
            _ => mutated[at] = self.next() as u8,
        }
        mutated
    }
}

/// Compares `bytes` with the committed file `golden/NAME`.
pub(crate) fn golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os(REGENERATE).is_some() {
        std::fs::write(&path, bytes).expect("golden files can be written");
    }
    let committed = std::fs::read(&path).expect("the golden file exists");
    assert_eq!(bytes, committed, "{name} has changed: that is a new format version");
}
