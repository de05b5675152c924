//! The numbers that bound what a peer may hold, and for how long. `docs/limits.md` gives their reasons.

use std::time::Duration;

/// Calls of one connection that are being answered.
pub const CALLS: usize = 256;
/// Calls beside them that are begun when none of them ends.
pub const SPARE_CALLS: usize = 32;
/// What comes waits for a call to end, or for memory, so long; after that, what needs a device is told to try
/// again, so that what needs none is not held up (protocol rule 3).
pub const PATIENCE: Duration = Duration::from_millis(500);
/// Bytes that a connection's calls may hold at once, read and written.
pub const CONNECTION_MEMORY: usize = 64 << 20;
/// Bytes of replies that wait to be sent, beyond which no call is read.
pub const OUTPUT: usize = 8 << 20;
/// The same, of those that no permit stands for.
pub const OUTPUT_UNPERMITTED: usize = 256 << 10;
/// A peer that takes nothing of what it is sent is dropped after this.
pub const STALL_TIME: Duration = Duration::from_secs(20);
/// A peer that begins a record and does not go on is dropped after this.
pub const RECORD_TIME: Duration = Duration::from_secs(30);
/// Silence after which the peer's system is asked whether it lives, and how often, how many times.
pub const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// Largest READ and WRITE, in bytes (rtmax, wtmax).
pub const TRANSFER_MAX: u32 = 1 << 20;
/// Largest answer of READDIR and READDIRPLUS, in bytes (dtpref).
pub const LISTING_MAX: u32 = 64 << 10;
/// Entries that are fetched from a tree at once.
pub const LISTING_BATCH: usize = 128;
/// Largest file, in bytes (maxfilesize).
pub const FILE_MAX: u64 = 16 << 40;
/// Names of an object, at most (linkmax).
pub const LINKS_MAX: u32 = 65_000;
/// Mounts that are remembered, of all clients.
pub const MOUNTS: usize = 1024;
/// Longest path of a mount, in bytes (RFC 1813 MNTPATHLEN).
pub const MOUNT_PATH_MAX: usize = 1024;
