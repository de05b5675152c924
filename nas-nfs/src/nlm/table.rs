//! The lock manager as a value: who holds what, who waits, and what is to be told to whom.
//!
//! No I/O and no clock: requests and the time come in, statuses go out, and [`Table::poll_grant`] says which
//! waiting client is to be called. Invariants: a lock that is answered GRANTED is held until its owner
//! releases it, its host says that it has restarted, or its host does not take a grant that it waited for. In
//! the grace period after a restart only locks that were held before are given, and only to hosts that held
//! locks then. What is held and what waits is bounded, in all and for each host.

use super::ranges::{Held, Range, Ranges};
use crate::handle::ShareId;
use crate::tree::ObjectRef;
use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Locks held by all hosts, and by one; a lock that covers ranges in two pieces counts twice.
pub const LOCKS: usize = 65_536;
/// Locks held by one host.
pub const HOST_LOCKS: usize = 16_384;
/// Locks that wait, of all hosts.
pub const WAITING: usize = 4_096;
/// Locks that one host waits for.
pub const HOST_WAITING: usize = 512;
/// Locks on one file, and locks that wait there.
pub const FILE_LOCKS: usize = 4_096;
/// See [`FILE_LOCKS`].
pub const FILE_WAITING: usize = 256;
/// Hosts beyond which those that hold nothing are forgotten.
const HOSTS: usize = 4_096;
/// Share reservations (SHARE) of all hosts.
pub const SHARES: usize = 4_096;
/// How long hosts may claim their locks again after a restart of the server.
pub const GRACE: Duration = Duration::from_secs(45);
/// Times between calls to a client whose lock was granted; after the last it is taken back.
const GRANT_AGAIN: [u64; 6] = [6, 6, 10, 20, 30, 30];
/// Owners looked at in search of a circle of waiting ones.
const CIRCLE_MAX: usize = 16;

/// A file.
pub type FileId = (ShareId, ObjectRef);

/// A client machine: where its calls come from, and what it calls itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// Its address.
    pub address: IpAddr,
    /// Its name (caller_name).
    pub name: Bytes,
}

/// Who holds or wants a lock: a process of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Its machine.
    pub host: Host,
    /// The process, as the client counts them (svid).
    pub process: u32,
}

/// nlm4_stats (RFC 1813 appendix II; XNFS 14.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Granted = 0,
    /// Another lock stands against it.
    Denied = 1,
    /// No more locks can be held.
    NoLocks = 2,
    /// It waits; the client will be called.
    Blocked = 3,
    /// Only old locks are given now.
    Grace = 4,
    /// The owners would wait for each other.
    Deadlock = 5,
    /// The file system is read-only.
    ReadOnly = 6,
    /// The handle leads nowhere.
    Stale = 7,
    /// The range ends beyond what there is.
    TooBig = 8,
    /// Anything else.
    Failed = 9,
}

/// How a lock is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Wait for it.
    pub wait: bool,
    /// It was held before the server restarted.
    pub reclaim: bool,
}

/// A share reservation (SHARE): what its owner does, and what nobody else may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Whose machine.
    pub host: Host,
    /// Who there (oh).
    pub owner: Bytes,
    /// fsh4_mode: 1 = nobody else may read, 2 = nobody else may write.
    pub deny: u32,
    /// fsh4_access: 1 = reads, 2 = writes.
    pub access: u32,
}

/// A lock that waited, is given, and has to be told to its client; `C` is what that takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant<C> {
    /// Tells it from others; the client's answer names it.
    pub id: u64,
    /// The client's machine.
    pub host: Host,
    /// How to tell it.
    pub call: C,
}

struct File<C> {
    ranges: Ranges<Owner>,
    waiting: VecDeque<Waiting<C>>,
    shares: Vec<Reservation>,
}

struct Waiting<C> {
    wanted: Held<Owner>,
    call: C,
}

/// A grant that the client has not taken yet.
struct Pending<C> {
    file: FileId,
    held: Held<Owner>,
    /// What the owner held of the range before: it holds that again if the grant is not taken.
    replaced: Vec<Held<Owner>>,
    grant: Grant<C>,
    due: Instant,
    calls: usize,
}

