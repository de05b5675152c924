//! Framing: a stream of bytes, cut anywhere, becomes headers and data segments, and the other way round.
//!
//! Invariants: no length is believed before it was checked against a bound, and no memory is taken for data:
//! whoever uses a [`Framer`] says, header in hand, where its data goes. Digests are checked here.
//!
//! | part | bytes | there when |
//! |---|---|---|
//! | basic header | 48 | always |
//! | additional headers | 4 × TotalAHSLength | that is not 0 |
//! | header digest | 4 | negotiated |
//! | data | DataSegmentLength | that is not 0 |
//! | padding | 0 to 3, to a multiple of 4 | there is data |
//! | data digest | 4 | negotiated, and there is data |

use super::digest::{digest, padding, Digests, DIGEST_LEN};
use super::{Bhs, BHS_LEN};
use crate::memory::Buffer;

/// The longest additional headers that a header can announce.
const AHS_MAX: usize = 255 * 4;
/// Bytes that end a data segment: padding and digest.
const TAIL_MAX: usize = 3 + DIGEST_LEN;

mod field {
    use std::ops::Range;
    pub(super) const TOTAL_AHS_LEN: usize = 4;
    pub(super) const DATA_LEN: Range<usize> = 5..8;
}

/// Why a stream cannot be followed any further: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// A header is damaged: where the next one starts is not known.
    #[error("the header digest does not match")]
    HeaderDigest,
    /// A data segment is longer than what was declared.
    #[error("a data segment of {len} bytes, the limit is {limit}")]
    TooLong {
        /// Bytes announced.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// A header that is complete.
#[derive(Clone, Debug)]
pub struct Head {
    /// The basic header.
    pub bhs: Bhs,
    /// The additional ones.
    pub ahs: Vec<u8>,
    /// Bytes of data that follow.
    pub data_len: usize,
}

/// Where a data segment goes.
pub enum Sink {
    /// Nowhere.
    Discard,
    /// To the end of this.
    Text(Vec<u8>),
    /// Into this buffer, from this byte on: whoever says so has checked that it fits.
    Stage(Buffer, usize),
}

/// What a framer has found.
pub enum Step {
    /// Nothing yet: it wants more bytes.
    More,
    /// A header. [`Framer::start_body`] comes next.
    Head(Head),
    /// All of the data segment, and whether its digest is right.
    Body(Sink, bool),
}

/// Cuts a stream into PDUs.
pub struct Framer {
    digests: Digests,
    limit: usize,
    /// What is here of a header.
    have: Vec<u8>,
    state: State,
}

enum State {
    Head,
    /// A header was handed out, and where its data goes is not known yet.
    Undecided(usize),
    Body(Body),
}

struct Body {
    sink: Sink,
    /// Bytes of data that are still to come.
    left: usize,
    /// Padding and digest: bytes that are here, bytes that there are.
    tail: [u8; TAIL_MAX],
    tail_have: usize,
    tail_len: usize,
    crc: u32,
}

impl Framer {
    /// A framer for a new connection: no digests, data segments of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Framer {
        Framer { digests: Digests::default(), limit, have: Vec::with_capacity(BHS_LEN), state: State::Head }
    }

    /// What was negotiated, in force from the next header on.
    pub fn negotiated(&mut self, digests: Digests, limit: usize) {
        (self.digests, self.limit) = (digests, limit);
    }

    /// Takes bytes off `input` until something is complete, or all are taken.
    ///
    /// # Errors
    /// The stream cannot be followed.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Step, FrameFault> {
        match &mut self.state {
            State::Head => self.feed_head(input),
            State::Undecided(_) => Ok(Step::More),
            State::Body(body) => {
                if !body.feed(input, self.digests.data) {
                    return Ok(Step::More);
                }
                let intact = body.is_intact(self.digests.data);
                let sink = std::mem::replace(&mut body.sink, Sink::Discard);
                self.state = State::Head;
                Ok(Step::Body(sink, intact))
            }
        }
    }

    fn feed_head(&mut self, input: &mut &[u8]) -> Result<Step, FrameFault> {
        let have = &mut self.have;
        if !fill(have, BHS_LEN, input) {
            return Ok(Step::More);
        }
        let ahs_len = 4 * usize::from(have[field::TOTAL_AHS_LEN]);
        let mut len = [0; 4];
        len[1..].copy_from_slice(&have[field::DATA_LEN]);
        let data_len = u32::from_be_bytes(len) as usize;
        debug_assert!(ahs_len <= AHS_MAX);
        if !self.digests.header && data_len > self.limit {
            return Err(FrameFault::TooLong { len: data_len, limit: self.limit });
        }
        let digest_len = if self.digests.header { DIGEST_LEN } else { 0 };
        if !fill(have, BHS_LEN + ahs_len + digest_len, input) {
            return Ok(Step::More);
        }
        let (head, found) = have.split_at(BHS_LEN + ahs_len);
        if self.digests.header && digest(head) != found {
            return Err(FrameFault::HeaderDigest);
        }
        if data_len > self.limit {
            return Err(FrameFault::TooLong { len: data_len, limit: self.limit });
        }
        let bhs = std::array::from_fn(|i| head[i]);
        let ahs = head[BHS_LEN..].to_vec();
        have.clear();
        self.state = State::Undecided(data_len);
        Ok(Step::Head(Head { bhs, ahs, data_len }))
    }

    /// Says where the data of the header goes that was handed out last.
    pub fn start_body(&mut self, sink: Sink) {
        let State::Undecided(left) = self.state else { return };
        let tail_len = match left {
            0 => 0,
            len => padding(len) + if self.digests.data { DIGEST_LEN } else { 0 },
        };
        let tail = [0; TAIL_MAX];
        self.state = State::Body(Body { sink, left, tail, tail_have: 0, tail_len, crc: 0 });
    }

    /// Where the rest of a data segment can be read into directly, if it goes into a buffer.
    pub fn body_space(&mut self) -> Option<&mut [u8]> {
        match &mut self.state {
            State::Body(Body { sink: Sink::Stage(buffer, at), left, .. }) if *left > 0 => {
                Some(&mut buffer.bytes_mut()[*at..*at + *left])
            }
            _ => None,
        }
    }

    /// Says that `n` bytes were read into [`Framer::body_space`].
    pub fn body_filled(&mut self, n: usize) {
        let State::Body(body) = &mut self.state else { return };
        let Sink::Stage(buffer, at) = &mut body.sink else { return };
        let n = n.min(body.left);
        if self.digests.data {
            body.crc = crc32c::crc32c_append(body.crc, &buffer.bytes_mut()[*at..*at + n]);
        }
        *at += n;
        body.left -= n;
    }
}

