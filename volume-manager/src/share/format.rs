//! What a share keeps in its dataset and beside it: the names of small entries, and their values.
//!
//! Everything but the share's attributes and its numbers is versioned: a snapshot has it as it was. Golden
//! bytes of each are below; `inode` has the inode. Numbers are little-endian, in names big-endian so that
//! they sort.
//!
//! | name | value |
//! |---|---|
//! | `i`, inode | the inode |
//! | `n`, directory, name | a name: head, cookie (8..16), inode (16..24), generation (24..32) |
//! | `c`, directory, cookie | the same: head, inode (8..16), generation (16..24), the name (24..) |
//! | `o`, inode | version 1 (0): an object without a name, whose content is to be freed |
//! | `x`, inode, name | an extended attribute |
//! | `s` | totals: head, inodes in use (8..16) |
//!
//! A head is: version 1 (0), reserved (1..8).
//!
//! Beside it, in the pool's own small store, under the dataset's number:
//!
//! | name | value |
//! |---|---|
//! | `numbers/`, dataset | head, the first number that was never reserved (8..16) |
//! | `kept/`, dataset, client (16), slot (u16) | what is kept for a client |

use super::types::Time;
use bytes::{BufMut as _, Bytes};
use snapshots::DatasetId;

/// The root directory.
pub(super) const ROOT: u64 = 1;
/// The directory that lists the snapshots.
pub(super) const SNAPSHOTS: u64 = 2;
/// The first number that inodes and cookies get.
pub(super) const FIRST: u64 = 16;

const VERSION: u8 = 1;
const HEAD: [u8; 8] = [VERSION, 0, 0, 0, 0, 0, 0, 0];

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged(pub(super) &'static str);

/// Takes fields off the front of bytes.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Damaged("a record is too short"))?;
        self.0 = rest;
        Ok(*array)
    }
    pub(super) fn u32(&mut self) -> Result<u32, Damaged> {
        self.array().map(u32::from_le_bytes)
    }
    pub(super) fn u64(&mut self) -> Result<u64, Damaged> {
        self.array().map(u64::from_le_bytes)
    }
    pub(super) fn time(&mut self) -> Result<Time, Damaged> {
        let time = Time { seconds: i64::from_le_bytes(self.array()?), nanos: self.u32()? };
        if time.nanos >= 1_000_000_000 {
            return Err(Damaged("a time has more nanoseconds than a second"));
        }
        Ok(time)
    }
    fn head(&mut self) -> Result<(), Damaged> {
        match self.array()? == HEAD {
            true => Ok(()),
            false => Err(Damaged("a record is of an unknown version")),
        }
    }
    fn end(self) -> Result<(), Damaged> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(Damaged("a record is too long")),
        }
    }
}

fn key(kind: u8, number: u64, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(9 + rest.len());
    key.push(kind);
    key.put_u64(number);
    key.put_slice(rest);
    key
}

/// The inode's entry.
pub(super) fn inode_key(inode: u64) -> Vec<u8> {
    key(b'i', inode, b"")
}

/// The entry of a name.
pub(super) fn name_key(directory: u64, name: &[u8]) -> Vec<u8> {
    key(b'n', directory, name)
}

/// The entry of a cookie.
pub(super) fn cookie_key(directory: u64, cookie: u64) -> Vec<u8> {
    key(b'c', directory, &cookie.to_be_bytes())
}

/// What the entries of a directory's cookies begin with.
pub(super) fn cookies_of(directory: u64) -> Vec<u8> {
    key(b'c', directory, b"")
}

/// The entry of an object without a name.
pub(super) fn orphan_key(inode: u64) -> Vec<u8> {
    key(b'o', inode, b"")
}

/// What all of those begin with.
pub(super) const ORPHANS: &[u8] = b"o";
/// Their value.
pub(super) const ORPHAN: &[u8] = &[VERSION];

/// The object of such an entry.
pub(super) fn orphan_of(name: &[u8]) -> Result<u64, Damaged> {
    let number = name.strip_prefix(ORPHANS).and_then(|rest| rest.try_into().ok());
    number.map(u64::from_be_bytes).ok_or(Damaged("an orphan has no number"))
}

/// What the entries of an object's extended attributes begin with.
pub(super) fn xattrs_of(inode: u64) -> Vec<u8> {
    key(b'x', inode, b"")
}

/// The entry of the totals.
pub(super) const TOTALS: &[u8] = b"s";

/// The totals: inodes in use.
pub(super) fn encode_totals(inodes: u64) -> Vec<u8> {
    [HEAD, inodes.to_le_bytes()].concat()
}

/// The inverse of [`encode_totals`].
pub(super) fn decode_totals(bytes: &[u8]) -> Result<u64, Damaged> {
    let mut fields = Fields(bytes);
    fields.head()?;
    let inodes = fields.u64()?;
    fields.end().map(|()| inodes)
}

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameRecord {
    pub(super) cookie: u64,
    pub(super) inode: u64,
    pub(super) generation: u64,
}

