//! MOUNT (RFC 1813 appendix I): version 3, and versions 1 and 2 for those who only want to know
//! (`showmount`).
//!
//! Invariants: a client that no rule admits is told of every path that it does not exist, and is shown an
//! empty list. The list of mounts is what clients say of themselves: it is bounded, it is forgotten over a
//! restart, nothing depends on it, and a client is shown its own lines only.

#[cfg(test)]
mod tests;

use crate::exports::{Exports, Refused};
use crate::limits::{MOUNTS, MOUNT_PATH_MAX};
use crate::nfs3::types::Handle;
use crate::rpc::{Answer, Call, Outcome, Program};
use crate::tree::{FileTree, Kind, Name, ObjectRef, TreeFault};
use crate::xdr::{xdr_enum, xdr_struct, Array, List, Reader, Writer, Xdr, XdrFault};
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The program's number.
pub const PROGRAM: u32 = 100_005;
/// The version that hands out handles of NFSv3.
const VERSION: u32 = 3;

/// The numbers of the procedures (RFC 1813 5.2).
pub mod procedure {
    /// Does nothing.
    pub const NULL: u32 = 0;
    /// Gives the handle of a path.
    pub const MNT: u32 = 1;
    /// Lists who has mounted what.
    pub const DUMP: u32 = 2;
    /// Says that a path is not mounted any more.
    pub const UMNT: u32 = 3;
    /// Says so of all paths.
    pub const UMNTALL: u32 = 4;
    /// Lists what can be mounted.
    pub const EXPORT: u32 = 5;
}

xdr_enum! {
    /// Why a path is not mounted (mountstat3).
    pub enum MountStatus {
        /// It does not exist.
        NoEnt = 2,
        /// Permission denied.
        Acces = 13,
        /// It is no directory.
        NotDir = 20,
        /// It makes no sense.
        Inval = 22,
        /// It is too long.
        NameTooLong = 63,
        /// Not supported.
        NotSupp = 10004,
        /// It cannot be had now.
        ServerFault = 10006,
    }
}

/// Who may be named in a call: nobody, or a user that the client vouches for.
const FLAVORS: [u32; 2] = [1, 0];
/// Ways to prove who calls, at most.
const FLAVORS_MAX: usize = 16;

xdr_struct! {
    /// What MNT gives (mountres3_ok).
    pub struct Mounted {
        /// The directory.
        pub handle: Handle,
        /// How calls may say who makes them.
        pub flavors: Array<u32, FLAVORS_MAX>,
    }

    /// A line of DUMP.
    pub struct Mount {
        /// The client.
        pub client: Bytes,
        /// The path.
        pub path: Bytes,
    }

    /// A line of EXPORT.
    pub struct Export {
        /// The path.
        pub path: Bytes,
        /// Who may mount it.
        pub clients: List<Bytes>,
    }
}

/// The program.
pub struct MountProgram<T> {
    exports: Arc<Exports<T>>,
    /// The oldest first.
    mounts: Mutex<Vec<(IpAddr, Bytes)>>,
}

impl<T: FileTree> MountProgram<T> {
    /// Serves what is exported.
    #[must_use]
    pub fn new(exports: Arc<Exports<T>>) -> MountProgram<T> {
        MountProgram { exports, mounts: Mutex::default() }
    }

