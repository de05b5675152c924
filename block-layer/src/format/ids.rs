//! Names of pools and devices, as people and as records know them.

use std::fmt;

/// Declares a UUID as a type of its own, shown with dashes.
macro_rules! uuid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// A random (version 4) identifier made of 128 random bits.
            #[must_use]
            pub fn from_random(high: u64, low: u64) -> $name {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&high.to_be_bytes());
                id[8..].copy_from_slice(&low.to_be_bytes());
                id[6] = id[6] & 0x0f | 0x40;
                id[8] = id[8] & 0x3f | 0x80;
                $name(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (i, byte) in self.0.iter().enumerate() {
                    let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
                    write!(f, "{dash}{byte:02x}")?;
                }
                Ok(())
            }
        }
    };
}

uuid! {
    /// A pool's UUID, the same in all that belongs to the pool. All zero is no identifier.
    PoolId
}

uuid! {
    /// A device's UUID, given when it is formatted for a pool. All zero is no identifier.
    DeviceId
}

/// A device's place in its pool's member table, `0..MEMBERS_MAX`; it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u8);

impl Ordinal {
    /// As an index of a table by ordinal.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A pool's name: 1 to [`PoolName::MAX`] bytes of UTF-8, without control characters, `/` and `@`, which
/// separate the parts of longer names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolName(String);

/// A text that cannot be a pool's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pool's name is 1 to 64 bytes of UTF-8 without control characters, '/' and '@'")]
pub struct BadName;

impl PoolName {
    /// The longest name, in bytes.
    pub const MAX: usize = 64;

    /// The name `text`, if it can be one.
    pub fn new(text: &str) -> Result<PoolName, BadName> {
        let forbidden = |c: char| c.is_control() || c == '/' || c == '@';
        if text.is_empty() || text.len() > Self::MAX || text.contains(forbidden) {
            return Err(BadName);
        }
        Ok(PoolName(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_shown_as_a_version_4_uuid() {
        let id = PoolId::from_random(u64::MAX, 0);
        assert_eq!(id.to_string(), "ffffffff-ffff-4fff-8000-000000000000");
    }

    #[test]
    fn a_name_is_short_and_free_of_separators() {
        assert!(PoolName::new("fast").is_ok());
        assert!(PoolName::new(&"é".repeat(32)).is_ok());
        for bad in ["", "a/b", "a@b", "a\nb", &"é".repeat(33)] {
            assert_eq!(PoolName::new(bad), Err(BadName), "{bad:?}");
        }
    }
}
