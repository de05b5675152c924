//! Calls to clients: that a lock is theirs now, and answers to calls that came without waiting for a reply;
//! and what is done as time passes.
//!
//! Invariants: a client is called at the address that its lock came from, and from the one that it came to.
//! At most [`HOST_CALLS`] calls to one host and [`CALLS`] in all are in progress; each is over after
//! [`client::PATIENCE`]. So a client that is gone keeps nobody else waiting.

use super::procedures::number::{GRANTED, GRANTED_MSG};
use super::table::{Grant, Host, Status};
use super::wire::{Lock, Opaque, Reply, TestArguments};
use super::{Nlm, PROGRAM, VERSION};
use crate::nsm::{notify_all, NsmState};
use crate::rpc::client::{self, Peer};
use crate::rpc::Ends;
use crate::tree::FileTree;
use crate::xdr::{encoded, Reader, Xdr};
use bytes::Bytes;
use futures_util::future::{select, BoxFuture, Either};
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::FutureExt;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use tokio::time::sleep_until;

/// Calls to clients in progress, and to one of them.
const CALLS: usize = 64;
/// See [`CALLS`].
const HOST_CALLS: usize = 4;
/// How often hosts without locks are taken off the list of those that are told of a restart.
const PRUNE: Duration = Duration::from_secs(60);

/// How a client is told that a lock it waited for is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// Where the call came from, and to.
    pub ends: Ends,
    /// It asked in the asynchronous form.
    pub message: bool,
    /// As it was asked for.
    pub exclusive: bool,
    /// As it was asked for.
    pub lock: Lock,
}

/// An answer that is a call of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) ends: Ends,
    pub(super) procedure: u32,
    pub(super) reply: Vec<u8>,
}

/// What has come to its end: calls to this host are one fewer.
type Ended = Option<Host>;

impl<T: FileTree, S: NsmState> Nlm<T, S> {
    /// Tells the hosts of the last life that we have restarted, calls clients whose locks are granted, and
    /// keeps the list of hosts short: until the future is dropped.
    pub async fn run(&self) {
        let before = std::mem::take(&mut *self.before.lock().unwrap_or_else(PoisonError::into_inner));
        let notify = notify_all(before, self.state_number(), self.portmap);
        let mut calls: FuturesUnordered<BoxFuture<'_, Ended>> = FuturesUnordered::new();
        let mut busy: Vec<Host> = Vec::new();
        calls.push(Box::pin(notify.map(|_| None)));
        let mut prune = Instant::now() + PRUNE;
        loop {
            self.begin_calls(&calls, &mut busy);
            let due = self.table().poll_timeout(|host| is_full(&busy, host.address));
            let until = due.filter(|_| busy.len() < CALLS).map_or(prune, |due| due.min(prune));
            let event = {
                let timer = pin!(sleep_until(until.into()));
                let ended = pin!(async {
                    match calls.next().await {
                        Some(ended) => ended,
                        None => std::future::pending().await,
                    }
                });
                let woken = pin!(self.wake.notified());
                match select(ended, select(timer, woken)).await {
                    Either::Left((ended, _)) => ended,
                    Either::Right(_) => None,
                }
            };
            if let Some(at) = event.and_then(|host| busy.iter().position(|other| *other == host)) {
                busy.swap_remove(at);
            }
            if Instant::now() >= prune {
                prune = Instant::now() + PRUNE;
                self.prune().await;
            }
        }
    }

    /// Begins what calls there is room for.
    fn begin_calls<'a>(&'a self, calls: &FuturesUnordered<BoxFuture<'a, Ended>>, busy: &mut Vec<Host>) {
        while busy.len() < CALLS {
            let message = {
                let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
                let at = messages.iter().position(|message| !is_full(busy, message.ends.source()));
                at.and_then(|at| messages.remove(at))
            };
            let Some(message) = message else { break };
            let host = Host { address: message.ends.source(), name: Bytes::new() };
            busy.push(host.clone());
            calls.push(Box::pin(self.answer_by_call(message).map(|()| Some(host))));
        }
        while busy.len() < CALLS {
            let full = |host: &Host| is_full(busy, host.address);
            let Some(grant) = self.table().poll_grant(Instant::now(), full) else { break };
            busy.push(grant.host.clone());
            calls.push(Box::pin(self.tell(grant).map(Some)));
        }
    }

    fn peer(&self, ends: &Ends) -> Peer {
        Peer { address: ends.peer.ip(), local: ends.local.ip(), portmap: self.portmap }
    }

    async fn answer_by_call(&self, message: Message) {
        let peer = self.peer(&message.ends);
        if let Err(error) = client::call(&peer, (PROGRAM, VERSION), message.procedure, &message.reply).await {
            tracing::debug!(%error, client = %peer.address, "an answer of the lock manager was not taken");
        }
    }

    /// Tells a client that its lock is granted.
    async fn tell(&self, grant: Grant<Callback>) -> Host {
        let Callback { ends, message, exclusive, lock } = grant.call;
        let cookie = Opaque(grant.id.to_be_bytes().to_vec().into());
        let arguments = encoded(&TestArguments { cookie, exclusive, lock });
        let procedure = if message { GRANTED_MSG } else { GRANTED };
        let peer = self.peer(&ends);
        match client::call(&peer, (PROGRAM, VERSION), procedure, &arguments).await {
            // The answer comes by GRANTED_RES.
            Ok(_) if message => {}
            Ok(reply) => {
                if let Ok(Reply { status, .. }) = Xdr::get(&mut Reader::new(reply)) {
                    let accepted = status == Status::Granted;
                    self.table().answered(Instant::now(), grant.id, peer.address, accepted);
                }
            }
            Err(error) => {
                tracing::debug!(%error, client = %peer.address, "a client was not told of its lock")
            }
        }
        grant.host
    }

    /// Takes hosts without locks off the list, once the grace period is over.
    async fn prune(&self) {
        if self.table().in_grace(Instant::now()) {
            return;
        }
        if let Err(error) = self.monitors.prune(|host| self.table().knows(host)).await {
            tracing::warn!(%error, "the list of hosts with locks could not be kept");
        }
    }
}

/// Whether an address has as many calls as it may have.
fn is_full(busy: &[Host], address: IpAddr) -> bool {
    busy.iter().filter(|other| other.address == address).count() >= HOST_CALLS
}
