//! Digests: CRC-32C of header and of data, sent least significant byte first (RFC 7143 13.1).

/// Bytes of a digest.
pub const DIGEST_LEN: usize = 4;

/// Which of the two digests a connection uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// Over header and additional headers.
    pub header: bool,
    /// Over data and its padding.
    pub data: bool,
}

/// The digest of `bytes`, as it stands on the wire.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; DIGEST_LEN] {
    crc32c::crc32c(bytes).to_le_bytes()
}

/// The digest of `data` and of the zeroes that pad it.
#[must_use]
pub fn data_digest(data: &[u8]) -> [u8; DIGEST_LEN] {
    padded_digest(data, &[0; 3][..padding(data.len())])
}

/// The digest of `data` and of what pads it.
#[must_use]
pub(super) fn padded_digest(data: &[u8], pad: &[u8]) -> [u8; DIGEST_LEN] {
    crc32c::crc32c_append(crc32c::crc32c(data), pad).to_le_bytes()
}

/// Bytes that pad `len` bytes to a multiple of four.
#[must_use]
pub fn padding(len: usize) -> usize {
    len.wrapping_neg() & 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_rfc() {
        // RFC 7143, appendix A.4: 32 bytes of zeroes, of ones, and counting up.
        assert_eq!(digest(&[0; 32]), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(digest(&[0xff; 32]), [0x43, 0xab, 0xa8, 0x62]);
        let counting: Vec<u8> = (0..32).collect();
        assert_eq!(digest(&counting), [0x4e, 0x79, 0xdd, 0x46]);
        assert_eq!(data_digest(&counting[..31]), padded_digest(&counting[..31], &[0]));
    }

    #[test]
    fn padding_reaches_the_next_word() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(padding), [0, 3, 2, 1, 0, 3]);
    }
}
