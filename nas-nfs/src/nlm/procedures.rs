//! The procedures of NLM: a call's arguments become a request to the table, and its status an answer; in the
//! asynchronous form the answer is a call of its own, back to where the question came from.

use super::callback::{Callback, Message};
use super::ranges::{Held, Range};
use super::table::{Ask, FileId, Host, Owner, Reservation, Status};
use super::wire::{
    CancelArguments, Holder, Lock, LockArguments, NotifyArguments, Opaque, Reply, ShareArguments, ShareReply,
    TestArguments, TestReply, UnlockArguments, NAME_MAX,
};
use super::{Nlm, MESSAGES, PROGRAM, VERSION};
use crate::access;
use crate::exports::{Grant, Refused};
use crate::nsm::NsmState;
use crate::rpc::program::{Answer, Program};
use crate::rpc::{Call, Credentials, Ends, Outcome};
use crate::tree::{FileTree, TreeFault};
use crate::xdr::{encoded, Reader, Xdr, XdrFault};
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// Numbers of procedures (XNFS 14.4).
pub(super) mod number {
    pub(in crate::nlm) const NULL: u32 = 0;
    pub(in crate::nlm) const TEST: u32 = 1;
    pub(in crate::nlm) const LOCK: u32 = 2;
    pub(in crate::nlm) const CANCEL: u32 = 3;
    pub(in crate::nlm) const UNLOCK: u32 = 4;
    pub(in crate::nlm) const GRANTED: u32 = 5;
    pub(in crate::nlm) const TEST_MSG: u32 = 6;
    pub(in crate::nlm) const UNLOCK_MSG: u32 = 9;
    pub(in crate::nlm) const GRANTED_MSG: u32 = 10;
    pub(in crate::nlm) const TEST_RES: u32 = 11;
    pub(in crate::nlm) const UNLOCK_RES: u32 = 14;
    pub(in crate::nlm) const GRANTED_RES: u32 = 15;
    pub(in crate::nlm) const SHARE: u32 = 20;
    pub(in crate::nlm) const UNSHARE: u32 = 21;
    pub(in crate::nlm) const NM_LOCK: u32 = 22;
    pub(in crate::nlm) const FREE_ALL: u32 = 23;
}

/// From a procedure to its asynchronous form, and from that to the one that answers it.
const TO_MSG: u32 = number::TEST_MSG - number::TEST;
const TO_RES: u32 = number::TEST_RES - number::TEST_MSG;

/// What a call says of itself.
struct Caller {
    ends: Ends,
    credentials: Option<access::Credentials>,
    now: Instant,
    /// The answer is to be a call.
    message: bool,
}

impl<T: FileTree, S: NsmState> Program for Nlm<T, S> {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        VERSION..=VERSION
    }

    fn call(self: Arc<Self>, call: Call) -> Answer {
        Box::pin(async move {
            let outcome = self.answer(call).await.unwrap_or(Outcome::GarbageArguments);
            self.wake.notify_one();
            outcome
        })
    }
}

