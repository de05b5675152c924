//! Every decoder of bytes that others wrote: one row each, for the fuzzer and for the corpus test alike.
//!
//! A row's name is also that of its fuzz target (`fuzz/fuzz_targets/NAME.rs`) and of the directory of its
//! inputs (`fuzz/corpus/NAME/`). A decoder here decodes, checks that what it accepts encodes back to the
//! same meaning, and returns: any panic is a finding.

use block_layer::alloc::{decode_bitmap, decode_summary, encode_bitmap, merge_bitmap};
use block_layer::format::cut::Cut;
use block_layer::format::membership::MembershipChange;
use block_layer::format::record::{Effects, Header, HEADER};
use block_layer::format::superblock::Superblock;
use block_layer::Pba;

pub use crate::scsi_fuzz::cdb;
pub use nas_nfs::fuzz::{lock_table, nfs3_arguments, nfs_companions, nfs_connection, nfs_kept, rpc_records};
pub use san_iscsi::fuzz::{login_text, pdu, session};
pub use snapshots::fuzz::{catalogue, entry, key, map_page, mutations, space_table, touched};
pub use volume_manager::share::fuzz::share_entry;

/// Feeds one input to a decoder.
pub type Decode = fn(&[u8]);

/// The decoders by name.
pub const DECODERS: &[(&str, Decode)] = &[
    ("address", address),
    ("bitmap", bitmap),
    ("catalogue", catalogue),
    ("cdb", cdb),
    ("cut", cut),
    ("entry", entry),
    ("key", key),
    ("lock_table", lock_table),
    ("login_text", login_text),
    ("map_page", map_page),
    ("membership", membership),
    ("mutations", mutations),
    ("nfs3_arguments", nfs3_arguments),
    ("nfs_companions", nfs_companions),
    ("nfs_connection", nfs_connection),
    ("nfs_kept", nfs_kept),
    ("pdu", pdu),
    ("record", record),
    ("rpc_records", rpc_records),
    ("session", session),
    ("share_entry", share_entry),
    ("space_table", space_table),
    ("summary", summary),
    ("superblock", superblock),
    ("touched", touched),
];

/// An address of a block: whatever fits in 48 bits splits into segment and slot, and is put together again.
pub fn address(data: &[u8]) {
    let Some(bytes) = data.first_chunk::<8>() else { return };
    let sectors = u64::from_le_bytes(*bytes);
    if sectors >= Pba::LIMIT {
        return;
    }
    let pba = Pba::new(sectors);
    let block = Pba::of_block(pba.segment(), pba.slot());
    assert_eq!(block.sectors(), sectors - sectors % block_layer::units::SECTORS_PER_BLOCK);
    assert_eq!((block.segment(), block.slot()), (pba.segment(), pba.slot()));
}

/// A segment's bitmap; laid over itself it does not change.
pub fn bitmap(data: &[u8]) {
    let Ok(bitmap) = decode_bitmap(data) else { return };
    let value = encode_bitmap(&bitmap);
    assert_eq!(decode_bitmap(&value).ok().as_ref(), Some(&bitmap));
    let mut merged = Vec::new();
    merge_bitmap(data, data, &mut merged);
    assert_eq!(decode_bitmap(&merged).ok(), Some(bitmap));
}

/// The index's header.
pub fn cut(data: &[u8]) {
    let Some(cut) = Cut::decode(data) else { return };
    assert_eq!(cut.encode(), data);
}

/// A change of membership.
pub fn membership(data: &[u8]) {
    let Ok(change) = MembershipChange::decode(data) else { return };
    assert_eq!(change.encode(), data);
}

/// A journal record, header and effects; and effects alone, which a checksum hides from the fuzzer otherwise.
pub fn record(data: &[u8]) {
    effects(data);
    let Some(header) = Header::decode(data) else { return };
    if header.checks(data) {
        let mut record = data[..HEADER + header.len as usize].to_vec();
        effects(&record[HEADER..]);
        assert_eq!(header.seal(&mut record), header);
        assert_eq!(record, data[..record.len()]);
    }
}

fn effects(body: &[u8]) {
    let Some(effects) = Effects::decode(body) else { return };
    let mut again = Vec::new();
    effects.encode(&mut again);
    assert_eq!(again, body);
    assert_eq!(again.len(), effects.encoded_len());
}

/// The summaries of a group of segments: bounded, whatever the bytes say.
pub fn summary(data: &[u8]) {
    let Ok(counts) = decode_summary(data) else { return };
    assert!(4 * counts.len() <= data.len());
}

/// A superblock.
pub fn superblock(data: &[u8]) {
    let Some(bytes) = data.first_chunk() else { return };
    let Ok(superblock) = Superblock::decode(bytes) else { return };
    assert!(superblock.encode() == *bytes);
}
