//! The index's header: which pool it belongs to and at which commit it stands.
//!
//! Version 1, little-endian, 40 bytes:
//!
//! | bytes  | field       | meaning                                                  |
//! |--------|-------------|----------------------------------------------------------|
//! | 0..4   | crc         | crc32c of bytes 4..40                                    |
//! | 4      | version     | 1                                                        |
//! | 5..8   | reserved    | zero                                                     |
//! | 8..24  | pool        | pool UUID                                                |
//! | 24..32 | incarnation | the incarnation that wrote the cut                       |
//! | 32..40 | seq         | every record up to this one is in the index, none beyond |
//!
//! A bad or missing header means that the index is not this pool's, or is rotten: the pool does not open.

use crate::units::Seq;
use bytes::{Buf as _, BufMut as _};

/// Where it lies in the index.
pub const CUT_KEY: &[u8] = b"!cut";
const LEN: usize = 40;
const VERSION: u8 = 1;

/// The index's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The pool.
    pub pool: [u8; 16],
    /// The incarnation that wrote it.
    pub incarnation: u64,
    /// The last record that the index contains.
    pub seq: Seq,
}

impl Cut {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        out.put_u8(VERSION);
        out.put_slice(&[0; 3]);
        out.put_slice(&self.pool);
        out.put_u64_le(self.incarnation);
        out.put_u64_le(self.seq.0);
        let crc = crc32c::crc32c(&out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The inverse; `None` when damaged.
    #[must_use]
    pub fn decode(mut b: &[u8]) -> Option<Cut> {
        if b.len() != LEN || b[4] != VERSION || b[5..8] != [0; 3] || crc32c::crc32c(&b[4..]) != b.get_u32_le() {
            return None;
        }
        b.advance(4);
        let mut pool = [0; 16];
        b.copy_to_slice(&mut pool);
        Some(Cut { pool, incarnation: b.get_u64_le(), seq: Seq(b.get_u64_le()) })
    }
}
