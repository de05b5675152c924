//! Every decoder of bytes that others wrote: one row each, for the fuzzer and for the corpus test alike.
//!
//! A row's name is also that of its fuzz target (`fuzz/fuzz_targets/NAME.rs`) and of the directory of its
//! inputs (`fuzz/corpus/NAME/`). A decoder here decodes, checks that what it accepts encodes back to the
//! same meaning, and returns: any panic is a finding.

use block_layer::Pba;

/// Feeds one input to a decoder.
pub type Decode = fn(&[u8]);

/// The decoders by name.
pub const DECODERS: &[(&str, Decode)] = &[("address", address)];

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
