//! What a sector holds: 64 words that follow from the command that wrote it and from its place in the volume.
//!
//! The tag is the number of the command, never 0; a sector of zeroes has the tag 0.

use block_layer::{Buf, SECTOR};

/// The tag of what no command can have written.
pub const GARBAGE: u64 = u64::MAX;

/// Fills `buf` with the sectors from `at` on as command `tag` writes them.
pub fn fill(buf: &mut Buf, at: u64, tag: u64) {
    for (sector, at) in buf.chunks_exact_mut(SECTOR).zip(at..) {
        for (word, nth) in sector.chunks_exact_mut(8).zip(0..) {
            word.copy_from_slice(&word_of(at, tag, nth).to_le_bytes());
        }
    }
}

/// The tag of a sector that was read at place `at`: 0 for zeroes, [`GARBAGE`] when it is not whole or from
/// elsewhere.
#[must_use]
pub fn tag_of(sector: &[u8], at: u64) -> u64 {
    if sector.iter().all(|byte| *byte == 0) {
        return 0;
    }
    let mut words = sector.chunks_exact(8).map(|w| u64::from_le_bytes(w.try_into().expect("8 bytes")));
    let tag = words.next().expect("a sector has words");
    match words.zip(1..).all(|(word, nth)| word == word_of(at, tag, nth)) {
        true => tag,
        false => GARBAGE,
    }
}

fn word_of(at: u64, tag: u64, nth: u64) -> u64 {
    match nth {
        0 => tag,
        1 => at,
        _ => (tag ^ at.rotate_left(40)).wrapping_add(nth).wrapping_mul(0x9e37_79b9_7f4a_7c15),
    }
}

/// Tags as a text of runs: `TAG*COUNT,TAG*COUNT`.
#[must_use]
pub fn runs(tags: &[u64]) -> String {
    let pieces = tags.chunk_by(|a, b| a == b).map(|run| format!("{:x}*{:x}", run[0], run.len()));
    pieces.collect::<Vec<_>>().join(",")
}

/// The inverse of [`runs`]; `None` when the text is none of its.
#[must_use]
pub fn of_runs(text: &str) -> Option<Vec<u64>> {
    let mut tags = Vec::new();
    for run in text.split(',') {
        let (tag, count) = run.split_once('*')?;
        let count = usize::from_str_radix(count, 16).ok()?;
        tags.resize(tags.len() + count, u64::from_str_radix(tag, 16).ok()?);
    }
    Some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_tells_its_command_and_its_place() {
        let mut buf = Buf::zeroed(2 * SECTOR);
        fill(&mut buf, 7, 42);
        assert_eq!((tag_of(&buf[..SECTOR], 7), tag_of(&buf[SECTOR..], 8)), (42, 42));
        assert_eq!(tag_of(&buf[..SECTOR], 8), GARBAGE);
        buf[100] ^= 1;
        assert_eq!(tag_of(&buf[..SECTOR], 7), GARBAGE);
        assert_eq!(tag_of(&[0; SECTOR], 7), 0);
        let tags = [0, 0, 42, GARBAGE];
        assert_eq!(of_runs(&runs(&tags)).unwrap(), tags);
    }
}
