//! The numbers that bound what SCSI commands may ask for. `docs/limits.md` gives their reasons.

use std::time::Duration;

/// Every command is answered within this time of its last Data-Out (protocol rule 3).
pub const COMMAND_TIME: Duration = Duration::from_secs(4);

/// Bytes that one READ or WRITE moves: MAXIMUM TRANSFER LENGTH.
pub const TRANSFER_MAX: u32 = 4 << 20;

/// LUNs that a host sees.
pub const LUNS_PER_HOST: usize = 1024;

/// Registrations of persistent reservations in a logical unit.
pub const REGISTRATIONS: usize = 256;
