//! File handles: what a client holds of an object, over restarts and for years.
//!
//! | bytes  | field      | meaning                                                   |
//! |--------|------------|-----------------------------------------------------------|
//! | 0..4   | version    | 1                                                         |
//! | 4..12  | share      | which share: tells the key                                |
//! | 12..20 | view       | 0 = the live tree, otherwise a snapshot                   |
//! | 20..28 | inode      |                                                           |
//! | 28..36 | generation |                                                           |
//! | 36..52 | mac        | HMAC-SHA-256 of bytes 0..36 under the share's key, cut to 16 bytes |
//!
//! Numbers are big-endian. Invariants: a handle that this share's key has not made is refused, whatever is
//! wrong with it, after the same work; so a client learns nothing by trying, and cannot reach by a guess what
//! it was never given a handle of.

use crate::tree::ObjectRef;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Bytes of a handle; NFSv3 allows 64.
pub const LEN: usize = 52;
/// Bytes of a key.
pub const KEY_LEN: usize = 32;

const VERSION: u32 = 1;
/// Where the MAC starts.
const SIGNED: usize = 36;

/// Which share, for ever: it stands in handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShareId(pub u64);

/// A handle as it travels.
pub type Handle = [u8; LEN];

/// The bytes are no handle of ours: `NFS3ERR_BADHANDLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a file handle of this share")]
pub struct BadHandle;

/// Makes and checks the handles of one share. Whoever knows the key can make any.
#[derive(Clone)]
pub struct HandleKey(Hmac<Sha256>);

impl HandleKey {
    /// The key with these bytes, which come from a good source of chance, and stay the same for ever.
    #[must_use]
    pub fn new(bytes: &[u8; KEY_LEN]) -> HandleKey {
        HandleKey(Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length"))
    }

    /// The handle of an object.
    #[must_use]
    pub fn seal(&self, share: ShareId, object: ObjectRef) -> Handle {
        let mut handle = [0; LEN];
        handle[..4].copy_from_slice(&VERSION.to_be_bytes());
        let numbers = [share.0, object.view, object.inode, object.generation];
        for (into, number) in handle[4..SIGNED].chunks_exact_mut(8).zip(numbers) {
            into.copy_from_slice(&number.to_be_bytes());
        }
        let mac = self.0.clone().chain_update(&handle[..SIGNED]).finalize().into_bytes();
        handle[SIGNED..].copy_from_slice(&mac[..LEN - SIGNED]);
        handle
    }

    /// The object that a handle leads to.
    ///
    /// # Errors
    /// This key has not made it.
    pub fn open(&self, bytes: &[u8]) -> Result<ObjectRef, BadHandle> {
        share(bytes)?;
        let (signed, mac) = bytes.split_at(SIGNED);
        self.0.clone().chain_update(signed).verify_truncated_left(mac).map_err(|_| BadHandle)?;
        Ok(ObjectRef { view: number(bytes, 12), inode: number(bytes, 20), generation: number(bytes, 28) })
    }
}

impl std::fmt::Debug for HandleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HandleKey")
    }
}

/// Which share a handle says it is of. Nothing is proved by it: it tells whose key to try.
///
/// # Errors
/// It cannot be one of ours: its length or version is another.
pub fn share(bytes: &[u8]) -> Result<ShareId, BadHandle> {
    if bytes.len() != LEN || bytes[..4] != VERSION.to_be_bytes() {
        return Err(BadHandle);
    }
    Ok(ShareId(number(bytes, 4)))
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(*bytes[at..].first_chunk().expect("callers have checked the length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: ObjectRef = ObjectRef { view: 1, inode: 0x0203, generation: u64::MAX };

    fn key(byte: u8) -> HandleKey {
        HandleKey::new(&[byte; KEY_LEN])
    }

    /// Clients hold these bytes over upgrades: they never change.
    #[test]
    fn a_handle_is_these_bytes_for_ever() {
        let handle = key(7).seal(ShareId(0x11), OBJECT);
        let hex: String = handle.iter().map(|byte| format!("{byte:02x}")).collect();
        let head = "00000001000000000000001100000000000000010000000000000203ffffffffffffffff";
        assert_eq!(hex, format!("{head}f44b2c5e3ce00b8710635bfd9c454cea"));
    }

    #[test]
    fn a_handle_leads_back_to_its_object() {
        let handle = key(7).seal(ShareId(5), OBJECT);
        assert_eq!((share(&handle), key(7).open(&handle)), (Ok(ShareId(5)), Ok(OBJECT)));
    }

    #[test]
    fn every_altered_bit_and_every_other_length_is_refused() {
        let handle = key(7).seal(ShareId(5), OBJECT);
        for bit in 0..LEN * 8 {
            let mut altered = handle;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key(7).open(&altered), Err(BadHandle), "bit {bit}");
        }
        for len in (0..LEN).chain(LEN + 1..=64) {
            let mut other = handle.to_vec();
            other.resize(len, 0);
            assert_eq!(key(7).open(&other), Err(BadHandle), "{len} bytes");
            assert_eq!(share(&other), Err(BadHandle), "{len} bytes");
        }
    }

    #[test]
    fn a_handle_of_another_share_is_refused() {
        assert_eq!(key(8).open(&key(7).seal(ShareId(5), OBJECT)), Err(BadHandle));
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", key(7)), "HandleKey");
    }
}
