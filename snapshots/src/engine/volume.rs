//! Block data of a dataset: reads and writes of any 512-byte-aligned range up to 16 MiB a call.
//!
//! Whole blocks are written elsewhere and mapped; parts of blocks are read, changed and written on condition
//! that the block is still the one that was read (design rule 5), so no lock is held meanwhile.

use super::Engine;
use crate::catalogue::{DatasetId, SnapshotId};
use crate::error::{Error, Retry};
use crate::generation::PageKey;
use crate::ids::{BranchId, ObjectId};
use crate::machine::op::{IoOp, Part, Reach};
use crate::machine::{no_snapshot, not_found};
use crate::map::Pointer;
use crate::pages::View;
use crate::session::Session;
use block_layer::store::Wanted;
use block_layer::{Buf, Bytes, Seq, BLOCK, SECTOR};
use std::sync::Arc;

/// Largest range of one call, in bytes.
pub const IO_MAX: u64 = 16 << 20;

/// A dataset's block data, or a snapshot's.
#[derive(Clone)]
pub struct Volume {
    engine: Arc<Engine>,
    dataset: DatasetId,
    object: ObjectId,
    snapshot: Option<SnapshotId>,
}

/// How a command is done.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Whose it is, if it may have to be fenced.
    pub session: Option<Session>,
    /// Whether it is durable when it is answered.
    pub durable: bool,
}

/// A run of a volume that is all mapped, or all not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Byte offset.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Whether it takes space.
    pub mapped: bool,
}

/// A range of bytes, and the blocks that it touches.
#[derive(Clone, Copy)]
struct Span {
    offset: u64,
    len: u64,
}

impl Span {
    fn end(self) -> u64 {
        self.offset + self.len
    }
    /// The first block it touches.
    fn first(self) -> u64 {
        self.offset / BLOCK as u64
    }
    /// Blocks that it touches.
    fn blocks(self) -> u64 {
        self.end().div_ceil(BLOCK as u64) - self.first()
    }
    /// Bytes between the start of the first block and the start of the range.
    fn lead(self) -> usize {
        (self.offset % BLOCK as u64) as usize
    }
    fn is_aligned(self) -> bool {
        self.lead() == 0 && self.len.is_multiple_of(BLOCK as u64)
    }
    /// The part of block `nth` of the span that it covers, as a range in the block.
    fn within(self, nth: u64) -> std::ops::Range<usize> {
        let start = (self.first() + nth) * BLOCK as u64;
        let from = self.offset.max(start) - start;
        let to = self.end().min(start + BLOCK as u64) - start;
        from as usize..to as usize
    }
}

impl Engine {
    /// The block data of a dataset.
    #[must_use]
    pub fn volume(self: &Arc<Self>, dataset: DatasetId) -> Volume {
        self.object(dataset, ObjectId(0))
    }

    /// The block data of one object of a dataset: a file of a share, say.
    #[must_use]
    pub fn object(self: &Arc<Self>, dataset: DatasetId, object: ObjectId) -> Volume {
        Volume { engine: self.clone(), dataset, object, snapshot: None }
    }

    /// The pointers of consecutive blocks, loading pages as needed. The pages may be gone again when it
    /// returns.
    pub(crate) async fn pointers(
        &self,
        branch: BranchId,
        object: ObjectId,
        view: View,
        block: u64,
        count: u64,
    ) -> Result<Vec<Option<Pointer>>, Error> {
        let mut pointers = Vec::with_capacity(count as usize);
        for piece in crate::machine::pieces(block, count) {
            let key = PageKey { branch, object, page: piece.page };
            loop {
                {
                    let mut state = self.space.lock();
                    if !state.is_whole(branch, view) {
                        return Err(gone(branch, view));
                    }
                    if let Some(cached) = state.pages.get(key, view) {
                        let first = usize::from(piece.slot);
                        pointers.extend_from_slice(&cached.page.slots()[first..first + piece.count]);
                        break;
                    }
                }
                self.load(key, view).await?;
            }
        }
        Ok(pointers)
    }
}

