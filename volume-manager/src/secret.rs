//! Secrets: held in memory that is wiped, shown by nothing.

use std::fmt;
use zeroize::Zeroizing;

/// Fewest bytes of a secret: CHAP asks for 96 bits (RFC 7143 12.1.3).
pub const SECRET_MIN: usize = 12;
/// Most bytes of a secret.
pub const SECRET_MAX: usize = 255;

/// A CHAP secret, 12 to 255 bytes. Its `Debug` shows nothing, it has no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// A secret of the wrong length; it does not say of which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret has 12 to 255 bytes")]
pub struct BadSecret;

impl Secret {
    /// A secret of these bytes.
    ///
    /// # Errors
    /// Too short or too long.
    pub fn new(bytes: Vec<u8>) -> Result<Secret, BadSecret> {
        let bytes = Zeroizing::new(bytes);
        match (SECRET_MIN..=SECRET_MAX).contains(&bytes.len()) {
            true => Ok(Secret(bytes)),
            false => Err(BadSecret),
        }
    }

    /// Its bytes, for the one computation that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// As hexadecimal text, for the file that keeps it.
    pub(crate) fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The inverse of [`Secret::to_hex`].
    pub(crate) fn from_hex(text: &str) -> Option<Secret> {
        if !text.len().is_multiple_of(2) || !text.is_ascii() {
            return None;
        }
        let bytes = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok());
        Secret::new(bytes.collect::<Option<Vec<u8>>>()?).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_bounded_and_silent() {
        assert!(Secret::new(vec![b'x'; 11]).is_err());
        assert!(Secret::new(vec![b'x'; 256]).is_err());
        let secret = Secret::new(b"correct horse".to_vec()).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(Secret::from_hex(&secret.to_hex()).unwrap(), secret);
        assert!(Secret::from_hex("zz").is_none());
    }
}
