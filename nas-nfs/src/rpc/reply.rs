//! How a call ends (RFC 5531 9), and the bytes that say so.

use crate::memory::Permit;
use crate::xdr::{Writer, Xdr};

/// Why credentials are not taken (RFC 5531 auth_stat).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AuthFault {
    /// They make no sense.
    BadCredentials = 1,
    /// Their kind is not known here.
    RejectedCredentials = 2,
    /// The verifier makes no sense.
    BadVerifier = 3,
    /// Something stronger is wanted.
    TooWeak = 5,
}

/// What a procedure gives back.
#[derive(Debug, Default)]
pub struct Results {
    /// The results, encoded.
    pub output: Writer,
    /// What stands for the memory of a payload, until it is sent.
    pub permit: Option<Permit>,
}

/// How a call ends.
#[derive(Debug)]
pub enum Outcome {
    /// With results.
    Done(Results),
    /// No such program is here.
    ProgramUnavailable,
    /// The program has only these versions.
    ProgramMismatch(u32, u32),
    /// No such procedure.
    ProcedureUnavailable,
    /// The arguments cannot be read.
    GarbageArguments,
    /// We cannot, for no reason of the caller's.
    SystemError,
    /// RPC has only version 2.
    RpcMismatch,
    /// The caller is not believed.
    Denied(AuthFault),
}

/// Two ends of calls without results are equal if they say the same; results are compared by their bytes.
impl PartialEq for Outcome {
    fn eq(&self, other: &Outcome) -> bool {
        let bytes = |outcome: &Outcome| match outcome {
            Outcome::Done(results) => results.output.clone().into_bytes(),
            _ => Vec::new(),
        };
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.status() == other.status()
            && bytes(self) == bytes(other)
    }
}

impl Eq for Outcome {}

impl Outcome {
    /// Success, with a value as the results.
    #[must_use]
    pub fn done(value: &impl Xdr) -> Outcome {
        let mut output = Writer::default();
        value.put(&mut output);
        Outcome::Done(Results { output, permit: None })
    }

    /// The reply's start: what stands before the results.
    fn status(&self) -> Head {
        let accepted = |status, more: &[u32]| Head::new(&[1, 0, 0, 0, status], more);
        match self {
            Outcome::Done(_) => accepted(0, &[]),
            Outcome::ProgramUnavailable => accepted(1, &[]),
            Outcome::ProgramMismatch(low, high) => accepted(2, &[*low, *high]),
            Outcome::ProcedureUnavailable => accepted(3, &[]),
            Outcome::GarbageArguments => accepted(4, &[]),
            Outcome::SystemError => accepted(5, &[]),
            Outcome::RpcMismatch => Head::new(&[1, 1, 0, 2, 2], &[]),
            Outcome::Denied(fault) => Head::new(&[1, 1, 1, *fault as u32], &[]),
        }
    }

    /// Appends the reply to the call `xid`, without a record mark, to `bytes`; its results, if there are any,
    /// are to follow.
    pub fn put_head(&self, xid: u32, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&xid.to_be_bytes());
        let head = self.status();
        head.words[..head.len].iter().for_each(|word| bytes.extend_from_slice(&word.to_be_bytes()));
    }

    /// The whole reply in one piece, for a transport that has no records.
    #[must_use]
    pub fn into_datagram(self, xid: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.put_head(xid, &mut bytes);
        if let Outcome::Done(results) = self {
            bytes.extend(results.output.into_bytes());
        }
        bytes
    }
}

/// Up to seven words: kind of message, and how it was taken.
#[derive(PartialEq, Eq)]
struct Head {
    words: [u32; 7],
    len: usize,
}

impl Head {
    fn new(first: &[u32], more: &[u32]) -> Head {
        let mut head = Head { words: [0; 7], len: first.len() + more.len() };
        head.words[..first.len()].copy_from_slice(first);
        head.words[first.len()..head.len].copy_from_slice(more);
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of RFC 5531 9, after the xid.
    #[test]
    fn replies_are_those_of_the_rfc() {
        for (outcome, words) in [
            (Outcome::done(&9_u32), &[1, 0, 0, 0, 0, 9][..]),
            (Outcome::ProgramUnavailable, &[1, 0, 0, 0, 1]),
            (Outcome::ProgramMismatch(3, 4), &[1, 0, 0, 0, 2, 3, 4]),
            (Outcome::ProcedureUnavailable, &[1, 0, 0, 0, 3]),
            (Outcome::GarbageArguments, &[1, 0, 0, 0, 4]),
            (Outcome::SystemError, &[1, 0, 0, 0, 5]),
            (Outcome::RpcMismatch, &[1, 1, 0, 2, 2]),
            (Outcome::Denied(AuthFault::TooWeak), &[1, 1, 1, 5]),
        ] {
            let expected: Vec<u8> =
                [&[0xabcd_u32], words].concat().iter().flat_map(|w| w.to_be_bytes()).collect();
            assert_eq!(outcome.into_datagram(0xabcd), expected);
        }
    }
}
