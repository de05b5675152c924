//! What a fuzzer feeds: every decoder of what a share has stored, and its rule.
//!
//! The first byte chooses. What a decoder accepts, it encodes back to the same bytes.

use super::attributes::Attributes;
use super::format::{decode_totals, encode_totals, kept_by, orphan_of, NameRecord};
use super::inode::Inode;
use super::RULE;
use snapshots::machine::merge::Merging;
use snapshots::DatasetId;

/// Decodes `data` as one of a share's records.
///
/// # Panics
/// When a decoder is wrong.
pub fn share_entry(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    match which % 6 {
        0 => {
            if let Ok(inode) = Inode::decode(data) {
                assert_eq!(Inode::decode(&inode.encode()), Ok(inode));
            }
        }
        1 => {
            if let Ok(record) = NameRecord::decode(data) {
                assert_eq!(record.encode(), data);
            }
        }
        2 => {
            let (key, value) = data.split_at(data.len().min(17));
            if let Ok((record, name)) = NameRecord::decode_listed(key, value) {
                assert_eq!(record.encode_listed(&name), value);
            }
        }
        3 => {
            if let Ok(totals) = decode_totals(data) {
                assert_eq!(encode_totals(totals), data);
            }
            let _ = (kept_by(DatasetId(1), data), orphan_of(data));
        }
        4 => {
            if let Ok(attributes) = Attributes::decode(data) {
                assert_eq!(attributes.encode(), data);
            }
        }
        _ => {
            let (operand, old) = data.split_at(data.len().min(18));
            for old in [None, Some(old)] {
                let merge = |mapped| (RULE.merge)(Merging { name: b"i", old, operand, mapped });
                assert_eq!(merge(0).is_ok(), merge(-7).is_ok(), "a rule's veto depends on the blocks");
            }
        }
    }
}
