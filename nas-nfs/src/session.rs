//! A connection's protocol as a value: bytes and answers in; calls, bytes and deadlines out.
//!
//! Invariants: no I/O, no clock in here: the time comes with each event. At most [`CALLS`] calls are being
//! answered; what comes behind them is not looked at, and not read. Answers leave in the order in which they
//! are ready. What waits too long for a call to end, or for memory, is told to try again if it needs a
//! device: so a device that hangs holds up nothing else. Nothing that a peer sends makes a session panic, or
//! hold more than [`crate::limits`] allow.

#[cfg(test)]
mod tests;

use crate::limits::{
    CALLS, CONNECTION_MEMORY, OUTPUT, OUTPUT_UNPERMITTED, PATIENCE, RECORD_TIME, SPARE_CALLS, STALL_TIME,
    TRANSFER_MAX,
};
use crate::memory::{Budget, Permit};
use crate::output::Output;
use crate::rpc::record::{Framer, Record, RecordFault, Step};
use crate::rpc::{Answer, Ends, Outcome, Programs};
use std::collections::VecDeque;
use std::time::Instant;

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The peer closed the connection, or it broke.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// The stream cannot be followed.
    #[error("{0}")]
    Record(#[from] RecordFault),
    /// What came is no call.
    #[error("a record is no call")]
    NotACall,
    /// The peer does not take what it is sent, or does not end a record.
    #[error("the peer stalls")]
    Stalled,
    /// The server stops, and all that was asked is answered.
    #[error("the server stops")]
    Stopped,
}

/// One connection's state.
pub struct Session {
    programs: Programs,
    ends: Ends,
    budget: Budget,
    framer: Framer,
    output: Output,
    /// Bytes that were received and cannot be looked at yet.
    stash: Vec<u8>,
    /// The payload that waits for memory, and whether that was asked for.
    hungry: Option<(usize, bool)>,
    /// Since when nothing can be followed.
    blocked: Option<Instant>,
    /// That has lasted too long.
    shedding: bool,
    begun: VecDeque<(u32, Answer)>,
    /// Calls that have no answer yet.
    open: usize,
    end: Option<End>,
    leaving: bool,
    /// Of the event that is being handled.
    now: Instant,
    /// When something of a record came, or could have.
    heard: Instant,
    /// Since when nothing of what waits was taken.
    stalled: Option<Instant>,
}

impl Session {
    /// A connection that has just been accepted.
    #[must_use]
    pub fn new(programs: Programs, ends: Ends, budget: &Budget, now: Instant) -> Session {
        Session {
            programs,
            ends,
            budget: budget.share(CONNECTION_MEMORY),
            framer: Framer::default(),
            output: Output::default(),
            stash: Vec::new(),
            hungry: None,
            blocked: None,
            shedding: false,
            begun: VecDeque::new(),
            open: 0,
            end: None,
            leaving: false,
            now,
            heard: now,
            stalled: None,
        }
    }

    /// Takes bytes that the peer has sent.
    pub fn receive(&mut self, now: Instant, input: &[u8]) {
        (self.now, self.heard) = (now, now);
        if self.stash.is_empty() {
            self.follow(input);
        } else {
            self.stash.extend_from_slice(input);
        }
    }

    /// Where the rest of a payload can be received into, so that it need not be copied.
    pub fn payload_space(&mut self) -> Option<&mut [u8]> {
        self.framer.payload_space()
    }

    /// Says that `n` bytes were received into [`Session::payload_space`].
    pub fn payload_filled(&mut self, now: Instant, n: usize) {
        (self.now, self.heard) = (now, now);
        self.framer.payload_filled(n);
        self.follow(&[]);
    }

    /// How many bytes are to be received at once, at most.
    #[must_use]
    pub fn read_hint(&self) -> usize {
        self.framer.read_hint()
    }

    /// Follows the stream as far as it may go on now.
    fn follow(&mut self, mut input: &[u8]) {
        while self.end.is_none() && !self.is_blocked() {
            match self.framer.feed(&mut input, |head| self.programs.payload(head)) {
                Ok(Step::More) => break,
                Ok(Step::Payload(len)) => match self.budget.try_take(len) {
                    Some(permit) => self.framer.start_payload(self.budget.buffer(len, permit)),
                    None if self.shedding => self.framer.skip_payload(),
                    None => self.hungry = Some((len, false)),
                },
                Ok(Step::Record(record)) => self.on_record(record),
                Err(fault) => self.end(End::Record(fault)),
            }
        }
        self.stash.extend_from_slice(input);
        if self.is_blocked() {
            self.blocked.get_or_insert(self.now);
        } else {
            self.blocked = None;
        }
        self.watch_output();
    }

