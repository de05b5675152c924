//! What the procedures of NFSv3 are made of (RFC 1813 2): status, attributes, handles, weak cache
//! consistency.

use crate::tree::{Around, Attributes, Kind, SetAttributes, SetTime, Time};
use crate::xdr::{xdr_enum, xdr_struct, Reader, Writer, Xdr, XdrFault};
use bytes::Bytes;

/// Longest handle, in bytes (NFS3_FHSIZE).
pub const HANDLE_MAX: usize = 64;

xdr_enum! {
    /// Why a procedure failed (nfsstat3).
    pub enum Status {
        /// Only the owner may.
        Perm = 1,
        /// No such name.
        NoEnt = 2,
        /// Data is damaged.
        Io = 5,
        /// No such device.
        NxIo = 6,
        /// Permission denied.
        Acces = 13,
        /// The name is taken.
        Exist = 17,
        /// Not in one file system.
        XDev = 18,
        /// No such device.
        NoDev = 19,
        /// Not a directory.
        NotDir = 20,
        /// A directory.
        IsDir = 21,
        /// It makes no sense.
        Inval = 22,
        /// The file would be too large.
        FBig = 27,
        /// No space is left.
        NoSpc = 28,
        /// It cannot be changed here.
        RoFs = 30,
        /// Too many names.
        MLink = 31,
        /// A name is too long.
        NameTooLong = 63,
        /// The directory has names.
        NotEmpty = 66,
        /// The quota is reached.
        DQuot = 69,
        /// The object is gone.
        Stale = 70,
        /// Too many levels of remote.
        Remote = 71,
        /// That is no handle of ours.
        BadHandle = 10001,
        /// The guard does not hold.
        NotSync = 10002,
        /// The cookie is not valid.
        BadCookie = 10003,
        /// Not supported.
        NotSupp = 10004,
        /// There is no room for one entry.
        TooSmall = 10005,
        /// A fault of the server.
        ServerFault = 10006,
        /// No object of such a kind can be made.
        BadType = 10007,
        /// Try again later.
        JukeBox = 10008,
    }
}

xdr_enum! {
    /// What kind of object (ftype3).
    pub enum FileType {
        /// A file.
        Regular = 1,
        /// A directory.
        Directory = 2,
        /// A block device.
        Block = 3,
        /// A character device.
        Character = 4,
        /// A symbolic link.
        Symlink = 5,
        /// A socket.
        Socket = 6,
        /// A named pipe.
        Fifo = 7,
    }
}

xdr_enum! {
    /// When a write is to be durable (stable_how).
    pub enum StableHow {
        /// At the next COMMIT.
        Unstable = 0,
        /// Its data before the answer.
        DataSync = 1,
        /// All of it before the answer.
        FileSync = 2,
    }
}

/// A handle as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle(pub Bytes);

impl Xdr for Handle {
    fn get(input: &mut Reader) -> Result<Handle, XdrFault> {
        input.opaque(HANDLE_MAX).map(Handle)
    }

    fn put(&self, output: &mut Writer) {
        self.0.put(output);
    }
}

/// As nfstime3: seconds since 1970 in 32 bits, so that no time before it, and none after 2106, can be told.
impl Xdr for Time {
    fn get(input: &mut Reader) -> Result<Time, XdrFault> {
        let (seconds, nanos) = (u32::get(input)?, u32::get(input)?);
        Ok(Time { seconds: seconds.into(), nanos: nanos.min(999_999_999) })
    }

    fn put(&self, output: &mut Writer) {
        (self.seconds.clamp(0, u32::MAX.into()) as u32).put(output);
        self.nanos.put(output);
    }
}

xdr_struct! {
    /// All that is told of an object (fattr3).
    pub struct FileAttributes {
        /// What it is.
        pub kind: FileType,
        /// Permission bits.
        pub mode: u32,
        /// Names.
        pub links: u32,
        /// Owner.
        pub uid: u32,
        /// Group.
        pub gid: u32,
        /// Bytes of content.
        pub size: u64,
        /// Bytes of space.
        pub used: u64,
        /// Major number of a device.
        pub major: u32,
        /// Minor number of a device.
        pub minor: u32,
        /// File system.
        pub fsid: u64,
        /// Inode number.
        pub fileid: u64,
        /// Last read.
        pub atime: Time,
        /// Last change of content.
        pub mtime: Time,
        /// Last change.
        pub ctime: Time,
    }

    /// What a change is recognized by (wcc_attr).
    pub struct WccAttributes {
        /// Bytes of content.
        pub size: u64,
        /// Last change of content.
        pub mtime: Time,
        /// Last change.
        pub ctime: Time,
    }

    /// Attributes around a change (wcc_data).
    #[derive(Default)]
    pub struct Wcc {
        /// Before it.
        pub before: Option<WccAttributes>,
        /// After it.
        pub after: PostAttributes,
    }
}

