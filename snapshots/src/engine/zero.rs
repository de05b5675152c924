//! Zeroes and patterns: whole blocks of zeroes are unmapped and give their space back.

use super::write::Mode;
use super::{Volume, WriteOptions};
use crate::error::Error;
use crate::machine::op::Part;
use block_layer::{Buf, BLOCK, SECTOR};

impl Volume {
    /// Writes zeroes; whole blocks are unmapped and give their space back.
    ///
    /// # Errors
    /// As [`Volume::write`]; works in a full pool.
    pub async fn write_zeroes(&self, offset: u64, len: u64, options: &WriteOptions) -> Result<(), Error> {
        self.zero(offset, len, options, Mode { frees: true, ..Mode::default() }).await
    }

    /// As [`Volume::write_zeroes`], where no caller may reach.
    pub(super) async fn write_zeroes_beyond(&self, offset: u64, len: u64) -> Result<(), Error> {
        let mode = Mode { frees: true, behind: Some(offset), ..Mode::default() };
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
}
