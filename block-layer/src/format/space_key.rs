//! The index keys of free space: bitmaps, summaries and reference counts.
//!
//! | key                                    | value                                             |
//! |----------------------------------------|---------------------------------------------------|
//! | `a`, segment (u32 BE)                  | the segment's bitmap; merged                      |
//! | `s`, group of segments (u32 BE)        | free and reference counts of its segments         |
//! | `r`, segment (u32 BE), slot (u32 BE)   | extra references of a block                       |

use crate::alloc::{merge_bitmap, Record};
use crate::index::MergeRule;

/// How bitmaps are merged.
pub const MERGE: MergeRule = MergeRule { kind: b'a', merge: merge_bitmap };

/// The key of an entry.
#[must_use]
pub fn encode(record: Record) -> Vec<u8> {
    let (kind, first, second) = match record {
        Record::Bitmap(segment) => (b'a', segment, None),
        Record::Summary(group) => (b's', group, None),
        Record::Refs { segment, slot } => (b'r', segment, Some(slot)),
    };
    let mut key = vec![kind];
    key.extend(first.to_be_bytes());
    key.extend(second.map(u32::to_be_bytes).into_iter().flatten());
    key
}

/// The keys of all reference counts of a segment: from, to.
#[must_use]
pub fn refs_of(segment: u32) -> (Vec<u8>, Vec<u8>) {
    let from = encode(Record::Refs { segment, slot: 0 });
    let mut to = encode(Record::Refs { segment, slot: u32::MAX });
    to.push(0);
    (from, to)
}

/// The slot of a reference count's key; `None` when it is not one.
#[must_use]
pub fn slot_of(key: &[u8]) -> Option<u32> {
    key.get(5..9)?.try_into().ok().map(u32::from_be_bytes)
}