/// Takes bytes off `input` until `have` has `len` of them.
fn fill(have: &mut Vec<u8>, len: usize, input: &mut &[u8]) -> bool {
    let take = len.saturating_sub(have.len()).min(input.len());
    let (taken, rest) = input.split_at(take);
    have.extend_from_slice(taken);
    *input = rest;
    have.len() >= len
}

impl Body {
    /// Takes bytes off `input`; whether all are here.
    fn feed(&mut self, input: &mut &[u8], digest: bool) -> bool {
        let (data, rest) = input.split_at(self.left.min(input.len()));
        match &mut self.sink {
            Sink::Discard => {}
            Sink::Text(text) => text.extend_from_slice(data),
            Sink::Stage(buffer, at) => {
                buffer.bytes_mut()[*at..*at + data.len()].copy_from_slice(data);
                *at += data.len();
            }
        }
        if digest {
            self.crc = crc32c::crc32c_append(self.crc, data);
        }
        self.left -= data.len();
        let take = if self.left == 0 { (self.tail_len - self.tail_have).min(rest.len()) } else { 0 };
        let (tail, rest) = rest.split_at(take);
        self.tail[self.tail_have..self.tail_have + take].copy_from_slice(tail);
        self.tail_have += take;
        *input = rest;
        self.left == 0 && self.tail_have == self.tail_len
    }

    fn is_intact(&self, digest: bool) -> bool {
        if !digest || self.tail_len == 0 {
            return true;
        }
        let (pad, found) = self.tail[..self.tail_len].split_at(self.tail_len - DIGEST_LEN);
        crc32c::crc32c_append(self.crc, pad).to_le_bytes() == found
    }
}

