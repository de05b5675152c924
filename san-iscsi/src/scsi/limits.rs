//! The numbers that bound what SCSI commands may ask for. `docs/limits.md` gives their reasons.

use std::time::Duration;

/// Every command is answered within this time of its last Data-Out (protocol rule 3).
pub const COMMAND_TIME: Duration = Duration::from_secs(4);

/// How long a write waits for one in doubt to be settled, before it is answered BUSY.
pub const SETTLE_TIME: Duration = Duration::from_millis(250);

/// Bytes that one READ, WRITE, VERIFY or ORWRITE moves: MAXIMUM TRANSFER LENGTH.
pub const TRANSFER_MAX: u64 = 4 << 20;

/// Bytes that an initiator had best move at once: OPTIMAL TRANSFER LENGTH.
pub const TRANSFER_OPTIMAL: u64 = 1 << 20;

/// Bytes of a physical block: what is mapped, and unmapped, as one.
pub const PHYSICAL_BLOCK: u64 = 4096;

/// Bytes that one COMPARE AND WRITE compares.
pub const COMPARE_MAX: u64 = 64 << 10;

/// Bytes that one WRITE SAME writes: MAXIMUM WRITE SAME LENGTH.
pub const WRITE_SAME_MAX: u64 = 16 << 20;

/// Bytes that one UNMAP unmaps, all its descriptors together.
pub const UNMAP_MAX: u64 = 256 << 20;

/// Descriptors of one UNMAP.
pub const UNMAP_DESCRIPTORS: usize = 64;

/// Bytes of one call to storage; what is longer goes in pieces.
pub const CALL_MAX: u64 = 16 << 20;

/// Descriptors that GET LBA STATUS returns at most.
pub const STATUS_DESCRIPTORS: usize = 64;

/// Bytes of an EXTENDED COPY's one segment.
pub const COPY_SEGMENT_MAX: u64 = 8 << 20;

/// Copy source and destination descriptors of one EXTENDED COPY.
pub const COPY_DEVICES: usize = 8;

/// Segment descriptors of one EXTENDED COPY.
pub const COPY_SEGMENTS: usize = 8;

/// Results of EXTENDED COPY that a nexus can still ask for.
pub const COPY_RESULTS: usize = 16;

/// Bytes of a parameter list: none that is known is longer.
pub const PARAMETERS_MAX: u32 = 64 << 10;

/// LUNs that a host sees.
pub const LUNS_PER_HOST: usize = 1024;

/// LUN numbers: what flat addressing can say.
pub const LUN_NUMBERS: u16 = 1 << 14;

/// Registrations of persistent reservations in a logical unit.
pub const REGISTRATIONS: usize = 256;
