//! Duplicate requests: a call that comes again gets the answer that it got, before and after a restart.
//!
//! A call is the same if client address (without port: a client reconnects), xid, program, version, procedure
//! and arguments are the same. Invariants: a call that is known is never executed again, and one that is
//! still being executed is joined. What had an effect is kept by the tree in the same commit as the effect
//! ([`crate::tree::Record`]), and loaded again at start. Each client has a ring of [`SLOTS`] answers; so one
//! busy client costs no other client anything, until all together need more than [`MEMORY`]: then the client
//! that was silent longest is forgotten. Time is monotonic and comes from outside; what was loaded is as old
//! as its loading.
//!
//! | module | job |
//! |---|---|
//! | `record` | the bytes that a tree keeps |
//! | this one | who waits for what, what is forgotten when |

mod record;
#[cfg(test)]
mod tests;

pub use record::{decode as decode_record, encode as encode_record, Stored};

use crate::tree::Kept;
use bytes::Bytes;
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Answers remembered for a client.
pub const SLOTS: usize = 1024;
/// Clients remembered.
pub const CLIENTS: usize = 1024;
/// How long an answer is remembered.
pub const LIFETIME: Duration = Duration::from_secs(600);
/// Bytes of all answers together, with what it costs to find them.
pub const MEMORY: usize = 16 << 20;
/// What an answer costs besides its bytes.
const OVERHEAD: usize = 256;

/// Which call it is, of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallKey {
    /// The client's number of it.
    pub xid: u32,
    /// The program.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// The procedure.
    pub procedure: u32,
    /// Of the arguments.
    pub checksum: [u8; 16],
}

impl CallKey {
    /// The key of a call with these arguments, as they came.
    #[must_use]
    pub fn new(xid: u32, program: u32, version: u32, procedure: u32, arguments: &[u8]) -> CallKey {
        let digest = Sha256::digest(arguments);
        let checksum = *digest.first_chunk().expect("a digest has 32 bytes");
        CallKey { xid, program, version, procedure, checksum }
    }
}

/// What is to be done with a call.
#[derive(Debug)]
pub enum Begin {
    /// It is new: execute it.
    New(Ticket),
    /// It was answered with this.
    Known(Bytes),
    /// It is being executed: the answer comes here, or an error if its execution was given up.
    Join(oneshot::Receiver<Bytes>),
    /// More calls of this client are being executed than can be remembered: it may try again.
    Full,
}

/// The answers that are remembered. A clone shares them.
#[derive(Clone, Debug, Default)]
pub struct Replays(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    clients: FxHashMap<IpAddr, Client>,
    /// Bytes of all answers.
    bytes: usize,
    /// Numbers calls, over restarts: the order in which they were kept.
    sequence: u64,
}

#[derive(Debug)]
struct Client {
    /// What names it in the tree: at most so many clients are kept there too.
    seat: u16,
    /// When it was here last, as a number of a call.
    used: u64,
    /// The slot that comes next.
    next: usize,
    ring: Vec<Option<Slot>>,
    by_key: FxHashMap<CallKey, usize>,
    /// Calls that are being executed.
    running: usize,
    /// Bytes of its answers.
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    key: CallKey,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Being executed; who waits for it besides.
    Running(Vec<oneshot::Sender<Bytes>>),
    /// Answered.
    Done(Instant, Bytes),
}

impl Client {
    /// The next slot that nothing runs in.
    fn free_slot(&self) -> Option<usize> {
        if self.ring.len() < SLOTS && self.next == self.ring.len() {
            return Some(self.next);
        }
        (0..self.ring.len()).map(|n| (self.next + n) % self.ring.len()).find(|at| !self.runs(*at))
    }

    fn runs(&self, at: usize) -> bool {
        matches!(self.ring.get(at), Some(Some(Slot { state: State::Running(_), .. })))
    }
}

impl Slot {
    fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    fn bytes(&self) -> usize {
        match &self.state {
            State::Running(_) => OVERHEAD,
            State::Done(_, reply) => OVERHEAD + reply.len(),
        }
    }
}

impl Memory {
    /// Empties a slot.
    fn clear(&mut self, address: IpAddr, at: usize) {
        let Some(client) = self.clients.get_mut(&address) else { return };
        let Some(old) = client.ring.get_mut(at).and_then(Option::take) else { return };
        self.bytes -= old.bytes();
        client.bytes -= old.bytes();
        client.running -= usize::from(old.is_running());
        if client.by_key.get(&old.key) == Some(&at) {
            client.by_key.remove(&old.key);
        }
    }

    /// Puts a call into a slot, which lies in the ring or at its end.
    fn put(&mut self, address: IpAddr, at: usize, slot: Slot) {
        self.clear(address, at);
        let Some(client) = self.clients.get_mut(&address) else { return };
        if client.ring.len() <= at {
            client.ring.resize_with(at + 1, || None);
        }
        self.bytes += slot.bytes();
        client.bytes += slot.bytes();
        client.running += usize::from(slot.is_running());
        client.by_key.insert(slot.key, at);
        client.ring[at] = Some(slot);
        client.next = (at + 1) % SLOTS;
    }

