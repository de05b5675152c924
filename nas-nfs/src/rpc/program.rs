//! Which program answers a call: the one place where program and version are looked at.
//!
//! A further version of a program (NFS 4.1 beside 3, on the same port) is one more [`Program`] in the table.

use super::call::{parse, Call, CallFault, Head, AUTH_MAX};
use super::record::{Find, Record};
use super::reply::Outcome;
use super::Ends;
use crate::memory::Budget;
use bytes::Bytes;
use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

/// A call on its way to its end. It is always polled to its end, whatever becomes of the connection.
pub type Answer = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A program: some versions of it, with one way to answer.
pub trait Program: Send + Sync + 'static {
    /// Its number.
    fn number(&self) -> u32;

    /// The versions that it answers.
    fn versions(&self) -> RangeInclusive<u32>;

    /// Answers a call of one of its versions.
    fn call(self: Arc<Self>, call: Call) -> Answer;

    /// What is answered to a call that there is no room for now; none = it needs none, and is done.
    fn try_again(&self, _version: u32, _procedure: u32) -> Option<Outcome> {
        None
    }

    /// Where in the arguments of a call a payload starts, as far as they are known.
    fn payload(&self, _version: u32, _procedure: u32, _arguments: &[u8]) -> Find {
        Find::Nothing
    }
}

/// The programs of one port.
#[derive(Clone, Default)]
pub struct Programs(Vec<Arc<dyn Program>>);

impl Programs {
    /// These programs.
    #[must_use]
    pub fn new(programs: Vec<Arc<dyn Program>>) -> Programs {
        Programs(programs)
    }

    fn find(&self, number: u32, version: u32) -> Result<&Arc<dyn Program>, Outcome> {
        let mut known: Option<(u32, u32)> = None;
        for program in self.0.iter().filter(|program| program.number() == number) {
            let versions = program.versions();
            if versions.contains(&version) {
                return Ok(program);
            }
            let (low, high) = known.unwrap_or((u32::MAX, 0));
            known = Some((low.min(*versions.start()), high.max(*versions.end())));
        }
        Err(known.map_or(Outcome::ProgramUnavailable, |(low, high)| Outcome::ProgramMismatch(low, high)))
    }

    /// Begins to answer a call that came whole. What RPC itself answers is given back at once.
    ///
    /// # Errors
    /// It is no call.
    pub fn begin(
        &self,
        head: Bytes,
        payload: Option<Bytes>,
        ends: Ends,
        budget: &Budget,
        now: Instant,
    ) -> Result<(u32, Result<Answer, Outcome>), NotACall> {
        self.begin_record(Record { head, payload, skipped: false }, false, ends, budget, now)
    }

    /// Begins to answer a record; `no_room` = only what needs no room is done. What RPC itself answers is
    /// given back at once.
    ///
    /// # Errors
    /// It is no call, and the stream cannot be followed.
    pub fn begin_record(
        &self,
        record: Record,
        no_room: bool,
        ends: Ends,
        budget: &Budget,
        now: Instant,
    ) -> Result<(u32, Result<Answer, Outcome>), NotACall> {
        let Record { head, payload, skipped } = record;
        let call = match parse(head, payload) {
            Ok(call) => call,
            Err(CallFault::NotACall) => return Err(NotACall),
            Err(CallFault::Answer(xid, outcome)) => return Ok((xid, Err(outcome))),
        };
        let xid = call.head.xid;
        let program = match self.find(call.head.program, call.head.version) {
            Ok(program) => Arc::clone(program),
            Err(outcome) => return Ok((xid, Err(outcome))),
        };
        let credentials = match call.credentials {
            Ok(credentials) => credentials,
            Err(fault) => return Ok((xid, Err(Outcome::Denied(fault)))),
        };
        if no_room || skipped {
            let outcome = program.try_again(call.head.version, call.head.procedure);
            if let Some(outcome) = outcome.or_else(|| skipped.then_some(Outcome::SystemError)) {
                return Ok((xid, Err(outcome)));
            }
        }
        let answer = program.call(Call {
            xid,
            version: call.head.version,
            procedure: call.head.procedure,
            credentials,
            ends,
            arguments: call.arguments,
            budget: budget.clone(),
            now,
        });
        Ok((xid, Ok(answer)))
    }

