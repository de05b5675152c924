//! SCSI on disks in memory: bytes in, bytes out, on a clock that the test sets.

mod bench;
mod commands;
mod copying;
mod hanging;
mod inventory;
mod masking;
mod random;
mod reserving;
