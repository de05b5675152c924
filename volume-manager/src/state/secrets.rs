//! The file of secrets: who may read it may be any host, so it is 0600 and nothing else holds a secret.

use super::document::HostId;
use crate::secret::Secret;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// A host's secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSecrets {
    /// What the host proves to know.
    pub secret: Secret,
    /// What we prove to know (mutual).
    pub mutual: Option<Secret>,
}

/// Secrets by host.
pub type Secrets = BTreeMap<HostId, HostSecrets>;

/// The file's content: `{"version":1,"hosts":{"7":["hex","hex"]}}`.
pub(super) fn to_text(secrets: &Secrets) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::from("{\"version\":1,\"hosts\":{"));
    for (nth, (host, secrets)) in secrets.iter().enumerate() {
        let comma = if nth == 0 { "" } else { "," };
        text.push_str(&format!("{comma}\"{}\":[\"", host.0));
        text.push_str(&secrets.secret.to_hex());
        if let Some(mutual) = &secrets.mutual {
            text.push_str("\",\"");
            text.push_str(&mutual.to_hex());
        }
        text.push_str("\"]");
    }
    text.push_str("}}\n");
    text
}

/// The inverse; the error says what is wrong without showing any of it.
pub(super) fn from_text(text: &str) -> Result<Secrets, &'static str> {
    let value: Value = serde_json::from_str(text).map_err(|_| "it is not JSON")?;
    if value.get("version").and_then(Value::as_u64) != Some(1) {
        return Err("its version is not 1");
    }
    let hosts: &Map<String, Value> =
        value.get("hosts").and_then(Value::as_object).ok_or("it has no hosts")?;
    let host = |(number, pair): (&String, &Value)| {
        let id = HostId(number.parse().ok()?);
        let mut pair = pair.as_array()?.iter().map(|hex| Secret::from_hex(hex.as_str()?));
        let secret = pair.next()??;
        let mutual = match pair.next() {
            Some(mutual) => Some(mutual?),
            None => None,
        };
        Some((id, HostSecrets { secret, mutual }))
    };
    hosts.iter().map(|entry| host(entry).ok_or("an entry is malformed")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_as_they_were_written() {
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec()).unwrap();
        let one = HostSecrets { secret: secret("correct horse"), mutual: None };
        let two =
            HostSecrets { secret: secret("battery staple"), mutual: Some(secret("\"quoted\"\u{e9}...")) };
        let secrets = Secrets::from([(HostId(1), one), (HostId(7), two)]);
        assert_eq!(from_text(&to_text(&secrets)), Ok(secrets));
        assert_eq!(from_text(&to_text(&Secrets::new())), Ok(Secrets::new()));
        for bad in ["", "{}", "{\"version\":1,\"hosts\":{\"1\":[\"00\"]}}"] {
            assert!(from_text(bad).is_err(), "{bad}");
        }
    }
}