impl<T: FileTree, S: NsmState> Nlm<T, S> {
    async fn answer(&self, call: Call) -> Result<Outcome, XdrFault> {
        use number::*;
        let credentials = match call.credentials {
            Credentials::None => None,
            Credentials::Sys(sys) => {
                Some(access::Credentials { uid: sys.uid, gid: sys.gid, groups: sys.groups.0 })
            }
        };
        let message = (TEST_MSG..=UNLOCK_MSG).contains(&call.procedure);
        let caller = Caller { ends: call.ends, credentials, now: call.now, message };
        let mut input = call.arguments;
        match call.procedure {
            NULL | TEST_RES..=UNLOCK_RES => Ok(Outcome::done(&())),
            TEST..=UNLOCK | NM_LOCK | SHARE | UNSHARE => {
                let reply = self.request(call.procedure, &caller, &mut input).await?;
                Ok(raw(reply))
            }
            TEST_MSG..=UNLOCK_MSG => {
                let reply = self.request(call.procedure - TO_MSG, &caller, &mut input).await?;
                self.send(Message { ends: caller.ends, procedure: call.procedure + TO_RES, reply });
                Ok(Outcome::done(&()))
            }
            GRANTED => {
                // We hold no locks of others.
                let TestArguments { cookie, .. } = Xdr::get(&mut input)?;
                Ok(Outcome::done(&Reply { cookie, status: Status::Denied }))
            }
            GRANTED_MSG => Ok(Outcome::done(&())),
            GRANTED_RES => {
                let Reply { cookie, status } = Xdr::get(&mut input)?;
                if let Some(id) = cookie.0.first_chunk().filter(|_| cookie.0.len() == 8) {
                    let (id, from) = (u64::from_be_bytes(*id), caller.ends.source());
                    self.table().answered(caller.now, id, from, status == Status::Granted);
                }
                Ok(Outcome::done(&()))
            }
            FREE_ALL => {
                let NotifyArguments { name, .. } = Xdr::get(&mut input)?;
                let host = Host { address: caller.ends.source(), name: name.0 };
                self.table().free_all(caller.now, &host);
                Ok(Outcome::done(&()))
            }
            _ => Ok(Outcome::ProcedureUnavailable),
        }
    }

    /// The answer to a request, encoded.
    async fn request(
        &self,
        procedure: u32,
        caller: &Caller,
        input: &mut Reader,
    ) -> Result<Vec<u8>, XdrFault> {
        use number::*;
        let (cookie, status) = match procedure {
            TEST => return Ok(encoded(&self.test(caller, Xdr::get(input)?).await)),
            SHARE | UNSHARE => {
                let arguments: ShareArguments = Xdr::get(input)?;
                let cookie = arguments.cookie.clone();
                let status = self.share(caller, arguments, procedure == SHARE).await;
                let status = status.unwrap_or_else(|status| status);
                return Ok(encoded(&ShareReply { cookie, status, sequence: 0 }));
            }
            CANCEL => {
                let CancelArguments { cookie, exclusive, lock, .. } = Xdr::get(input)?;
                let status = self.find(caller, &lock.handle.0).and_then(|(file, _)| {
                    let wanted = wanted(caller, &lock, exclusive, 0)?;
                    Ok(self.table().cancel(caller.now, file, &wanted))
                });
                (cookie, status)
            }
            UNLOCK => {
                let UnlockArguments { cookie, lock } = Xdr::get(input)?;
                let status = self.find(caller, &lock.handle.0).and_then(|(file, _)| {
                    let Held { owner, range, .. } = wanted(caller, &lock, true, 0)?;
                    Ok(self.table().unlock(caller.now, file, &owner, range))
                });
                (cookie, status)
            }
            _ => {
                let arguments: LockArguments = Xdr::get(input)?;
                let cookie = arguments.cookie.clone();
                (cookie, self.lock(caller, arguments, procedure == LOCK).await)
            }
        };
        Ok(encoded(&Reply { cookie, status: status.unwrap_or_else(|status| status) }))
    }

    async fn test(&self, caller: &Caller, arguments: TestArguments) -> TestReply {
        let TestArguments { cookie, exclusive, lock } = arguments;
        let reply = |status, holder| TestReply { cookie, status, holder };
        let prepared = async {
            let file = self.reach(caller, &lock.handle.0, false).await?;
            Ok((file, wanted(caller, &lock, exclusive, 0)?))
        };
        let (file, wanted) = match prepared.await {
            Ok(prepared) => prepared,
            Err(status) => return reply(status, None),
        };
        match self.table().test(caller.now, file, &wanted) {
            Ok(()) => reply(Status::Granted, None),
            Err((status, held)) => reply(status, held.map(|held| holder(&held))),
        }
    }

