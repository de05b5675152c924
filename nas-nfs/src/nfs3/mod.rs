//! NFS version 3 (RFC 1813): all 22 procedures over whatever is exported.
//!
//! Invariants: arguments are read wholly before anything is done. Every reply tells the attributes that the
//! RFC has room for, in failure too. A fault of storage that passes by itself is JUKEBOX, never IO.
//!
//! | module | job |
//! |---|---|
//! | [`types`], [`arguments`], [`results`] | what travels |
//! | `at` | an object and its caller; faults become statuses |
//! | `once` | what changes something is done once, however often it is asked for |
//! | `objects`, `data`, `names`, `listing`, `system` | the procedures |

pub mod arguments;
mod at;
mod data;
mod listing;
mod names;
mod objects;
mod once;
pub mod results;
mod system;
#[cfg(test)]
mod tests;
pub mod types;

use crate::exports::Exports;
use crate::replay::CallKey;
use crate::rpc::record::Find;
use crate::rpc::{Answer, Call, Outcome, Program};
use crate::tree::{FileTree, TreeFault};
use crate::xdr::{Reader, UNIT};
use at::Caller;
use once::Once;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;
use types::HANDLE_MAX;

/// The program's number.
pub const PROGRAM: u32 = 100_003;
/// The version of it.
pub const VERSION: u32 = 3;

/// The numbers of the procedures (RFC 1813 3.3).
pub mod procedure {
    /// Does nothing.
    pub const NULL: u32 = 0;
    /// Gets attributes.
    pub const GETATTR: u32 = 1;
    /// Sets attributes.
    pub const SETATTR: u32 = 2;
    /// Finds an object by its name.
    pub const LOOKUP: u32 = 3;
    /// Tells what a user may do.
    pub const ACCESS: u32 = 4;
    /// Reads a symbolic link.
    pub const READLINK: u32 = 5;
    /// Reads a file.
    pub const READ: u32 = 6;
    /// Writes a file.
    pub const WRITE: u32 = 7;
    /// Makes a file.
    pub const CREATE: u32 = 8;
    /// Makes a directory.
    pub const MKDIR: u32 = 9;
    /// Makes a symbolic link.
    pub const SYMLINK: u32 = 10;
    /// Makes a device, pipe or socket.
    pub const MKNOD: u32 = 11;
    /// Removes a name.
    pub const REMOVE: u32 = 12;
    /// Removes a directory.
    pub const RMDIR: u32 = 13;
    /// Moves a name.
    pub const RENAME: u32 = 14;
    /// Adds a name.
    pub const LINK: u32 = 15;
    /// Lists names.
    pub const READDIR: u32 = 16;
    /// Lists names and objects.
    pub const READDIRPLUS: u32 = 17;
    /// Tells the space there is.
    pub const FSSTAT: u32 = 18;
    /// Tells what the server can.
    pub const FSINFO: u32 = 19;
    /// Tells what names can be.
    pub const PATHCONF: u32 = 20;
    /// Makes writes durable.
    pub const COMMIT: u32 = 21;
}

/// Reads the arguments and begins the procedure, whose results are encoded.
macro_rules! begin {
    ($self:ident.$method:ident($caller:ident, $arguments:ident)) => {
        match crate::xdr::Xdr::get(&mut $arguments) {
            Ok(ask) => Box::pin(async move { Outcome::done(&$self.$method($caller, ask).await) }),
            Err(_) => Box::pin(std::future::ready(Outcome::GarbageArguments)),
        }
    };
}

/// The same for a procedure that encodes its results itself.
macro_rules! begin_raw {
    ($self:ident.$method:ident($caller:ident, $arguments:ident)) => {
        match crate::xdr::Xdr::get(&mut $arguments) {
            Ok(ask) => Box::pin(async move { $self.$method($caller, ask).await }),
            Err(_) => Box::pin(std::future::ready(Outcome::GarbageArguments)),
        }
    };
}

/// The program.
pub struct Nfs3<T> {
    exports: Arc<Exports<T>>,
    once: Once,
}

impl<T: FileTree> Nfs3<T> {
    /// Serves what is exported.
    #[must_use]
    pub fn new(exports: Arc<Exports<T>>) -> Nfs3<T> {
        Nfs3 { exports, once: Once::default() }
    }

