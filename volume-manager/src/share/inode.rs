//! The inode: what a share keeps of each object. Declared with the other layouts of a share in
//! `docs/on-disk-format.md`.

use super::format::{Damaged, Fields};
use super::types::{Kind, Time};
use bytes::{BufMut as _, Bytes};

/// Length of an inode without a link's target.
pub(super) const LEN: usize = 104;
/// Longest target of a symbolic link, in bytes.
pub(super) const TARGET_MAX: usize = 4095;
const VERSION: u8 = 1;

/// An inode, version 1; behind it stands a symbolic link's target.
///
/// | bytes | field | meaning |
/// |---|---|---|
/// | 0 | version | 1 |
/// | 1 | kind | 1 file, 2 directory, 3 link, 4 block device, 5 character device, 6 pipe, 7 socket |
/// | 2..4 | mode | permission bits, at most 0o7777 |
/// | 4..8 | links | names; of a directory 2 and one for each directory in it |
/// | 8..12 | uid | owner |
/// | 12..16 | gid | group |
/// | 16..24 | generation | tells two uses of a number apart |
/// | 24..32 | size | bytes of a file, or of a link's target; otherwise 0 |
/// | 32..40 | blocks | blocks of 4096 bytes that a file has mapped |
/// | 40..48 | place | of a directory the one above; of a device major (u32) and minor (u32); otherwise 0 |
/// | 48..56 | names | of a directory, how many it has |
/// | 56..64 | verifier | of an exclusive creation |
/// | 64..76 | atime | seconds (i64) and nanoseconds (u32) |
/// | 76..88 | mtime | likewise |
/// | 88..96 | ctime | nanoseconds since 1970; strictly increases |
/// | 96..100 | xattrs | extended attributes |
/// | 100 | flags | bit 0: it was made exclusively, with `verifier` |
/// | 101..104 | reserved | |
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) generation: u64,
    pub(super) size: u64,
    pub(super) blocks: u64,
    pub(super) parent: u64,
    pub(super) names: u64,
    pub(super) verifier: Option<[u8; 8]>,
    pub(super) atime: Time,
    pub(super) mtime: Time,
    pub(super) ctime: u64,
    pub(super) xattrs: u32,
    pub(super) target: Bytes,
}

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// A point in time since 1970, of its nanoseconds.
pub(super) fn time_of(nanos: u64) -> Time {
    Time { seconds: (nanos / SECOND) as i64, nanos: (nanos % SECOND) as u32 }
}

impl Inode {
    /// A new object without content.
    pub(super) fn new(kind: Kind, generation: u64, now: u64) -> Inode {
        let time = time_of(now);
        Inode {
            kind,
            mode: 0,
            links: if kind == Kind::Directory { 2 } else { 1 },
            uid: 0,
            gid: 0,
            generation,
            size: 0,
            blocks: 0,
            parent: 0,
            names: 0,
            verifier: None,
            atime: time,
            mtime: time,
            ctime: now,
            xattrs: 0,
            target: Bytes::new(),
        }
    }

    /// Notes a change of anything, at `now` or just after the last one.
    pub(super) fn touch(&mut self, now: u64) {
        self.ctime = now.max(self.ctime + 1);
    }

    /// Notes a change of content.
    pub(super) fn touch_content(&mut self, now: u64) {
        self.touch(now);
        self.mtime = time_of(self.ctime);
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LEN + self.target.len());
        let (kind, place) = match self.kind {
            Kind::Regular => (1, 0),
            Kind::Directory => (2, self.parent),
            Kind::Symlink => (3, 0),
            Kind::Block(major, minor) => (4, u64::from(major) | u64::from(minor) << 32),
            Kind::Character(major, minor) => (5, u64::from(major) | u64::from(minor) << 32),
            Kind::Fifo => (6, 0),
            Kind::Socket => (7, 0),
        };
        out.put_slice(&[VERSION, kind]);
        out.put_u16_le(self.mode as u16);
        [self.links, self.uid, self.gid].iter().for_each(|n| out.put_u32_le(*n));
        for number in [self.generation, self.size, self.blocks, place, self.names] {
            out.put_u64_le(number);
        }
        out.put_slice(&self.verifier.unwrap_or_default());
        for time in [self.atime, self.mtime] {
            out.put_i64_le(time.seconds);
            out.put_u32_le(time.nanos);
        }
        out.put_u64_le(self.ctime);
        out.put_u32_le(self.xattrs);
        out.put_slice(&[u8::from(self.verifier.is_some()), 0, 0, 0]);
        out.put_slice(&self.target);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Inode, Damaged> {
        let mut fields = Fields(bytes);
        let [version, kind] = fields.array()?;
        let mode = u32::from(u16::from_le_bytes(fields.array()?));
        let (links, uid, gid) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (generation, size, blocks) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let (place, names) = (fields.u64()?, fields.u64()?);
        let verifier: [u8; 8] = fields.array()?;
        let (atime, mtime) = (fields.time()?, fields.time()?);
        let (ctime, xattrs) = (fields.u64()?, fields.u32()?);
        let [flags, reserved @ ..]: [u8; 4] = fields.array()?;
        let (major, minor) = (place as u32, (place >> 32) as u32);
        let (kind, parent) = match kind {
            1 => (Kind::Regular, 0),
            2 => (Kind::Directory, place),
            3 => (Kind::Symlink, 0),
            4 => (Kind::Block(major, minor), 0),
            5 => (Kind::Character(major, minor), 0),
            6 => (Kind::Fifo, 0),
            7 => (Kind::Socket, 0),
            _ => return Err(Damaged("an inode is of no known kind")),
        };
        let target = Bytes::copy_from_slice(fields.0);
        let is_link = kind == Kind::Symlink;
        let fits = version == VERSION
            && mode <= 0o7777
            && flags <= 1
            && reserved == [0; 3]
            && (flags == 1 || verifier == [0; 8])
            && is_link != target.is_empty()
            && (!is_link || (target.len() as u64 == size && target.len() <= TARGET_MAX))
            && (is_link || size == 0 || kind == Kind::Regular)
            && (place == 0 || !matches!(kind, Kind::Regular | Kind::Symlink | Kind::Fifo | Kind::Socket));
        if !fits {
            return Err(Damaged("an inode's fields contradict each other"));
        }
        let verifier = (flags == 1).then_some(verifier);
        Ok(Inode {
            kind,
            mode,
            links,
            uid,
            gid,
            generation,
            size,
            blocks,
            parent,
            names,
            verifier,
            atime,
            mtime,
            ctime,
            xattrs,
            target,
        })
    }
}
