//! Zeroes and patterns: whole blocks of zeroes are unmapped and give their space back.

use super::write::Mode;
use super::{Edits, Volume, WriteOptions, IO_MAX};
use crate::error::Error;
use crate::ids::{ObjectId, PageNo, PAGE_BLOCKS};
use crate::machine::op::{Merged, Part};
use block_layer::{Buf, BLOCK, SECTOR};

impl Volume {
    /// Writes zeroes; whole blocks are unmapped and give their space back.
    ///
    /// # Errors
    /// As [`Volume::write`]; works in a full pool.
    pub async fn write_zeroes(&self, offset: u64, len: u64, options: &WriteOptions) -> Result<(), Error> {
        let mode = Mode { frees: true, ..Mode::default() };
        self.zero(offset, len, options, (mode, &Edits::default())).await.map(drop)
    }

    /// Makes zeroes of what an object other than 0 has in `from..to`, and changes small entries in the same
    /// commit: what became of the merged ones. `to` is rounded up to the end of a block. A range longer than
    /// 16 MiB is rounded up to the end of a page, and discarded from its second page on: it reads as zeroes
    /// at once, and its space comes back in the background.
    ///
    /// # Errors
    /// As [`Volume::write_zeroes`] and [`super::Engine::edit_with`].
    pub async fn cut_with(
        &self,
        from: u64,
        to: u64,
        options: &WriteOptions,
        edits: &Edits,
    ) -> Result<Vec<Merged>, Error> {
        if self.object == ObjectId(0) || from >= to {
            return Err(Error::Invalid("a cut is of one byte or more, of an object that has no end"));
        }
        let page = (PAGE_BLOCKS * BLOCK) as u64;
        let to = to.checked_next_multiple_of(BLOCK as u64).ok_or(Error::OutOfRange { size: u64::MAX })?;
        let mode = Mode { frees: true, ..Mode::default() };
        if to - from <= IO_MAX {
            return self.zero(from, to - from, options, (mode, edits)).await;
        }
        let first = (from + 1).next_multiple_of(page);
        let cut = Some((PageNo(first / page), PageNo(to.div_ceil(page))));
        let merged = self.zero(from, first - from, options, (Mode { cut, ..mode }, edits)).await;
        self.engine.background.wake();
        merged
    }

    /// As [`Volume::write_zeroes`], where no caller may reach.
    pub(super) async fn write_zeroes_beyond(&self, offset: u64, len: u64) -> Result<(), Error> {
        let mode = Mode { frees: true, behind: Some(offset), ..Mode::default() };
        self.zero(offset, len, &WriteOptions::default(), (mode, &Edits::default())).await.map(drop)
    }

    async fn zero(
        &self,
        offset: u64,
        len: u64,
        options: &WriteOptions,
        how: (Mode, &Edits),
    ) -> Result<Vec<Merged>, Error> {
        self.run_with(offset, len, options, how, |span, old| {
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
                let crc = block_layer::crc32c(&block);
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
            let one = (block.clone(), block_layer::crc32c(&block));
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
}
