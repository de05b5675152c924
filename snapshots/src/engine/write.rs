//! Writes: a command is prepared, committed, and prepared again while what it met is in its way.
//!
//! Whole blocks are written elsewhere and mapped; parts of blocks are read, changed and written on condition
//! that the block is still the one that was read (design rule 5), so no lock is held meanwhile.

use super::edit::merged_of;
use super::volume::Span;
use super::{Edits, Volume, WriteOptions};
use crate::error::{Error, Retry};
use crate::ids::{BranchId, ObjectId, PageNo};
use crate::machine::op::{Admin, IoOp, Merged, Op, Part, Reach};
use crate::map::Pointer;
use crate::pages::View;
use crate::session::Session;
use block_layer::{Buf, Bytes, Seq, BLOCK};

#[derive(Clone, Copy, Default)]
pub(super) struct Mode {
    /// Whether every block is read first.
    pub(super) all: bool,
    /// Whether it frees space, on the whole.
    pub(super) frees: bool,
    /// It clears what lies behind the end, which must be here; otherwise it lies inside.
    pub(super) behind: Option<u64>,
    /// Pages that are discarded with it.
    pub(super) cut: Option<(PageNo, PageNo)>,
}

impl Volume {
    /// Writes `data` at byte `offset`, wholly or not at all.
    ///
    /// # Errors
    /// [`Error::NoSpace`], out of range, fenced: nothing was done. [`Error::PoolFailed`]: see there.
    pub async fn write(&self, offset: u64, data: Bytes, options: &WriteOptions) -> Result<(), Error> {
        self.write_with(offset, data, options, &Edits::default()).await.map(drop)
    }

    /// As [`Volume::write`], and changes small entries of the dataset in the same commit: what became of the
    /// merged ones.
    ///
    /// # Errors
    /// As [`Volume::write`] and [`super::Engine::edit_with`].
    pub async fn write_with(
        &self,
        offset: u64,
        data: Bytes,
        options: &WriteOptions,
        edits: &Edits,
    ) -> Result<Vec<Merged>, Error> {
        let crcs = block_crcs(&data, whole_blocks(offset, data.len()));
        self.run_with(offset, data.len() as u64, options, (Mode::default(), edits), |span, old| {
            let mut blocks = Vec::with_capacity(span.blocks() as usize);
            for nth in 0..span.blocks() {
                let within = span.within(nth);
                let from = (nth as usize * BLOCK + within.start) - span.lead();
                let piece = data.slice(from..from + within.len());
                if within.len() == BLOCK {
                    let first_whole = usize::from(span.lead() != 0);
                    blocks.push((piece, crcs[nth as usize - first_whole]));
                } else {
                    let mut block = Buf::copy_of(old.block(nth));
                    block[within].copy_from_slice(&piece);
                    let crc = block_layer::crc32c(&block);
                    blocks.push((block.freeze(), crc));
                }
            }
            let expects = old.expects(self.object, span);
            let write = Part::Write { object: self.object, block: span.first(), blocks };
            Ok(expects.into_iter().chain([write]).collect())
        })
        .await
    }

    /// Writes `data` if the range holds `expected` now; atomic, and always durable (design rule 5).
    ///
    /// # Errors
    /// [`Error::Miscompare`] with the first byte that differs; otherwise as [`Volume::write`].
    pub async fn compare_and_write(
        &self,
        offset: u64,
        expected: &[u8],
        data: &[u8],
        session: Option<Session>,
    ) -> Result<(), Error> {
        if expected.len() != data.len() {
            return Err(Error::Invalid("compare and write data differ in length"));
        }
        let options = WriteOptions { session, durable: true };
        let mode = Mode { all: true, ..Mode::default() };
        self.run(offset, data.len() as u64, &options, mode, |span, old| {
            let current = &old.data[span.lead()..span.lead() + expected.len()];
            if let Some(at) = current.iter().zip(expected).position(|(a, b)| a != b) {
                return Err(Error::Miscompare { offset: at as u64 });
            }
            let mut new = Buf::copy_of(&old.data);
            new[span.lead()..span.lead() + data.len()].copy_from_slice(data);
            let new = new.freeze();
            let block = |nth: u64| {
                let bytes = new.slice(nth as usize * BLOCK..(nth as usize + 1) * BLOCK);
                let crc = block_layer::crc32c(&bytes);
                (bytes, crc)
            };
            let blocks = (0..span.blocks()).map(block).collect();
            let expect =
                Part::Expect { object: self.object, block: span.first(), pointers: old.pointers.clone() };
            Ok(vec![expect, Part::Write { object: self.object, block: span.first(), blocks }])
        })
        .await
    }

    pub(super) async fn run(
        &self,
        offset: u64,
        len: u64,
        options: &WriteOptions,
        mode: Mode,
        parts: impl Fn(Span, &Old) -> Result<Vec<Part>, Error>,
    ) -> Result<(), Error> {
        self.run_with(offset, len, options, (mode, &Edits::default()), parts).await.map(drop)
    }

