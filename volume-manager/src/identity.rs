//! What a volume keeps of itself in its pool: its identity and its kind, for as long as it lives.
//!
//! The identity is 16 bytes in the form NAA 6 (SPC-4 7.8.6.6.5): a company identifier from the locally
//! administered range, and 100 random bits (decision 0007). Rename and rollback keep it; a clone gets a new
//! one.

use serde::{Deserialize, Serialize};
use std::fmt;

/// First four bytes: NAA 6 and our company identifier 02-A5-1A, whose "locally administered" bit is set, so
/// that it collides with nobody's registered one.
const PREFIX: [u8; 4] = [0x60, 0x2a, 0x51, 0xa0];
/// Length of the record.
const LEN: usize = 20;
const VERSION: u8 = 1;

/// A volume's worldwide identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Naa(pub [u8; 16]);

impl Naa {
    /// A new one of 100 random bits.
    #[must_use]
    pub fn from_random(high: u64, low: u64) -> Naa {
        let mut naa = [0; 16];
        naa[..8].copy_from_slice(&high.to_be_bytes());
        naa[8..].copy_from_slice(&low.to_be_bytes());
        naa[3] = PREFIX[3] | naa[3] & 0x0f;
        naa[..3].copy_from_slice(&PREFIX[..3]);
        Naa(naa)
    }

    /// The unit serial number that hosts see: the random part, 25 hexadecimal digits.
    #[must_use]
    pub fn serial(self) -> String {
        self.to_string()[7..].to_owned()
    }

    /// The inverse of `Display`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Naa> {
        let value = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)?;
        Some(Naa(value.to_be_bytes()))
    }
}

impl fmt::Display for Naa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// When writes are acknowledged (protocol rule 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteCache {
    /// As the host's system needs it: off for ESXi, on for the others.
    #[default]
    Auto,
    /// When committed; the host flushes.
    On,
    /// When durable.
    Off,
}

/// What stands in a volume's attributes, version 1.
///
/// | byte | field | meaning |
/// |---|---|---|
/// | 0 | version | 1 |
/// | 1 | block | logarithm of the logical block's bytes: 9 or 12 |
/// | 2 | cache | 0 auto, 1 on, 2 off |
/// | 3 | reserved | 0 |
/// | 4..20 | naa | worldwide identity |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Worldwide identity.
    pub naa: Naa,
    /// Bytes of a logical block: 512 or 4096.
    pub block_bytes: u32,
    /// When writes are acknowledged.
    pub write_cache: WriteCache,
}

impl Attributes {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = VERSION;
        bytes[1] = self.block_bytes.ilog2() as u8;
        bytes[2] = match self.write_cache {
            WriteCache::Auto => 0,
            WriteCache::On => 1,
            WriteCache::Off => 2,
        };
        bytes[4..].copy_from_slice(&self.naa.0);
        bytes
    }

    /// From bytes; `None` if they are not ours: the pool's index is damaged, or newer than this release.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Attributes> {
        let bytes: &[u8; LEN] = bytes.try_into().ok()?;
        let block_bytes = match (bytes[0], bytes[1], bytes[3]) {
            (VERSION, exponent @ (9 | 12), 0) => 1 << exponent,
            _ => return None,
        };
        let write_cache = match bytes[2] {
            0 => WriteCache::Auto,
            1 => WriteCache::On,
            2 => WriteCache::Off,
            _ => return None,
        };
        let naa = Naa(bytes[4..].try_into().expect("16 of 20 bytes are left"));
        Some(Attributes { naa, block_bytes, write_cache })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_naa_6_with_a_locally_administered_company() {
        let naa = Naa::from_random(u64::MAX, 7);
        assert_eq!(naa.to_string(), "602a51afffffffff0000000000000007");
        assert_eq!(Naa::parse(&naa.to_string()), Some(naa));
        // The company's first octet is 02: the bit that says "locally administered".
        assert_eq!((naa.0[0] & 0x0f) << 4 | naa.0[1] >> 4, 0x02);
    }

    #[test]
    fn attributes_have_not_changed_since_version_1() {
        let attributes =
            Attributes { naa: Naa::from_random(1, 2), block_bytes: 4096, write_cache: WriteCache::Off };
        let golden = [1, 12, 2, 0, 0x60, 0x2a, 0x51, 0xa0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
        assert_eq!(attributes.encode(), golden);
        assert_eq!(Attributes::decode(&golden), Some(attributes));
        for (at, bad) in [(0, 2), (1, 10), (2, 3), (3, 1)] {
            let mut bytes = golden;
            bytes[at] = bad;
            assert_eq!(Attributes::decode(&bytes), None, "byte {at}");
        }
        assert_eq!(Attributes::decode(&golden[..19]), None);
    }
}
