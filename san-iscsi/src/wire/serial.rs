//! Serial numbers (RFC 1982, as RFC 7143 4.2.2 uses them): they wrap, and are compared by distance.

/// A CmdSN, StatSN or one of their kin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sn(pub u32);

impl Sn {
    /// The number `n` further on.
    #[must_use]
    pub fn plus(self, n: u32) -> Sn {
        Sn(self.0.wrapping_add(n))
    }

    /// How far it is from `earlier` on to this one; more than half the circle when it lies before it.
    #[must_use]
    pub fn since(self, earlier: Sn) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether it lies before `other`.
    #[must_use]
    pub fn is_before(self, other: Sn) -> bool {
        self != other && other.since(self) < 1 << 31
    }

    /// Takes this number, and makes the next one the current.
    pub fn take(&mut self) -> Sn {
        std::mem::replace(self, self.plus(1))
    }
}

#[cfg(test)]
mod tests {
    use super::Sn;

    #[test]
    fn serial_numbers_wrap() {
        assert!(Sn(u32::MAX).is_before(Sn(0)) && !Sn(0).is_before(Sn(u32::MAX)));
        assert!(!Sn(7).is_before(Sn(7)));
        assert_eq!(Sn(u32::MAX).plus(2), Sn(1));
        assert_eq!(Sn(1).since(Sn(u32::MAX)), 2);
        let mut sn = Sn(u32::MAX);
        assert_eq!((sn.take(), sn), (Sn(u32::MAX), Sn(0)));
    }
}
