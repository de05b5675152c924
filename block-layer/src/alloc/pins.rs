//! Pins: which sequence numbers readers still rely on.
//!
//! A reader pins the sequence it sees *before* it looks a pointer up, and lets go when it has read the block
//! and put it into the cache. As long as it holds on, no block freed by a later record is allocated again, so
//! the address that it holds keeps its content.

use crate::units::Seq;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The pins of a pool; shared by all readers.
#[derive(Debug, Default)]
pub struct Pins {
    /// Ordered by sequence; no count is 0. Readers pin the newest, so the ends are what is used.
    counts: Mutex<VecDeque<(Seq, u32)>>,
}

/// A pin; it ends when it is dropped.
#[derive(Debug)]
#[must_use = "a pin that is dropped protects nothing"]
pub struct Pin<'a> {
    pins: &'a Pins,
    seq: Seq,
}

impl Pins {
    /// No pins.
    #[must_use]
    pub fn new() -> Pins {
        Pins::default()
    }

    /// Pins `seq`.
    pub fn pin(&self, seq: Seq) -> Pin<'_> {
        let mut counts = self.lock();
        match counts.back_mut() {
            Some((last, count)) if *last == seq => *count += 1,
            Some((last, _)) if *last > seq => match counts.binary_search_by_key(&seq, |&(seq, _)| seq) {
                Ok(at) => counts[at].1 += 1,
                Err(at) => counts.insert(at, (seq, 1)),
            },
            _ => counts.push_back((seq, 1)),
        }
        Pin { pins: self, seq }
    }

    /// Lets go of a pin; the same as dropping it.
    pub fn unpin(&self, pin: Pin<'_>) {
        drop(pin);
    }

    /// The oldest sequence pinned.
    #[must_use]
    pub fn oldest(&self) -> Option<Seq> {
        self.lock().front().map(|&(seq, _)| seq)
    }

    /// How far [`super::Allocator::release`] may go when all up to `stated` is stated durable: a reader at P
    /// sees nothing that records up to P freed, but may see what later ones freed.
    #[must_use]
    pub fn limit(&self, stated: Seq) -> Seq {
        self.oldest().map_or(stated, |oldest| oldest.min(stated))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Seq, u32)>> {
        // Each change is complete before anything can panic, so a poisoned lock guards a sound queue.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pin<'_> {
    /// The sequence pinned.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut counts = self.pins.lock();
        let at = match counts.back() {
            Some(&(last, _)) if last == self.seq => counts.len() - 1,
            _ => counts.binary_search_by_key(&self.seq, |&(seq, _)| seq).expect("a pin has an entry"),
        };
        counts[at].1 -= 1;
        if counts[at].1 == 0 {
            counts.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::tests::Dice;

    #[test]
    fn the_oldest_pin_limits_the_release() {
        let mut dice = Dice(2);
        let pins = Pins::new();
        let mut held: Vec<Pin<'_>> = Vec::new();
        for step in 0..5000u64 {
            if dice.below(2) == 0 {
                held.push(pins.pin(Seq(step.saturating_sub(u64::from(dice.below(4))))));
            } else if !held.is_empty() {
                let at = dice.below(held.len() as u32) as usize;
                pins.unpin(held.swap_remove(at));
            }
            let oldest = held.iter().map(Pin::seq).min();
            assert_eq!(pins.oldest(), oldest);
            assert_eq!(pins.limit(Seq(step / 2)), oldest.unwrap_or(Seq(u64::MAX)).min(Seq(step / 2)));
        }
    }
}
