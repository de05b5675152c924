//! Data-Out of one command (RFC 7143 11.7, 11.8): what may come, what is asked for, and where it goes.
//!
//! Invariants: data comes in order (DataPDUInOrder and DataSequenceInOrder are Yes); no more is asked for
//! than a granted buffer holds; after a fault the rest is still awaited, since the RFC lets no status
//! overtake it (11.4), and thrown away.

use crate::memory::Buffer;
use crate::scsi::sense::{Key, Sense};
use crate::wire::{DataOut, TransferTag};
use std::collections::VecDeque;

/// Data that nobody asked for (RFC 7143 11.4.7.2).
pub(super) const UNEXPECTED: Sense = Sense::new(Key::AbortedCommand, 0x0c, 0x0c);
/// Less or other data than was asked for.
pub(super) const INCORRECT: Sense = Sense::new(Key::AbortedCommand, 0x0c, 0x0d);
/// Data that was damaged on its way.
pub(super) const DAMAGED: Sense = Sense::new(Key::AbortedCommand, 0x47, 0x05);

/// Why a command fails by its data alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataFault {
    /// The initiator's fault, or the network's.
    Sense(Sense),
    /// There was no memory for it: nothing of the command was done.
    NoMemory,
}

/// The data of one command.
#[derive(Default)]
pub(super) struct Gather {
    /// Where it goes; away while a PDU's data is being received into it.
    pub(super) buffer: Option<Buffer>,
    pub(super) fault: Option<DataFault>,
    /// Bytes that are here, from the first on.
    received: u32,
    /// Bytes that were asked for, or came unasked, from the first on.
    asked: u32,
    unsolicited: Option<Sequence>,
    solicited: VecDeque<Sequence>,
    r2t_sn: u32,
}

/// Data that is on its way.
#[derive(Clone, Copy, Debug)]
struct Sequence {
    transfer: Option<TransferTag>,
    next: u32,
    end: u32,
    data_sn: u32,
}

/// Where a PDU's data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Into the buffer, from this byte on.
    At(u32),
    /// Nowhere: the command has failed already.
    Bin,
    /// No sequence of the command has such a tag: the PDU is to be rejected.
    NoSuchTransfer,
}

/// An R2T that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) r2t_sn: u32,
    pub(super) offset: u32,
    pub(super) len: u32,
}

impl Gather {
    /// Takes note of a command with `immediate` bytes of data, after which more may come unasked, up to
    /// `first_burst` bytes in all.
    pub(super) fn start(&mut self, immediate: u32, first_burst: Option<u32>) {
        (self.received, self.asked) = (immediate, immediate);
        self.unsolicited = first_burst.filter(|end| *end > immediate).map(|end| Sequence {
            transfer: None,
            next: immediate,
            end,
            data_sn: 0,
        });
    }

    pub(super) fn received(&self) -> u32 {
        self.received
    }

    /// Whether no data is on its way.
    pub(super) fn is_quiet(&self) -> bool {
        self.unsolicited.is_none() && self.solicited.is_empty()
    }

    /// Whether data comes that nobody asked for.
    pub(super) fn is_unsolicited(&self) -> bool {
        self.unsolicited.is_some()
    }

    /// Whether an R2T is unanswered.
    pub(super) fn is_awaited(&self) -> bool {
        !self.solicited.is_empty()
    }

    pub(super) fn fail(&mut self, fault: DataFault) {
        self.fault.get_or_insert(fault);
    }

    /// The sequence that a piece belongs to: R2Ts are answered in their order.
    fn sequence(&mut self, transfer: Option<TransferTag>) -> Option<&mut Sequence> {
        let sequence = match transfer {
            None => self.unsolicited.as_mut(),
            Some(_) => self.solicited.front_mut(),
        };
        sequence.filter(|s| s.transfer == transfer)
    }

    /// Where the `len` bytes of `piece` go.
    pub(super) fn place(&mut self, piece: &DataOut, len: u32) -> Place {
        let Some(sequence) = self.sequence(piece.transfer) else {
            if piece.transfer.is_some() {
                return Place::NoSuchTransfer;
            }
            self.fail(DataFault::Sense(UNEXPECTED));
            return Place::Bin;
        };
        let fits = len <= sequence.end - sequence.next;
        if piece.data_sn != sequence.data_sn || piece.offset != sequence.next || !fits {
            let fault = if fits { INCORRECT } else { UNEXPECTED };
            self.fail(DataFault::Sense(fault));
        }
        if self.fault.is_some() {
            Place::Bin
        } else {
            Place::At(piece.offset)
        }
    }

    /// A piece of `len` bytes is here.
    pub(super) fn arrived(&mut self, piece: &DataOut, len: u32) {
        let failed = self.fault.is_some();
        let Some(sequence) = self.sequence(piece.transfer) else { return };
        sequence.data_sn = sequence.data_sn.wrapping_add(1);
        sequence.next = sequence.next.saturating_add(len).min(sequence.end);
        let (next, full) = (sequence.next, sequence.next == sequence.end);
        let over = piece.last || (full && !failed);
        if !over {
            return;
        }
        if piece.transfer.is_none() {
            self.unsolicited = None;
            self.asked = next;
        } else {
            self.solicited.pop_front();
        }
        if !full && piece.transfer.is_some() {
            self.fail(DataFault::Sense(INCORRECT));
        }
        if self.fault.is_none() {
            self.received = next;
        }
    }

