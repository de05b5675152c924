//! The keys of the index: every kind byte of the key space, and the snapshots crate's own keys.
//!
//! Keys sort by their bytes, so numbers are big-endian (or a varint that keeps their order) and names are
//! escaped and terminated. Each key type's `encode` and `parse` are exact inverses.
//!
//! Scans: all keys under a prefix are `prefix..`[`prefix_end`]`(prefix)`. The newest version of a page at or
//! before epoch `e` is the first key in `MapKey { epoch: e, .. }.encode()..prefix_end(page prefix)`.

use crate::decode::{check, Damaged, Reader};
use crate::ids::{BranchId, Epoch, ObjectId, PageNo};

/// The first byte of a key. Every kind is declared here, so that no byte is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The block layer's pool header.
    PoolHeader = b'!',
    /// The block layer's allocation bitmaps.
    Alloc = b'a',
    /// Catalogue: what the crate above stores ([`CatalogueKey`]).
    Catalogue = b'c',
    /// Live small entries ([`LiveKey`]).
    Live = b'e',
    /// Versions of map pages ([`MapKey`]).
    Map = b'm',
    /// Superseded small entries that a snapshot still needs ([`PastKey`]).
    Past = b'p',
    /// The block layer's reference counts.
    Refs = b'r',
    /// The block layer's segment summaries.
    Segment = b's',
    /// Touched pages ([`TouchedKey`]).
    Touched = b't',
    /// Past entries by the epoch they end in ([`DeathKey`]).
    Death = b'x',
}

/// A version of a map page: `m | branch | object | page | !epoch`, so the newest version comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapKey {
    /// The branch that wrote it.
    pub branch: BranchId,
    /// The object it maps.
    pub object: ObjectId,
    /// The page of the object.
    pub page: PageNo,
    /// The epoch whose changes it holds.
    pub epoch: Epoch,
}

impl MapKey {
    /// What the keys of all pages of a branch begin with.
    #[must_use]
    pub fn of_branch(branch: BranchId) -> Vec<u8> {
        Writer::new(Kind::Map, branch).0
    }

    /// What the keys of all pages of an object begin with.
    #[must_use]
    pub fn of_object(branch: BranchId, object: ObjectId) -> Vec<u8> {
        Writer::new(Kind::Map, branch).varint(object.0).0
    }

    /// What the keys of all versions of a page begin with.
    #[must_use]
    pub fn of_page(branch: BranchId, object: ObjectId, page: PageNo) -> Vec<u8> {
        Writer::new(Kind::Map, branch).varint(object.0).varint(page.0).0
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let MapKey { branch, object, page, epoch } = *self;
        Writer::new(Kind::Map, branch).varint(object.0).varint(page.0).u32(!epoch.0).0
    }

    /// The key with these bytes, or [`Damaged`].
    pub fn parse(key: &[u8]) -> Result<MapKey, Damaged> {
        let (branch, mut reader) = open(Kind::Map, key)?;
        let (object, page) = (ObjectId(varint(&mut reader)?), PageNo(varint(&mut reader)?));
        let epoch = Epoch(!u32::from_be_bytes(reader.array()?));
        reader.end().map(|()| MapKey { branch, object, page, epoch })
    }
}

/// The pages that one epoch touched in one group of an object: `t | branch | epoch | object | group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TouchedKey {
    /// The branch.
    pub branch: BranchId,
    /// The epoch that touched the pages.
    pub epoch: Epoch,
    /// The object they belong to.
    pub object: ObjectId,
    /// The group of [`crate::ids::GROUP_PAGES`] pages.
    pub group: u64,
}

impl TouchedKey {
    /// What the keys of a branch's whole epoch begin with.
    #[must_use]
    pub fn of_epoch(branch: BranchId, epoch: Epoch) -> Vec<u8> {
        Writer::new(Kind::Touched, branch).u32(epoch.0).0
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let TouchedKey { branch, epoch, object, group } = *self;
        Writer::new(Kind::Touched, branch).u32(epoch.0).varint(object.0).varint(group).0
    }

