//! Records (RFC 5531 11): a stream, cut anywhere, whose fragments are cut anywhere, becomes records.
//!
//! Invariants: no more than [`HEAD_MAX`] bytes are taken for a record without anybody's leave. A payload,
//! which is where whoever knows the program says that it is, goes into memory that was granted for it, and
//! starts there at an aligned address. Nothing of a record is read behind its payload but padding.

use crate::memory::Buffer;
use bytes::Bytes;

/// Bytes of a record, its payload aside: more than any call without one has.
pub const HEAD_MAX: usize = 16 << 10;
/// Bytes of a payload: the largest WRITE.
pub const PAYLOAD_MAX: usize = 1 << 20;
/// Bytes behind a payload.
const TAIL_MAX: usize = 3;
/// A payload of more than this is received without a copy.
const LARGE: usize = 64 << 10;
/// One that lacks this much or more is so, too, from there on.
const DIRECT: usize = 16 << 10;
/// The start of a fragment: its length, and whether it is the record's last.
const MARK: usize = 4;
/// The bit that says so.
const LAST: u32 = 1 << 31;
/// Records without a large payload after which none is expected any more.
const EXPECTED_FOR: u32 = 16;

/// Where a payload starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// That shows when so many bytes of the record are there.
    Need(usize),
    /// The record has none.
    Nothing,
    /// Right behind the bytes that are there, and so many bytes long.
    Here(usize),
}

/// Why a stream cannot be followed any further: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// A record is longer than any call.
    #[error("a record is too long")]
    TooLong,
    /// A payload is longer than what was declared.
    #[error("a payload of {0} bytes")]
    PayloadTooLong(usize),
}

/// A record: what stands before a payload, and the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The bytes; those of a record with a payload end with its length.
    pub head: Bytes,
    /// The payload, aligned.
    pub payload: Option<Bytes>,
    /// Whether it had one that was thrown away.
    pub skipped: bool,
}

/// What a framer has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet: it wants more bytes.
    More,
    /// A payload of so many bytes begins. [`Framer::start_payload`] or [`Framer::skip_payload`] comes next.
    Payload(usize),
    /// All of a record.
    Record(Record),
}

/// Cuts a stream into records.
pub struct Framer {
    mark: [u8; MARK],
    mark_have: usize,
    /// Whether the fragment is the record's last, and its bytes that are still to come.
    last: bool,
    left: usize,
    head: Vec<u8>,
    /// Bytes of the head after which a payload is looked for.
    look_at: usize,
    state: State,
    /// Bytes before the payload of the last record that had a large one, and how many had none since.
    expected: Option<(usize, u32)>,
}

enum State {
    Head,
    /// A payload was found, and where it goes is not known yet.
    Undecided(usize),
    /// Bytes of the payload that are there, and that there are.
    Payload(Buffer, usize, usize),
    /// So many bytes came behind it.
    Tail(Bytes, usize),
    /// It is thrown away: at most so many bytes may come.
    Skip(usize),
}

impl Default for Framer {
    fn default() -> Framer {
        Framer {
            mark: [0; MARK],
            mark_have: 0,
            last: false,
            left: 0,
            head: Vec::new(),
            look_at: 0,
            state: State::Head,
            expected: None,
        }
    }
}

impl Framer {
    /// Takes bytes off `input` until something is there, or all are taken. `find` looks for a payload.
    ///
    /// # Errors
    /// The stream cannot be followed.
    pub fn feed(&mut self, input: &mut &[u8], find: impl Fn(&[u8]) -> Find) -> Result<Step, RecordFault> {
        loop {
            if self.left == 0 {
                if std::mem::take(&mut self.last) {
                    return Ok(Step::Record(self.finish()));
                }
                if !self.feed_mark(input) {
                    return Ok(Step::More);
                }
                continue;
            }
            match &mut self.state {
                State::Undecided(_) => return Ok(Step::More),
                State::Head => {
                    if let Some(len) = self.feed_head(input, &find)? {
                        self.state = State::Undecided(len);
                        return Ok(Step::Payload(len));
                    }
                }
                State::Payload(buffer, have, len) => {
                    let piece = take(input, self.left.min(*len - *have));
                    buffer.copy_in(*have, piece);
                    self.payload_came(piece.len());
                }
                State::Skip(may_come) => {
                    let piece = take(input, self.left);
                    self.left -= piece.len();
                    *may_come = may_come.checked_sub(piece.len()).ok_or(RecordFault::TooLong)?;
                }
                State::Tail(_, came) => {
                    let piece = take(input, self.left);
                    self.left -= piece.len();
                    *came += piece.len();
                    if *came > TAIL_MAX {
                        return Err(RecordFault::TooLong);
                    }
                }
            }
            // The head may end here with all that is needed to find a payload.
            let look = matches!(self.state, State::Head) && self.look_at == self.head.len();
            if input.is_empty() && self.left > 0 && !look {
                return Ok(Step::More);
            }
        }
    }

