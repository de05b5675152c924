//! What the allocator stores in the index: bitmaps (values and merge operands), summaries, counts.
//!
//! Every value is sealed alike, little-endian:
//!
//! | bytes | field | meaning                                             |
//! |-------|-------|-----------------------------------------------------|
//! | 0..4  | crc   | crc32c of all the bytes that follow                 |
//! | 4     | form  | what the body is, and its version: see [`Form`]     |
//! | 5..   | body  | as the form says                                    |
//!
//! A bitmap's value and its merge operands have the same forms. *Partial* forms say what became of the blocks
//! they name, *total* ones of the whole segment; blocks that no form names are free. Whichever form is
//! shorter is written. A damaged value is rot to report: its segment is not allocated from. Merging anything
//! with a damaged value gives [`Form::Rot`], which no decoder accepts.

use super::bitmap::{Bitmap, BITMAP_BYTES, WORDS};
use super::delta::Change;
use super::patch::Patch;
use super::segment::GROUP;
use crate::units::BLOCKS_PER_SEGMENT;

/// A value of the index that does not decode: the caller knows its key and reports it as damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// The forms of version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Form {
    /// Body: nothing. The outcome of merging damaged values.
    Rot = 0,
    /// Body: runs, in order: varint gap since the last one's end, varint `(slots - 1) * 2 + value`.
    PartialRuns = 0x11,
    /// Body: as above, allocated runs only; everything else is free.
    TotalRuns = 0x12,
    /// Body: 2 KiB, which blocks are named; 2 KiB, which of them are allocated.
    PartialBits = 0x13,
    /// Body: 2 KiB, which blocks are allocated.
    TotalBits = 0x14,
    /// Body: 4 bytes a segment, at most [`GROUP`]: free blocks (u16), blocks with extra references (u16).
    Summary = 0x21,
    /// Body: the extra references of a block, u32, never 0.
    Count = 0x31,
}

const SEAL: usize = 5;

