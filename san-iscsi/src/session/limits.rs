//! The numbers that bound what a session may hold, and for how long. `docs/limits.md` gives their reasons.

use std::time::Duration;

/// Commands in progress in a session, by MaxCmdSN.
pub const COMMANDS: u32 = 128;
/// Immediate commands in progress beside them.
pub const IMMEDIATE_COMMANDS: usize = 8;
/// MaxRecvDataSegmentLength that the target declares.
pub const RECEIVE_SEGMENT: u32 = 256 << 10;
/// The default of the RFC, in force until something else was declared.
pub const DEFAULT_SEGMENT: u32 = 8192;
/// FirstBurstLength at most.
pub const FIRST_BURST: u32 = 256 << 10;
/// MaxBurstLength at most.
pub const MAX_BURST: u32 = 1 << 20;
/// MaxOutstandingR2T at most.
pub const OUTSTANDING_R2T: u32 = 4;
/// Bytes that a session's commands may hold at once, read and written.
pub const SESSION_MEMORY: usize = 32 << 20;
/// Bytes of answers that wait to be sent, beyond which no request is read.
pub const OUTPUT: usize = 8 << 20;
/// The same, of those that no permit stands for.
pub const OUTPUT_UNPERMITTED: usize = 16 << 10;

/// From the connection to the end of its login.
pub const LOGIN_TIME: Duration = Duration::from_secs(15);
/// Silence after which a peer is asked whether it lives, and again the same until it is given up.
pub const PING_TIME: Duration = Duration::from_secs(10);
/// A peer that takes nothing of what it is sent is dropped after this.
pub const STALL_TIME: Duration = Duration::from_secs(20);
/// A peer that does not send the data it was asked for is dropped after this.
pub const DATA_TIME: Duration = Duration::from_secs(30);
/// A command that finds no memory is answered BUSY after this.
pub const MEMORY_TIME: Duration = Duration::from_secs(2);
/// What a peer gets to log out when it was asked to.
pub const LOGOUT_TIME: Duration = Duration::from_secs(3);

/// Seconds before a new login makes sense, as logout and asynchronous messages tell (DefaultTime2Wait).
pub const TIME_TO_WAIT: u16 = 2;