    /// Takes a fragment's start; whether all of it is there.
    fn feed_mark(&mut self, input: &mut &[u8]) -> bool {
        let piece = take(input, MARK - self.mark_have);
        self.mark[self.mark_have..self.mark_have + piece.len()].copy_from_slice(piece);
        self.mark_have += piece.len();
        if self.mark_have < MARK {
            return false;
        }
        let mark = u32::from_be_bytes(self.mark);
        (self.mark_have, self.last, self.left) = (0, mark & LAST != 0, (mark & !LAST) as usize);
        true
    }

    /// Takes bytes of the head; the length of the payload, once it is found.
    fn feed_head(
        &mut self,
        input: &mut &[u8],
        find: impl Fn(&[u8]) -> Find,
    ) -> Result<Option<usize>, RecordFault> {
        if self.look_at == self.head.len() {
            match find(&self.head) {
                Find::Need(len) => self.look_at = len.max(self.head.len() + 1),
                Find::Nothing | Find::Here(0) => self.look_at = usize::MAX,
                Find::Here(len) if len > PAYLOAD_MAX => return Err(RecordFault::PayloadTooLong(len)),
                Find::Here(len) => return Ok(Some(len)),
            }
        }
        let piece = take(input, self.left.min(self.look_at - self.head.len()));
        if self.head.len() + self.left.min(self.look_at - self.head.len()) > HEAD_MAX {
            return Err(RecordFault::TooLong);
        }
        self.left -= piece.len();
        self.head.extend_from_slice(piece);
        Ok(None)
    }

    /// Says where the payload goes that was found: into a buffer of its length.
    pub fn start_payload(&mut self, buffer: Buffer) {
        if let State::Undecided(len) = self.state {
            self.state = State::Payload(buffer, 0, len);
        }
    }

    /// Says that the payload that was found goes nowhere.
    pub fn skip_payload(&mut self) {
        if let State::Undecided(len) = self.state {
            self.state = State::Skip(len + TAIL_MAX);
        }
    }

    fn payload_came(&mut self, n: usize) {
        let State::Payload(_, have, len) = &mut self.state else { return };
        *have += n;
        self.left -= n;
        if have == len {
            if let State::Payload(buffer, _, len) = std::mem::replace(&mut self.state, State::Head) {
                self.state = State::Tail(buffer.freeze(len), 0);
            }
        }
    }

    /// The record is complete.
    fn finish(&mut self) -> Record {
        let head = Bytes::from(std::mem::take(&mut self.head));
        self.look_at = 0;
        let state = std::mem::replace(&mut self.state, State::Head);
        let skipped = matches!(state, State::Skip(_));
        let payload = match state {
            State::Tail(payload, _) => Some(payload),
            // One that ends inside its payload cannot be read, and is answered so.
            State::Head | State::Undecided(_) | State::Payload(..) | State::Skip(_) => None,
        };
        self.expected = match (&payload, self.expected) {
            (Some(payload), _) if payload.len() > LARGE => Some((head.len(), 0)),
            (None, Some((head, since))) if since < EXPECTED_FOR => Some((head, since + 1)),
            _ => None,
        };
        Record { head, payload, skipped }
    }

    /// Where the rest of a payload can be received into, so that it need not be copied; none if a copy costs
    /// less.
    pub fn payload_space(&mut self) -> Option<&mut [u8]> {
        match &mut self.state {
            State::Payload(buffer, have, len) => {
                let end = (*have + self.left).min(*len);
                let direct = *len > LARGE || end - *have >= DIRECT;
                (direct && end > *have).then(|| &mut buffer.bytes_mut()[*have..end])
            }
            _ => None,
        }
    }