    /// The key with these bytes, or [`Damaged`].
    pub fn parse(key: &[u8]) -> Result<TouchedKey, Damaged> {
        let (branch, mut reader) = open(Kind::Touched, key)?;
        let epoch = Epoch(u32::from_be_bytes(reader.array()?));
        let (object, group) = (ObjectId(varint(&mut reader)?), varint(&mut reader)?);
        reader.end().map(|()| TouchedKey { branch, epoch, object, group })
    }
}

/// The live version of a small entry: `e | branch | name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveKey {
    /// The branch.
    pub branch: BranchId,
    /// The entry's name in the dataset's key space: any bytes.
    pub name: Vec<u8>,
}

impl LiveKey {
    /// What the keys of all live entries whose name begins with `name_prefix` begin with.
    #[must_use]
    pub fn of_names(branch: BranchId, name_prefix: &[u8]) -> Vec<u8> {
        Writer::new(Kind::Live, branch).escaped(name_prefix).0
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Writer::new(Kind::Live, self.branch).name(&self.name).0
    }

    /// The key with these bytes, or [`Damaged`].
    pub fn parse(key: &[u8]) -> Result<LiveKey, Damaged> {
        let (branch, mut reader) = open(Kind::Live, key)?;
        let name = name(&mut reader)?;
        reader.end().map(|()| LiveKey { branch, name })
    }
}

/// A past version of a small entry: `p | branch | name | to | from`.
///
/// The version that epoch `e` sees is the first one with `to >= e`, if its `from <= e`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastKey {
    /// The branch.
    pub branch: BranchId,
    /// The entry's name.
    pub name: Vec<u8>,
    /// The last epoch that sees this version.
    pub to: Epoch,
    /// The first epoch that sees this version.
    pub from: Epoch,
}

impl PastKey {
    /// What the keys of all past entries whose name begins with `name_prefix` begin with.
    #[must_use]
    pub fn of_names(branch: BranchId, name_prefix: &[u8]) -> Vec<u8> {
        Writer::new(Kind::Past, branch).escaped(name_prefix).0
    }

    /// What the keys of all past versions of the entry `name` begin with.
    #[must_use]
    pub fn of_entry(branch: BranchId, name: &[u8]) -> Vec<u8> {
        Writer::new(Kind::Past, branch).name(name).0
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Writer::new(Kind::Past, self.branch).name(&self.name).u32(self.to.0).u32(self.from.0).0
    }

    /// The key with these bytes, or [`Damaged`].
    pub fn parse(key: &[u8]) -> Result<PastKey, Damaged> {
        let (branch, mut reader) = open(Kind::Past, key)?;
        let name = name(&mut reader)?;
        let to = Epoch(u32::from_be_bytes(reader.array()?));
        let from = Epoch(u32::from_be_bytes(reader.array()?));
        reader.end().map(|()| PastKey { branch, name, to, from })
    }
}

/// A past entry by the epoch it ends in: `x | branch | to | name`. Reclaim of a snapshot visits these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeathKey {
    /// The branch.
    pub branch: BranchId,
    /// The last epoch that sees the version.
    pub to: Epoch,
    /// The entry's name.
    pub name: Vec<u8>,
}

impl DeathKey {
    /// What the keys of all versions that end in `to` begin with.
    #[must_use]
    pub fn of_epoch(branch: BranchId, to: Epoch) -> Vec<u8> {
        Writer::new(Kind::Death, branch).u32(to.0).0
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Writer::new(Kind::Death, self.branch).u32(self.to.0).name(&self.name).0
    }

