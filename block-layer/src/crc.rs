//! CRC-32C (Castagnoli), the checksum of blocks, records and structures.

/// The CRC-32C of `data`.
#[must_use]
pub fn crc32c(data: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_castagnolis_at_any_length_and_place() {
        // RFC 7143, appendix A.4; and the usual check value.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let bytes: Vec<u8> = (0..9000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for len in (0..600).chain([1023, 4095, 4096, 4097, 8192]) {
            for from in [0, 1, 7, 64, 300] {
                let piece = &bytes[from..from + len];
                assert_eq!(crc32c(piece), ::crc32c::crc32c(piece), "{len} bytes from {from}");
            }
        }
    }
}