    /// Says that `n` bytes were received into [`Framer::payload_space`].
    pub fn payload_filled(&mut self, n: usize) {
        self.payload_came(n);
    }

    /// How many bytes are to be received at once, if they are not received into [`Framer::payload_space`]: no
    /// more than what comes before a payload that is expected to be large.
    #[must_use]
    pub fn read_hint(&self) -> usize {
        let Some((head, _)) = self.expected else { return usize::MAX };
        match self.state {
            State::Head if self.left > 0 => head.saturating_sub(self.head.len()).max(1),
            State::Head | State::Tail(..) => MARK - self.mark_have + head + self.left,
            _ => usize::MAX,
        }
    }

    /// Whether part of a record is there.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.mark_have > 0 || self.left > 0 || !self.head.is_empty()
    }
}

/// Takes at most `len` bytes off `input`.
fn take<'a>(input: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(len.min(input.len()));
    *input = rest;
    taken
}

/// A record in fragments of at most `fragment` bytes: what tests and clients send.
#[must_use]
pub fn framed(record: &[u8], fragment: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(record.len() + MARK);
    let mut fragments = record.chunks(fragment.max(1)).peekable();
    if fragments.peek().is_none() {
        out.extend_from_slice(&LAST.to_be_bytes());
    }
    while let Some(piece) = fragments.next() {
        let last = if fragments.peek().is_none() { LAST } else { 0 };
        out.extend_from_slice(&(last | piece.len() as u32).to_be_bytes());
        out.extend_from_slice(piece);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Budget, ALIGN};

    /// A head of 8 bytes, of which the last four are the payload's length, if the first is 7.
    fn find(head: &[u8]) -> Find {
        match head {
            [7, _, _, _, len @ ..] => match len.first_chunk() {
                Some(len) => Find::Here(u32::from_be_bytes(*len) as usize),
                None => Find::Need(8),
            },
            [] | [7, ..] => Find::Need(head.len() + 1),
            _ => Find::Nothing,
        }
    }

    fn read(framer: &mut Framer, pieces: &[&[u8]], budget: &Budget) -> Result<Vec<Record>, RecordFault> {
        let mut records = Vec::new();
        for piece in pieces {
            let mut input = *piece;
            loop {
                match framer.feed(&mut input, find)? {
                    Step::More => break,
                    Step::Payload(len) => {
                        let permit = budget.try_take(len).expect("room");
                        framer.start_payload(budget.buffer(len, permit));
                    }
                    Step::Record(record) => records.push(record),
                }
            }
            assert!(input.is_empty());
        }
        Ok(records)
    }

    fn with_payload(payload: &[u8]) -> Vec<u8> {
        let mut record = vec![7, 0, 0, 0];
        record.extend((payload.len() as u32).to_be_bytes());
        record.extend_from_slice(payload);
        record.resize(record.len().next_multiple_of(4), 0);
        record
    }

    #[test]
    fn streams_and_fragments_may_be_cut_anywhere() {
        let budget = Budget::new(1 << 20);
        let records = [vec![1; 5], with_payload(b"0123456789"), vec![], vec![2; 40], with_payload(b"")];
        for fragment in [1, 2, 3, 4, 7, 8, 9, 13, 1000] {
            let stream: Vec<u8> = records.iter().flat_map(|record| framed(record, fragment)).collect();
            for cut in 0..stream.len() {
                let mut framer = Framer::default();
                let read = read(&mut framer, &[&stream[..cut], &stream[cut..]], &budget).expect("valid");
                assert!(!framer.is_inside());
                assert_eq!(read.len(), records.len());
                assert_eq!((&read[0].head[..], &read[3].head[..]), (&[1; 5][..], &[2; 40][..]));
                let payload = read[1].payload.as_ref().expect("there is one");
                assert_eq!((&read[1].head[..], &payload[..]), (&records[1][..8], &b"0123456789"[..]));
                assert_eq!(payload.as_ptr().align_offset(ALIGN), 0);
                assert_eq!((read[4].head.len(), &read[4].payload), (8, &None));
            }
            let single: Vec<&[u8]> = stream.chunks(1).collect();
            assert_eq!(read(&mut Framer::default(), &single, &budget).expect("valid").len(), records.len());
        }
    }

    #[test]
    fn no_record_takes_more_memory_than_it_may() {
        let budget = Budget::new(1 << 21);
        let long = (LAST | (HEAD_MAX as u32 + 1)).to_be_bytes();
        let stream = [&long[..], &[1]].concat();
        assert_eq!(read(&mut Framer::default(), &[&stream], &budget), Err(RecordFault::TooLong));
        let pieces: Vec<u8> = framed(&vec![1; HEAD_MAX + 1], 100);
        assert_eq!(read(&mut Framer::default(), &[&pieces], &budget), Err(RecordFault::TooLong));
        let fits = framed(&vec![1; HEAD_MAX], 100);
        assert_eq!(read(&mut Framer::default(), &[&fits], &budget).map(|read| read.len()), Ok(1));
        let large = framed(&with_payload(&vec![9; PAYLOAD_MAX + 1]), usize::MAX);
        let fault = Err(RecordFault::PayloadTooLong(PAYLOAD_MAX + 1));
        assert_eq!(read(&mut Framer::default(), &[&large], &budget), fault);
        let mut tail = with_payload(&[9; 8]);
        tail.extend([0; 4]);
        let stream = framed(&tail, usize::MAX);
        assert_eq!(read(&mut Framer::default(), &[&stream], &budget), Err(RecordFault::TooLong));
    }

    #[test]
    fn a_record_that_ends_inside_its_payload_has_none() {
        let budget = Budget::new(1 << 20);
        let record = with_payload(&[9; 100]);
        let stream = [framed(&record[..50], 20), framed(&[1; 4], 4)].concat();
        let read = read(&mut Framer::default(), &[&stream], &budget).expect("the stream goes on");
        assert_eq!((read[0].payload.is_none(), read[0].head.len(), read[1].head.len()), (true, 8, 4));
        assert_eq!(budget.available(), 1 << 20);
    }

    #[test]
    fn a_payload_may_be_thrown_away() {
        let record = with_payload(&[9; 101]);
        for fragment in [7, 20, usize::MAX] {
            let stream = [framed(&record, fragment), framed(&[1; 4], 4)].concat();
            let (mut framer, mut input) = (Framer::default(), &stream[..]);
            assert_eq!(framer.feed(&mut input, find), Ok(Step::Payload(101)));
            framer.skip_payload();
            let Ok(Step::Record(skipped)) = framer.feed(&mut input, find) else { panic!("it is complete") };
            assert_eq!((skipped.head.len(), skipped.payload, skipped.skipped), (8, None, true));
            let Ok(Step::Record(next)) = framer.feed(&mut input, find) else { panic!("it is complete") };
            assert_eq!((next.head.len(), next.skipped), (4, false));
        }
    }

    #[test]
    fn large_payloads_are_received_into_their_place() {
        let budget = Budget::new(1 << 22);
        let payload: Vec<u8> = (0..200_000_u32).map(|i| (i / 7) as u8).collect();
        let stream = framed(&with_payload(&payload), usize::MAX);
        let mut framer = Framer::default();
        for n in 0..3 {
            let (mut input, copied) = (&stream[..], budget.copied());
            let first = input.len().min(framer.read_hint()).min(64 << 10);
            let mut chunk = take(&mut input, first);
            let step = framer.feed(&mut chunk, find);
            assert_eq!(step, Ok(Step::Payload(payload.len())));
            framer.start_payload(budget.buffer(payload.len(), budget.try_take(payload.len()).expect("room")));
            assert_eq!(framer.feed(&mut chunk, find), Ok(Step::More));
            let space = framer.payload_space().expect("the rest");
            space.copy_from_slice(input);
            let n_filled = input.len();
            framer.payload_filled(n_filled);
            let Ok(Step::Record(record)) = framer.feed(&mut &[][..], find) else { panic!("it is complete") };
            assert!(record.payload.is_some_and(|data| data[..] == payload[..]));
            assert!(n == 0 || budget.copied() == copied, "only the first one was not expected");
        }
    }
}