    /// The key with these bytes, or [`Damaged`].
    pub fn parse(key: &[u8]) -> Result<DeathKey, Damaged> {
        let (branch, mut reader) = open(Kind::Death, key)?;
        let to = Epoch(u32::from_be_bytes(reader.array()?));
        let name = name(&mut reader)?;
        reader.end().map(|()| DeathKey { branch, to, name })
    }
}

/// An entry of the catalogue: `c | table | rest`. Table and rest mean what the crate above says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueKey {
    /// The table.
    pub table: u8,
    /// The key in the table: any bytes.
    pub rest: Vec<u8>,
}

impl CatalogueKey {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [&[Kind::Catalogue as u8, self.table], &self.rest[..]].concat()
    }

    /// The key with these bytes, or [`Damaged`].
    pub fn parse(key: &[u8]) -> Result<CatalogueKey, Damaged> {
        let mut reader = Reader::new(key);
        let [kind, table] = reader.array()?;
        check(kind == Kind::Catalogue as u8, "a key is of another kind")?;
        Ok(CatalogueKey { table, rest: reader.remaining().to_vec() })
    }
}

/// The first key after all keys that begin with `prefix`; `None` when there can be no such key.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Numbers up to here are one byte in a varint; above it the first byte says how many bytes follow.
const VARINT_SMALL: u8 = 247;
const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xff;
const TERMINATOR: [u8; 2] = [ESCAPE, 0x00];

/// A key under construction.
struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: Kind, branch: BranchId) -> Writer {
        let mut key = Vec::with_capacity(32);
        key.push(kind as u8);
        Writer(key).u32(branch.0)
    }

    fn u32(mut self, number: u32) -> Writer {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// `number` in 1 to 9 bytes that sort as the numbers do.
    fn varint(mut self, number: u64) -> Writer {
        if number <= u64::from(VARINT_SMALL) {
            self.0.push(number as u8);
        } else {
            let bytes = number.to_be_bytes();
            let zeros = number.leading_zeros() as usize / 8;
            self.0.push(VARINT_SMALL + (bytes.len() - zeros) as u8);
            self.0.extend(&bytes[zeros..]);
        }
        self
    }

    fn escaped(mut self, bytes: &[u8]) -> Writer {
        for byte in bytes {
            self.0.push(*byte);
            if *byte == ESCAPE {
                self.0.push(ESCAPED_ZERO);
            }
        }
        self
    }

    fn name(self, bytes: &[u8]) -> Writer {
        let mut key = self.escaped(bytes);
        key.0.extend(TERMINATOR);
        key
    }
}

/// Checks the kind and takes the branch off.
fn open(kind: Kind, key: &[u8]) -> Result<(BranchId, Reader<'_>), Damaged> {
    let mut reader = Reader::new(key);
    check(reader.u8()? == kind as u8, "a key is of another kind")?;
    let branch = BranchId(u32::from_be_bytes(reader.array()?));
    Ok((branch, reader))
}

fn varint(reader: &mut Reader<'_>) -> Result<u64, Damaged> {
    let first = reader.u8()?;
    let Some(len @ 1..) = first.checked_sub(VARINT_SMALL) else { return Ok(u64::from(first)) };
    let mut bytes = [0; 8];
    let zeros = bytes.len() - usize::from(len);
    bytes[zeros..].copy_from_slice(reader.slice(usize::from(len))?);
    let number = u64::from_be_bytes(bytes);
    let shortest = number > u64::from(VARINT_SMALL) && bytes[zeros] != 0;
    check(shortest, "a number in a key is not in its shortest form").map(|()| number)
}

fn name(reader: &mut Reader<'_>) -> Result<Vec<u8>, Damaged> {
    let mut name = Vec::new();
    loop {
        match reader.u8()? {
            ESCAPE => match reader.u8()? {
                ESCAPED_ZERO => name.push(ESCAPE),
                0 => return Ok(name),
                _ => return Err(Damaged { what: "a name in a key has an unknown escape" }),
            },
            byte => name.push(byte),
        }
    }
}

#[cfg(test)]
mod tests;
