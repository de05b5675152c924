//! CHAP (RFC 7143 12.1.3, RFC 1994): a secret is proved by a digest over a challenge.
//!
//! Invariants: responses and names are compared in constant time; a wrong name and a wrong secret cost the
//! same work; no secret leaves this module's arguments.

use crate::scsi::inventory::Login;
use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The longest challenge that an initiator may send.
pub(super) const CHALLENGE_MAX: usize = 1024;

/// Random bytes for one login: identifier and challenge.
#[derive(Clone, Copy)]
pub struct Entropy(pub [u8; 33]);

/// What the response is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    /// The strongest of a list (CHAP_A).
    pub(super) fn strongest(list: &str) -> Option<Algorithm> {
        let has = |code: Algorithm| list.split(',').any(|item| item.trim() == code.code());
        [Algorithm::Sha256, Algorithm::Md5].into_iter().find(|a| has(*a))
    }

    pub(super) fn code(self) -> &'static str {
        match self {
            Algorithm::Md5 => "5",
            Algorithm::Sha256 => "7",
        }
    }

    /// The response to `challenge`.
    pub(super) fn respond(self, id: u8, login: &Login, challenge: &[u8]) -> Vec<u8> {
        let parts = [&[id][..], login.secret.expose(), challenge];
        match self {
            Algorithm::Md5 => parts.iter().fold(Md5::new(), Digest::chain_update).finalize().to_vec(),
            Algorithm::Sha256 => parts.iter().fold(Sha256::new(), Digest::chain_update).finalize().to_vec(),
        }
    }
}

/// A challenge of the target that waits for its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) algorithm: Algorithm,
    pub(super) id: u8,
    pub(super) bytes: Vec<u8>,
}

impl Challenge {
    pub(super) fn new(algorithm: Algorithm, entropy: &Entropy) -> Challenge {
        let len = match algorithm {
            Algorithm::Md5 => 16,
            Algorithm::Sha256 => 32,
        };
        let [id, bytes @ ..] = &entropy.0;
        Challenge { algorithm, id: *id, bytes: bytes[..len].to_vec() }
    }

    /// Whether `name` and `response` prove that the peer is `login`.
    pub(super) fn is_answered(&self, login: &Login, name: &str, response: &[u8]) -> bool {
        let expected = self.algorithm.respond(self.id, login, &self.bytes);
        let proved = expected.ct_eq(response) & login.user.as_bytes().ct_eq(name.as_bytes());
        proved.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::inventory::Secret;
    use crate::wire::text::to_hex;

    fn login(user: &str) -> Login {
        let secret = Secret::new(b"a secret of 20 bytes".to_vec()).expect("long enough");
        Login { user: user.into(), secret }
    }

    #[test]
    fn the_strongest_algorithm_in_common_is_taken() {
        assert_eq!(Algorithm::strongest("5"), Some(Algorithm::Md5));
        assert_eq!(Algorithm::strongest("5,7"), Some(Algorithm::Sha256));
        assert_eq!(Algorithm::strongest("8,7,6,5"), Some(Algorithm::Sha256));
        assert_eq!(Algorithm::strongest("6,57"), None);
    }

    #[test]
    fn responses_are_digests_of_identifier_secret_and_challenge() {
        let md5 = Algorithm::Md5.respond(1, &login("u"), &[2; 16]);
        let sha = Algorithm::Sha256.respond(1, &login("u"), &[2; 32]);
        // printf '\1a secret of 20 bytes\2\2...' | md5sum, sha256sum
        assert_eq!(to_hex(&md5), MD5);
        assert_eq!(to_hex(&sha), SHA256);
    }
    const MD5: &str = "0xa93c161387581d0b155f10ef93314384";
    const SHA256: &str = "0x341a8cf7822271a2b85ba22ba908e54bcf75ea089b200267df68c735d743321f";

    #[test]
    fn name_and_response_must_both_be_right() {
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let challenge = Challenge::new(algorithm, &Entropy([9; 33]));
            let right = algorithm.respond(9, &login("u"), &challenge.bytes);
            assert!(challenge.is_answered(&login("u"), "u", &right));
            assert!(!challenge.is_answered(&login("u"), "v", &right));
            assert!(!challenge.is_answered(&login("u"), "u", &right[1..]));
            assert!(!challenge.is_answered(&login("u"), "u", &vec![0; right.len()]));
        }
    }
}