#[derive(Default)]
struct Count {
    locks: usize,
    waiting: usize,
    shares: usize,
    /// The restart that the host told last.
    restarted: Option<u32>,
}

/// The lock manager.
pub struct Table<C> {
    files: FxHashMap<FileId, File<C>>,
    hosts: FxHashMap<Host, Count>,
    /// Files that locks wait for, and perhaps some more.
    waited: FxHashSet<FileId>,
    pending: Vec<Pending<C>>,
    last_grant: u64,
    locks: usize,
    waiting: usize,
    shares: usize,
    grace_ends: Instant,
    /// Who may claim locks again.
    before: Vec<IpAddr>,
}

impl<C: Clone> Table<C> {
    /// A table without locks. `before` = the addresses of hosts that held some when the server stopped;
    /// without any there is no grace period.
    #[must_use]
    pub fn new(now: Instant, before: Vec<IpAddr>) -> Table<C> {
        let grace = if before.is_empty() { Duration::ZERO } else { GRACE };
        Table {
            files: FxHashMap::default(),
            hosts: FxHashMap::default(),
            waited: FxHashSet::default(),
            pending: Vec::new(),
            last_grant: 0,
            locks: 0,
            waiting: 0,
            shares: 0,
            grace_ends: now + grace,
            before,
        }
    }

    /// Whether only old locks are given.
    #[must_use]
    pub fn in_grace(&self, now: Instant) -> bool {
        now < self.grace_ends
    }

    /// Whether a host holds or waits for anything.
    #[must_use]
    pub fn knows(&self, host: &Host) -> bool {
        self.hosts.get(host).is_some_and(|count| count.locks + count.waiting + count.shares > 0)
    }

    /// Locks held, waiting ones, and grants that were not taken yet.
    #[must_use]
    pub fn size(&self) -> (usize, usize, usize) {
        (self.locks, self.waiting, self.pending.len())
    }

    /// Whether a lock could be had, or what stands against it (TEST).
    ///
    /// # Errors
    /// A lock of another owner, or the grace period.
    pub fn test(
        &self,
        now: Instant,
        file: FileId,
        wanted: &Held<Owner>,
    ) -> Result<(), (Status, Option<Held<Owner>>)> {
        if self.in_grace(now) {
            return Err((Status::Grace, None));
        }
        let against = self.files.get(&file).and_then(|file| file.ranges.conflicts(wanted).next());
        against.map_or(Ok(()), |held| Err((Status::Denied, Some(held.clone()))))
    }

    /// Takes a lock, or waits for it (LOCK, NM_LOCK). `call` = how the client is told when it has waited.
    pub fn lock(&mut self, now: Instant, file: FileId, wanted: Held<Owner>, ask: Ask, call: C) -> Status {
        if let Err(status) = self.admit(now, ask.reclaim, &wanted.owner.host) {
            return status;
        }
        let found = self.files.get(&file);
        if found.is_some_and(|file| file.ranges.covers(&wanted)) {
            // The client asks again because it missed the answer, or the call: it knows now.
            self.pending.retain(|pending| !(pending.file == file && pending.held == wanted));
            return Status::Granted;
        }
        if found.is_some_and(|file| file.ranges.conflicts(&wanted).next().is_some()) {
            return if ask.wait && !ask.reclaim { self.wait(file, wanted, call) } else { Status::Denied };
        }
        let count = self.hosts.get(&wanted.owner.host).map_or(0, |count| count.locks);
        // A lock can cut another of its owner in two, and adds two pieces at most.
        let on_file = found.map_or(0, |file| file.ranges.held().len());
        if self.locks + 2 > LOCKS || count + 2 > HOST_LOCKS || on_file + 2 > FILE_LOCKS {
            return Status::NoLocks;
        }
        self.stop_waiting(file, &wanted);
        let owner = wanted.owner.clone();
        self.edit(file, &owner, |ranges| ranges.set(wanted));
        self.wake(now, file);
        Status::Granted
    }

    /// The grace period's rules.
    fn admit(&mut self, now: Instant, reclaim: bool, host: &Host) -> Result<(), Status> {
        if self.hosts.len() > HOSTS {
            self.hosts.retain(|_, count| count.locks + count.waiting + count.shares > 0);
        }
        match (reclaim, self.in_grace(now)) {
            (false, false) => Ok(()),
            (true, true) if self.before.contains(&host.address) => Ok(()),
            (true, true) => Err(Status::Denied),
            _ => Err(Status::Grace),
        }
    }

