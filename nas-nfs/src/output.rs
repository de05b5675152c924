//! What is to be sent: heads and small data in one piece of memory, large data where storage left it.
//!
//! Invariants: replies leave in the order in which they were put; a permit is held until the last byte it
//! stands for is sent. All that is pending can be gathered into one vectored write.

use crate::memory::Permit;
use crate::rpc::{Outcome, Results};
use crate::xdr::padding;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;

/// A payload up to this size is copied beside its head: cheaper than a slice of its own.
const INLINE_MAX: usize = 512;
/// Memory for heads that is kept while there is nothing to send.
const HEADS_KEPT: usize = 32 << 10;
/// The bit of a record mark that says that no fragment follows.
const LAST: u32 = 1 << 31;

/// A queue of replies.
#[derive(Default)]
pub struct Output {
    /// Bytes of all parts that are heads, one after the other; the first `sent` of them are gone.
    heads: Vec<u8>,
    sent: usize,
    parts: VecDeque<Part>,
    /// Bytes of the first part that are gone.
    part_sent: usize,
    pending: usize,
}

enum Part {
    /// So many of `heads`.
    Head(usize),
    /// Kept with its bytes for as long as they wait.
    Data(Bytes, #[allow(dead_code)] Option<Permit>),
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Part::Head(len) => *len,
            Part::Data(data, _) => data.len(),
        }
    }
}

impl Output {
    /// Bytes that wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Bytes of them that no permit stands for: heads, and data that was copied.
    #[must_use]
    pub fn unpermitted(&self) -> usize {
        self.heads.len() - self.sent
    }

    /// Appends the reply to the call `xid`, as a record of one fragment.
    pub fn put(&mut self, xid: u32, outcome: Outcome) {
        let start = self.heads.len();
        self.heads.extend_from_slice(&[0; 4]);
        outcome.put_head(xid, &mut self.heads);
        let results = match outcome {
            Outcome::Done(results) => results,
            _ => Results::default(),
        };
        self.heads.extend_from_slice(&results.output.bytes);
        let data = results.output.payload.unwrap_or_default();
        let len = self.heads.len() - start - 4 + data.len() + padding(data.len());
        self.heads[start..start + 4].copy_from_slice(&(LAST | len as u32).to_be_bytes());
        if data.len() <= INLINE_MAX {
            self.heads.extend_from_slice(&data);
            self.heads.resize(self.heads.len() + padding(data.len()), 0);
            return self.grow_head(start);
        }
        self.grow_head(start);
        let (start, tail) = (self.heads.len(), padding(data.len()));
        self.pending += data.len();
        self.parts.push_back(Part::Data(data, results.permit));
        self.heads.resize(start + tail, 0);
        self.grow_head(start);
    }

    /// Makes what `heads` has from `start` on part of the queue.
    fn grow_head(&mut self, start: usize) {
        let grown = self.heads.len() - start;
        self.pending += grown;
        match self.parts.back_mut() {
            Some(Part::Head(len)) => *len += grown,
            _ if grown > 0 => self.parts.push_back(Part::Head(grown)),
            _ => {}
        }
    }

    /// What waits, in order, into as many slices as there are; how many were filled.
    pub fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (mut skip, mut head) = (self.part_sent, self.sent);
        let mut filled = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = match part {
                Part::Head(len) => {
                    let bytes = &self.heads[head..head + len - skip];
                    head += len - skip;
                    IoSlice::new(bytes)
                }
                Part::Data(data, _) => IoSlice::new(&data[skip..]),
            };
            skip = 0;
            filled += 1;
        }
        filled
    }

    /// Says that the first `n` bytes are gone.
    pub fn sent(&mut self, mut n: usize) {
        self.pending -= n;
        while let Some(part) = self.parts.front() {
            let step = n.min(part.len() - self.part_sent);
            if matches!(part, Part::Head(_)) {
                self.sent += step;
            }
            n -= step;
            self.part_sent += step;
            if self.part_sent < part.len() {
                break;
            }
            self.parts.pop_front();
            self.part_sent = 0;
        }
        if self.parts.is_empty() {
            self.heads.clear();
            self.heads.shrink_to(HEADS_KEPT);
            self.sent = 0;
        } else if self.sent > HEADS_KEPT {
            self.heads.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Budget;
    use crate::rpc::record::framed;
    use crate::xdr::{Writer, Xdr};

    fn with_data(len: usize, permit: Option<Permit>) -> Outcome {
        let mut output = Writer::default();
        (len as u32).put(&mut output);
        output.payload = Some(vec![len as u8; len].into());
        Outcome::Done(Results { output, permit })
    }

    #[test]
    fn what_was_put_comes_out_whatever_the_socket_takes() {
        for step in [1, 7, 48, 333, 5000] {
            let (mut output, mut expected) = (Output::default(), Vec::new());
            for len in [0, 3, 513, 512, 4097, 0, 2000] {
                expected.extend(framed(&with_data(len, None).into_datagram(len as u32), usize::MAX));
                output.put(len as u32, with_data(len, None));
            }
            expected.extend(framed(&Outcome::SystemError.into_datagram(1), usize::MAX));
            output.put(1, Outcome::SystemError);
            let mut got = Vec::new();
            while output.pending() > 0 {
                let mut slices = [IoSlice::new(&[]); 16];
                let filled = output.gather(&mut slices);
                let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                assert_eq!(bytes.len(), output.pending());
                let n = step.min(bytes.len());
                got.extend_from_slice(&bytes[..n]);
                output.sent(n);
            }
            assert!(got == expected, "step {step}");
            assert!(output.heads.is_empty() && output.parts.is_empty());
        }
    }

    #[test]
    fn memory_is_held_until_it_is_sent() {
        let budget = Budget::new(8192);
        let mut output = Output::default();
        output.put(1, with_data(8192, budget.try_take(8192)));
        let all = output.pending();
        output.sent(all - 1);
        assert_eq!(budget.available(), 0);
        output.sent(1);
        assert_eq!(budget.available(), 8192);
    }
}
