//! The arguments of the procedures of NFSv3 (RFC 1813 3.3), each as it travels.

use super::types::{FileType, Handle, StableHow, Wanted};
use crate::tree::{Kind, Time};
use crate::xdr::{xdr_struct, Payload, Reader, Writer, Xdr, XdrFault};
use bytes::Bytes;

xdr_struct! {
    /// A name in a directory (diropargs3): LOOKUP, REMOVE and RMDIR take nothing else.
    pub struct DirectoryName {
        /// The directory.
        pub directory: Handle,
        /// The name, as the client wrote it.
        pub name: Bytes,
    }

    /// SETATTR (3.3.2).
    pub struct SetAttr {
        /// The object.
        pub object: Handle,
        /// What to set.
        pub wanted: Wanted,
        /// The ctime that it must have.
        pub guard: Option<Time>,
    }

    /// ACCESS (3.3.4).
    pub struct Access {
        /// The object.
        pub object: Handle,
        /// What is asked about.
        pub access: u32,
    }

    /// READ (3.3.6).
    pub struct Read {
        /// The file.
        pub file: Handle,
        /// From this byte on.
        pub offset: u64,
        /// So many.
        pub count: u32,
    }

    /// WRITE (3.3.7).
    pub struct Write {
        /// The file.
        pub file: Handle,
        /// From this byte on.
        pub offset: u64,
        /// So many.
        pub count: u32,
        /// When it is to be durable.
        pub stable: StableHow,
        /// These.
        pub data: Payload,
    }

    /// CREATE (3.3.8).
    pub struct Create {
        /// Where.
        pub place: DirectoryName,
        /// How.
        pub how: CreateHow,
    }

    /// MKDIR (3.3.9).
    pub struct MkDir {
        /// Where.
        pub place: DirectoryName,
        /// Its attributes.
        pub wanted: Wanted,
    }

    /// SYMLINK (3.3.10).
    pub struct Symlink {
        /// Where.
        pub place: DirectoryName,
        /// Its attributes.
        pub wanted: Wanted,
        /// What it says.
        pub target: Bytes,
    }

    /// MKNOD (3.3.11).
    pub struct MkNod {
        /// Where.
        pub place: DirectoryName,
        /// What.
        pub node: Node,
    }

    /// RENAME (3.3.14).
    pub struct Rename {
        /// The old name.
        pub from: DirectoryName,
        /// The new one.
        pub to: DirectoryName,
    }

    /// LINK (3.3.15).
    pub struct Link {
        /// The object.
        pub object: Handle,
        /// Its further name.
        pub place: DirectoryName,
    }

    /// READDIR (3.3.16).
    pub struct ReadDir {
        /// The directory.
        pub directory: Handle,
        /// Behind this entry.
        pub cookie: u64,
        /// What the cookie came with.
        pub verifier: u64,
        /// Bytes of the answer, at most.
        pub count: u32,
    }

    /// READDIRPLUS (3.3.17).
    pub struct ReadDirPlus {
        /// The directory.
        pub directory: Handle,
        /// Behind this entry.
        pub cookie: u64,
        /// What the cookie came with.
        pub verifier: u64,
        /// Bytes of names, cookies and inode numbers, at most.
        pub names: u32,
        /// Bytes of the answer, at most.
        pub count: u32,
    }

    /// COMMIT (3.3.21).
    pub struct Commit {
        /// The file.
        pub file: Handle,
        /// From this byte on.
        pub offset: u64,
        /// So many; 0 = to the end.
        pub count: u32,
    }
}

/// How a file is made (createhow3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateHow {
    /// Or taken, if it is there.
    Unchecked(Wanted),
    /// Not if it is there.
    Guarded(Wanted),
    /// Not if it is there, unless by this very call.
    Exclusive([u8; 8]),
}

impl Xdr for CreateHow {
    fn get(input: &mut Reader) -> Result<CreateHow, XdrFault> {
        match u32::get(input)? {
            0 => Xdr::get(input).map(CreateHow::Unchecked),
            1 => Xdr::get(input).map(CreateHow::Guarded),
            2 => Xdr::get(input).map(CreateHow::Exclusive),
            other => Err(XdrFault::Unknown(other)),
        }
    }

    fn put(&self, output: &mut Writer) {
        match self {
            CreateHow::Unchecked(wanted) => {
                0_u32.put(output);
                wanted.put(output);
            }
            CreateHow::Guarded(wanted) => {
                1_u32.put(output);
                wanted.put(output);
            }
            CreateHow::Exclusive(verifier) => {
                2_u32.put(output);
                verifier.put(output);
            }
        }
    }
}

/// What MKNOD makes (mknoddata3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A device, pipe or socket.
    Of(Kind, Wanted),
    /// What MKNOD does not make.
    Other(FileType),
}

impl Xdr for Node {
    fn get(input: &mut Reader) -> Result<Node, XdrFault> {
        let kind = FileType::get(input)?;
        let make: fn(u32, u32) -> Kind = match kind {
            FileType::Block => Kind::Block,
            FileType::Character => Kind::Character,
            FileType::Socket => return Xdr::get(input).map(|wanted| Node::Of(Kind::Socket, wanted)),
            FileType::Fifo => return Xdr::get(input).map(|wanted| Node::Of(Kind::Fifo, wanted)),
            other => return Ok(Node::Other(other)),
        };
        let wanted = Xdr::get(input)?;
        Ok(Node::Of(make(Xdr::get(input)?, Xdr::get(input)?), wanted))
    }

    fn put(&self, output: &mut Writer) {
        let (kind, wanted, device) = match self {
            Node::Other(kind) => return kind.put(output),
            Node::Of(Kind::Block(major, minor), wanted) => (FileType::Block, wanted, Some((major, minor))),
            Node::Of(Kind::Character(major, minor), wanted) => {
                (FileType::Character, wanted, Some((major, minor)))
            }
            Node::Of(Kind::Socket, wanted) => (FileType::Socket, wanted, None),
            Node::Of(_, wanted) => (FileType::Fifo, wanted, None),
        };
        kind.put(output);
        wanted.put(output);
        if let Some((major, minor)) = device {
            major.put(output);
            minor.put(output);
        }
    }
}
