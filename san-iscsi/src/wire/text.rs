//! Text: `key=value` pairs, each ended by a zero byte, in login and text PDUs (RFC 7143 6.1).
//!
//! Invariants: text is UTF-8 and, however many PDUs it is split over, never more than [`TEXT_MAX`] bytes.

use std::fmt::Display;
use std::fmt::Write as _;

/// The most text that is kept of one exchange.
pub const TEXT_MAX: usize = 16 << 10;
/// The longest key.
const KEY_MAX: usize = 63;

/// Text that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextFault {
    /// It is too much.
    #[error("more than {TEXT_MAX} bytes of text")]
    TooLong,
    /// It is not made of pairs.
    #[error("text that is no list of key=value")]
    Malformed,
}

/// The pairs of `text`, in order.
///
/// # Errors
/// Something in it is no pair.
pub fn parse(text: &[u8]) -> Result<Vec<(&str, &str)>, TextFault> {
    let text = std::str::from_utf8(text).map_err(|_| TextFault::Malformed)?;
    // The last pair's zero may be missing, and padding may have been sent as text.
    let pairs = text.split('\0').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').filter(|(key, _)| is_key(key)).ok_or(TextFault::Malformed))
        .collect()
}

fn is_key(key: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-+@_.#".contains(&b);
    (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(fits)
}

/// A number (RFC 7143 6.1): decimal, or hexadecimal after `0x`.
#[must_use]
pub fn number(value: &str) -> Option<u32> {
    let digits = |text: &str, radix| {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
        plain.then(|| u32::from_str_radix(text, radix).ok()).flatten()
    };
    match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(hex) => digits(hex, 16),
        None => digits(value, 10),
    }
}

/// A binary value (RFC 7143 6.1): hexadecimal after `0x`, or base 64 after `0b`; at most `max` bytes.
#[must_use]
pub fn binary(value: &str, max: usize) -> Option<Vec<u8>> {
    let (kind, text) = value.split_at_checked(2)?;
    let bytes = match kind {
        "0x" | "0X" if text.len() <= 2 * max => hex(text)?,
        "0b" | "0B" if text.len() <= max.div_ceil(3) * 4 => base64(text)?,
        _ => return None,
    };
    (bytes.len() <= max).then_some(bytes)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let bytes = text.as_bytes();
    let (first, rest) = bytes.split_at(bytes.len() % 2);
    let mut out: Vec<u8> = first.iter().map(|b| digit(*b)).collect::<Option<_>>()?;
    for pair in rest.chunks(2) {
        out.push(digit(pair[0])? << 4 | digit(pair[1])?);
    }
    (!out.is_empty()).then_some(out)
}

fn base64(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let body = text.trim_end_matches('=');
    if body.is_empty() || !text.len().is_multiple_of(4) || text.len() - body.len() > 2 {
        return None;
    }
    let (mut out, mut bits, mut have) = (Vec::new(), 0_u32, 0);
    for byte in body.bytes() {
        let digit = DIGITS.iter().position(|d| *d == byte)?;
        bits = bits << 6 | digit as u32;
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    (bits & ((1 << have) - 1) == 0).then_some(out)
}

/// Appends a pair to `out`.
pub fn put(out: &mut Vec<u8>, key: &str, value: impl Display) {
    let mut pair = String::new();
    write!(pair, "{key}={value}").expect("a string takes everything");
    out.extend_from_slice(pair.as_bytes());
    out.push(0);
}

/// A binary value as hexadecimal.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

/// Gathers text that comes in pieces (C bit).
#[derive(Debug, Default)]
pub struct Collector {
    text: Vec<u8>,
}

impl Collector {
    /// Takes a piece; gives all of it when `more` is not announced.
    ///
    /// # Errors
    /// It has become too much.
    pub fn take(&mut self, piece: &[u8], more: bool) -> Result<Option<Vec<u8>>, TextFault> {
        if self.text.len() + piece.len() > TEXT_MAX {
            return Err(TextFault::TooLong);
        }
        self.text.extend_from_slice(piece);
        Ok((!more).then(|| std::mem::take(&mut self.text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_and_written() {
        let mut text = Vec::new();
        put(&mut text, "MaxBurstLength", 262_144);
        put(&mut text, "X-com.example.k", "a=b");
        assert_eq!(text, b"MaxBurstLength=262144\0X-com.example.k=a=b\0");
        assert_eq!(parse(&text), Ok(vec![("MaxBurstLength", "262144"), ("X-com.example.k", "a=b")]));
        assert_eq!(parse(b"A=\0\0\0"), Ok(vec![("A", "")]));
        for bad in [&b"A\0"[..], b"=1\0", b"A B=1\0", b"A=\xff\0", &[b'A'; 64]] {
            assert_eq!(parse(bad), Err(TextFault::Malformed));
        }
    }

    #[test]
    fn numbers_and_binaries_are_read() {
        assert_eq!((number("512"), number("0x200"), number("0X1f")), (Some(512), Some(512), Some(31)));
        for bad in ["", "0x", "-1", "+1", "1 ", "4294967296", "no"] {
            assert_eq!(number(bad), None, "{bad}");
        }
        assert_eq!(binary("0xa1B2", 2), Some(vec![0xa1, 0xb2]));
        assert_eq!(binary("0x1b2", 2), Some(vec![0x01, 0xb2]), "an odd digit stands alone in front");
        assert_eq!(binary("0bAQID", 3), Some(vec![1, 2, 3]));
        assert_eq!(binary("0bAQ==", 3), Some(vec![1]));
        for bad in ["", "0", "0x", "a1b2", "0xa1b2c3", "0bAQIDBA==", "0bA", "0bAR==", "0bA===", "0xzz", "é"]
        {
            assert_eq!(binary(bad, 2), None, "{bad}");
        }
        assert_eq!(to_hex(&[1, 0xff]), "0x01ff");
    }

    #[test]
    fn text_in_pieces_is_bounded() {
        let mut text = Collector::default();
        assert_eq!(text.take(b"A=1", true), Ok(None));
        assert_eq!(text.take(b"2\0", false), Ok(Some(b"A=12\0".to_vec())));
        assert_eq!(text.take(&[b'A'; TEXT_MAX], true), Ok(None));
        assert_eq!(text.take(b"A", true), Err(TextFault::TooLong));
    }
}