    /// What clients say that they have mounted.
    #[must_use]
    pub fn mounts(&self) -> Vec<(IpAddr, Bytes)> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(IpAddr, Bytes)>> {
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// MNT.
    async fn mount(&self, client: SocketAddr, path: Bytes) -> Result<Mounted, MountStatus> {
        if path.len() > MOUNT_PATH_MAX {
            return Err(MountStatus::NameTooLong);
        }
        let (grant, below) = self.exports.mount(client, &path)?;
        let directory = descend(&*grant.tree, &below).await?;
        let mut mounts = self.lock();
        mounts.retain(|mount| *mount != (client.ip(), path.clone()));
        if mounts.len() >= MOUNTS {
            mounts.remove(0);
        }
        mounts.push((client.ip(), path));
        let handle = Handle(Bytes::copy_from_slice(&grant.seal(directory)));
        Ok(Mounted { handle, flavors: Array(FLAVORS.to_vec()) })
    }

    /// DUMP.
    fn dump(&self, client: IpAddr) -> List<Mount> {
        let mounts = self.mounts().into_iter().filter(|(ip, _)| *ip == client);
        List(mounts.map(|(ip, path)| Mount { client: ip.to_string().into(), path }).collect())
    }

    /// EXPORT.
    fn list(&self, client: IpAddr) -> List<Export> {
        let lines = self.exports.list(client).into_iter();
        let export =
            |path: String, clients: String| Export { path: path.into(), clients: List(vec![clients.into()]) };
        List(lines.map(|line| export(line.path, line.clients)).collect())
    }

    async fn answer(&self, mut call: Call) -> Outcome {
        let client = call.ends.peer;
        let forget = |which: &dyn Fn(&Bytes) -> bool| {
            self.lock().retain(|(ip, path)| *ip != client.ip() || !which(path));
            Outcome::done(&())
        };
        match call.procedure {
            procedure::NULL => Outcome::done(&()),
            procedure::MNT => match Bytes::get(&mut call.arguments) {
                Err(_) => Outcome::GarbageArguments,
                // Handles of older versions are shorter than ours.
                Ok(_) if call.version != VERSION => Outcome::done(&MountStatus::Acces),
                Ok(path) => Outcome::done(&MountResult(self.mount(client, path).await)),
            },
            procedure::DUMP => Outcome::done(&self.dump(client.ip())),
            procedure::UMNT => match Bytes::get(&mut call.arguments) {
                Err(_) => Outcome::GarbageArguments,
                Ok(path) => forget(&|other| *other == path),
            },
            procedure::UMNTALL => forget(&|_| true),
            procedure::EXPORT => Outcome::done(&self.list(client.ip())),
            _ => Outcome::ProcedureUnavailable,
        }
    }
}

impl<T: FileTree> Program for MountProgram<T> {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        1..=VERSION
    }

    fn call(self: Arc<Self>, call: Call) -> Answer {
        Box::pin(async move { self.answer(call).await })
    }
}

/// The directory that a path below a share's root leads to.
async fn descend<T: FileTree>(tree: &T, path: &[Name]) -> Result<ObjectRef, MountStatus> {
    let mut at = tree.root();
    let mut kind = tree.attributes(at).await?.kind;
    for name in path {
        let (object, attributes) = tree.lookup(at, name).await?;
        (at, kind) = (object, attributes.kind);
    }
    if kind == Kind::Directory {
        Ok(at)
    } else {
        Err(MountStatus::NotDir)
    }
}

/// mountres3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountResult(pub Result<Mounted, MountStatus>);

impl Xdr for MountResult {
    fn get(input: &mut Reader) -> Result<MountResult, XdrFault> {
        let mut status = input.clone();
        if u32::get(&mut status)? == 0 {
            *input = status;
            return Xdr::get(input).map(|mounted| MountResult(Ok(mounted)));
        }
        MountStatus::get(input).map(|status| MountResult(Err(status)))
    }

    fn put(&self, output: &mut Writer) {
        match &self.0 {
            Ok(mounted) => {
                0_u32.put(output);
                mounted.put(output);
            }
            Err(status) => status.put(output),
        }
    }
}

impl From<Refused> for MountStatus {
    fn from(refused: Refused) -> MountStatus {
        match refused {
            Refused::Absent | Refused::BadHandle(_) => MountStatus::NoEnt,
            Refused::Port => MountStatus::Acces,
            Refused::Unavailable => MountStatus::ServerFault,
        }
    }
}

impl From<TreeFault> for MountStatus {
    fn from(fault: TreeFault) -> MountStatus {
        match fault {
            TreeFault::NotFound | TreeFault::Stale => MountStatus::NoEnt,
            TreeFault::NotDirectory => MountStatus::NotDir,
            TreeFault::NameTooLong => MountStatus::NameTooLong,
            _ => MountStatus::ServerFault,
        }
    }
}