    fn is_blocked(&self) -> bool {
        let spare = if self.shedding { SPARE_CALLS } else { 0 };
        self.hungry.is_some() || self.open >= CALLS + spare
    }

    fn resume(&mut self) {
        self.heard = self.now;
        let stash = std::mem::take(&mut self.stash);
        self.follow(&stash);
    }

    fn on_record(&mut self, record: Record) {
        let no_room = self.shedding && self.open >= CALLS;
        match self.programs.begin_record(record, no_room, self.ends, &self.budget, self.now) {
            Ok((xid, Ok(answer))) => {
                self.open += 1;
                self.begun.push_back((xid, answer));
            }
            Ok((xid, Err(outcome))) => self.output.put(xid, outcome),
            Err(_) => self.end(End::NotACall),
        }
    }

    /// The next call that was begun, by its number: to be polled to its end, whatever happens.
    pub fn next_call(&mut self) -> Option<(u32, Answer)> {
        self.begun.pop_front()
    }

    /// A call has its answer.
    pub fn answered(&mut self, now: Instant, xid: u32, outcome: Outcome) {
        self.now = now;
        self.open -= 1;
        if self.end.is_none() {
            self.output.put(xid, outcome);
            self.watch_output();
        }
        // What ends beside a payload that waits for memory does not help it.
        if self.hungry.is_none() {
            self.blocked = None;
            self.shedding &= self.open >= CALLS || self.budget.available() < TRANSFER_MAX as usize;
            self.resume();
        }
    }

    /// Bytes that are to be taken out of the budget, whenever they are there; told once.
    pub fn memory_wanted(&mut self) -> Option<usize> {
        let (len, asked) = self.hungry.as_mut()?;
        (!std::mem::replace(asked, true)).then_some(*len)
    }

    /// The memory is there.
    pub fn granted(&mut self, now: Instant, permit: Permit) {
        self.now = now;
        if let Some((len, _)) = self.hungry.take() {
            self.blocked = None;
            self.framer.start_payload(self.budget.buffer(len, permit));
            self.resume();
        }
    }

    /// What the session's memory comes out of.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What waits to be sent.
    #[must_use]
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Says that the first `n` bytes of it are gone.
    pub fn sent(&mut self, now: Instant, n: usize) {
        self.output.sent(n);
        self.stalled = (self.output.pending() > 0).then_some(now);
    }

    fn watch_output(&mut self) {
        if self.output.pending() > 0 {
            self.stalled.get_or_insert(self.now);
        }
    }

    /// Whether more is to be received now.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        let full = self.output.pending() > OUTPUT || self.output.unpermitted() > OUTPUT_UNPERMITTED;
        let blocked = self.is_blocked() || !self.stash.is_empty();
        self.end.is_none() && !self.leaving && !full && !blocked
    }

    /// Takes no more calls; the session ends when those that it has are answered, and the answers sent.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// Ends the session; only the first reason counts.
    pub fn end(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    /// Why the session is over, once it is.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        let left = self.leaving && self.open == 0 && self.output.pending() == 0;
        self.end.or(left.then_some(End::Stopped))
    }

    /// When [`Session::tick`] is to be called, at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let due = [self.stall_due(), self.shed_due()].into_iter().flatten().min();
        due.filter(|_| self.end.is_none())
    }

    /// When the peer has stalled for too long.
    fn stall_due(&self) -> Option<Instant> {
        let record = (self.framer.is_inside() && self.wants_input()).then_some(self.heard + RECORD_TIME);
        let stall = self.stalled.map(|since| since + STALL_TIME);
        [record, stall].into_iter().flatten().min()
    }

    /// When what waits has waited for too long.
    fn shed_due(&self) -> Option<Instant> {
        self.blocked.filter(|_| !self.shedding).map(|since| since + PATIENCE)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
        if !self.wants_input() {
            self.heard = now;
        }
        if self.stall_due().is_some_and(|due| due <= now) {
            self.end(End::Stalled);
        }
        if self.shed_due().is_some_and(|due| due <= now) {
            self.shedding = true;
            self.blocked = None;
            if self.hungry.take().is_some() {
                self.framer.skip_payload();
            }
            self.resume();
        }
    }
}
