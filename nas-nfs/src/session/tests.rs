//! A session without sockets: what waits for memory, what is read no further, what ends it.

use super::*;
use crate::rpc::call::Head;
use crate::rpc::record::{framed, Find};
use crate::rpc::{Call, Credentials, Program};
use crate::xdr::{encoded, Payload, Reader, Xdr};
use bytes::Bytes;
use std::future::pending;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Takes a payload by procedure 1, and never answers procedure 2.
struct Toy;

impl Program for Toy {
    fn number(&self) -> u32 {
        1
    }

    fn versions(&self) -> RangeInclusive<u32> {
        1..=1
    }

    fn call(self: Arc<Self>, call: Call) -> Answer {
        Box::pin(async move {
            if call.procedure == 2 {
                pending::<()>().await;
            }
            let mut arguments: Reader = call.arguments;
            Payload::get(&mut arguments).map_or(Outcome::GarbageArguments, |data| Outcome::done(&data))
        })
    }

    fn try_again(&self, _version: u32, procedure: u32) -> Option<Outcome> {
        (procedure != 0).then(|| Outcome::done(&0xbad_u32))
    }

    fn payload(&self, _version: u32, procedure: u32, arguments: &[u8]) -> Find {
        match (procedure, arguments.first_chunk()) {
            (1, None) => Find::Need(4),
            (1, Some(len)) => Find::Here(u32::from_be_bytes(*len) as usize),
            _ => Find::Nothing,
        }
    }
}

fn session(budget: &Budget, now: Instant) -> Session {
    let address = "192.0.2.1:700".parse().expect("valid");
    Session::new(Programs::new(vec![Arc::new(Toy)]), Ends::new(address, address), budget, now)
}

fn record(xid: u32, procedure: u32, data: &[u8]) -> Vec<u8> {
    let mut record = encoded(&Head { xid, kind: 0, rpc_version: 2, program: 1, version: 1, procedure });
    (0..2).for_each(|_| record.extend(encoded(&Credentials::None.to_auth())));
    record.extend(encoded(&Payload(Bytes::copy_from_slice(data))));
    framed(&record, usize::MAX)
}

/// Answers what has an answer; the numbers of those calls.
fn answer_all(session: &mut Session, now: Instant) -> Vec<u32> {
    let mut answered = Vec::new();
    while let Some((xid, mut answer)) = session.next_call() {
        if let Poll::Ready(outcome) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            session.answered(now, xid, outcome);
            answered.push(xid);
        }
    }
    answered
}

#[test]
fn a_payload_without_memory_waits_and_what_follows_with_it() {
    let (budget, now) = (Budget::new(8192), Instant::now());
    let mut session = session(&budget, now);
    let held = budget.try_take(4096).expect("room");
    let stream = [record(1, 1, &[1; 8000]), record(2, 0, b"x")].concat();
    session.receive(now, &stream);
    assert_eq!((session.memory_wanted(), session.memory_wanted()), (Some(8000), None), "told once");
    assert!(!session.wants_input() && session.next_call().is_none());
    assert_eq!(session.deadline(), Some(now + PATIENCE));
    drop(held);
    session.granted(now, session.budget().try_take(8000).expect("room"));
    assert_eq!(answer_all(&mut session, now), [1, 2]);
    assert!(session.wants_input());
    drop(session);
    assert_eq!(budget.available(), 8192);
}

#[test]
fn what_comes_behind_the_last_call_that_may_run_waits_too() {
    let (budget, now) = (Budget::new(1 << 20), Instant::now());
    let mut session = session(&budget, now);
    for xid in 0..CALLS as u32 - 1 {
        session.receive(now, &record(xid, 2, b""));
    }
    assert!(session.wants_input());
    session.receive(now, &[record(5000, 0, b""), record(5001, 0, b""), record(5002, 0, b"")].concat());
    assert!(!session.wants_input());
    let calls: Vec<(u32, Answer)> = std::iter::from_fn(|| session.next_call()).collect();
    assert_eq!((calls.len(), calls.last().map(|(xid, _)| *xid)), (CALLS, Some(5000)));
    session.answered(now, 5000, Outcome::SystemError);
    assert_eq!(session.next_call().map(|(xid, _)| xid), Some(5001), "one for one");
    session.answered(now, 5001, Outcome::SystemError);
    session.answered(now, 0, Outcome::SystemError);
    assert_eq!(session.next_call().map(|(xid, _)| xid), Some(5002));
    assert!(session.wants_input());
}