    /// Prepares, commits, and prepares again while the operation bounces.
    pub(super) async fn run_with(
        &self,
        offset: u64,
        len: u64,
        options: &WriteOptions,
        (mode, edits): (Mode, &Edits),
        parts: impl Fn(Span, &Old) -> Result<Vec<Part>, Error>,
    ) -> Result<Vec<Merged>, Error> {
        if self.snapshot.is_some() {
            return Err(Error::Invalid("a snapshot cannot be written"));
        }
        edits.check()?;
        loop {
            let (branch, _, size) = self.view()?;
            let (span, reach) = match mode.behind {
                Some(end) if end != size => return Ok(Vec::new()),
                Some(end) => (self.span(offset, len, u64::MAX)?, Reach::Behind(end)),
                None => (self.span(offset, len, size)?, self.inside(offset + len)),
            };
            let old = match self.read_old(branch, span, mode.all).await {
                Err(e) if self.has_moved(&e, (branch, View::Live)) => continue,
                old => old?,
            };
            self.engine.load_range(branch, self.object, span.first(), span.blocks()).await?;
            let mut parts = parts(span, &old)?;
            match self.engine.edit_parts(self.dataset, branch, edits).await? {
                Some(edits) => parts.extend(edits),
                None => continue,
            }
            let (session, frees) = (options.session.clone(), mode.frees);
            let io = IoOp { dataset: self.dataset, branch, session, frees, reach, parts };
            let op = match mode.cut {
                Some((from, to)) => Op::Admin(Admin::Cut { io, object: self.object, from, to }),
                None => Op::Io(io),
            };
            match self.engine.store.commit(op).await.map_err(Retry::from) {
                Ok(committed) => {
                    if options.durable {
                        let _durable = self.engine.flush().await?;
                    }
                    return Ok(merged_of(committed.reply));
                }
                Err(Retry::Failed(e)) => return Err(e),
                Err(Retry::After(seq)) => {
                    match self.prepare_again(branch, span, seq).await {
                        Err(e) if self.has_moved(&e, (branch, View::Live)) => {}
                        again => again?,
                    }
                    if mode.cut.is_some() {
                        self.engine.help_discards().await?;
                    }
                }
            }
        }
    }

    /// The reach of an operation whose range ends at byte `end` of this object: only object 0 has an end.
    pub(super) fn inside(&self, end: u64) -> Reach {
        match self.object {
            ObjectId(0) => Reach::Inside(end),
            _ => Reach::default(),
        }
    }

    /// What the operation met is made ready: newer commits are waited for, discards worked off, counts
    /// loaded.
    async fn prepare_again(&self, branch: BranchId, span: Span, seq: Seq) -> Result<(), Error> {
        let engine = &self.engine;
        engine.store.wait_visible(seq).await;
        engine.ready(branch, self.object, span.first(), span.blocks()).await.map(drop)
    }

    /// The blocks that are not covered as a whole (or all of them), as they are now.
    async fn read_old(&self, branch: BranchId, span: Span, all: bool) -> Result<Old, Error> {
        if all {
            let buf = Buf::zeroed(span.blocks() as usize * BLOCK);
            let (data, pointers) = self.read_span(branch, View::Live, span, buf).await?;
            return Ok(Old { data: data.to_vec(), pointers, edges: Vec::new() });
        }
        let mut old = Old::default();
        for nth in [0, span.blocks() - 1] {
            if span.within(nth).len() == BLOCK || old.edges.iter().any(|edge| edge.nth == nth) {
                continue;
            }
            let block = Span { offset: (span.first() + nth) * BLOCK as u64, len: BLOCK as u64 };
            let (data, pointers) = self.read_span(branch, View::Live, block, Buf::zeroed(BLOCK)).await?;
            old.edges.push(Edge { nth, data, pointer: pointers[0] });
        }
        Ok(old)
    }
}

/// What an operation found before it changes it.
#[derive(Default)]
pub(super) struct Old {
    /// All blocks, if all were asked for.
    data: Vec<u8>,
    pointers: Vec<Option<Pointer>>,
    /// Otherwise those that are covered in part.
    edges: Vec<Edge>,
}

struct Edge {
    nth: u64,
    data: Buf,
    pointer: Option<Pointer>,
}

impl Old {
    fn edge(&self, nth: u64) -> &Edge {
        self.edges.iter().find(|e| e.nth == nth).expect("every block covered in part was read")
    }

    pub(super) fn block(&self, nth: u64) -> &[u8] {
        &self.edge(nth).data
    }

    pub(super) fn is_mapped(&self, nth: u64) -> bool {
        self.edge(nth).pointer.is_some()
    }

    pub(super) fn expects(&self, object: ObjectId, span: Span) -> Vec<Part> {
        let expect = |edge: &Edge| Part::Expect {
            object,
            block: span.first() + edge.nth,
            pointers: vec![edge.pointer],
        };
        self.edges.iter().map(expect).collect()
    }
}

/// The whole blocks of `len` bytes at byte `offset`, as a range of those bytes.
fn whole_blocks(offset: u64, len: usize) -> std::ops::Range<usize> {
    let lead = ((offset.next_multiple_of(BLOCK as u64) - offset) as usize).min(len);
    lead..lead + (len - lead) / BLOCK * BLOCK
}

/// The checksums of the whole blocks in `range` of `data`.
fn block_crcs(data: &[u8], range: std::ops::Range<usize>) -> Vec<u32> {
    data[range].chunks_exact(BLOCK).map(block_layer::crc32c).collect()
}
