//! Sizes as people write them: `512`, `20G`, `1.5T`. Units are binary.

use std::fmt;
use std::str::FromStr;

/// A number of bytes, read from and shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A text that is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no size: write bytes, or a number with K, M, G, T or P (binary), like 20G")]
pub struct BadSize(String);

const UNITS: &str = "KMGTP";

impl FromStr for Size {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Size, BadSize> {
        parse(text).map(Size).ok_or_else(|| BadSize(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.to_ascii_uppercase();
    let unit = unit.strip_suffix("IB").or_else(|| unit.strip_suffix('B')).unwrap_or(&unit);
    let shift = match unit.len() {
        0 => 0,
        1 => 10 * (UNITS.find(unit)? as u32 + 1),
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    // Six digits are more than enough for a size, and keep the arithmetic exact.
    if part.len() > 6 || (number.contains('.') && (part.is_empty() || shift == 0)) {
        return None;
    }
    let bytes = whole.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    let fraction = if part.is_empty() { 0 } else { part.parse::<u64>().ok()? };
    let scale = 10_u128.pow(part.len() as u32);
    bytes.checked_add((u128::from(fraction) * (1 << shift) / scale) as u64)
}

impl fmt::Display for Size {
    /// At most one digit behind the point: `1.5G`, `20G`, `512`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shift = 0;
        while shift < 50 && self.0 >> (shift + 10) > 0 {
            shift += 10;
        }
        if shift == 0 {
            return write!(f, "{}", self.0);
        }
        let unit = UNITS.as_bytes()[shift / 10 - 1] as char;
        let tenths = (u128::from(self.0) * 10) >> shift;
        match tenths % 10 {
            0 => write!(f, "{}{unit}", tenths / 10),
            part => write!(f, "{}.{part}{unit}", tenths / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary() {
        let sizes =
            [("512", 512), ("4K", 4096), ("20G", 20 << 30), ("1.5T", 3 << 39), ("1MiB", 1 << 20), ("0", 0)];
        for (text, bytes) in sizes {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "G", "1.5", "1.G", "-1", "1X", "1 G", "99999999999P", "1.1234567G", "1GG"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_short() {
        for (bytes, text) in
            [(0, "0"), (512, "512"), (1536, "1.5K"), (20 << 30, "20G"), (u64::MAX, "16383.9P")]
        {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
