//! An object that a caller has a handle of, and the one place where faults become statuses.
//!
//! Invariants: nobody gets here without a rule that admits them. An object is looked at, and asked of its
//! tree, under the caller's squashed credentials only. A failed procedure still tells the attributes that it
//! can.

use super::types::{Failure, FileAttributes, Handle, PostAttributes, Status, Wcc};
use crate::access::{Credentials as User, Refusal};
use crate::exports::{Exports, Grant, Refused};
use crate::memory::Budget;
use crate::replay::Ticket;
use crate::rpc::{Credentials, Ends};
use crate::tree::{Attributes, Change, Changed, FileTree, Name, ObjectRef, Record, TreeFault};
use crate::xdr::{Writer, Xdr};
use bytes::Bytes;
use std::sync::Arc;

/// Who calls, from where.
pub(super) struct Caller {
    pub(super) ends: Ends,
    pub(super) credentials: Credentials,
    /// Where memory for a large answer comes from.
    pub(super) budget: Budget,
    /// The right to make a change once, with whose effect the answer is kept.
    pub(super) ticket: Option<Arc<Ticket>>,
}

/// An object, and what its caller may do there.
pub(super) struct At<T> {
    grant: Grant<T>,
    pub(super) object: ObjectRef,
    pub(super) user: User,
}

impl<T: FileTree> At<T> {
    /// Opens a handle.
    pub(super) fn open(exports: &Exports<T>, caller: &Caller, handle: &Handle) -> Result<At<T>, Status> {
        let (grant, object) = exports.open(caller.ends.peer, &handle.0)?;
        let user = grant.credentials(claimed(&caller.credentials));
        Ok(At { grant, object, user })
    }

    pub(super) fn tree(&self) -> &Arc<T> {
        &self.grant.tree
    }

    /// Whether two objects are of one share.
    pub(super) fn shares_with(&self, other: &At<T>) -> bool {
        self.grant.share() == other.grant.share()
    }

    /// Whether nothing can be changed here.
    pub(super) fn is_read_only(&self) -> bool {
        self.grant.rule.read_only || self.object.view != 0
    }

    /// The handle of an object of the same share.
    pub(super) fn handle(&self, object: ObjectRef) -> Handle {
        Handle(Bytes::copy_from_slice(&self.grant.seal(object)))
    }

    /// The object's attributes.
    pub(super) async fn attributes(&self) -> Result<Attributes, Status> {
        Ok(self.tree().attributes(self.object).await?)
    }

    /// Those of an object that may be changed.
    pub(super) async fn changeable(&self) -> Result<Attributes, Status> {
        if self.is_read_only() {
            return Err(Status::RoFs);
        }
        self.attributes().await
    }

    /// Makes a change, and gives what the reply tells of it. The reply is kept in the same commit.
    pub(super) async fn change<R: Xdr>(
        &self,
        caller: &Caller,
        change: Change,
        result: impl Fn(&Changed) -> R + Send + Sync,
    ) -> Result<R, Status> {
        let ticket = caller.ticket.as_deref();
        let encode = |changed: &Changed| {
            let reply = success(&result(changed)).bytes;
            ticket.map(|ticket| ticket.record(&reply)).unwrap_or_default()
        };
        let record =
            ticket.map(|ticket| Record { client: ticket.client(), slot: ticket.slot(), encode: &encode });
        let changed = self.tree().change(change, record).await?;
        Ok(result(&changed))
    }

    /// The attributes that are told after a call.
    pub(super) async fn post(&self) -> PostAttributes {
        let attributes = self.tree().attributes(self.object).await.ok()?;
        Some(self.told(&attributes))
    }

    /// The object's attributes as they are told.
    pub(super) fn told(&self, attributes: &Attributes) -> FileAttributes {
        FileAttributes::new(self.object.inode, attributes)
    }

    /// What is told in spite of a failure: attributes.
    pub(super) async fn explain<R>(&self, result: Result<R, Status>) -> Result<R, Failure<PostAttributes>> {
        match result {
            Ok(value) => Ok(value),
            Err(status) => Err(Failure { status, body: self.post().await }),
        }
    }

    /// The same where a success tells how the object changed.
    pub(super) async fn explain_change<R>(&self, result: Result<R, Status>) -> Result<R, Failure<Wcc>> {
        let explained = self.explain(result).await;
        explained.map_err(|Failure { status, body }| Failure { status, body: Wcc::unchanged(body) })
    }
}

/// The results of a success.
pub(super) fn success(result: &impl Xdr) -> Writer {
    let mut output = Writer::default();
    0_u32.put(&mut output);
    result.put(&mut output);
    output
}

fn claimed(credentials: &Credentials) -> Option<User> {
    match credentials {
        Credentials::None => None,
        Credentials::Sys(sys) => Some(User { uid: sys.uid, gid: sys.gid, groups: sys.groups.0.clone() }),
    }
}

/// A name that an object is to be found by.
pub(super) fn name(bytes: Bytes) -> Result<Name, Status> {
    Ok(Name::new(bytes)?)
}

/// A failure that tells nothing more.
pub(super) fn bare<F: Default>(status: Status) -> Failure<F> {
    Failure { status, body: F::default() }
}

impl From<TreeFault> for Status {
    fn from(fault: TreeFault) -> Status {
        match fault {
            TreeFault::Stale => Status::Stale,
            TreeFault::NotFound => Status::NoEnt,
            TreeFault::Exists => Status::Exist,
            TreeFault::NotDirectory => Status::NotDir,
            TreeFault::IsDirectory => Status::IsDir,
            TreeFault::NotEmpty => Status::NotEmpty,
            TreeFault::Invalid => Status::Inval,
            TreeFault::NameTooLong => Status::NameTooLong,
            TreeFault::TooLarge => Status::FBig,
            TreeFault::TooManyLinks => Status::MLink,
            TreeFault::CrossTree => Status::XDev,
            TreeFault::ReadOnly => Status::RoFs,
            TreeFault::NotSync => Status::NotSync,
            TreeFault::BadCookie => Status::BadCookie,
            TreeFault::NoSpace => Status::NoSpc,
            TreeFault::Quota => Status::DQuot,
            TreeFault::Corrupt => Status::Io,
            // Never an error of the device: clients give that to programs, and this they wait out.
            TreeFault::Unavailable => Status::JukeBox,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        match refusal {
            Refusal::Access => Status::Acces,
            Refusal::Owner => Status::Perm,
        }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        match refused {
            Refused::Absent => Status::Stale,
            Refused::Port => Status::Acces,
            Refused::BadHandle(_) => Status::BadHandle,
            Refused::Unavailable => Status::JukeBox,
        }
    }
}
