//! What a share keeps of itself in its dataset's attributes: what no snapshot and no rollback may turn back.

use super::format::{Damaged, Fields};
use super::SnapshotDir;

const VERSION: u8 = 1;

/// A share's attributes, version 1.
///
/// | bytes | field | meaning |
/// |---|---|---|
/// | 0 | version | 1 |
/// | 1 | snapshots | how its root shows them: 0 hidden, 1 visible, 2 off |
/// | 2..8 | reserved | |
/// | 8..16 | fsid | the number of its file system, which stands in handles; never 0 |
/// | 16..24 | quota | bytes that it may take; 0 = no limit |
/// | 24..32 | first | below this no number of it was ever given (a clone's origin had those) |
/// | 32..64 | key | the key of its handles |
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) snapshot_dir: SnapshotDir,
    pub(crate) fsid: u64,
    pub(crate) quota: u64,
    pub(crate) first_number: u64,
    pub(crate) key: [u8; 32],
}

impl Attributes {
    /// Those of a new share: its identity is new.
    pub(crate) fn new() -> Attributes {
        let mut random = [0; 40];
        getrandom::fill(&mut random).expect("the system has a source of chance");
        let (fsid, key) = random.split_first_chunk().expect("8 of 40 bytes");
        Attributes {
            snapshot_dir: SnapshotDir::default(),
            fsid: u64::from_le_bytes(*fsid).max(1),
            quota: 0,
            first_number: 0,
            key: key.try_into().expect("32 bytes are left"),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.snapshot_dir as u8, 0, 0, 0, 0, 0, 0];
        for number in [self.fsid, self.quota, self.first_number] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.key);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Attributes, Damaged> {
        let mut fields = Fields(bytes);
        let [version, shown, reserved @ ..]: [u8; 8] = fields.array()?;
        let (fsid, quota, first_number) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let key = fields.array()?;
        let snapshot_dir = match shown {
            0 => SnapshotDir::Hidden,
            1 => SnapshotDir::Visible,
            2 => SnapshotDir::Off,
            _ => return Err(Damaged("a share shows its snapshots in no known way")),
        };
        if version != VERSION || reserved != [0; 6] || fsid == 0 || !fields.0.is_empty() {
            return Err(Damaged("a share's attributes are of an unknown version"));
        }
        Ok(Attributes { snapshot_dir, fsid, quota, first_number, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_not_changed_since_version_1() {
        let attributes =
            Attributes { snapshot_dir: SnapshotDir::Off, fsid: 1, quota: 2, first_number: 3, key: [4; 32] };
        let bytes = attributes.encode();
        let numbers = [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(bytes, [&[1, 2, 0, 0, 0, 0, 0, 0], &numbers[..], &[4; 32]].concat());
        assert!(Attributes::decode(&bytes) == Ok(attributes));
        for (at, bad) in [(0, 2), (1, 3), (7, 1), (8, 0)] {
            let mut bytes = bytes.clone();
            bytes[at] = bad;
            assert!(Attributes::decode(&bytes).is_err(), "byte {at}");
        }
        assert!(Attributes::decode(&bytes[..63]).is_err());
    }
}
