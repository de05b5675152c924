//! Reading bytes that may be damaged: every step is checked, nothing panics, nothing is allocated.

/// Bytes that do not decode: rot or a bug, to be reported; never the mark of an ordinary crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged: {what}")]
pub struct Damaged {
    /// What is wrong with them.
    pub what: &'static str,
}

/// `Err` with [`Damaged`] unless `sound`.
pub(crate) fn check(sound: bool, what: &'static str) -> Result<(), Damaged> {
    if sound {
        Ok(())
    } else {
        Err(Damaged { what })
    }
}

/// A cursor over bytes that may end too early.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    pub(crate) fn slice(&mut self, len: usize) -> Result<&'a [u8], Damaged> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Damaged { what: "it ends too early" })?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Damaged { what: "it ends too early" })?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damaged> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// What is left.
    pub(crate) fn remaining(self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), Damaged> {
        check(self.rest.is_empty(), "bytes follow its end")
    }
}
