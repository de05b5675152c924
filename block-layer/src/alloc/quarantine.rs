//! The quarantine: freed blocks that may not be allocated yet (design rule 2).
//!
//! A block enters with the sequence number of the record that freed it and leaves when the owner says
//! that this record is stated durable and that no reader pinned earlier still runs. The queue gives the order
//! of release, the set says what is held; they name the same blocks.

use super::blocks::Blocks;
use crate::units::Seq;
use std::collections::VecDeque;

/// Freed blocks in waiting, by address and in order.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    held: Blocks,
    queue: VecDeque<(Seq, u64, u32)>,
}

impl Quarantine {
    /// Blocks held.
    pub(super) fn blocks(&self) -> u64 {
        self.held.count()
    }

    /// Whether some of `start..start + blocks` are held.
    pub(super) fn holds(&self, start: u64, blocks: u32) -> bool {
        self.held.covered(start, blocks) > 0
    }

    /// What is held of `start..start + blocks`.
    pub(super) fn pieces(&self, start: u64, blocks: u32) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.held.pieces(start, blocks)
    }

    /// Takes in a range freed by record `seq`.
    ///
    /// # Panics
    /// When `seq` is older than one taken in before: frees come in commit order.
    pub(super) fn push(&mut self, seq: Seq, start: u64, blocks: u32) {
        assert!(self.queue.back().is_none_or(|&(last, _, _)| last <= seq), "free out of commit order");
        self.held.insert(start, blocks);
        self.queue.push_back((seq, start, blocks));
    }

    /// Forgets a range because it is allocated again; returns how many of its blocks were held. Only a replay
    /// that holds blocks finds any: it is slow then.
    pub(super) fn remove(&mut self, start: u64, blocks: u32) -> u32 {
        let removed = self.held.remove(start, blocks);
        if removed > 0 {
            let end = start + u64::from(blocks);
            let rest = self.queue.iter().flat_map(|&(seq, at, len)| {
                let stop = at + u64::from(len);
                [(at, stop.min(start)), (at.max(end), stop)].map(|(from, to)| (seq, from, to))
            });
            let rest = rest.filter(|(_, from, to)| from < to);
            self.queue = rest.map(|(seq, from, to)| (seq, from, (to - from) as u32)).collect();
        }
        removed
    }

    /// Lets go of what was freed at or before `upto`, calling `freed` with every range.
    pub(super) fn release(&mut self, upto: Seq, mut freed: impl FnMut(u64, u32)) {
        while let Some(&(_, start, blocks)) = self.queue.front().filter(|(seq, ..)| *seq <= upto) {
            self.queue.pop_front();
            self.held.remove(start, blocks);
            freed(start, blocks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn released(quarantine: &mut Quarantine, upto: u64) -> Vec<(u64, u32)> {
        let mut out = Vec::new();
        quarantine.release(Seq(upto), |at, len| out.push((at, len)));
        out
    }

    #[test]
    fn release_stops_at_the_sequence_given() {
        let mut quarantine = Quarantine::default();
        quarantine.push(Seq(1), 0, 4);
        quarantine.push(Seq(2), 10, 1);
        assert_eq!(released(&mut quarantine, 1), [(0, 4)]);
        assert_eq!(quarantine.blocks(), 1);
        assert_eq!(released(&mut quarantine, 9), [(10, 1)]);
    }

    #[test]
    fn a_block_freed_again_waits_for_its_later_record() {
        let mut quarantine = Quarantine::default();
        quarantine.push(Seq(5), 0, 4);
        assert_eq!(quarantine.remove(1, 2), 2);
        quarantine.push(Seq(12), 1, 1);
        assert_eq!(released(&mut quarantine, 5), [(0, 1), (3, 1)]);
        assert_eq!(released(&mut quarantine, 12), [(1, 1)]);
        assert_eq!(quarantine.blocks(), 0);
    }
}