    /// Makes a client known, in the seat that it wants if that is free.
    fn seat(&mut self, address: IpAddr, wanted: Option<u16>) -> bool {
        if self.clients.contains_key(&address) {
            return true;
        }
        if self.clients.len() == CLIENTS && !self.forget_oldest(address) {
            return false;
        }
        let taken: Vec<bool> = self.clients.values().fold(vec![false; CLIENTS], |mut taken, client| {
            taken[usize::from(client.seat)] = true;
            taken
        });
        let free = |seat: &u16| taken.get(usize::from(*seat)) == Some(&false);
        let seat = wanted.filter(free).or_else(|| (0..CLIENTS as u16).find(free));
        let Some(seat) = seat else { return false };
        let (used, by_key) = (self.sequence, FxHashMap::default());
        let client = Client { seat, used, next: 0, ring: Vec::new(), by_key, running: 0, bytes: 0 };
        self.clients.insert(address, client);
        true
    }

    /// Forgets the client that was silent longest, but for this one.
    fn forget_oldest(&mut self, but: IpAddr) -> bool {
        let idle = self.clients.iter().filter(|(address, client)| **address != but && client.running == 0);
        let Some(oldest) = idle.min_by_key(|(_, client)| client.used).map(|(address, _)| *address) else {
            return false;
        };
        self.bytes -= self.clients.remove(&oldest).map_or(0, |client| client.bytes);
        true
    }
}

impl Replays {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call has come. For procedures that are executed again without harm there is no need to ask.
    #[must_use]
    pub fn begin(&self, now: Instant, client: IpAddr, key: CallKey) -> Begin {
        let address = client.to_canonical();
        let mut memory = self.lock();
        memory.sequence += 1;
        let sequence = memory.sequence;
        if !memory.seat(address, None) {
            return Begin::Full;
        }
        let found = memory.clients.get_mut(&address).expect("it has a seat now");
        found.used = sequence;
        if let Some(at) = found.by_key.get(&key).copied() {
            match found.ring[at].as_mut().map(|slot| &mut slot.state) {
                Some(State::Running(waiting)) => {
                    let (sender, receiver) = oneshot::channel();
                    waiting.push(sender);
                    return Begin::Join(receiver);
                }
                Some(State::Done(since, reply)) if now.saturating_duration_since(*since) <= LIFETIME => {
                    return Begin::Known(reply.clone());
                }
                _ => {}
            }
        }
        let (Some(at), seat) = (found.free_slot(), found.seat) else { return Begin::Full };
        memory.put(address, at, Slot { key, state: State::Running(Vec::new()) });
        while memory.bytes > MEMORY && memory.forget_oldest(address) {}
        let replays = self.clone();
        Begin::New(Ticket { replays, address, seat, at: at as u16, sequence, key, finished: false })
    }

    /// Takes in what a tree has kept; what makes no sense is passed over.
    pub fn load(&self, now: Instant, kept: &[Kept]) {
        let decoded = kept.iter().filter_map(|kept| Some((kept, record::decode(&kept.bytes)?)));
        let mut stored: Vec<(&Kept, Stored)> = decoded.collect();
        stored.sort_by_key(|(_, stored)| stored.sequence);
        let mut memory = self.lock();
        for (kept, stored) in stored {
            memory.sequence = memory.sequence.max(stored.sequence);
            let address = IpAddr::V6(Ipv6Addr::from(stored.client)).to_canonical();
            let seat = u16::from_be_bytes([kept.client[14], kept.client[15]]);
            let at = usize::from(kept.slot);
            if at >= SLOTS || !memory.seat(address, Some(seat)) {
                continue;
            }
            if !memory.clients.get(&address).is_some_and(|client| client.runs(at)) {
                let state = State::Done(now, stored.reply);
                memory.put(address, at, Slot { key: stored.key, state });
            }
            while memory.bytes > MEMORY && memory.forget_oldest(address) {}
        }
    }

    /// Clients and bytes that are remembered.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let memory = self.lock();
        (memory.clients.len(), memory.bytes)
    }
}

/// The right to execute a call, and the duty to say how it ended. Dropped without that, the call is forgotten
/// as though it had never come.
#[derive(Debug)]
pub struct Ticket {
    replays: Replays,
    address: IpAddr,
    seat: u16,
    at: u16,
    sequence: u64,
    key: CallKey,
    finished: bool,
}

impl Ticket {
    /// [`crate::tree::Record::client`]: which of the clients that are remembered.
    #[must_use]
    pub fn client(&self) -> [u8; 16] {
        let mut client = [0; 16];
        client[14..].copy_from_slice(&self.seat.to_be_bytes());
        client
    }

    /// [`crate::tree::Record::slot`].
    #[must_use]
    pub fn slot(&self) -> u16 {
        self.at
    }

    /// What the tree is to keep with the effect of this call, if that is its answer.
    #[must_use]
    pub fn record(&self, reply: &[u8]) -> Vec<u8> {
        let client = match self.address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let reply = Bytes::copy_from_slice(reply);
        record::encode(&Stored { sequence: self.sequence, client, key: self.key, reply })
    }

    /// The call has ended with this answer, whatever it is.
    pub fn finish(mut self, now: Instant, reply: Bytes) {
        self.finished = true;
        self.end(Some((now, reply)));
    }

    fn end(&self, done: Option<(Instant, Bytes)>) {
        let mut memory = self.replays.lock();
        let at = usize::from(self.at);
        let Some((now, reply)) = done else {
            memory.clear(self.address, at);
            return;
        };
        let Some(client) = memory.clients.get_mut(&self.address) else { return };
        let Some(slot) = client.ring.get_mut(at).and_then(Option::as_mut) else { return };
        let state = std::mem::replace(&mut slot.state, State::Done(now, reply.clone()));
        client.running -= 1;
        client.bytes += reply.len();
        memory.bytes += reply.len();
        drop(memory);
        if let State::Running(waiting) = state {
            waiting.into_iter().for_each(|sender| drop(sender.send(reply.clone())));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.finished {
            self.end(None);
        }
    }
}