impl NameRecord {
    pub(super) fn encode(&self) -> Vec<u8> {
        let NameRecord { cookie, inode, generation } = *self;
        [HEAD, cookie.to_le_bytes(), inode.to_le_bytes(), generation.to_le_bytes()].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<NameRecord, Damaged> {
        let mut fields = Fields(bytes);
        fields.head()?;
        let (cookie, inode, generation) = (fields.u64()?, fields.u64()?, fields.u64()?);
        fields.end().map(|()| NameRecord { cookie, inode, generation })
    }

    /// The value of its cookie's entry.
    pub(super) fn encode_listed(&self, name: &[u8]) -> Vec<u8> {
        [&HEAD, &self.inode.to_le_bytes()[..], &self.generation.to_le_bytes(), name].concat()
    }

    /// The inverse of [`NameRecord::encode_listed`], of the entry's name and value.
    pub(super) fn decode_listed(key: &[u8], bytes: &[u8]) -> Result<(NameRecord, Bytes), Damaged> {
        let cookie = key.get(9..).and_then(|rest| rest.try_into().ok()).map(u64::from_be_bytes);
        let cookie = cookie.ok_or(Damaged("a cookie's entry has no cookie"))?;
        let mut fields = Fields(bytes);
        fields.head()?;
        let (inode, generation) = (fields.u64()?, fields.u64()?);
        if fields.0.is_empty() || fields.0.len() > super::types::FileName::MAX {
            return Err(Damaged("a listed name is no name"));
        }
        Ok((NameRecord { cookie, inode, generation }, Bytes::copy_from_slice(fields.0)))
    }
}

/// The entry of a share's numbers, beside it.
pub(crate) fn numbers_key(share: DatasetId) -> Vec<u8> {
    [b"numbers/", &share.0.to_be_bytes()[..]].concat()
}

/// The first number that was never reserved.
pub(super) fn encode_numbers(next: u64) -> Vec<u8> {
    [HEAD, next.to_le_bytes()].concat()
}

/// The inverse of [`encode_numbers`].
pub(super) fn decode_numbers(bytes: &[u8]) -> Result<u64, Damaged> {
    decode_totals(bytes)
}

/// What the entries kept for a share's clients begin with.
pub(crate) fn kept_of(share: DatasetId) -> Vec<u8> {
    [b"kept/", &share.0.to_be_bytes()[..]].concat()
}

/// The entry of what is kept for a client.
pub(super) fn kept_key(share: DatasetId, client: &[u8; 16], slot: u16) -> Vec<u8> {
    [&kept_of(share)[..], client, &slot.to_be_bytes()].concat()
}

/// Client and slot of such an entry.
pub(super) fn kept_by(share: DatasetId, name: &[u8]) -> Result<([u8; 16], u16), Damaged> {
    let rest = name.strip_prefix(&kept_of(share)[..]).ok_or(Damaged("it is kept for another share"))?;
    let mut fields = Fields(rest);
    let (client, slot) = (fields.array()?, u16::from_be_bytes(fields.array()?));
    fields.end().map(|()| (client, slot))
}

#[cfg(test)]
mod tests {
    use super::super::inode::Inode;
    use super::super::types::Kind;
    use super::*;

    #[test]
    fn records_have_not_changed_since_version_1() {
        let record = NameRecord { cookie: 0x21, inode: 0x22, generation: 0x23 };
        let golden = "0100000000000000210000000000000022000000000000002300000000000000";
        assert_eq!(hex(&record.encode()), golden);
        assert_eq!(NameRecord::decode(&record.encode()), Ok(record));
        let (key, listed) = (cookie_key(1, 0x21), record.encode_listed(b"a"));
        assert_eq!(hex(&listed), "01000000000000002200000000000000230000000000000061");
        assert_eq!(NameRecord::decode_listed(&key, &listed), Ok((record, Bytes::from_static(b"a"))));
        assert_eq!(hex(&key), "6300000000000000010000000000000021");
        assert_eq!(hex(&encode_totals(7)), "01000000000000000700000000000000");
        assert_eq!(decode_totals(&encode_totals(7)), Ok(7));
        let kept = kept_key(DatasetId(3), &[9; 16], 5);
        assert_eq!(kept_by(DatasetId(3), &kept), Ok(([9; 16], 5)));
        assert_eq!(orphan_of(&orphan_key(77)), Ok(77));
    }

    #[test]
    fn an_inode_has_not_changed_since_version_1() {
        let mut inode = Inode::new(Kind::Symlink, 5, 1_000_000_007);
        (inode.mode, inode.uid, inode.gid, inode.size) = (0o777, 1, 2, 3);
        inode.target = Bytes::from_static(b"a/b");
        let golden = "0103ff0101000000010000000200000005000000000000000300000000000000\
                      0000000000000000000000000000000000000000000000000000000000000000\
                      01000000000000000700000001000000000000000700000007ca9a3b00000000\
                      0000000000000000612f62";
        assert_eq!(hex(&inode.encode()), golden);
        assert_eq!(Inode::decode(&inode.encode()), Ok(inode.clone()));
        let mut device = Inode::new(Kind::Block(8, 1), 5, 9);
        device.verifier = Some([1; 8]);
        assert_eq!(Inode::decode(&device.encode()), Ok(device));
        for at in [0, 1, 3, 87, 101] {
            let mut bytes = inode.encode();
            bytes[at] = 0xff;
            assert!(Inode::decode(&bytes).is_err(), "byte {at}");
        }
        assert!(Inode::decode(&inode.encode()[..106]).is_err());
    }

    #[test]
    fn decoders_take_any_bytes() {
        let valid = [Inode::new(Kind::Regular, 1, 1).encode(), encode_totals(1)];
        for bytes in &valid {
            for len in 0..bytes.len() {
                for flip in 0..=255_u8 {
                    let mut bytes = bytes[..len].to_vec();
                    if let Some(byte) = bytes.get_mut(usize::from(flip) % len.max(1)) {
                        *byte ^= flip;
                    }
                    let _ = (Inode::decode(&bytes), NameRecord::decode(&bytes), decode_totals(&bytes));
                    let _ = NameRecord::decode_listed(&bytes, &bytes);
                }
            }
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