    fn wait(&mut self, id: FileId, wanted: Held<Owner>, call: C) -> Status {
        if let Some(file) = self.files.get_mut(&id) {
            let same = |waiting: &&mut Waiting<C>| waiting.wanted == wanted;
            if let Some(waiting) = file.waiting.iter_mut().find(same) {
                waiting.call = call;
                return Status::Blocked;
            }
        }
        if self.closes_a_circle(id, &wanted) {
            return Status::Deadlock;
        }
        let Some(file) = self.files.get_mut(&id) else { return Status::Denied };
        let count = self.hosts.entry(wanted.owner.host.clone()).or_default();
        let full = file.waiting.len() == FILE_WAITING || count.waiting == HOST_WAITING;
        if full || self.waiting == WAITING {
            return Status::NoLocks;
        }
        (count.waiting, self.waiting) = (count.waiting + 1, self.waiting + 1);
        file.waiting.push_back(Waiting { wanted, call });
        self.waited.insert(id);
        Status::Blocked
    }

    /// Whether somebody who would be waited for waits for the same owner, through others perhaps.
    fn closes_a_circle(&mut self, file: FileId, wanted: &Held<Owner>) -> bool {
        self.waited.retain(|id| self.files.get(id).is_some_and(|file| !file.waiting.is_empty()));
        let against = |file: &FileId, wanted: &Held<Owner>| -> Vec<Owner> {
            let ranges = self.files.get(file).map(|file| file.ranges.conflicts(wanted));
            ranges.into_iter().flatten().map(|held| held.owner.clone()).collect()
        };
        let (mut seen, mut at) = (against(&file, wanted), 0);
        while at < seen.len().min(CIRCLE_MAX) {
            if seen[at] == wanted.owner {
                return true;
            }
            for id in &self.waited {
                let waits = |waiting: &&Waiting<C>| waiting.wanted.owner == seen[at];
                for waiting in self.files[id].waiting.iter().filter(waits).collect::<Vec<_>>() {
                    let more = against(id, &waiting.wanted);
                    let new: Vec<Owner> = more.into_iter().filter(|owner| !seen.contains(owner)).collect();
                    seen.extend(new);
                }
            }
            at += 1;
        }
        false
    }

    /// Stops to wait for a lock (CANCEL). Denied if it does not wait: it may have been given, and is then to
    /// be released by UNLOCK.
    pub fn cancel(&mut self, now: Instant, file: FileId, wanted: &Held<Owner>) -> Status {
        if self.in_grace(now) {
            return Status::Grace;
        }
        let found = self.stop_waiting(file, wanted);
        self.drop_if_unused(file);
        if found {
            Status::Granted
        } else {
            Status::Denied
        }
    }

    fn stop_waiting(&mut self, id: FileId, wanted: &Held<Owner>) -> bool {
        let Some(file) = self.files.get_mut(&id) else { return false };
        let same = |waiting: &Waiting<C>| {
            waiting.wanted.owner == wanted.owner && waiting.wanted.range == wanted.range
        };
        let before = file.waiting.len();
        file.waiting.retain(|waiting| !same(waiting));
        let stopped = before - file.waiting.len();
        self.waiting -= stopped;
        if let Some(count) = self.hosts.get_mut(&wanted.owner.host) {
            count.waiting -= stopped;
        }
        stopped > 0
    }

    /// Releases what an owner holds of a range (UNLOCK): done, whether it held anything or not.
    pub fn unlock(&mut self, now: Instant, file: FileId, owner: &Owner, range: Range) -> Status {
        if self.in_grace(now) && !self.before.contains(&owner.host.address) {
            return Status::Grace;
        }
        let (exclusive, life) = (true, 0);
        self.stop_waiting(file, &Held { owner: owner.clone(), range, exclusive, life });
        let inside = |held: &Held<Owner>| {
            held.owner == *owner && range.first <= held.range.first && held.range.last <= range.last
        };
        self.pending.retain(|pending| !(pending.file == file && inside(&pending.held)));
        self.edit(file, owner, |ranges| {
            ranges.clear(owner, range);
        });
        self.wake(now, file);
        self.drop_if_unused(file);
        Status::Granted
    }