impl Volume {
    /// The dataset.
    #[must_use]
    pub fn dataset(&self) -> DatasetId {
        self.dataset
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The object.
    #[must_use]
    pub fn object_id(&self) -> ObjectId {
        self.object
    }

    /// The snapshot that it looks at, if it is not the live side.
    #[must_use]
    pub fn snapshot_id(&self) -> Option<SnapshotId> {
        self.snapshot
    }

    pub(crate) fn is_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// The same object as a snapshot of the dataset sees it, to be read.
    #[must_use]
    pub fn at(&self, snapshot: SnapshotId) -> Volume {
        Volume { snapshot: Some(snapshot), ..self.clone() }
    }

    /// The branch and view that it looks at now, and its size in bytes.
    pub(crate) fn view(&self) -> Result<(BranchId, View, u64), Error> {
        let state = self.engine.space.lock();
        match self.snapshot {
            Some(id) => {
                let snapshot = state.catalogue.snapshots.get(&id).filter(|s| s.name.is_some());
                let snapshot = snapshot.ok_or_else(|| no_snapshot(id))?;
                Ok((id.branch, View::At(id.epoch), snapshot.size))
            }
            None => {
                let dataset = state.catalogue.datasets.get(&self.dataset);
                let dataset = dataset.ok_or_else(|| not_found(self.dataset))?;
                Ok((dataset.branch, View::Live, dataset.size))
            }
        }
    }

    fn span(&self, offset: u64, len: u64, size: u64) -> Result<Span, Error> {
        if !offset.is_multiple_of(SECTOR as u64)
            || !len.is_multiple_of(SECTOR as u64)
            || len == 0
            || len > IO_MAX
        {
            return Err(Error::Invalid("a range is aligned to 512 bytes and 512 bytes to 16 MiB long"));
        }
        let end = offset.checked_add(len).ok_or(Error::OutOfRange { size })?;
        if self.object == ObjectId(0) && end > size {
            return Err(Error::OutOfRange { size });
        }
        Ok(Span { offset, len })
    }

    /// Whether an error only says that the live side is another branch now, after a rollback.
    pub(crate) fn has_moved(&self, error: &Error, from: (BranchId, View)) -> bool {
        let now = self.view().map(|(branch, view, _)| (branch, view));
        matches!(error, Error::NotFound(_)) && now.is_ok_and(|now| now != from)
    }

    /// Fills `buf` from byte `offset`. What was never written, or was unmapped, reads as zeroes.
    ///
    /// # Errors
    /// Out of range or unaligned; [`Error::Read`] when a block is damaged or a device fails.
    pub async fn read(&self, offset: u64, buf: Buf) -> Result<Buf, Error> {
        let len = buf.len();
        let mut buf = Some(buf);
        loop {
            let (branch, view, size) = self.view()?;
            let span = self.span(offset, len as u64, size)?;
            let whole = match buf.take().filter(|_| span.is_aligned()) {
                Some(buf) => buf,
                None => Buf::zeroed(span.blocks() as usize * BLOCK),
            };
            match self.read_span(branch, view, span, whole).await {
                Ok((data, _)) if span.is_aligned() => return Ok(data),
                Ok((data, _)) => return Ok(Buf::copy_of(&data[span.lead()..span.lead() + len])),
                Err(e) if self.has_moved(&e, (branch, view)) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads the whole blocks that `span` touches, and tells their pointers.
    async fn read_span(
        &self,
        branch: BranchId,
        view: View,
        span: Span,
        mut out: Buf,
    ) -> Result<(Buf, Vec<Option<Pointer>>), Error> {
        let store = &self.engine.store;
        let _pin = store.pin();
        let pointers = self.engine.pointers(branch, self.object, view, span.first(), span.blocks()).await?;
        let mut missing: Vec<(usize, Wanted)> = Vec::new();
        for (at, pointer) in pointers.iter().enumerate() {
            let block = &mut out[at * BLOCK..(at + 1) * BLOCK];
            match pointer {
                None => block.fill(0),
                Some(p) => {
                    let wanted = Wanted { pba: p.pba(), crc: p.crc() };
                    if !store.read_cached(wanted, block) {
                        missing.push((at, wanted));
                    }
                }
            }
        }
        // Large reads pass the cache by: they would only push others out of it.
        let keep = span.len <= KEEP_MAX;
        if missing.len() == pointers.len() {
            let wanted: Vec<Wanted> = missing.into_iter().map(|(_, w)| w).collect();
            return Ok((store.read_blocks(&wanted, out, keep).await?, pointers));
        }
        if !missing.is_empty() {
            let wanted: Vec<Wanted> = missing.iter().map(|(_, w)| *w).collect();
            let read = store.read_blocks(&wanted, Buf::zeroed(wanted.len() * BLOCK), keep).await?;
            for ((at, _), block) in missing.iter().zip(read.chunks_exact(BLOCK)) {
                out[at * BLOCK..(at + 1) * BLOCK].copy_from_slice(block);
            }
        }
        Ok((out, pointers))
    }

    /// Writes `data` at byte `offset`, wholly or not at all.
    ///
    /// # Errors
    /// [`Error::NoSpace`], out of range, fenced: nothing was done. [`Error::PoolFailed`]: see there.
    pub async fn write(&self, offset: u64, data: Bytes, options: &WriteOptions) -> Result<(), Error> {
        let crcs = block_crcs(&data, whole_blocks(offset, data.len()));
        self.run(offset, data.len() as u64, options, Mode::default(), |span, old| {
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
                    let crc = crc32c::crc32c(&block);
                    blocks.push((block.freeze(), crc));
                }
            }
            let expects = old.expects(self.object, span);
            let write = Part::Write { object: self.object, block: span.first(), blocks };
            Ok(expects.into_iter().chain([write]).collect())
        })
        .await
    }

    /// Writes zeroes; whole blocks are unmapped and give their space back.
    ///
    /// # Errors
    /// As [`Volume::write`]; works in a full pool.
    pub async fn write_zeroes(&self, offset: u64, len: u64, options: &WriteOptions) -> Result<(), Error> {
        self.zero(offset, len, options, Mode { frees: true, ..Mode::default() }).await
    }

    /// As [`Volume::write_zeroes`], where no caller may reach.
    pub(super) async fn write_zeroes_beyond(&self, offset: u64, len: u64) -> Result<(), Error> {
        let mode = Mode { frees: true, reach: Reach::Behind(offset), ..Mode::default() };
        self.zero(offset, len, &WriteOptions::default(), mode).await
    }

    async fn zero(&self, offset: u64, len: u64, options: &WriteOptions, mode: Mode) -> Result<(), Error> {
        self.run(offset, len, options, mode, |span, old| {
            let mut parts = old.expects(self.object, span);
            let mut edges = Vec::new();
            let (mut first, mut last) = (0, span.blocks());
            for nth in [0, span.blocks() - 1] {
                let within = span.within(nth);
                if within.len() == BLOCK || edges.iter().any(|(n, _)| *n == nth) {
                    continue;
                }
                (first, last) = if nth == 0 { (1, last) } else { (first, nth) };
                if old.is_mapped(nth) {
                    let mut block = Buf::copy_of(old.block(nth));
                    block[within].fill(0);
                    edges.push((nth, block.freeze()));
                }
            }
            for (nth, block) in edges {
                let crc = crc32c::crc32c(&block);
                let at = span.first() + nth;
                parts.push(Part::Write { object: self.object, block: at, blocks: vec![(block, crc)] });
            }
            if first < last {
                let (block, count) = (span.first() + first, last - first);
                parts.push(Part::Unmap { object: self.object, block, count });
            }
            Ok(parts)
        })
        .await
    }

    /// Writes `pattern` again and again; its length divides 4096 and `len`.
    ///
    /// # Errors
    /// As [`Volume::write`].
    pub async fn write_same(
        &self,
        offset: u64,
        len: u64,
        pattern: &[u8],
        options: &WriteOptions,
    ) -> Result<(), Error> {
        let fits = !pattern.is_empty()
            && BLOCK.is_multiple_of(pattern.len())
            && len.is_multiple_of(pattern.len() as u64);
        if !fits || !pattern.len().is_multiple_of(SECTOR) {
            return Err(Error::Invalid("the pattern has 512 to 4096 bytes and fits the range"));
        }
        if pattern.iter().all(|byte| *byte == 0) {
            return self.write_zeroes(offset, len, options).await;
        }
        let (_, _, size) = self.view()?;
        let span = self.span(offset, len, size)?;
        let mut block = Buf::zeroed(BLOCK);
        let start = span.lead() % pattern.len();
        for (at, byte) in block.iter_mut().enumerate() {
            *byte = pattern[(at + pattern.len() - start) % pattern.len()];
        }
        let block = block.freeze();
        if span.is_aligned() {
            let one = (block.clone(), crc32c::crc32c(&block));
            return self
                .run(offset, len, options, Mode::default(), |span, _| {
                    let blocks = vec![one.clone(); span.blocks() as usize];
                    Ok(vec![Part::Write { object: self.object, block: span.first(), blocks }])
                })
                .await;
        }
        let mut data = Buf::zeroed(len as usize);
        for (at, byte) in data.iter_mut().enumerate() {
            *byte = pattern[at % pattern.len()];
        }
        self.write(offset, data.freeze(), options).await
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
                let crc = crc32c::crc32c(&bytes);
                (bytes, crc)
            };
            let blocks = (0..span.blocks()).map(block).collect();
            let expect =
                Part::Expect { object: self.object, block: span.first(), pointers: old.pointers.clone() };
            Ok(vec![expect, Part::Write { object: self.object, block: span.first(), blocks }])
        })
        .await
    }

    /// Which parts of a range take space, from `offset` on; at most `limit` extents.
    ///
    /// # Errors
    /// Out of range.
    pub async fn extents(&self, offset: u64, len: u64, limit: usize) -> Result<Vec<Extent>, Error> {
        let (branch, view, size) = self.view()?;
        let end = offset.saturating_add(len).min(size);
        if offset >= end {
            return Err(Error::OutOfRange { size });
        }
        let mut extents: Vec<Extent> = Vec::new();
        let last = end.div_ceil(BLOCK as u64);
        let mut block = offset / BLOCK as u64;
        while block < last {
            let count = (last - block).min(crate::ids::PAGE_BLOCKS as u64);
            let pointers = match self.engine.pointers(branch, self.object, view, block, count).await {
                Err(e) if self.has_moved(&e, (branch, view)) => {
                    return Box::pin(self.extents(offset, len, limit)).await
                }
                pointers => pointers?,
            };
            for pointer in pointers {
                let (from, to) = ((block * BLOCK as u64).max(offset), ((block + 1) * BLOCK as u64).min(end));
                block += 1;
                let mapped = pointer.is_some();
                let full = extents.len() == limit;
                match extents.last_mut() {
                    Some(extent) if extent.mapped == mapped => extent.len += to - from,
                    _ if full => return Ok(extents),
                    _ => extents.push(Extent { offset: from, len: to - from, mapped }),
                }
            }
        }
        Ok(extents)
    }

    /// Prepares, commits, and prepares again while the operation bounces.
    async fn run(
        &self,
        offset: u64,
        len: u64,
        options: &WriteOptions,
        mode: Mode,
        parts: impl Fn(Span, &Old) -> Result<Vec<Part>, Error>,
    ) -> Result<(), Error> {
        if self.snapshot.is_some() {
            return Err(Error::Invalid("a snapshot cannot be written"));
        }
        loop {
            let (branch, _, size) = self.view()?;
            let span = match mode.reach {
                Reach::Behind(end) if end != size => return Ok(()),
                Reach::Inside => self.span(offset, len, size)?,
                _ => self.span(offset, len, u64::MAX)?,
            };
            let old = match self.read_old(branch, span, mode.all).await {
                Err(e) if self.has_moved(&e, (branch, View::Live)) => continue,
                old => old?,
            };
            self.engine.load_range(branch, self.object, span.first(), span.blocks()).await?;
            let op = IoOp {
                dataset: self.dataset,
                branch,
                session: options.session.clone(),
                frees: mode.frees,
                reach: mode.reach,
                parts: parts(span, &old)?,
            };
            match self.engine.io(op).await {
                Ok(_) if options.durable => return self.engine.flush().await.map(drop),
                Ok(_) => return Ok(()),
                Err(Retry::Failed(e)) => return Err(e),
                Err(Retry::After(seq)) => match self.prepare_again(branch, span, seq).await {
                    Err(e) if self.has_moved(&e, (branch, View::Live)) => {}
                    again => again?,
                },
            }
        }
    }

    /// What the operation met is made ready: newer commits are waited for, discards worked off, counts
    /// loaded.
    async fn prepare_again(&self, branch: BranchId, span: Span, seq: Seq) -> Result<(), Error> {
        let engine = &self.engine;
        engine.store.wait_visible(seq).await;
        let (first, count) = (span.first(), span.blocks());
        engine.work_off_range(branch, self.object, first, count).await?;
        engine.load_range(branch, self.object, first, count).await?;
        let pointers = engine.pointers(branch, self.object, View::Live, first, count).await?;
        engine.load_refs(pointers.into_iter().flatten()).await
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

/// Reads up to this many bytes go to the block cache.
const KEEP_MAX: u64 = 256 << 10;

#[derive(Clone, Copy, Default)]
struct Mode {
    /// Whether every block is read first.
    all: bool,
    /// Whether it frees space, on the whole.
    frees: bool,
    /// Where it may lie.
    reach: Reach,
}

/// What an operation found before it changes it.
#[derive(Default)]
struct Old {
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

    fn block(&self, nth: u64) -> &[u8] {
        &self.edge(nth).data
    }

    fn is_mapped(&self, nth: u64) -> bool {
        self.edge(nth).pointer.is_some()
    }

    fn expects(&self, object: ObjectId, span: Span) -> Vec<Part> {
        let expect = |edge: &Edge| Part::Expect {
            object,
            block: span.first() + edge.nth,
            pointers: vec![edge.pointer],
        };
        self.edges.iter().map(expect).collect()
    }
}

/// The error for a view that is being reclaimed.
fn gone(branch: BranchId, view: View) -> Error {
    match view {
        View::Live => Error::NotFound(format!("the live side of branch {}", branch.0)),
        View::At(epoch) => no_snapshot(SnapshotId { branch, epoch }),
    }
}

/// The whole blocks of `len` bytes at byte `offset`, as a range of those bytes.
fn whole_blocks(offset: u64, len: usize) -> std::ops::Range<usize> {
    let lead = ((offset.next_multiple_of(BLOCK as u64) - offset) as usize).min(len);
    lead..lead + (len - lead) / BLOCK * BLOCK
}

/// The checksums of the whole blocks in `range` of `data`.
fn block_crcs(data: &[u8], range: std::ops::Range<usize>) -> Vec<u32> {
    data[range].chunks_exact(BLOCK).map(crc32c::crc32c).collect()
}

impl Engine {
    /// Sees to it that the live pages of a range are in the cache.
    pub(crate) async fn load_range(
        &self,
        branch: BranchId,
        object: ObjectId,
        block: u64,
        count: u64,
    ) -> Result<(), Error> {
        for piece in crate::machine::pieces(block, count) {
            self.load(PageKey { branch, object, page: piece.page }, View::Live).await?;
        }
        Ok(())
    }

    /// Sees to it that the reference counts of these blocks are in memory.
    pub(crate) async fn load_refs(&self, pointers: impl Iterator<Item = Pointer>) -> Result<(), Error> {
        for pointer in pointers {
            if self.store.needs_refs(pointer.pba()) {
                self.store.load_refs(pointer.pba()).await?;
            }
        }
        Ok(())
    }
}
