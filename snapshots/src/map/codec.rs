//! The bytes of a page version in the index, version 1, little-endian.
//!
//! A value is a head byte and then runs, in slot order, up to its end.
//!
//! | byte | field   | meaning                                                             |
//! |------|---------|---------------------------------------------------------------------|
//! | 0    | head    | bits 0..4 version (1), bits 4..7 reserved (0), bit 7 sealed          |
//!
//! | run bytes | field   | meaning                                                        |
//! |-----------|---------|----------------------------------------------------------------|
//! | 1         | tag     | bits 0..4 stored sectors 1..=8, or 0: a run of holes; bit 4: a |
//! |           |         | length follows; bit 5: flags follow; bits 6..8 reserved (0)    |
//! | 1         | first   | first slot                                                     |
//! | 0 or 1    | length  | slots less one, 1..=255; without it the run is one slot        |
//! | 0 or 1    | flags   | the pointers' flags, 1..=255; without it they are 0            |
//! | 6         | pba     | address of the first block; each next one lies 8 sectors on    |
//! | 4         | birth   | birth epoch                                                    |
//! | 4 each    | crc     | CRC-32C of each block                                          |
//!
//! A run of holes ends after its length. So a lone pointer costs 16 bytes (17 with flags), a sequential page
//! 1038. There is no checksum: the index checks its blocks, and a wrong pointer is found by the data's CRC.
//! A value that does not decode is rot to report, never the mark of a crash.

use super::partial::Partial;
use super::pointer::{Pointer, Sectors, Slot};
use crate::decode::{check, Damaged, Reader};
use crate::ids::{Epoch, PAGE_BLOCKS};
use crate::key::Kind;
use block_layer::index::MergeRule;
use block_layer::units::SECTORS_PER_BLOCK;
use block_layer::Pba;

const VERSION: u8 = 1;
const VERSION_BITS: u8 = 0x0f;
const SEALED: u8 = 0x80;

const SECTORS_BITS: u8 = 0x0f;
const HAS_LENGTH: u8 = 0x10;
const HAS_FLAGS: u8 = 0x20;

const CRC_LEN: usize = 4;
const PBA_LEN: usize = 6;

/// The longest value: each of the 256 slots a run of its own, with flags.
pub const ENCODED_MAX: usize = 1 + PAGE_BLOCKS * 17;

/// How the index merges page versions of one key.
pub const MERGE: MergeRule = MergeRule { kind: Kind::Map as u8, merge };

/// Appends the value of `partial` to `out`.
pub fn encode(partial: &Partial, out: &mut Vec<u8>) {
    out.push(VERSION | if partial.is_sealed() { SEALED } else { 0 });
    let mut rest = partial.entries().peekable();
    let mut start = 0;
    while let Some((first, value)) = rest.next() {
        let (mut last_slot, mut last) = (first, value);
        let mut end = start + 1;
        while let Some((slot, value)) = rest.next_if(|next| continues((last_slot, last), *next)) {
            (last_slot, last) = (slot, value);
            end += 1;
        }
        encode_run(first, &partial.values()[start..end], out);
        start = end;
    }
}

fn continues(last: (u8, Option<Pointer>), next: (u8, Option<Pointer>)) -> bool {
    last.0.checked_add(1) == Some(next.0)
        && match (last.1, next.1) {
            (None, None) => true,
            (Some(last), Some(next)) => next.continues(last),
            _ => false,
        }
}

fn encode_run(first: u8, run: &[Option<Pointer>], out: &mut Vec<u8>) {
    let head = run[0];
    let (sectors, flags) = head.map_or((0, 0), |p| (p.sectors().get(), p.flags()));
    let has_length = if run.len() > 1 { HAS_LENGTH } else { 0 };
    let has_flags = if flags != 0 { HAS_FLAGS } else { 0 };
    out.extend([sectors | has_length | has_flags, first]);
    if run.len() > 1 {
        out.push((run.len() - 1) as u8);
    }
    if flags != 0 {
        out.push(flags);
    }
    if let Some(pointer) = head {
        out.extend(&pointer.pba().sectors().to_le_bytes()[..PBA_LEN]);
        out.extend(pointer.birth().0.to_le_bytes());
        run.iter().flatten().for_each(|p| out.extend_from_slice(&p.crc().to_le_bytes()));
    }
}

