//! The quarantine: freed blocks that may not be allocated yet (design rule 2).
//!
//! A block enters with the sequence number of the record that freed it and leaves when the owner says
//! that this record is stated durable and that no reader pinned earlier still runs. The queue gives the order
//! of release, the address index says what a range holds. They may differ: replay allocates a block that
//! the first run had released, which takes it out of the index; a queue entry releases only the blocks that
//! the index still holds *under its own sequence number*, so it cannot release a later freeing too early.

use super::spans::Spans;
use crate::units::Seq;
use std::collections::VecDeque;

/// Freed blocks in waiting, by address and in order.
#[derive(Debug)]
pub(super) struct Quarantine {
    spans: Spans<Seq>,
    queue: VecDeque<(Seq, u64, u32)>,
}

impl Quarantine {
    pub(super) fn new() -> Quarantine {
        Quarantine { spans: Spans::new(), queue: VecDeque::new() }
    }

    /// Blocks held.
    pub(super) fn blocks(&self) -> u64 {
        self.spans.blocks()
    }

    /// What is held of `start..start + blocks`.
    pub(super) fn pieces(&self, start: u64, blocks: u32) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.spans.pieces(start, blocks).map(|(at, len, _)| (at, len))
    }

    /// Takes in a range freed by record `seq`.
    ///
    /// # Panics
    /// When `seq` is older than one taken in before: frees come in commit order.
    pub(super) fn push(&mut self, seq: Seq, start: u64, blocks: u32) {
        assert!(self.queue.back().is_none_or(|&(last, _, _)| last <= seq), "free out of commit order");
        self.spans.insert(start, blocks, seq);
        self.queue.push_back((seq, start, blocks));
    }

    /// Forgets a range because it is allocated again; returns how many of its blocks were held.
    pub(super) fn remove(&mut self, start: u64, blocks: u32) -> u32 {
        self.spans.remove(start, blocks)
    }

    /// Lets go of what was freed at or before `upto`, calling `freed` with every range.
    pub(super) fn release(&mut self, upto: Seq, mut freed: impl FnMut(u64, u32)) {
        while let Some(&(seq, start, blocks)) = self.queue.front().filter(|(seq, ..)| *seq <= upto) {
            self.queue.pop_front();
            let mine: Vec<(u64, u32)> = (self.spans.pieces(start, blocks))
                .filter(|&(_, _, mark)| mark == seq)
                .map(|(at, len, _)| (at, len))
                .collect();
            for (at, len) in mine {
                self.spans.remove(at, len);
                freed(at, len);
            }
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
        let mut quarantine = Quarantine::new();
        quarantine.push(Seq(1), 0, 4);
        quarantine.push(Seq(2), 10, 1);
        assert_eq!(released(&mut quarantine, 1), [(0, 4)]);
        assert_eq!(quarantine.blocks(), 1);
        assert_eq!(released(&mut quarantine, 9), [(10, 1)]);
    }

    #[test]
    fn a_block_freed_again_waits_for_its_later_record() {
        let mut quarantine = Quarantine::new();
        quarantine.push(Seq(5), 0, 4);
        assert_eq!(quarantine.remove(1, 2), 2);
        quarantine.push(Seq(12), 1, 1);
        assert_eq!(released(&mut quarantine, 5), [(3, 1), (0, 1)]);
        assert_eq!(released(&mut quarantine, 12), [(1, 1)]);
        assert_eq!(quarantine.blocks(), 0);
    }
}
