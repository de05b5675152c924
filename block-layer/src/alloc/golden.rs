//! The golden bytes of what the allocator keeps in the index: every form of a value, with its key.

use super::codec::{encode_changes, encode_count, encode_summary};
use super::delta::Delta;
use super::{decode_bitmap, decode_count, decode_summary, encode_bitmap, Bitmap, Record};
use crate::format::space_key;
use crate::units::BLOCKS_PER_SEGMENT;

const SEGMENT: u32 = 0x0102_0304;

/// Every `step`-th block allocated, from 5 on.
fn scattered(step: usize) -> Bitmap {
    let mut bitmap = Bitmap::new();
    (5..BLOCKS_PER_SEGMENT).step_by(step).for_each(|slot| bitmap.set(slot, 1, true));
    bitmap
}

fn operand(blocks: &[(u32, u32, bool)]) -> Vec<u8> {
    let mut delta = Delta::new(false);
    blocks.iter().for_each(|(first, slots, value)| delta.apply(*first, *slots, *value));
    let mut out = Vec::new();
    encode_changes(&delta.changes(), false, &mut out);
    out
}

/// One of each form.
fn values() -> Vec<(Record, Vec<u8>)> {
    let dense: Vec<_> = (0..BLOCKS_PER_SEGMENT / 3).map(|nth| (3 * nth, 1, nth % 2 == 0)).collect();
    let mut summary = Vec::new();
    encode_summary(&[(16_384, 0), (100, 7), (0, 1)], &mut summary);
    vec![
        (Record::Bitmap(SEGMENT), operand(&[(0, 300, true), (1000, 1, false), (16_383, 1, true)])),
        (Record::Bitmap(SEGMENT), operand(&dense)),
        (Record::Bitmap(SEGMENT), encode_bitmap(&scattered(4000))),
        (Record::Bitmap(SEGMENT), encode_bitmap(&scattered(3))),
        (Record::Summary(3), summary),
        (Record::Refs { segment: SEGMENT, slot: 16_000 }, encode_count(70_000)),
    ]
}

#[test]
fn the_values_of_free_space_keep_their_golden_bytes() {
    let golden = include_bytes!("../../golden/free-space-v1.bin");
    let entry = |(record, value): (Record, Vec<u8>)| {
        let key = space_key::encode(record);
        [&[key.len() as u8], &key[..], &(value.len() as u16).to_le_bytes(), &value].concat()
    };
    let bytes: Vec<u8> = values().into_iter().flat_map(entry).collect();
    if std::env::var_os("ASHLAR_REGENERATE_GOLDEN").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/free-space-v1.bin"), &bytes).unwrap();
    }
    assert!(bytes == golden, "free-space-v1.bin has changed: that is a new format version");
}

#[test]
fn the_golden_values_still_mean_the_same() {
    let values = values();
    let named = decode_bitmap(&values[0].1).unwrap();
    assert_eq!((named.count_all(), named.count(0, 300), named.count(16_383, 1)), (301, 300, 1));
    assert_eq!(decode_bitmap(&values[1].1).unwrap().count_all(), BLOCKS_PER_SEGMENT.div_ceil(6));
    assert_eq!(decode_bitmap(&values[2].1).unwrap(), scattered(4000));
    assert_eq!(decode_bitmap(&values[3].1).unwrap(), scattered(3));
    assert_eq!(decode_summary(&values[4].1).unwrap(), [(16_384, 0), (100, 7), (0, 1)]);
    assert_eq!(decode_count(&values[5].1).unwrap(), 70_000);
}
