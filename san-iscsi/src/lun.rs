//! The border to storage: what a target needs from whatever lies behind a logical unit.
//!
//! Everything is in bytes: logical blocks are SCSI's business. Calls may run in any number at once; a future
//! that is dropped before it ended leaves it open whether the command takes effect, so nobody drops one.
//!
//! Two implementations exist: the daemon's, over a volume, and the memory disk of tests.

use bytes::Bytes;
use std::future::Future;

/// Why storage did not do as it was asked. One variant for each answer that an initiator can get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LunFault {
    /// The range lies behind the end, which may have moved since the command was checked.
    #[error("the range lies behind the end of the unit")]
    OutOfRange,
    /// No space is left; nothing was written, and a retry may succeed once space was freed.
    #[error("no space is left")]
    NoSpace,
    /// A block is damaged, or cannot be read, and no good copy exists (P4): never returned as data.
    #[error("data is damaged")]
    Corrupt,
    /// Storage failed.
    #[error("storage failed")]
    Device,
    /// Storage stopped in the middle and starts again: whether the command took effect shows then.
    #[error("storage stopped in the middle")]
    Interrupted,
    /// What `compare_and_write` compared differs, first at this byte of the compared range.
    #[error("compared data differs at byte {at}")]
    Miscompare {
        /// Byte in the compared data.
        at: u64,
    },
    /// The source was fenced: the command has no effect.
    #[error("the session was fenced")]
    Fenced,
    /// Acknowledged writes may be lost: told once to each source that wrote, by its next flush (protocol
    /// rule 1).
    #[error("acknowledged writes may have been lost")]
    WritesLost,
    /// The storage behind it starts; nothing was done.
    #[error("the unit's storage is starting")]
    Starting,
    /// The storage behind it is not there, and an administrator must act.
    #[error("the unit's storage is not available")]
    Unavailable,
}

/// When a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it survives the death of the process (P1).
    Committed,
    /// When it survives the loss of power (P2).
    Durable,
}

/// A run of a unit that is all mapped, or all not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Whether it takes space.
    pub mapped: bool,
}

/// Space, for thin provisioning's log page and thresholds. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this unit's data takes.
    pub used: u64,
    /// Bytes that it could still take.
    pub available: u64,
}

/// The storage of a logical unit. Offsets and lengths are multiples of 512 bytes, at most 16 MiB a call
/// unless said otherwise; each write is atomic.
pub trait LogicalUnit: Send + Sync + 'static {
    /// Whose commands these are, so that unfinished ones can be fenced. Cloning gives the same source.
    type Source: Clone + Send + Sync + 'static;

    /// A new source, of one I_T nexus.
    fn source(&self) -> Self::Source;

    /// Refuses what `source` has not ordered yet, and ends when each of its commands took effect or never
    /// will.
    fn fence(&self, source: &Self::Source) -> impl Future<Output = ()> + Send;

    /// Size now, in bytes.
    fn len(&self) -> u64;

    /// Whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Space now.
    fn space(&self) -> Space;

    /// Reads. What was never written reads as zeroes.
    fn read(&self, offset: u64, len: u64) -> impl Future<Output = Result<Bytes, LunFault>> + Send;

    /// Writes, wholly or not at all. Data that starts on an address divisible by 4096 is not copied.
    fn write(
        &self,
        source: &Self::Source,
        offset: u64,
        data: Bytes,
        durability: Durability,
    ) -> impl Future<Output = Result<(), LunFault>> + Send;

    /// Makes all that was acknowledged before durable.
    fn flush(&self, source: &Self::Source) -> impl Future<Output = Result<(), LunFault>> + Send;

    /// Unmaps whole 4 KiB blocks and zeroes the rest of the range: afterwards all of it reads as zeroes.
    fn write_zeroes(
        &self,
        source: &Self::Source,
        offset: u64,
        len: u64,
        durability: Durability,
    ) -> impl Future<Output = Result<(), LunFault>> + Send;

    /// Writes `pattern`, 512 or 4096 bytes, again and again.
    fn write_same(
        &self,
        source: &Self::Source,
        offset: u64,
        len: u64,
        pattern: Bytes,
        durability: Durability,
    ) -> impl Future<Output = Result<(), LunFault>> + Send;

    /// Writes `data` if the range holds `expected`; atomic, and always durable.
    fn compare_and_write(
        &self,
        source: &Self::Source,
        offset: u64,
        expected: Bytes,
        data: Bytes,
    ) -> impl Future<Output = Result<(), LunFault>> + Send;

    /// The runs of a range in order, at most `limit` of them.
    fn extents(
        &self,
        offset: u64,
        len: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Extent>, LunFault>> + Send;

    /// Makes a range what `from` has at `from_offset`: by reference where both are aligned to 4 KiB and in
    /// one pool, by copying otherwise. `len` is at most 16 MiB.
    fn copy_from(
        &self,
        source: &Self::Source,
        offset: u64,
        from: &Self,
        from_offset: u64,
        len: u64,
    ) -> impl Future<Output = Result<(), LunFault>> + Send;

    /// Keeps `state`, at most 64 KiB, with the unit's data; durable when it returns. It holds the persistent
    /// reservations that were registered with APTPL (SPC-4 5.13.12).
    fn save_reservations(&self, state: Bytes) -> impl Future<Output = Result<(), LunFault>> + Send;
}
