//! What a tree keeps of a call that had an effect: big-endian, version 1.
//!
//! | bytes  | field     | meaning                                              |
//! |--------|-----------|------------------------------------------------------|
//! | 0..4   | version   | 1                                                    |
//! | 4..12  | sequence  | the order in which calls came                        |
//! | 12..28 | client    | its address as IPv6, IPv4 mapped                     |
//! | 28..32 | xid       | the client's number of the call                      |
//! | 32..36 | program   |                                                      |
//! | 36..40 | version   | of the program                                       |
//! | 40..44 | procedure |                                                      |
//! | 44..60 | checksum  | the first 16 bytes of the SHA-256 of the arguments   |
//! | 60..   | reply     | the results, as they were encoded                    |
//!
//! A record that is not like this is of a later version: it is passed over, and its call would be executed
//! again.

use super::CallKey;
use bytes::Bytes;

const VERSION: u32 = 1;
const HEAD: usize = 60;

/// A record, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The order in which calls came.
    pub sequence: u64,
    /// Its address, as IPv6.
    pub client: [u8; 16],
    /// Which call.
    pub key: CallKey,
    /// Its results.
    pub reply: Bytes,
}

/// The record's bytes.
#[must_use]
pub fn encode(stored: &Stored) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + stored.reply.len());
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&stored.sequence.to_be_bytes());
    bytes.extend_from_slice(&stored.client);
    for number in [stored.key.xid, stored.key.program, stored.key.version, stored.key.procedure] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(&stored.key.checksum);
    bytes.extend_from_slice(&stored.reply);
    bytes
}

/// The record in these bytes, if it is of this version.
#[must_use]
pub fn decode(bytes: &Bytes) -> Option<Stored> {
    let head: &[u8; HEAD] = bytes.first_chunk()?;
    let word = |at: usize| u32::from_be_bytes(*head[at..].first_chunk().expect("it lies in the head"));
    if word(0) != VERSION {
        return None;
    }
    let key = CallKey {
        xid: word(28),
        program: word(32),
        version: word(36),
        procedure: word(40),
        checksum: *head[44..].first_chunk().expect("it lies in the head"),
    };
    Some(Stored {
        sequence: u64::from_be_bytes(*head[4..].first_chunk().expect("it lies in the head")),
        client: *head[12..].first_chunk().expect("it lies in the head"),
        key,
        reply: bytes.slice(HEAD..),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_these_bytes_for_ever() {
        let key = CallKey { xid: 1, program: 100_003, version: 3, procedure: 8, checksum: [9; 16] };
        let reply = Bytes::from_static(b"\0\0\0\0rep");
        let stored = Stored { sequence: 2, client: [3; 16], key, reply };
        let bytes = encode(&stored);
        let mut golden = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
        golden.extend([3; 16]);
        golden.extend([0, 0, 0, 1, 0, 1, 0x86, 0xa3, 0, 0, 0, 3, 0, 0, 0, 8]);
        golden.extend([9; 16]);
        golden.extend(b"\0\0\0\0rep");
        assert_eq!(bytes, golden);
        assert_eq!(decode(&bytes.into()), Some(stored));
    }

    #[test]
    fn what_is_short_or_of_another_version_is_none() {
        let key = CallKey::new(1, 2, 3, 4, b"arguments");
        let good = encode(&Stored { sequence: 1, client: [0; 16], key, reply: Bytes::new() });
        for len in 0..good.len() {
            assert_eq!(decode(&Bytes::copy_from_slice(&good[..len])), None);
        }
        let mut later = good;
        later[3] = 2;
        assert_eq!(decode(&later.into()), None);
    }
}
