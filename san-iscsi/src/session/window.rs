//! The command window (RFC 7143 4.2.2.1): requests are delivered in the order of CmdSN, and no more than the
//! target said it would take.
//!
//! Invariants: `expected` and `max` never go back; what arrived early is held until the gap before it is
//! filled, so at most [`COMMANDS`] are held; commands in progress and the room that is left add up to
//! [`COMMANDS`].

use super::limits::COMMANDS;
use crate::wire::Sn;
use std::collections::VecDeque;

/// The window of a session; `T` is what waits for its turn.
pub(super) struct CommandWindow<T> {
    expected: Sn,
    max: Sn,
    /// What is here of `expected` and the numbers after it.
    held: VecDeque<Slot<T>>,
    in_progress: u32,
}

enum Slot<T> {
    Missing,
    /// Counted as received, and nothing is to be done.
    Void,
    Here(T),
}

/// Whether a number may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is in the window and free.
    Free,
    /// Outside of the window, or there already: the RFC wants it ignored.
    Ignored,
}

impl<T> CommandWindow<T> {
    pub(super) fn new(expected: Sn) -> CommandWindow<T> {
        let max = expected.plus(COMMANDS - 1);
        CommandWindow { expected, max, held: VecDeque::new(), in_progress: 0 }
    }

    pub(super) fn expected(&self) -> Sn {
        self.expected
    }

    pub(super) fn max(&self) -> Sn {
        self.max
    }

    pub(super) fn place(&self, sn: Sn) -> Place {
        if sn.is_before(self.expected) || self.max.is_before(sn) {
            return Place::Ignored;
        }
        match self.held.get(sn.since(self.expected) as usize) {
            None | Some(Slot::Missing) => Place::Free,
            Some(_) => Place::Ignored,
        }
    }

    /// Holds `item` until its turn, if its place is free.
    pub(super) fn hold(&mut self, sn: Sn, item: T) {
        self.fill(sn, Slot::Here(item));
    }

    /// Counts `sn` as received, if its place is free.
    pub(super) fn void(&mut self, sn: Sn) {
        self.fill(sn, Slot::Void);
    }

    fn fill(&mut self, sn: Sn, slot: Slot<T>) {
        if self.place(sn) == Place::Ignored {
            return;
        }
        let at = sn.since(self.expected) as usize;
        while self.held.len() <= at {
            self.held.push_back(Slot::Missing);
        }
        self.held[at] = slot;
    }

    /// What has its turn now.
    pub(super) fn next(&mut self) -> Option<T> {
        loop {
            match self.held.front()? {
                Slot::Missing => return None,
                Slot::Void | Slot::Here(_) => {}
            }
            self.expected = self.expected.plus(1);
            match self.held.pop_front() {
                Some(Slot::Here(item)) => {
                    self.open();
                    return Some(item);
                }
                _ => self.open(),
            }
        }
    }

    /// A command of the window is in progress now.
    pub(super) fn begin(&mut self) {
        self.in_progress += 1;
    }

    /// A command of the window is answered or gone.
    pub(super) fn end(&mut self) {
        self.in_progress = self.in_progress.saturating_sub(1);
        self.open();
    }

    /// Opens the window as far as there is room.
    fn open(&mut self) {
        let room = COMMANDS.saturating_sub(self.in_progress);
        let max = self.expected.plus(room).plus(u32::MAX);
        if self.max.is_before(max) {
            self.max = max;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_delivered_in_order_and_once() {
        let mut window = CommandWindow::new(Sn(u32::MAX));
        window.hold(Sn(1), 'c');
        window.hold(Sn(0), 'b');
        assert_eq!(window.next(), None);
        assert_eq!(window.place(Sn(0)), Place::Ignored);
        window.hold(Sn(u32::MAX), 'a');
        assert_eq!(
            [window.next(), window.next(), window.next(), window.next()],
            [Some('a'), Some('b'), Some('c'), None]
        );
        assert_eq!(window.expected(), Sn(2));
        assert_eq!(window.place(Sn(1)), Place::Ignored, "it was delivered");
    }

    #[test]
    fn no_more_than_the_window_is_in_progress() {
        let mut window = CommandWindow::new(Sn(0));
        for n in 0..COMMANDS {
            assert_eq!(window.place(Sn(n)), Place::Free);
            window.begin();
            window.hold(Sn(n), n);
            assert_eq!(window.next(), Some(n));
        }
        assert_eq!(window.max(), Sn(COMMANDS - 1));
        assert_eq!(window.place(Sn(COMMANDS)), Place::Ignored);
        window.end();
        assert_eq!((window.max(), window.place(Sn(COMMANDS))), (Sn(COMMANDS), Place::Free));
    }

    #[test]
    fn a_number_that_never_comes_can_be_counted_as_received() {
        let mut window = CommandWindow::new(Sn(5));
        window.hold(Sn(6), 'b');
        window.void(Sn(5));
        assert_eq!((window.next(), window.expected()), (Some('b'), Sn(7)));
        assert_eq!(window.max(), Sn(7 + COMMANDS - 1));
    }
}