    async fn lock(
        &self,
        caller: &Caller,
        arguments: LockArguments,
        monitored: bool,
    ) -> Result<Status, Status> {
        let LockArguments { block, exclusive, lock, reclaim, state, .. } = arguments;
        let file = self.reach(caller, &lock.handle.0, exclusive).await?;
        let wanted = wanted(caller, &lock, exclusive, state)?;
        let host = wanted.owner.host.clone();
        let local = caller.ends.local.ip();
        let failed = |error| {
            tracing::warn!(%error, host = %host.address, "a host cannot be put on the list of restarts");
            Status::NoLocks
        };
        if monitored {
            self.monitor(&host, local).await.map_err(failed)?;
        }
        let ask = Ask { wait: block, reclaim };
        let call = Callback { ends: caller.ends, message: caller.message, exclusive, lock };
        let status = self.table().lock(caller.now, file, wanted, ask, call);
        if monitored && matches!(status, Status::Granted | Status::Blocked) {
            // It had no lock yet, and may have been taken off the list in between; now it stays.
            self.monitor(&host, local).await.map_err(failed)?;
        }
        Ok(status)
    }

    async fn share(&self, caller: &Caller, arguments: ShareArguments, take: bool) -> Result<Status, Status> {
        let ShareArguments { caller: name, handle, owner, mode, access, reclaim, .. } = arguments;
        let host = Host { address: caller.ends.source(), name: name.0 };
        if !take {
            let (file, _) = self.find(caller, &handle.0)?;
            return Ok(self.table().unshare(caller.now, file, &host, &owner.0));
        }
        if mode > 3 || access > 3 {
            return Err(Status::Failed);
        }
        let file = self.reach(caller, &handle.0, false).await?;
        let wanted = Reservation { host, owner: owner.0, deny: mode, access };
        Ok(self.table().share(caller.now, file, wanted, reclaim))
    }

    /// The file of a lock, and the grant that leads to it.
    fn find(&self, caller: &Caller, handle: &[u8]) -> Result<(FileId, Grant<T>), Status> {
        match self.exports.open(caller.ends.peer, handle) {
            Ok((grant, object)) => Ok(((grant.share(), object), grant)),
            Err(Refused::Absent | Refused::BadHandle(_)) => Err(Status::Stale),
            // The client asks again, as it does after a restart.
            Err(Refused::Unavailable) => Err(Status::Grace),
            Err(Refused::Port) => Err(Status::Failed),
        }
    }

    /// The file of a lock that a caller may take: who may read a file may lock it.
    async fn reach(&self, caller: &Caller, handle: &[u8], exclusive: bool) -> Result<FileId, Status> {
        let (file, grant) = self.find(caller, handle)?;
        let attributes = grant.tree.attributes(file.1).await.map_err(|fault| match fault {
            TreeFault::Stale => Status::Stale,
            TreeFault::Unavailable => Status::Grace,
            _ => Status::Failed,
        })?;
        if exclusive && (grant.rule.read_only || file.1.view != 0) {
            return Err(Status::ReadOnly);
        }
        let who = grant.credentials(caller.credentials.clone());
        access::read(&who, &attributes).map_err(|_| Status::Failed)?;
        Ok(file)
    }

    fn send(&self, message: Message) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() < MESSAGES {
            messages.push_back(message);
        }
    }
}

/// Results that are encoded already.
fn raw(reply: Vec<u8>) -> Outcome {
    let mut results = crate::rpc::Results::default();
    results.output.raw(&reply);
    Outcome::Done(results)
}

fn wanted(caller: &Caller, lock: &Lock, exclusive: bool, life: u32) -> Result<Held<Owner>, Status> {
    let name: &Opaque<NAME_MAX> = &lock.caller;
    let host = Host { address: caller.ends.source(), name: name.0.clone() };
    let range = Range::new(lock.offset, lock.len).ok_or(Status::TooBig)?;
    Ok(Held { owner: Owner { host, process: lock.process }, range, exclusive, life })
}

fn holder(held: &Held<Owner>) -> Holder {
    Holder {
        exclusive: held.exclusive,
        process: held.owner.process,
        owner: Opaque::default(),
        offset: held.range.first,
        len: held.range.span(),
    }
}