/// Attributes of an object after a call, where they can be had (post_op_attr).
pub type PostAttributes = Option<FileAttributes>;

impl FileAttributes {
    /// Bytes of them.
    pub const LEN: usize = 84;

    /// Those of the object with this inode number.
    #[must_use]
    pub fn new(inode: u64, of: &Attributes) -> FileAttributes {
        let (kind, major, minor) = match of.kind {
            Kind::Regular => (FileType::Regular, 0, 0),
            Kind::Directory => (FileType::Directory, 0, 0),
            Kind::Symlink => (FileType::Symlink, 0, 0),
            Kind::Block(major, minor) => (FileType::Block, major, minor),
            Kind::Character(major, minor) => (FileType::Character, major, minor),
            Kind::Fifo => (FileType::Fifo, 0, 0),
            Kind::Socket => (FileType::Socket, 0, 0),
        };
        FileAttributes {
            kind,
            mode: of.mode,
            links: of.links,
            uid: of.uid,
            gid: of.gid,
            size: of.size,
            used: of.used,
            major,
            minor,
            fsid: of.fsid,
            fileid: inode,
            atime: of.atime,
            mtime: of.mtime,
            ctime: of.ctime,
        }
    }
}

impl Wcc {
    /// Around a change of the object with this inode number.
    #[must_use]
    pub fn new(inode: u64, around: &Around) -> Wcc {
        let Attributes { size, mtime, ctime, .. } = around.before;
        let before = Some(WccAttributes { size, mtime, ctime });
        Wcc { before, after: Some(FileAttributes::new(inode, &around.after)) }
    }

    /// After a call that changed nothing.
    #[must_use]
    pub fn unchanged(after: PostAttributes) -> Wcc {
        Wcc { before: None, after }
    }
}

/// Attributes to set (sattr3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted(pub SetAttributes);

impl Xdr for Wanted {
    fn get(input: &mut Reader) -> Result<Wanted, XdrFault> {
        Ok(Wanted(SetAttributes {
            mode: Xdr::get(input)?,
            uid: Xdr::get(input)?,
            gid: Xdr::get(input)?,
            size: Xdr::get(input)?,
            atime: get_set_time(input)?,
            mtime: get_set_time(input)?,
        }))
    }

    fn put(&self, output: &mut Writer) {
        let SetAttributes { mode, uid, gid, size, atime, mtime } = self.0;
        mode.put(output);
        uid.put(output);
        gid.put(output);
        size.put(output);
        put_set_time(atime, output);
        put_set_time(mtime, output);
    }
}

/// time_how and what follows it.
fn get_set_time(input: &mut Reader) -> Result<Option<SetTime>, XdrFault> {
    match u32::get(input)? {
        0 => Ok(None),
        1 => Ok(Some(SetTime::Now)),
        2 => Ok(Some(SetTime::To(Time::get(input)?))),
        other => Err(XdrFault::Unknown(other)),
    }
}

fn put_set_time(time: Option<SetTime>, output: &mut Writer) {
    match time {
        None => 0_u32.put(output),
        Some(SetTime::Now) => 1_u32.put(output),
        Some(SetTime::To(time)) => {
            2_u32.put(output);
            time.put(output);
        }
    }
}

/// How a procedure failed: its status, and what it tells in spite of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure<F> {
    /// Why.
    pub status: Status,
    /// What it tells.
    pub body: F,
}

/// A procedure's results: a status, and behind it what the status calls for.
impl<T: Xdr, F: Xdr> Xdr for Result<T, Failure<F>> {
    fn get(input: &mut Reader) -> Result<Self, XdrFault> {
        let mut status = input.clone();
        if u32::get(&mut status)? == 0 {
            *input = status;
            return T::get(input).map(Ok);
        }
        Ok(Err(Failure { status: Status::get(input)?, body: F::get(input)? }))
    }

    fn put(&self, output: &mut Writer) {
        match self {
            Ok(value) => {
                0_u32.put(output);
                value.put(output);
            }
            Err(failure) => {
                failure.status.put(output);
                failure.body.put(output);
            }
        }
    }
}