/// The partial that `value` encodes.
///
/// # Errors
/// [`Damaged`] when it is not what [`encode`] could have written: unknown version, reserved bits, runs out of
/// order, overlapping or past the end of the page, addresses beyond 48 bits, missing or left-over bytes.
pub fn decode(value: &[u8]) -> Result<Partial, Damaged> {
    let mut reader = Reader::new(value);
    let head = reader.u8()?;
    check(head & VERSION_BITS == VERSION, "a page version has an unknown format version")?;
    check(head & !(VERSION_BITS | SEALED) == 0, "a page version has reserved bits set")?;
    // A guess at the slots, from the length of a lone pointer; never more than a page.
    let mut partial = Partial::with_capacity((value.len() / 16 + 1).min(PAGE_BLOCKS));
    let mut next_free = 0;
    while !reader.is_empty() {
        next_free = decode_run(&mut reader, next_free, &mut partial)?;
    }
    if head & SEALED != 0 {
        partial.seal();
    }
    Ok(partial)
}

/// Decodes one run that may not begin before slot `next_free`; the slot after its end.
fn decode_run(reader: &mut Reader<'_>, next_free: usize, partial: &mut Partial) -> Result<usize, Damaged> {
    let [tag, first] = reader.array()?;
    check(tag & !(SECTORS_BITS | HAS_LENGTH | HAS_FLAGS) == 0, "a run has reserved bits set")?;
    let more = if tag & HAS_LENGTH != 0 { reader.u8()? } else { 0 };
    check((tag & HAS_LENGTH != 0) == (more != 0), "a run of one slot has a length")?;
    let (start, count) = (usize::from(first), usize::from(more) + 1);
    check(start >= next_free, "runs overlap or are out of order")?;
    check(start + count <= PAGE_BLOCKS, "a run ends outside its page")?;
    if tag & SECTORS_BITS == 0 {
        check(tag & HAS_FLAGS == 0, "holes have flags")?;
        partial.push_run(first, std::iter::repeat_n(None, count));
        return Ok(start + count);
    }
    let sectors =
        Sectors::new(tag & SECTORS_BITS).ok_or(Damaged { what: "a stored length is above 8 sectors" })?;
    let flags = if tag & HAS_FLAGS != 0 { reader.u8()? } else { 0 };
    check((tag & HAS_FLAGS != 0) == (flags != 0), "a run without flags has them")?;
    let mut pba = [0; 8];
    pba[..PBA_LEN].copy_from_slice(&reader.array::<PBA_LEN>()?);
    let pba = u64::from_le_bytes(pba);
    check(pba + count as u64 * SECTORS_PER_BLOCK <= Pba::LIMIT, "an address is beyond 48 bits")?;
    let birth = Epoch(u32::from_le_bytes(reader.array()?));
    if count == 1 {
        // A page that was written at random is 256 of these.
        let crc = u32::from_le_bytes(reader.array()?);
        partial.push(first, Some(Pointer::stored(Pba::new(pba), crc, birth, sectors, flags)));
        return Ok(start + 1);
    }
    let crcs = reader.slice(count * CRC_LEN)?.chunks_exact(CRC_LEN);
    partial.push_run(
        first,
        crcs.enumerate().map(|(i, crc)| {
            let crc = u32::from_le_bytes(crc.try_into().expect("chunks of four bytes"));
            let pba = Pba::new(pba + i as u64 * SECTORS_PER_BLOCK);
            Some(Pointer::stored(pba, crc, birth, sectors, flags))
        }),
    );
    Ok(start + count)
}

/// Appends to `out` the value of `newer` laid over `older`. Damaged input gives an output that is damaged.
pub fn merge(older: &[u8], newer: &[u8], out: &mut Vec<u8>) {
    match (decode(older), decode(newer)) {
        (Ok(mut merged), Ok(newer)) => {
            merged.lay_over(&newer);
            encode(&merged, out);
        }
        // No version is 0, so this never decodes, nor does anything that is merged with it later.
        _ => out.push(0),
    }
}

/// The value of a version that says one thing about one slot: what most operands of a random load are.
#[must_use]
pub fn encode_one(slot: u8, to: Slot) -> Vec<u8> {
    let mut partial = Partial::with_capacity(1);
    partial.set(slot, to);
    let mut value = Vec::with_capacity(18);
    encode(&partial, &mut value);
    value
}

#[cfg(test)]
mod tests {
    use super::super::partial::tests::{partial, pointer};
    use super::*;
    use crate::testing::{golden, Rng};

    fn encoded(partial: &Partial) -> Vec<u8> {
        let mut value = Vec::new();
        encode(partial, &mut value);
        value
    }