/// Writes the lengths into a header and appends it, with its digest, to `out`. Data, padding and data digest
/// follow.
pub fn put_head(out: &mut Vec<u8>, mut bhs: Bhs, ahs: &[u8], data_len: usize, digests: Digests) {
    let start = out.len();
    bhs[field::TOTAL_AHS_LEN] = ahs.len().div_ceil(4) as u8;
    bhs[field::DATA_LEN].copy_from_slice(&(data_len as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&bhs);
    out.extend_from_slice(ahs);
    out.resize(out.len() + padding(ahs.len()), 0);
    if digests.header {
        let digest = digest(&out[start..]);
        out.extend_from_slice(&digest);
    }
}

/// Appends what follows `data` in a PDU: padding and digest.
pub fn put_tail(out: &mut Vec<u8>, data: &[u8], digests: Digests) {
    if data.is_empty() {
        return;
    }
    out.resize(out.len() + padding(data.len()), 0);
    if digests.data {
        out.extend_from_slice(&super::digest::data_digest(data));
    }
}

/// A whole PDU in one piece.
#[must_use]
pub fn whole(bhs: Bhs, ahs: &[u8], data: &[u8], digests: Digests) -> Vec<u8> {
    let mut out = Vec::with_capacity(BHS_LEN + ahs.len() + data.len() + 12);
    put_head(&mut out, bhs, ahs, data.len(), digests);
    out.extend_from_slice(data);
    put_tail(&mut out, data, digests);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Budget;

    const DIGESTS: [Digests; 4] = [
        Digests { header: false, data: false },
        Digests { header: true, data: false },
        Digests { header: false, data: true },
        Digests { header: true, data: true },
    ];

    /// Everything that comes out of a stream given in pieces.
    fn read(framer: &mut Framer, pieces: &[&[u8]]) -> Result<Vec<(Head, Vec<u8>, bool)>, FrameFault> {
        let (mut pdus, mut head) = (Vec::new(), None);
        for piece in pieces {
            let mut input = *piece;
            loop {
                match framer.feed(&mut input)? {
                    Step::More => break,
                    Step::Head(found) => {
                        head = Some(found);
                        framer.start_body(Sink::Text(Vec::new()));
                    }
                    Step::Body(Sink::Text(data), intact) => {
                        pdus.push((head.take().expect("a head came first"), data, intact));
                    }
                    Step::Body(..) => unreachable!(),
                }
            }
            assert!(input.is_empty());
        }
        Ok(pdus)
    }

    fn stream(digests: Digests) -> Vec<u8> {
        let mut bytes = whole([1; 48], &[0, 9, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8], b"hello", digests);
        bytes.extend(whole([2; 48], &[], b"", digests));
        bytes.extend(whole([3; 48], &[], b"12345678", digests));
        bytes
    }

    #[test]
    fn a_stream_may_be_cut_anywhere() {
        for digests in DIGESTS {
            let bytes = stream(digests);
            for cut in 0..bytes.len() {
                let mut framer = Framer::new(8);
                framer.negotiated(digests, 8);
                let pdus = read(&mut framer, &[&bytes[..cut], &bytes[cut..]]).expect("valid");
                let data: Vec<&[u8]> = pdus.iter().map(|(_, data, _)| &data[..]).collect();
                assert_eq!(data, [&b"hello"[..], b"", b"12345678"]);
                assert!(pdus.iter().all(|(_, _, intact)| *intact));
                assert_eq!((pdus[0].0.ahs.len(), pdus[0].0.bhs[9], pdus[2].0.bhs[9]), (12, 1, 3));
            }
            let mut framer = Framer::new(8);
            framer.negotiated(digests, 8);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(read(&mut framer, &single).expect("valid").len(), 3);
        }
    }

    #[test]
    fn damage_is_found() {
        let digests = Digests { header: true, data: true };
        let bytes = stream(digests);
        let read = |bytes: &[u8]| {
            let mut framer = Framer::new(8);
            framer.negotiated(digests, 8);
            read(&mut framer, &[bytes])
        };
        let damaged = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            read(&bytes)
        };
        for at in (0..4).chain(5..64) {
            // The length of the additional headers moves the digest: it may seem to be incomplete.
            assert!(!matches!(damaged(at), Ok(pdus) if !pdus.is_empty()), "byte {at}");
        }
        for at in 64..64 + 12 {
            assert!(!damaged(at).expect("the stream goes on")[0].2, "byte {at}");
        }
    }

    #[test]
    fn too_long_a_segment_is_refused_by_its_header() {
        let bytes = whole([0; 48], &[], &[0; 9], Digests::default());
        let fault = read(&mut Framer::new(8), &[&bytes[..48]]).map(|_| ());
        assert_eq!(fault, Err(FrameFault::TooLong { len: 9, limit: 8 }));
    }

    #[test]
    fn data_may_be_read_into_its_place() {
        let digests = Digests { header: false, data: true };
        let data: Vec<u8> = (0..=254).collect();
        let bytes = whole([0; 48], &[], &data, digests);
        let mut framer = Framer::new(4096);
        framer.negotiated(digests, 4096);
        let mut input = &bytes[..60];
        assert!(matches!(framer.feed(&mut input), Ok(Step::Head(_))));
        let budget = Budget::new(4096);
        let buffer = budget.buffer(300, budget.try_take(300).expect("room"));
        framer.start_body(Sink::Stage(buffer, 10));
        assert!(matches!(framer.feed(&mut input), Ok(Step::More)));
        let space = framer.body_space().expect("the rest");
        assert_eq!(space.len(), 255 - 12);
        space[..100].copy_from_slice(&bytes[60..160]);
        framer.body_filled(100);
        let Ok(Step::Body(Sink::Stage(buffer, end), true)) = framer.feed(&mut &bytes[160..]) else {
            panic!("the body is complete and intact")
        };
        assert_eq!((&buffer.as_ref()[10..end], end), (&data[..], 265));
    }
}