fn seal(form: Form, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, form as u8]);
    body(out);
    let crc = crate::crc32c(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

fn unseal(value: &[u8]) -> Result<(u8, &[u8]), Malformed> {
    let (crc, rest) = value.split_first_chunk::<4>().ok_or(Malformed("shorter than its seal"))?;
    if crate::crc32c(rest) != u32::from_le_bytes(*crc) {
        return Err(Malformed("checksum"));
    }
    let (&form, body) = rest.split_first().ok_or(Malformed("shorter than its seal"))?;
    Ok((form, body))
}

impl Patch {
    fn decode(bytes: &[u8]) -> Result<Patch, Malformed> {
        let (form, body) = unseal(bytes)?;
        let mut patch = Patch::default();
        match form {
            f if f == Form::PartialRuns as u8 => patch.decode_runs(body, false)?,
            f if f == Form::TotalRuns as u8 => {
                patch.decode_runs(body, true)?;
                patch.named.set(0, BLOCKS_PER_SEGMENT, true);
            }
            f if f == Form::PartialBits as u8 && body.len() == 2 * BITMAP_BYTES => {
                let (named, value) = body.split_at(BITMAP_BYTES);
                get_words(named, &mut patch.named);
                get_words(value, &mut patch.value);
                let mut words = patch.named.words().iter().zip(patch.value.words());
                if words.any(|(named, value)| value & !named != 0) {
                    return Err(Malformed("allocates a block that it does not name"));
                }
            }
            f if f == Form::TotalBits as u8 && body.len() == BITMAP_BYTES => {
                patch.named.set(0, BLOCKS_PER_SEGMENT, true);
                get_words(body, &mut patch.value);
            }
            _ => return Err(Malformed("unknown form of a bitmap")),
        }
        Ok(patch)
    }

    fn decode_runs(&mut self, mut body: &[u8], total: bool) -> Result<(), Malformed> {
        let mut at = 0;
        while !body.is_empty() {
            let gap = get_varint(&mut body)?;
            let run = get_varint(&mut body)?;
            let (slots, value) = ((run >> 1) + 1, run & 1 == 1);
            // No overflow: a varint is below 2^21.
            if at + gap + slots > BLOCKS_PER_SEGMENT {
                return Err(Malformed("a run leaves the segment"));
            }
            if total && !value {
                return Err(Malformed("a free run where only allocated ones are named"));
            }
            self.set(at + gap, slots, value);
            at += gap + slots;
        }
        Ok(())
    }
}

/// Appends the shortest form of `changes`, which are sorted and disjoint. `total`: blocks without a change
/// are free.
pub(super) fn encode_changes(changes: &[Change], total: bool, out: &mut Vec<u8>) {
    let start = out.len();
    let (form, limit) = match total {
        true => (Form::TotalRuns, BITMAP_BYTES),
        false => (Form::PartialRuns, 2 * BITMAP_BYTES),
    };
    seal(form, out, |out| {
        let mut at = 0;
        for change in changes.iter().filter(|change| change.value() || !total) {
            put_varint(change.first() - at, out);
            put_varint((change.slots() - 1) << 1 | u32::from(change.value()), out);
            at = change.end();
        }
    });
    if out.len() - start - SEAL <= limit {
        return;
    }
    out.truncate(start);
    let Patch { named, value } = Patch::of(changes);
    seal(if total { Form::TotalBits } else { Form::PartialBits }, out, |out| {
        if !total {
            put_words(&named, out);
        }
        put_words(&value, out);
    });
}

/// The merge function of bitmap keys: `newer` laid over `older`, appended to `out`.
///
/// Associative. Damage in either gives a value that [`decode_bitmap`] refuses.
pub fn merge_bitmap(older: &[u8], newer: &[u8], out: &mut Vec<u8>) {
    match (Patch::decode(older), Patch::decode(newer)) {
        (Ok(mut patch), Ok(newer)) => {
            patch.lay(&newer);
            encode_changes(&patch.changes(), patch.is_total(), out);
        }
        _ => seal(Form::Rot, out, |_| ()),
    }
}

/// The bitmap that a value says; a key without a value means [`Bitmap::new`].
///
/// # Errors
/// [`Malformed`] when the bytes are not such a value.
pub fn decode_bitmap(value: &[u8]) -> Result<Bitmap, Malformed> {
    Patch::decode(value).map(|patch| patch.value)
}

/// The value of `bitmap`, in its shortest form.
#[must_use]
pub fn encode_bitmap(bitmap: &Bitmap) -> Vec<u8> {
    let mut named = Bitmap::new();
    named.set(0, BLOCKS_PER_SEGMENT, true);
    let mut out = Vec::new();
    encode_changes(&Patch { named, value: bitmap.clone() }.changes(), true, &mut out);
    out
}

/// Appends the summaries of a group's segments: (free blocks, blocks with extra references) each.
pub(super) fn encode_summary(segments: &[(u16, u16)], out: &mut Vec<u8>) {
    seal(Form::Summary, out, |out| {
        for (free, refs) in segments {
            out.extend_from_slice(&free.to_le_bytes());
            out.extend_from_slice(&refs.to_le_bytes());
        }
    });
}

/// The summaries of a group: per segment, (free blocks, blocks with extra references).
///
/// Segments past its end have never been touched: all free, no references.
///
/// # Errors
/// [`Malformed`] when the bytes are not such a value.
pub fn decode_summary(value: &[u8]) -> Result<Vec<(u16, u16)>, Malformed> {
    let (form, body) = unseal(value)?;
    let (segments, []) = body.as_chunks::<4>() else { return Err(Malformed("length of a summary")) };
    if form != Form::Summary as u8 || segments.len() > GROUP as usize {
        return Err(Malformed("unknown form of a summary"));
    }
    let segment = |&[a, b, c, d]: &[u8; 4]| {
        let (free, refs) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        match u32::from(free) + u32::from(refs) <= BLOCKS_PER_SEGMENT {
            true => Ok((free, refs)),
            false => Err(Malformed("a summary counts more blocks than a segment has")),
        }
    };
    segments.iter().map(segment).collect()
}

/// The value of a block's extra references.
pub(super) fn encode_count(count: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(SEAL + 4);
    seal(Form::Count, &mut out, |out| out.extend_from_slice(&count.to_le_bytes()));
    out
}

/// The extra references of a block, at least 1.
///
/// # Errors
/// [`Malformed`] when the bytes are not such a value.
pub fn decode_count(value: &[u8]) -> Result<u32, Malformed> {
    match unseal(value)? {
        (form, body) if form == Form::Count as u8 => {
            let body = body.try_into().map_err(|_| Malformed("length of a count"))?;
            Some(u32::from_le_bytes(body)).filter(|&count| count > 0).ok_or(Malformed("a count of zero"))
        }
        _ => Err(Malformed("unknown form of a count")),
    }
}

fn put_words(bitmap: &Bitmap, out: &mut Vec<u8>) {
    out.extend(bitmap.words().iter().flat_map(|word| word.to_le_bytes()));
}

fn get_words(bytes: &[u8], bitmap: &mut Bitmap) {
    debug_assert_eq!(bytes.len(), 8 * WORDS);
    for (word, bytes) in bitmap.words_mut().iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
}

fn put_varint(mut n: u32, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A number of at most three bytes: below 2^21.
fn get_varint(bytes: &mut &[u8]) -> Result<u32, Malformed> {
    let mut n = 0;
    for shift in [0, 7, 14] {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed("ends inside a number"))?;
        *bytes = rest;
        n |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(n);
        }
    }
    Err(Malformed("a number of more than three bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::delta::Delta;
    use crate::alloc::tests::Dice;

    fn random_delta(dice: &mut Dice, changes: u32) -> Delta {
        let mut delta = Delta::new(dice.below(6) == 0);
        for _ in 0..changes {
            let first = dice.below(BLOCKS_PER_SEGMENT);
            let slots = (1 + dice.below(9)).min(BLOCKS_PER_SEGMENT - first);
            delta.apply(first, slots, dice.below(2) == 1);
        }
        delta
    }

    fn operand(delta: &Delta) -> Vec<u8> {
        let mut out = Vec::new();
        encode_changes(&delta.changes(), delta.from_empty, &mut out);
        out
    }

    fn merged(older: &[u8], newer: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        merge_bitmap(older, newer, &mut out);
        out
    }

    #[test]
    fn operands_merge_to_what_they_say_in_any_grouping() {
        let mut dice = Dice(5);
        for round in 0..60 {
            let size = [3, 60, 3000][round % 3];
            let deltas: Vec<Delta> = (0..3).map(|_| random_delta(&mut dice, size)).collect();
            let mut expected = Bitmap::new();
            for delta in &deltas {
                if delta.from_empty {
                    expected = Bitmap::new();
                }
                delta.lay_over(&mut expected);
            }
            let [a, b, c] = [0, 1, 2].map(|i| operand(&deltas[i]));
            let left = merged(&merged(&a, &b), &c);
            assert_eq!(left, merged(&a, &merged(&b, &c)));
            assert_eq!(decode_bitmap(&left), Ok(expected.clone()));
            assert!(left.len() <= SEAL + 2 * BITMAP_BYTES);
            assert_eq!(decode_bitmap(&encode_bitmap(&expected)), Ok(expected));
        }
    }

    #[test]
    fn every_flipped_bit_is_damage_and_spreads_through_merges() {
        let mut dice = Dice(9);
        let good = operand(&random_delta(&mut dice, 40));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << dice.below(8);
            assert!(decode_bitmap(&bad).is_err());
            for rot in [merged(&good, &bad), merged(&bad, &good)] {
                assert!(decode_bitmap(&rot).is_err());
                assert!(decode_bitmap(&merged(&rot, &good)).is_err());
            }
        }
    }

    #[test]
    fn decoders_survive_random_bytes_under_a_valid_seal() {
        let mut dice = Dice(1);
        for _ in 0..20_000 {
            let len = [dice.below(20), dice.below(5000)][usize::from(dice.below(20) == 0)];
            let form = [0, 0x11, 0x12, 0x13, 0x14, 0x21, 0x31, 0x99][dice.below(8) as usize];
            let mut bytes = vec![0, 0, 0, 0, form];
            let range = [4, 256][dice.below(2) as usize];
            bytes.extend((0..len).map(|_| dice.below(range) as u8));
            let crc = crate::crc32c(&bytes[4..]);
            bytes[..4].copy_from_slice(&crc.to_le_bytes());
            let (bitmap, summary) = (decode_bitmap(&bytes), decode_summary(&bytes));
            let count = decode_count(&bytes);
            assert!(
                usize::from(bitmap.is_ok()) + usize::from(summary.is_ok()) + usize::from(count.is_ok()) < 2
            );
            let cut = &bytes[..dice.below(bytes.len() as u32) as usize];
            assert!(
                decode_bitmap(cut).is_err() && decode_summary(cut).is_err() && decode_count(cut).is_err()
            );
        }
    }

    #[test]
    fn version_1_bytes_are_what_they_always_were() {
        let mut delta = Delta::new(false);
        delta.apply(2, 3, true);
        delta.apply(300, 1, false);
        assert_eq!(operand(&delta)[4..], [0x11, 2, 5, 0xa7, 2, 0]);
        let mut summary = Vec::new();
        encode_summary(&[(16384, 0), (1, 2)], &mut summary);
        assert_eq!(summary[4..], [0x21, 0, 64, 0, 0, 1, 0, 2, 0]);
        assert_eq!(decode_summary(&summary), Ok(vec![(16384, 0), (1, 2)]));
        assert_eq!(encode_count(258)[4..], [0x31, 2, 1, 0, 0]);
        assert_eq!(decode_count(&encode_count(258)), Ok(258));
        assert!(decode_count(&encode_count(0)).is_err());
    }
}