    /// Remembers the answers that a tree has kept, before its share is exported: calls that come again after
    /// a restart get them.
    ///
    /// # Errors
    /// They cannot be had.
    pub async fn remember(&self, now: Instant, tree: &T) -> Result<(), TreeFault> {
        self.once.remember(now, &tree.kept().await?);
        Ok(())
    }

    /// Begins a procedure.
    fn begin(self: Arc<Self>, procedure: u32, caller: Caller, mut arguments: Reader) -> Answer {
        match procedure {
            procedure::NULL => Box::pin(std::future::ready(Outcome::done(&()))),
            procedure::GETATTR => begin!(self.get_attr(caller, arguments)),
            procedure::SETATTR => begin!(self.set_attr(caller, arguments)),
            procedure::LOOKUP => begin!(self.lookup(caller, arguments)),
            procedure::ACCESS => begin!(self.access(caller, arguments)),
            procedure::READLINK => begin!(self.read_link(caller, arguments)),
            procedure::READ => begin_raw!(self.read(caller, arguments)),
            procedure::WRITE => begin!(self.write(caller, arguments)),
            procedure::CREATE => begin!(self.create(caller, arguments)),
            procedure::MKDIR => begin!(self.mkdir(caller, arguments)),
            procedure::SYMLINK => begin!(self.symlink(caller, arguments)),
            procedure::MKNOD => begin!(self.mknod(caller, arguments)),
            procedure::REMOVE => begin!(self.remove(caller, arguments)),
            procedure::RMDIR => begin!(self.rmdir(caller, arguments)),
            procedure::RENAME => begin!(self.rename(caller, arguments)),
            procedure::LINK => begin!(self.link(caller, arguments)),
            procedure::READDIR => begin_raw!(self.readdir(caller, arguments)),
            procedure::READDIRPLUS => begin_raw!(self.readdirplus(caller, arguments)),
            procedure::FSSTAT => begin!(self.fs_stat(caller, arguments)),
            procedure::FSINFO => begin!(self.fs_info(caller, arguments)),
            procedure::PATHCONF => begin!(self.path_conf(caller, arguments)),
            procedure::COMMIT => begin!(self.commit(caller, arguments)),
            _ => Box::pin(std::future::ready(Outcome::ProcedureUnavailable)),
        }
    }
}

impl<T: FileTree> Program for Nfs3<T> {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        VERSION..=VERSION
    }

    fn call(self: Arc<Self>, call: Call) -> Answer {
        let Call { procedure, ends, credentials, budget, arguments, .. } = call;
        let caller = Caller { ends, credentials, budget, ticket: None };
        // Who is admitted nowhere is not remembered either.
        if !once::is_for(procedure) || !self.exports.admits(ends.source()) {
            return self.begin(procedure, caller, arguments);
        }
        let key = CallKey::new(call.xid, PROGRAM, VERSION, procedure, arguments.rest());
        Box::pin(async move {
            let begin = |ticket| {
                let caller = Caller {
                    credentials: caller.credentials.clone(),
                    budget: caller.budget.clone(),
                    ticket: Some(ticket),
                    ..caller
                };
                Arc::clone(&self).begin(procedure, caller, arguments.clone())
            };
            self.once.answer(call.now, ends.source(), key, begin).await
        })
    }

    /// JUKEBOX for what needs a device; what needs none is done.
    fn try_again(&self, _version: u32, procedure: u32) -> Option<Outcome> {
        let waits = once::is_for(procedure) || matches!(procedure, procedure::READ | procedure::COMMIT);
        waits.then(|| once::try_again(procedure))
    }

    /// WRITE's data: behind handle, offset, count and stable_how, and its own length.
    fn payload(&self, _version: u32, procedure: u32, arguments: &[u8]) -> Find {
        if procedure != procedure::WRITE {
            return Find::Nothing;
        }
        let word = |at: usize| {
            let bytes = arguments.get(at..)?.first_chunk()?;
            Some(u32::from_be_bytes(*bytes) as usize)
        };
        let Some(handle) = word(0) else { return Find::Need(4) };
        if handle > HANDLE_MAX {
            return Find::Nothing;
        }
        let at = 4 + handle.next_multiple_of(UNIT) + 8 + 4 + 4;
        word(at).map_or(Find::Need(at + 4), Find::Here)
    }
}