    /// Reserves a file (SHARE).
    pub fn share(&mut self, now: Instant, id: FileId, wanted: Reservation, reclaim: bool) -> Status {
        if let Err(status) = self.admit(now, reclaim, &wanted.host) {
            return status;
        }
        let mine = |other: &Reservation| other.host == wanted.host && other.owner == wanted.owner;
        let shares = self.files.get(&id).map_or(&[][..], |file| &file.shares);
        let against = |other: &Reservation| {
            !mine(other) && (other.access & wanted.deny != 0 || other.deny & wanted.access != 0)
        };
        if shares.iter().any(against) {
            return Status::Denied;
        }
        let again = shares.iter().any(mine);
        if !again && self.shares == SHARES {
            return Status::NoLocks;
        }
        if !again {
            self.shares += 1;
            self.hosts.entry(wanted.host.clone()).or_default().shares += 1;
        }
        let file = self.files.entry(id).or_default();
        file.shares.retain(|other| !mine(other));
        file.shares.push(wanted);
        Status::Granted
    }

    /// Gives a reservation back (UNSHARE): done, whether there was one or not.
    pub fn unshare(&mut self, now: Instant, id: FileId, host: &Host, owner: &[u8]) -> Status {
        if self.in_grace(now) && !self.before.contains(&host.address) {
            return Status::Grace;
        }
        if let Some(file) = self.files.get_mut(&id) {
            let before = file.shares.len();
            file.shares.retain(|other| !(other.host == *host && other.owner == owner));
            let gone = before - file.shares.len();
            self.shares -= gone;
            if let Some(count) = self.hosts.get_mut(host) {
                count.shares -= gone;
            }
        }
        self.drop_if_unused(id);
        Status::Granted
    }

    /// Changes the locks of one owner on a file, and counts.
    fn edit(&mut self, id: FileId, owner: &Owner, change: impl FnOnce(&mut Ranges<Owner>)) {
        let ranges = &mut self.files.entry(id).or_default().ranges;
        let before = ranges.held().len();
        change(ranges);
        let after = ranges.held().len();
        let count = self.hosts.entry(owner.host.clone()).or_default();
        (count.locks, self.locks) = (count.locks + after - before, self.locks + after - before);
    }

    /// Gives waiting locks that nothing stands against any more, in the order in which they came.
    fn wake(&mut self, now: Instant, id: FileId) {
        loop {
            let Some(file) = self.files.get_mut(&id) else { return };
            let free = |w: &Waiting<C>| file.ranges.conflicts(&w.wanted).next().is_none();
            let Some(at) = file.waiting.iter().position(free) else { return };
            let Some(Waiting { wanted, call }) = file.waiting.remove(at) else { return };
            let replaced = file.ranges.of(&wanted.owner, wanted.range);
            let owner = wanted.owner.clone();
            self.waiting -= 1;
            self.hosts.entry(owner.host.clone()).or_default().waiting -= 1;
            self.edit(id, &owner, |ranges| ranges.set(wanted.clone()));
            self.last_grant += 1;
            let grant = Grant { id: self.last_grant, host: owner.host, call };
            self.pending.push(Pending { file: id, held: wanted, replaced, grant, due: now, calls: 0 });
        }
    }

    /// A grant that is to be told now, to a host that is not `busy` with others. It comes again until it is
    /// answered; in the end it is taken back.
    pub fn poll_grant(&mut self, now: Instant, busy: impl Fn(&Host) -> bool) -> Option<Grant<C>> {
        let due = |pending: &Pending<C>| pending.due <= now && !busy(&pending.grant.host);
        while let Some(at) = self.pending.iter().position(due) {
            let pending = &mut self.pending[at];
            if let Some(again) = GRANT_AGAIN.get(pending.calls) {
                pending.due = now + Duration::from_secs(*again);
                pending.calls += 1;
                return Some(pending.grant.clone());
            }
            self.take_back(now, at);
        }
        None
    }

    /// When [`Table::poll_grant`] has something to say next, for a host that is not `busy`.
    #[must_use]
    pub fn poll_timeout(&self, busy: impl Fn(&Host) -> bool) -> Option<Instant> {
        let free = self.pending.iter().filter(|pending| !busy(&pending.grant.host));
        free.map(|pending| pending.due).min()
    }

