//! What is to be sent: headers and small data in one piece of memory, large data where storage left it.
//!
//! Invariants: PDUs leave in the order in which they were put; a permit is held until the last byte it stands
//! for is sent. All that is pending can be gathered into one vectored write.

use super::limits::OUTPUT_UNPERMITTED;
use crate::memory::Permit;
use crate::wire::digest::Digests;
use crate::wire::frame::{put_head, put_tail};
use crate::wire::Bhs;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;

/// Data up to this size is copied beside its header: cheaper than a slice of its own.
pub(super) const INLINE_MAX: usize = 512;
/// Memory for headers that is kept while there is nothing to send.
const HEADS_KEPT: usize = 16 << 10;

/// A queue of PDUs.
#[derive(Default)]
pub struct Output {
    digests: Digests,
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
    /// What was negotiated, in force from the next PDU on.
    pub(super) fn negotiated(&mut self, digests: Digests) {
        self.digests = digests;
    }

    /// Bytes that wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Bytes of them that no permit stands for: headers, and data that was copied.
    #[must_use]
    pub fn unpermitted(&self) -> usize {
        self.heads.len() - self.sent
    }

    /// Appends a PDU and copies its data.
    pub(super) fn put(&mut self, bhs: Bhs, data: &[u8]) {
        let start = self.heads.len();
        put_head(&mut self.heads, bhs, &[], data.len(), self.digests);
        self.heads.extend_from_slice(data);
        put_tail(&mut self.heads, data, self.digests);
        self.grow_head(start);
    }

    /// Appends a PDU whose data stays where it is.
    pub(super) fn put_shared(&mut self, bhs: Bhs, data: Bytes, permit: Option<Permit>) {
        if data.len() <= INLINE_MAX && self.unpermitted() <= OUTPUT_UNPERMITTED {
            return self.put(bhs, &data);
        }
        let start = self.heads.len();
        put_head(&mut self.heads, bhs, &[], data.len(), self.digests);
        self.grow_head(start);
        let start = self.heads.len();
        put_tail(&mut self.heads, &data, self.digests);
        self.pending += data.len();
        self.parts.push_back(Part::Data(data, permit));
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

    fn pending(output: &Output) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = output.gather(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn what_was_put_comes_out_whatever_the_socket_takes() {
        for digests in [Digests::default(), Digests { header: true, data: true }] {
            for step in [1, 7, 48, 333, 5000] {
                let mut output = Output::default();
                output.negotiated(digests);
                let mut expected = Vec::new();
                for (n, len) in [0, 3, 513, 512, 4097, 0, 2000].into_iter().enumerate() {
                    let (bhs, data) = ([n as u8; 48], vec![n as u8; len]);
                    expected.extend(crate::wire::frame::whole(bhs, &[], &data, digests));
                    output.put_shared(bhs, data.into(), None);
                }
                let mut got = Vec::new();
                while output.pending() > 0 {
                    let bytes = pending(&output);
                    assert_eq!(bytes.len(), output.pending());
                    let n = step.min(bytes.len());
                    got.extend_from_slice(&bytes[..n]);
                    output.sent(n);
                }
                assert!(got == expected, "step {step}");
                assert!(output.heads.is_empty() && output.parts.is_empty());
            }
        }
    }

    #[test]
    fn memory_is_held_until_it_is_sent() {
        let budget = Budget::new(8192);
        let mut output = Output::default();
        output.put_shared([0; 48], vec![0; 8192].into(), budget.try_take(8192));
        output.sent(48 + 8191);
        assert_eq!(budget.available(), 0);
        output.sent(1);
        assert_eq!(budget.available(), 8192);
    }
}