    fn sequential(count: usize) -> Partial {
        let mut partial = Partial::default();
        let at =
            |i: usize| Pointer::new(Pba::new(0x1234_5678 + 8 * i as u64), 0xc0de_0000 + i as u32, Epoch(7));
        partial.set_run(0, (0..count).map(|i| Some(at(i))));
        partial
    }

    #[test]
    fn decoding_is_the_inverse_of_encoding() {
        let mut rng = Rng::new(7);
        for _ in 0..1000 {
            let partial = partial(&mut rng);
            assert_eq!(decode(&encoded(&partial)), Ok(partial));
        }
    }

    #[test]
    fn values_are_as_small_as_promised() {
        let mut rng = Rng::new(8);
        assert_eq!(encoded(&sequential(256)).len(), 1038);
        let mut random = Partial::default();
        random.set_run(0, (0..256).map(|_| Some(pointer(&mut rng))).collect::<Vec<_>>().into_iter());
        assert!(encoded(&random).len() <= ENCODED_MAX && ENCODED_MAX <= 4400);
        assert_eq!(encode_one(3, Slot::Data(Pointer::new(Pba::new(8), 1, Epoch(1)))).len(), 17);
        assert_eq!(encode_one(3, Slot::Hole), [1, 0, 3]);
        let mut holes = Partial::default();
        holes.set_holes(0, 256);
        assert_eq!(encoded(&holes), [1, HAS_LENGTH, 0, 255]);
    }

    #[test]
    fn merging_values_equals_laying_partials_over() {
        let mut rng = Rng::new(9);
        for _ in 0..500 {
            let (older, newer) = (partial(&mut rng), partial(&mut rng));
            let mut merged = Vec::new();
            merge(&encoded(&older), &encoded(&newer), &mut merged);
            let mut expected = older;
            expected.lay_over(&newer);
            assert_eq!(merged, encoded(&expected));
        }
    }

    #[test]
    fn damage_survives_a_merge() {
        let good = encoded(&sequential(3));
        for bad in [&[][..], &[0], &[2], &good[..good.len() - 1]] {
            for (older, newer) in [(bad, &good[..]), (&good[..], bad)] {
                let mut merged = Vec::new();
                merge(older, newer, &mut merged);
                assert!(decode(&merged).is_err());
            }
        }
    }

    #[test]
    fn damaged_values_are_refused_or_decode_to_something_that_encodes() {
        let mut rng = Rng::new(10);
        for round in 0..20_000 {
            let value = match round % 3 {
                0 => rng.bytes(64),
                1 => [&[VERSION][..], &rng.bytes(64)].concat(),
                _ => {
                    let value = encoded(&partial(&mut rng));
                    rng.mutate(&value)
                }
            };
            if let Ok(partial) = decode(&value) {
                assert_eq!(decode(&encoded(&partial)), Ok(partial), "{value:02x?}");
            }
        }
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let lone = |tag, slot| [&[1, tag, slot][..], &[0; 14]].concat();
        let cases: [(Vec<u8>, &str); 10] = [
            (vec![0x11], "a page version has reserved bits set"),
            (vec![2], "a page version has an unknown format version"),
            (vec![1, 0x40, 0], "a run has reserved bits set"),
            (vec![1, HAS_LENGTH, 0, 0], "a run of one slot has a length"),
            (vec![1, 0, 5, 0, 5], "runs overlap or are out of order"),
            (vec![1, HAS_LENGTH, 255, 1], "a run ends outside its page"),
            (vec![1, HAS_FLAGS, 0, 1], "holes have flags"),
            (lone(9, 0), "a stored length is above 8 sectors"),
            (lone(8 | HAS_FLAGS, 0), "a run without flags has them"),
            ([&[1, 8, 0][..], &[0xff; 14]].concat(), "an address is beyond 48 bits"),
        ];
        for (value, what) in cases {
            assert_eq!(decode(&value), Err(Damaged { what }), "{value:02x?}");
        }
        assert_eq!(decode(&lone(8, 0)[..16]), Err(Damaged { what: "it ends too early" }));
    }

    #[test]
    fn the_format_has_not_changed() {
        let mut partial = sequential(4);
        partial.set_holes(8, 100);
        partial.set(200, Slot::Hole);
        let compressed =
            Pointer::stored(Pba::new(Pba::LIMIT - 8), 0x0102_0304, Epoch(9), Sectors::Three, 0x41);
        partial.set(255, Slot::Data(compressed));
        golden("map-page-v1.bin", &encoded(&partial));
        partial.seal();
        golden("map-page-sealed-v1.bin", &encoded(&partial));
    }
}
