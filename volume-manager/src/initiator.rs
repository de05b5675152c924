//! Initiator names (RFC 7143 4.2.7) and where initiators may come from.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest initiator name, in bytes (RFC 7143 4.2.7.1).
const NAME_MAX: usize = 223;

/// An initiator's name: `iqn.`, `eui.` or `naa.`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InitiatorName(String);

/// A text that is no initiator name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no initiator name: it begins with iqn., eui. or naa. and has letters, digits, '.', '-' and ':'"
)]
pub struct BadInitiator(String);

impl FromStr for InitiatorName {
    type Err = BadInitiator;

    fn from_str(text: &str) -> Result<InitiatorName, BadInitiator> {
        let name = text.to_lowercase();
        let known = ["iqn.", "eui.", "naa."].iter().any(|kind| name.len() > 4 && name.starts_with(kind));
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | ':');
        if !known || name.len() > NAME_MAX || !name.chars().all(fits) {
            return Err(BadInitiator(text.to_owned()));
        }
        Ok(InitiatorName(name))
    }
}

impl InitiatorName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InitiatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for InitiatorName {
    type Error = BadInitiator;
    fn try_from(text: String) -> Result<InitiatorName, BadInitiator> {
        text.parse()
    }
}

impl From<InitiatorName> for String {
    fn from(name: InitiatorName) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initiator_names_are_lower_case_and_have_a_kind() {
        let name: InitiatorName = "iqn.1993-08.org.Debian:01:ABC".parse().unwrap();
        assert_eq!(name.as_str(), "iqn.1993-08.org.debian:01:abc");
        for bad in ["", "iqn.", "host1", "iqn.a b", "iqn.a/b", &format!("iqn.{}", "x".repeat(220))] {
            assert!(bad.parse::<InitiatorName>().is_err(), "{bad}");
        }
    }
}