/// Protocol rule 3: what needs no device is answered within a second, whatever hangs.
#[test]
fn what_hangs_for_long_holds_up_nothing_else() {
    let (budget, now) = (Budget::new(8192), Instant::now());
    let mut session = session(&budget, now);
    let held = budget.try_take(8192);
    session.receive(now, &[record(1, 1, &[1; 8000]), record(2, 1, &[1; 5000]), record(3, 0, b"")].concat());
    session.tick(now + PATIENCE - Duration::from_millis(1));
    assert!(session.next_call().is_none() && session.output().pending() == 0);
    session.tick(now + PATIENCE);
    assert_eq!(session.output().pending(), 2 * 32, "the first two are told to try again");
    assert_eq!(answer_all(&mut session, now), [3]);
    assert!(session.wants_input() && session.ended().is_none());
    drop(held);
    session.receive(now, &record(4, 1, &[1; 8000]));
    assert_eq!(answer_all(&mut session, now), [4], "there is room again");
}

#[test]
fn calls_that_hang_leave_room_for_those_that_do_not() {
    let (budget, now) = (Budget::new(64 << 20), Instant::now());
    let mut session = session(&budget, now);
    for xid in 0..CALLS as u32 {
        session.receive(now, &record(xid, 2, b""));
    }
    let hanging: Vec<(u32, Answer)> = std::iter::from_fn(|| session.next_call()).collect();
    assert!(!session.wants_input() && hanging.len() == CALLS);
    session.tick(now + PATIENCE);
    assert!(session.wants_input());
    session.receive(now, &[record(1000, 2, b""), record(1001, 0, b"")].concat());
    assert_eq!(answer_all(&mut session, now), [1001]);
    assert_eq!(session.output().pending(), 32 + 32, "and the other is told to try again");
    for (xid, _) in hanging {
        session.answered(now, xid, Outcome::SystemError);
    }
    session.receive(now, &record(1002, 1, b"x"));
    assert_eq!(answer_all(&mut session, now), [1002], "all is as before");
}

#[test]
fn who_does_not_end_a_record_or_take_an_answer_is_dropped() {
    let (budget, now) = (Budget::new(1 << 20), Instant::now());
    let (idle, mut slow, mut deaf) = (session(&budget, now), session(&budget, now), session(&budget, now));
    assert_eq!(idle.deadline(), None, "an idle connection may stay");
    slow.receive(now, &record(1, 1, &[1; 5000])[..2000]);
    assert_eq!(slow.deadline(), Some(now + RECORD_TIME));
    slow.tick(now + RECORD_TIME - Duration::from_millis(1));
    assert_eq!(slow.ended(), None);
    slow.tick(now + RECORD_TIME);
    assert_eq!(slow.ended(), Some(End::Stalled));
    deaf.receive(now, &record(1, 0, b""));
    assert_eq!(answer_all(&mut deaf, now), [1]);
    let half = now + STALL_TIME / 2;
    deaf.sent(half, 1);
    deaf.tick(now + STALL_TIME);
    assert_eq!(deaf.ended(), None, "it has taken something");
    deaf.tick(half + STALL_TIME);
    assert_eq!(deaf.ended(), Some(End::Stalled));
}

#[test]
fn a_session_that_is_to_leave_answers_first() {
    let (budget, now) = (Budget::new(1 << 20), Instant::now());
    let mut session = session(&budget, now);
    session.receive(now, &record(1, 0, b"x"));
    session.leave();
    assert!(!session.wants_input() && session.ended().is_none());
    assert_eq!(answer_all(&mut session, now), [1]);
    assert_eq!(session.ended(), None, "the answer is not sent yet");
    session.sent(now, session.output().pending());
    assert_eq!(session.ended(), Some(End::Stopped));
}