    /// The next R2T of a command that needs `need` bytes, if one may be sent now.
    pub(super) fn ask(
        &mut self,
        transfer: TransferTag,
        need: u32,
        max_burst: u32,
        outstanding: u32,
    ) -> Option<Ask> {
        let open = self.unsolicited.is_some() || self.fault.is_some();
        if open || self.asked >= need || self.solicited.len() >= outstanding as usize {
            return None;
        }
        let len = max_burst.min(need - self.asked);
        let ask = Ask { r2t_sn: self.r2t_sn, offset: self.asked, len };
        let end = self.asked + len;
        let sequence = Sequence { transfer: Some(transfer), next: self.asked, end, data_sn: 0 };
        self.solicited.push_back(sequence);
        self.asked = end;
        self.r2t_sn += 1;
        Some(ask)
    }

    /// R2Ts that were sent.
    pub(super) fn r2ts(&self) -> u32 {
        self.r2t_sn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Sn, TaskTag};

    fn piece(transfer: Option<u32>, data_sn: u32, offset: u32, last: bool) -> DataOut {
        let transfer = transfer.map(TransferTag);
        DataOut { task: TaskTag(1), transfer, last, data_sn, offset, exp_stat_sn: Sn(0) }
    }

    #[test]
    fn a_write_is_asked_for_in_bursts() {
        let mut gather = Gather::default();
        gather.start(100, None);
        let ask = |gather: &mut Gather, tag| gather.ask(TransferTag(tag), 2600, 1000, 2);
        assert_eq!(ask(&mut gather, 1), Some(Ask { r2t_sn: 0, offset: 100, len: 1000 }));
        assert_eq!(ask(&mut gather, 2), Some(Ask { r2t_sn: 1, offset: 1100, len: 1000 }));
        assert_eq!(ask(&mut gather, 3), None, "two are unanswered");
        assert_eq!(gather.place(&piece(Some(1), 0, 100, true), 1000), Place::At(100));
        gather.arrived(&piece(Some(1), 0, 100, true), 1000);
        assert_eq!(ask(&mut gather, 3), Some(Ask { r2t_sn: 2, offset: 2100, len: 500 }));
        for (tag, sn, offset, len, last) in
            [(2, 0, 1100, 400, false), (2, 1, 1500, 600, true), (3, 0, 2100, 500, true)]
        {
            let piece = piece(Some(tag), sn, offset, last);
            assert_eq!(gather.place(&piece, len), Place::At(offset));
            gather.arrived(&piece, len);
        }
        assert!(gather.is_quiet() && gather.received() == 2600 && gather.fault.is_none());
    }

    #[test]
    fn unsolicited_data_ends_by_its_last_piece_or_the_first_burst() {
        for (len, last) in [(300, true), (900, false)] {
            let mut gather = Gather::default();
            gather.start(100, Some(1000));
            assert_eq!(gather.ask(TransferTag(1), 2000, 1000, 1), None, "data comes by itself");
            assert_eq!(gather.place(&piece(None, 0, 100, last), len), Place::At(100));
            gather.arrived(&piece(None, 0, 100, last), len);
            assert_eq!((gather.received(), gather.is_quiet()), (100 + len, true));
            assert_eq!(gather.ask(TransferTag(1), 2000, 1000, 1).map(|ask| ask.offset), Some(100 + len));
        }
    }

    #[test]
    fn data_that_does_not_fit_fails_the_command_once_all_has_come() {
        for (bad, len, fault) in [
            (piece(Some(1), 1, 0, false), 100, INCORRECT),
            (piece(Some(1), 0, 4, false), 100, INCORRECT),
            (piece(Some(1), 0, 0, false), 1001, UNEXPECTED),
        ] {
            let mut gather = Gather::default();
            gather.start(0, None);
            gather.ask(TransferTag(1), 1000, 1000, 1);
            assert_eq!(gather.place(&bad, len), Place::Bin);
            gather.arrived(&bad, len);
            assert!(!gather.is_quiet(), "the last piece is still to come");
            let last = piece(Some(1), 2, 100, true);
            assert_eq!(gather.place(&last, 900), Place::Bin);
            gather.arrived(&last, 900);
            assert!(gather.is_quiet());
            assert_eq!(gather.fault, Some(DataFault::Sense(fault)));
        }
    }

    #[test]
    fn too_little_data_and_unknown_transfers_are_noticed() {
        let mut gather = Gather::default();
        gather.start(0, None);
        gather.ask(TransferTag(1), 1000, 1000, 1);
        assert_eq!(gather.place(&piece(Some(2), 0, 0, true), 10), Place::NoSuchTransfer);
        assert_eq!(gather.place(&piece(Some(1), 0, 0, true), 10), Place::At(0));
        gather.arrived(&piece(Some(1), 0, 0, true), 10);
        assert_eq!((gather.is_quiet(), gather.fault), (true, Some(DataFault::Sense(INCORRECT))));
        let mut gather = Gather::default();
        assert_eq!(gather.place(&piece(None, 0, 0, true), 10), Place::Bin);
        assert_eq!(gather.fault, Some(DataFault::Sense(UNEXPECTED)));
    }
}
