//! Pointers: where a block lies, what it must contain, since when it exists. 16 bytes each.

use crate::ids::Epoch;
use block_layer::units::SECTORS_PER_BLOCK;
use block_layer::Pba;

/// The stored length of a block in 512-byte sectors: 1 to 8, less than 8 when it is compressed.
///
/// An enumeration, so that the values it cannot have say "hole" and "unset" at no cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // eight numbers
pub enum Sectors {
    One = 1,
    Two,
    Three,
    Four,
    Five,
    Six,
    Seven,
    Eight,
}

impl Sectors {
    const ALL: [Sectors; 8] = {
        use Sectors::*;
        [One, Two, Three, Four, Five, Six, Seven, Eight]
    };
    /// A block that is stored as it is.
    pub const WHOLE: Sectors = Sectors::Eight;

    /// `None` unless `sectors` is in `1..=8`.
    #[must_use]
    pub fn new(sectors: u8) -> Option<Sectors> {
        Self::ALL.get(usize::from(sectors).checked_sub(1)?).copied()
    }

    /// The number of sectors.
    #[must_use]
    pub fn get(self) -> u8 {
        self as u8
    }
}

/// A pointer to one stored block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    crc: u32,
    birth: Epoch,
    pba_low: u32,
    pba_high: u16,
    sectors: Sectors,
    flags: u8,
}

const _: () = assert!(size_of::<Pointer>() == 16);
const _: () = assert!(size_of::<Option<Pointer>>() == 16);
const _: () = assert!(size_of::<Slot>() == 16);

impl Pointer {
    /// A pointer to a block stored whole at `pba`, whose CRC-32C is `crc`, born in `birth`.
    #[must_use]
    pub fn new(pba: Pba, crc: u32, birth: Epoch) -> Pointer {
        Pointer::stored(pba, crc, birth, Sectors::WHOLE, 0)
    }

    /// A pointer to a block stored in `sectors` sectors. The map carries `flags` without looking at them:
    /// what they say, and which are known, is for those who read the block.
    #[must_use]
    pub fn stored(pba: Pba, crc: u32, birth: Epoch, sectors: Sectors, flags: u8) -> Pointer {
        let pba = pba.sectors();
        Pointer { crc, birth, pba_low: pba as u32, pba_high: (pba >> 32) as u16, sectors, flags }
    }

    /// The pool-logical address, in sectors.
    #[must_use]
    pub fn pba(self) -> Pba {
        Pba::new(u64::from(self.pba_high) << 32 | u64::from(self.pba_low))
    }

    /// CRC-32C of the stored bytes.
    #[must_use]
    pub fn crc(self) -> u32 {
        self.crc
    }

    /// The open epoch of the branch when the pointer entered it.
    #[must_use]
    pub fn birth(self) -> Epoch {
        self.birth
    }

    /// The stored length.
    #[must_use]
    pub fn sectors(self) -> Sectors {
        self.sectors
    }

    /// Flags, opaque to the map.
    #[must_use]
    pub fn flags(self) -> u8 {
        self.flags
    }

    /// Whether it lies right behind `previous`.
    pub(crate) fn follows(self, previous: Pointer) -> bool {
        self.pba().sectors() == previous.pba().sectors() + SECTORS_PER_BLOCK
    }

    /// Whether it continues a run after `previous`: the next block's address, all else but the CRC equal.
    pub(crate) fn continues(self, previous: Pointer) -> bool {
        self.follows(previous)
            && (self.birth, self.sectors, self.flags) == (previous.birth, previous.sectors, previous.flags)
    }
}

/// What one version of a page says about one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slot {
    /// Nothing: an older version, or the origin, knows.
    #[default]
    Unset,
    /// The block reads as zeros.
    Hole,
    /// The block is stored.
    Data(Pointer),
}

impl From<Option<Pointer>> for Slot {
    fn from(known: Option<Pointer>) -> Slot {
        known.map_or(Slot::Hole, Slot::Data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_gives_back_what_it_was_made_of() {
        for pba in [0, 8, 0xffff_ffff, 1 << 32, Pba::LIMIT - 8] {
            let pointer = Pointer::stored(Pba::new(pba), 0xdead_beef, Epoch(7), Sectors::Three, 0x81);
            assert_eq!(pointer.pba(), Pba::new(pba));
            assert_eq!((pointer.crc(), pointer.birth()), (0xdead_beef, Epoch(7)));
            assert_eq!((pointer.sectors().get(), pointer.flags()), (3, 0x81));
        }
    }

    #[test]
    fn stored_lengths_are_one_to_eight_sectors() {
        let lengths: Vec<u8> = (0..=255).filter_map(Sectors::new).map(Sectors::get).collect();
        assert_eq!(lengths, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