    /// A client has answered a grant, from this address.
    pub fn answered(&mut self, now: Instant, id: u64, from: IpAddr, accepted: bool) {
        let its = |pending: &Pending<C>| pending.grant.id == id && pending.grant.host.address == from;
        let Some(at) = self.pending.iter().position(its) else { return };
        if accepted {
            self.pending.swap_remove(at);
        } else {
            self.take_back(now, at);
        }
    }

    fn take_back(&mut self, now: Instant, at: usize) {
        let Pending { file, held, replaced, .. } = self.pending.swap_remove(at);
        self.edit(file, &held.owner, |ranges| {
            ranges.clear(&held.owner, held.range);
            replaced.into_iter().for_each(|before| ranges.set(before));
        });
        self.wake(now, file);
        self.drop_if_unused(file);
    }

    /// A machine says that it has restarted, and in which life it is now (SM_NOTIFY): what it took in earlier
    /// ones is released. What is told twice happens once. A name that no host at the address has means all of
    /// them: what a machine calls itself differs between the programs on it.
    pub fn restarted(&mut self, now: Instant, address: IpAddr, name: &[u8], life: u32) {
        let there: Vec<Host> = self.hosts.keys().filter(|host| host.address == address).cloned().collect();
        let named = there.iter().any(|host| host.name == name);
        for host in there.into_iter().filter(|host| !named || host.name == name) {
            let count = self.hosts.entry(host.clone()).or_default();
            if count.restarted.replace(life) != Some(life) {
                self.release(now, &host, |_, held| held.is_none_or(|held| held.life != life || life == 0));
            }
        }
    }

    /// Releases all that a host holds or waits for (FREE_ALL).
    pub fn free_all(&mut self, now: Instant, host: &Host) {
        self.release(now, host, |_, _| true);
    }

    /// Releases all that is of files which this host may not reach any more.
    pub fn keep_reachable(&mut self, now: Instant, reaches: impl Fn(&Host, ShareId) -> bool) {
        let hosts: Vec<Host> = self.hosts.keys().cloned().collect();
        for host in hosts {
            self.release(now, &host, |file, _| !reaches(&host, file.0));
        }
    }

    /// Releases what a host holds or waits for, where this says so; it is asked with no lock for
    /// reservations.
    fn release(&mut self, now: Instant, host: &Host, which: impl Fn(&FileId, Option<&Held<Owner>>) -> bool) {
        if !self.knows(host) {
            return;
        }
        let its = |id: &FileId, held: &Held<Owner>| held.owner.host == *host && which(id, Some(held));
        self.pending.retain(|pending| !its(&pending.file, &pending.held));
        let ids: Vec<FileId> = self.files.keys().copied().collect();
        for id in ids {
            let Some(file) = self.files.get_mut(&id) else { continue };
            let before = (file.ranges.held().len(), file.waiting.len(), file.shares.len());
            file.ranges.clear_all(|held| its(&id, held));
            file.waiting.retain(|waiting| !its(&id, &waiting.wanted));
            file.shares.retain(|share| share.host != *host || !which(&id, None));
            let after = (file.ranges.held().len(), file.waiting.len(), file.shares.len());
            let gone = (before.0 - after.0, before.1 - after.1, before.2 - after.2);
            let count = self.hosts.entry(host.clone()).or_default();
            (count.locks, count.waiting, count.shares) =
                (count.locks - gone.0, count.waiting - gone.1, count.shares - gone.2);
            (self.locks, self.waiting, self.shares) =
                (self.locks - gone.0, self.waiting - gone.1, self.shares - gone.2);
            self.wake(now, id);
            self.drop_if_unused(id);
        }
    }

    fn drop_if_unused(&mut self, id: FileId) {
        let unused = |file: &File<C>| {
            file.ranges.held().is_empty() && file.waiting.is_empty() && file.shares.is_empty()
        };
        if self.files.get(&id).is_some_and(unused) {
            self.files.remove(&id);
        }
    }
}

impl<C> Default for File<C> {
    fn default() -> File<C> {
        File { ranges: Ranges::default(), waiting: VecDeque::new(), shares: Vec::new() }
    }
}
