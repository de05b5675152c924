//! The iSCSI target: wire, session and SCSI, which know no storage crate.
//!
//! | module | job | may not |
//! |---|---|---|
//! | [`lun`] | the border: what a target needs from storage | know a transport |
//! | [`mem`] | a disk in memory, for tests and fuzzers | be part of a server |
//! | [`scsi`] | commands, sense, reservations, unit attentions, masking | know a PDU |
//! | [`wire`] | PDUs and login text: bytes in, typed values out | keep state |
//! | [`memory`] | one budget, aligned buffers | know what the bytes are |
//! | [`session`] | login and full-feature state machines | do I/O, read a clock |
//! | [`server`] | sockets, timers and buffers around sessions | decide anything of the protocol |
//!
//! Storage is joined to it by whoever implements [`lun::LogicalUnit`]; tests have [`mem::MemLun`].

pub mod fuzz;
pub mod lun;
pub mod mem;
pub mod memory;
pub mod scsi;
pub mod server;
pub mod session;
pub mod wire;

pub use lun::{LogicalUnit, LunFault};