    /// Where the payload of a record starts, whose first bytes are `head`.
    #[must_use]
    pub fn payload(&self, head: &[u8]) -> Find {
        let (Some(program), Some(version), Some(procedure)) =
            (word(head, 12), word(head, 16), word(head, 20))
        else {
            return Find::Need(Head::LEN);
        };
        let Ok(program) = self.find(program, version) else { return Find::Nothing };
        if matches!(program.payload(version, procedure, &[]), Find::Nothing) {
            return Find::Nothing;
        }
        let mut at = Head::LEN;
        for _credentials_and_verifier in 0..2 {
            let Some(len) = word(head, at + 4) else { return Find::Need(at + 8) };
            if len as usize > AUTH_MAX {
                return Find::Nothing;
            }
            at += 8 + (len as usize).next_multiple_of(4);
        }
        match head.get(at..) {
            None => Find::Need(at),
            Some(arguments) => match program.payload(version, procedure, arguments) {
                Find::Need(len) => Find::Need(at + len),
                other => other,
            },
        }
    }
}

/// The word that starts at byte `at`.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// A record that is no call.
#[derive(Debug)]
pub struct NotACall;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::call::Credentials;
    use crate::xdr::encoded;

    /// Versions of program 7, which answer their number; a payload comes behind the length in procedure 1.
    struct Versions(RangeInclusive<u32>);

    impl Program for Versions {
        fn number(&self) -> u32 {
            7
        }

        fn versions(&self) -> RangeInclusive<u32> {
            self.0.clone()
        }

        fn call(self: Arc<Self>, _call: Call) -> Answer {
            let first = *self.0.start();
            Box::pin(async move { Outcome::done(&first) })
        }

        fn payload(&self, _version: u32, procedure: u32, arguments: &[u8]) -> Find {
            match (procedure, word(arguments, 0)) {
                (1, Some(len)) => Find::Here(len as usize),
                (1, None) => Find::Need(4),
                _ => Find::Nothing,
            }
        }
    }

    fn programs() -> Programs {
        Programs::new(vec![Arc::new(Versions(3..=3)), Arc::new(Versions(41..=42))])
    }

    fn record(program: u32, version: u32, procedure: u32) -> Vec<u8> {
        let mut record = encoded(&Head { xid: 5, kind: 0, rpc_version: 2, program, version, procedure });
        (0..2).for_each(|_| record.extend(encoded(&Credentials::None.to_auth())));
        record.extend(9_u32.to_be_bytes());
        record
    }

    /// Room for NFS 4.1 beside 3: versions of one program need not be one implementation, nor adjacent.
    #[test]
    fn versions_of_a_program_are_told_apart() {
        let address = "192.0.2.1:700".parse().expect("valid");
        let begin = |program, version| {
            let (record, budget) = (record(program, version, 0), Budget::new(4096));
            let begun =
                programs().begin(record.into(), None, Ends::new(address, address), &budget, Instant::now());
            let (xid, begun) = begun.expect("a call");
            assert_eq!(xid, 5);
            begun.err()
        };
        for version in [3, 41, 42] {
            assert_eq!(begin(7, version), None);
        }
        for version in [0, 2, 4, 40, 43] {
            assert_eq!(begin(7, version), Some(Outcome::ProgramMismatch(3, 42)));
        }
        assert_eq!(begin(8, 3), Some(Outcome::ProgramUnavailable));
    }

    #[test]
    fn a_payload_is_found_as_soon_as_it_can_be() {
        let (programs, whole) = (programs(), record(7, 42, 1));
        let mut have = 0;
        loop {
            match programs.payload(&whole[..have]) {
                Find::Need(len) if len > have && len <= whole.len() => have = len,
                found => {
                    assert_eq!((found, have), (Find::Here(9), whole.len()));
                    break;
                }
            }
        }
        assert_eq!(programs.payload(&record(7, 42, 2)), Find::Nothing);
        assert_eq!(programs.payload(&record(7, 9, 1)), Find::Nothing);
        let mut long = record(7, 42, 1);
        long[28..32].copy_from_slice(&401_u32.to_be_bytes());
        assert_eq!(programs.payload(&long), Find::Nothing, "such credentials are refused anyway");
    }
}
